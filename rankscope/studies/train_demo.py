"""Train the demo checkpoints: ``python -m rankscope.studies.train_demo --out DIR``.

Two byte-level language models with the layer of arXiv 2410.10609, alike in size, data, steps and seed; only λ differs.
The text is that of the standard library's help, ``pydoc_data.topics``, which differs among versions of Python.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import safetensors.torch
import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from rankscope import pipeline, zoo
from rankscope.errors import UsageError
from rankscope.files import check_writable, write_whole
from rankscope.studies.corpus import TOKENS, Corpus, corpus, windows
from rankscope.studies.trainer import Recipe, train

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

SPEC = "lambda_skip,depth=24,width=64,lam={}"
MODELS = {"baseline": SPEC.format(1), "lambda-skip": SPEC.format(4)}
RECIPE = Recipe(steps=1000, rate=3e-3)
BATCH = 16
MEASURES = ("mu_bar_unit", "rank_one_residual_unit", "effective_rank_unit")


def judge(model: nn.Module, sample: tuple[str, ...]) -> dict[str, Any]:
    """What the sample shows of a model.

    Args:
        model: a byte-level language model.
        sample: excerpts of one length.

    Returns:
        `sample_loss` in nats a byte, the measures of the last layer, the verdict of `rankscope.probe` and its layer.
    """
    ids = torch.tensor([list(excerpt.encode()) for excerpt in sample])
    with torch.no_grad():
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    report = pipeline.probe(model, ids, measures=MEASURES)
    last = max(layer.index for layer in report.layers)
    shown = {row.measure: row.value for row in report.rows if row.layer_index == last and row.scope == "sequence"}
    verdict = next(depth for depth in report.depth if depth.measure == "rank_one_residual_unit")
    return {
        "sample_loss": loss.item(),
        **{measure: shown[measure] for measure in MEASURES},
        "verdict": verdict.verdict,
        "verdict_layer": verdict.layer,
    }


def provenance(text: Corpus, recipe: Recipe) -> dict[str, Any]:
    """Where the weights come from, as far as it is known before they are trained.

    Args:
        text: what they are trained on.
        recipe: how they are trained.

    Returns:
        Plain data.
    """
    return {
        "data": f"pydoc_data.topics of Python {platform.python_version()}, paragraphs once, spaces joined",
        "data_bytes": len(text.text),
        "data_sha256": hashlib.sha256(text.text).hexdigest(),
        "sample_sha256": hashlib.sha256("\n".join(text.sample).encode()).hexdigest(),
        "optimiser": "AdamW, weight decay 0",
        **asdict(recipe),
        "batch": BATCH,
        "tokens": TOKENS,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


README = """# Demo checkpoints

Two small byte-level language models, made to show what rankscope measures and fit for nothing else. They have the layer
of arXiv 2410.10609: attention alone, rows scaled to unit length; {parameters:,} parameters in 24 blocks of width 64.
Size, data, steps and seed are the same; only λ, the factor of the skip, differs.

| | λ | training loss | loss on `sample.txt` | mu_bar_unit | rank_one_residual_unit | verdict |
|---|---|---|---|---|---|---|
{rows}

Losses are in nats a byte; the training loss is the mean over the last 50 of {steps:,} steps. The measures are those of
the last layer, and the verdict that of the stack, by `rankscope.probe` on `sample.txt`. One seed was trained for each:
a demonstration, and no evidence for other sizes.

- Made by `python -m rankscope.studies.train_demo --out DIR` on {date}, with Python {python}, torch {torch}, {machine},
  {threads} thread.
- Data: {data}; {data_bytes:,} bytes, SHA-256
  `{data_sha256}`. Other versions of Python have another text.
- `sample.txt`: 8 excerpts of 128 bytes from paragraphs held out; no 40 bytes of one occur in the training data.
- The header of each file holds its spec (`rankscope.spec`) and these facts (`rankscope.provenance`).
- The text is that of the Python documentation, © Python Software Foundation, PSF License Version 2.
"""


def readme(facts: dict[str, dict[str, Any]]) -> str:
    """What is said of the checkpoints, all of it taken from their provenance.

    Args:
        facts: for each name the provenance.

    Returns:
        Markdown.
    """
    rows = []
    for name, fact in facts.items():
        where = f" from {fact['verdict_layer']}" if fact["verdict_layer"] else ""
        numbers = f"{fact['lam']:g} | {fact['train_loss']:.2f} | {fact['sample_loss']:.2f} | {fact['mu_bar_unit']:.3f}"
        rows.append(f"| `{name}` | {numbers} | {fact['rank_one_residual_unit']:.3f} | {fact['verdict']}{where} |")
    return README.format(rows="\n".join(rows), **next(iter(facts.values())))


def make(out: Path, recipe: Recipe, after_step: Callable[[str, float], None]) -> None:
    """Train both models and write them with their sample and their README.

    Args:
        out: an existing folder.
        recipe: how to train.
        after_step: called with the name and the loss of every step.
    """
    text = corpus()
    facts = {}
    for name, spec in MODELS.items():
        model = zoo.build(spec, seed=recipe.seed)
        losses = train(model, windows(text.text, BATCH), recipe, partial(after_step, name))
        facts[name] = {
            **provenance(text, recipe),
            "lam": float(spec.rpartition("=")[2]),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "train_loss": sum(losses[-50:]) / len(losses[-50:]),
            **judge(model, text.sample),
        }
        header = {"rankscope.spec": spec, "rankscope.provenance": json.dumps(facts[name])}
        write_whole(out / f"{name}.safetensors", safetensors.torch.save(model.state_dict(), header))
    write_whole(out / "sample.txt", "\n".join([*text.sample, ""]))
    write_whole(out / "README.md", readme(facts))


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
@click.option(
    "--steps", type=click.IntRange(min=1), default=RECIPE.steps, show_default=True, help="Steps of each training."
)
def main(out: Path, steps: int) -> None:
    """Train the demo checkpoints baseline and lambda-skip, on one thread."""
    torch.set_num_threads(1)  # the same sums in the same order every time
    try:
        out.mkdir(parents=True, exist_ok=True)
        check_writable(out / "README.md")
    except (OSError, UsageError) as error:  # told before minutes of training, not after
        raise click.ClickException(str(error)) from error
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars = {name: progress.add_task(name, total=steps) for name in MODELS}

        def after_step(name: str, loss: float) -> None:
            progress.update(bars[name], advance=1, description=f"{name} loss {loss:.2f}")

        make(out, Recipe(steps, RECIPE.rate), after_step)


if __name__ == "__main__":
    main()
