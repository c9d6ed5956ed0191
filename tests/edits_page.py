"""The table of docs/edits.md: the skips that are found in a model, and what every edit says of it.

Every edit is made, and the model is run with it. A row whose package is not installed is left as the page has it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import handwritten
import torch
from architectures import CATALOGUE
from models_page import Line, needed, table
from seen import SMALL

from rankscope.capture.flow import tensors
from rankscope.capture.plan import plan
from rankscope.capture.planning import FEW_TOKENS, traced
from rankscope.capture.session import undisturbed
from rankscope.edits import known_edits
from rankscope.errors import RankscopeError
from rankscope.facts import outside_facts, stack_facts
from rankscope.inputs import InputOptions, from_python, gather
from rankscope.interventions import as_edits, in_force, make
from rankscope.sources import open_model
from rankscope.zoo import list_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from rankscope.facts import StackFacts
    from rankscope.records import Batch

BEGIN = "<!-- Made by tests/test_edits_page.py: `pytest tests/test_edits_page.py --renew` writes it anew. -->\n"
END = "<!-- to here -->\n"
HEAD = ("model", "stacks × blocks", "skips", "norm", "other sums", "λ = 1", "refused")
TYPED = {"lambda_skip": "lambda_skip=0.5", "drop": "drop@2", "noise": "noise=0.1", "scale": "scale=0.5@1"}
"""How an edit is typed here, where it does not stand by itself."""
ZOO = ("transformer,norm=post", "transformer,norm=none,mlp=off", "transformer,skip=off")
FAMILIES = {
    "transformers, decoders": "GPT2 Llama Qwen3 GPTNeoX Gemma3Text Gemma3nText Mixtral DeepseekV4 Jamba",
    "transformers, encoders": "Bert Albert XLM MobileBert SqueezeBert",
    "transformers, others": "T5 Mamba Mamba2 Rwkv ViT Swin ConvNext ResNet",
}
XT = ("plain", "post-norm", "sandwich norm", "scaled residual", "hyper-connections", "gated by a recurrent cell")
NN = ("TransformerEncoder, post-norm", "TransformerEncoder, pre-norm", "TransformerDecoder, pre-norm", "MLP")
OWN = tuple(name for name, entry in CATALOGUE.items() if entry.family == "written by hand")


@dataclass(frozen=True)
class Found:
    """What was found in one model; `refused` maps an edit to the code of its error, `same` is that of λ = 1."""

    stacks: tuple[StackFacts, ...]
    outside: int
    refused: Mapping[str, str]
    same: bool | None

    def cells(self) -> tuple[str, ...]:
        """The cells of its row, in the order of `HEAD`."""
        blocks = [block for stack in self.stacks for block in stack.blocks]
        depth = ", ".join(f"`{stack.stack}` × {len(stack.blocks)}" for stack in self.stacks) or "none"
        internal = sum(block.internal for block in blocks)
        others = [f"{internal} internal" if internal else "", f"{self.outside} outside" if self.outside else ""]
        norms = dict.fromkeys(stack.norm or "—" for stack in self.stacks)
        return (
            depth if all(stack.stack != "modules" for stack in self.stacks) else "none: every module",
            str(sum(block.adds for block in blocks)),
            ", ".join(norms) or "—",
            ", ".join(filter(None, others)) or "—",
            {True: "the same bits", False: "DIFFERENT", None: "—"}[self.same],
            told(self.refused),
        )


def told(refused: Mapping[str, str]) -> str:
    """Edits by the code with which they are refused."""
    codes: dict[str, list[str]] = {}
    for name, code in refused.items():
        codes.setdefault(code, []).append(f"`{name}`")
    parts = [
        f"{', '.join(names)} {f'[{code}](errors.md#{code.lower()})' if code.startswith('RS') else code}"
        for code, names in sorted(codes.items())
    ]
    return "; ".join(parts) or "—"


def outputs(model: nn.Module, batch: Batch) -> list[torch.Tensor]:
    """What a model gives, with the same random numbers every time."""
    torch.manual_seed(0)
    return list(tensors(model(*batch.args, **batch.kwargs)))


def equal(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def look(spec: Any, inputs: Any = None) -> Found:
    """Trace a model, make every edit of it, and run each."""
    source, options = open_model(spec), InputOptions(**SMALL)
    given = gather(source, options) if inputs is None else from_python(source, inputs, options)
    batch, model = next(iter(given.batches)), source.model
    refused: dict[str, str] = {}
    with undisturbed(model), torch.no_grad():
        watched, small = traced(model, batch, given.layout, FEW_TOKENS)
        blocks = plan(watched)
        plain = outputs(model, batch)

        def edited(text: str) -> list[torch.Tensor]:
            with in_force(model, blocks, make(model, blocks, small, as_edits(text)).actions):
                return outputs(model, batch)

        for name in known_edits():
            try:
                if equal(edited(TYPED.get(name, name)), plain):
                    refused[name] = "changes nothing"
            except RankscopeError as error:
                refused[name] = error.code
        same = None if "lambda_skip" in refused else equal(edited("lambda_skip=1"), plain)
    stacks = tuple(stack for stack in stack_facts(blocks) if stack.blocks)
    return Found(stacks, len(outside_facts(blocks)), refused, same)


@functools.cache
def of_catalogue(name: str) -> Found:
    """What is found in an architecture of the catalogue; it is looked at once a session."""
    entry = CATALOGUE[name]
    return look(entry.build(), entry.inputs() if entry.inputs else None)


@functools.cache
def of_zoo(spec: str) -> Found:
    """What is found in a small model of the zoo."""
    name, comma, options = spec.partition(",")
    return look(f"zoo:{name},depth=3,width=32{comma}{options}")


def unets() -> dict[str, Callable[[], nn.Module]]:
    """Nets whose long skips are added, or joined."""
    return {f"U-Net, {how}": functools.partial(handwritten.unet, how) for how in ("additive", "concatenating")}


def rows(names: Sequence[str]) -> list[Line]:
    """The lines of architectures of the catalogue."""
    return [Line(name, needed(CATALOGUE[name].package), lambda name=name: of_catalogue(name).cells()) for name in names]


def part(old: str) -> str:
    """The table, one part a family.

    Args:
        old: the page as it is, for the rows that cannot be had here.

    Returns:
        Markdown.
    """
    names = [entry.name for entry in list_zoo() if entry.kind == "architecture"]
    nets = [Line(name, (), lambda build=build: look(build(), images()).cells()) for name, build in unets().items()]
    families = {
        "The zoo": [Line(f"zoo:{spec}", (), lambda spec=spec: of_zoo(spec).cells()) for spec in (*names, *ZOO)],
        **{title[:1].upper() + title[1:]: rows(known.split()) for title, known in FAMILIES.items()},
        "x-transformers": rows(XT),
        "torch.nn": rows(NN),
        "Written by hand": [*rows(OWN), *nets],
    }
    return "\n".join(f"### {title}\n\n{table(title, HEAD, lines, old)}\n" for title, lines in families.items())


def images() -> torch.Tensor:
    """Two pictures."""
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
