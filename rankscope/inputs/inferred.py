"""Inferred inputs: where none are given, the first candidate that the model runs on, announced in a note."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rankscope.errors import InputError
from rankscope.inputs.arguments import Parameters, as_call, parameters
from rankscope.inputs.batches import assemble
from rankscope.inputs.candidates import TOKENS, Candidate, candidates
from rankscope.inputs.configured import first_id, vocabulary
from rankscope.inputs.dry_run import DryRun, dry_run
from rankscope.inputs.mlp import rows_apart
from rankscope.inputs.random import Spec, draw
from rankscope.inputs.values import cast, model_dtype
from rankscope.records import Inputs, Note

if TYPE_CHECKING:
    from rankscope.inputs.options import InputOptions

ATTEMPTS = 80  # dry runs before giving up
FEW = 20  # dry runs for the sake of an error message
NAMED = 12  # parameters of forward that a refusal names


def infer(model: nn.Module, options: InputOptions) -> Inputs:
    """Find inputs that a model takes, and draw them.

    Token ids cover the embedding that they were seen to be looked up in; numbers are standard normal.

    Args:
        model: any module.
        options: `batches`, `batch_size`, `max_tokens`, `seed` and `layout` are used.

    Returns:
        The inputs, with a note that says what was drawn in the words of ``--random``.

    Raises:
        InputError: the model ran on no candidate; its own error on the most promising one is quoted.

    Example:
        >>> from rankscope.inputs.options import InputOptions
        >>> infer(nn.Linear(3, 2), InputOptions()).source
        'inferred: input=128x3, seed 0'
    """
    known = parameters(model)
    tried: list[tuple[Candidate, DryRun]] = []
    wanted = (c for c in candidates(model, known, min(TOKENS, options.max_tokens)) if _allowed(c, options.layout))
    for candidate in itertools.islice(wanted, ATTEMPTS):
        found, seen = _attempt(model, known, candidate, options.layout)
        if found is not None:
            return _drawn(model, known, found, options)
        tried.append((candidate, seen))
    error = _failure(model, known, tried)
    raise error


def flags_that_run(model: nn.Module) -> str | None:
    """The flags of inputs that a model was seen to run on.

    Args:
        model: any module.

    Returns:
        ``--random`` for each argument, and ``--layout`` where it matters; None where nothing ran.

    Example:
        >>> flags_that_run(nn.Linear(3, 2))
        "--random 'input=128x3' --layout bd"
    """
    known = parameters(model)
    for candidate in itertools.islice(candidates(model, known, TOKENS), FEW):
        found, _ = _attempt(model, known, candidate, None)
        if found is not None:
            specs = found.specs if found.layout == "bd" else found.sized(8).specs
            flags = " ".join(f"--random {str(spec)!r}" for spec in specs)
            return f"{flags} --layout {found.layout}" if found.layout else flags
    return None


def _allowed(candidate: Candidate, layout: str | None) -> bool:
    """Whether a candidate has the layout that the user gave."""
    return layout not in {"bd", "btd", "tbd"} or (layout == "bd") == (candidate.layout == "bd")


def _attempt(
    model: nn.Module, known: Parameters, candidate: Candidate, layout: str | None
) -> tuple[Candidate | None, DryRun]:
    """Run a candidate; what ran, with the ranges of its ids, or None."""
    seen = _run(model, known, candidate.specs)
    if candidate.layout != "bd" and (layout == "tbd" or (layout is None and seen.tokens_first)):
        candidate = candidate.tokens_first()
        seen = _run(model, known, candidate.specs)
    if not seen.runs or (candidate.layout == "bd" and layout is None and not _rows_apart(model, known, candidate)):
        return None, seen
    found = _ranged(model, candidate, seen)
    if found is not None and found != candidate:
        seen = _run(model, known, found.specs)  # the trial ids may mean something of their own
    return (found if seen.runs else None), seen


def _ranged(model: nn.Module, candidate: Candidate, seen: DryRun) -> Candidate | None:
    """The candidate with the ranges of its ids; None where they were looked up nowhere, and so are not wanted."""
    names = [spec.name for spec in candidate.specs if spec.whole and spec.low is None]
    lookups = seen.embeddings()
    known = {name: lookups[name].rows if name in lookups else vocabulary(model, name) for name in names}
    first = known[names[0]] if names else 0
    if first is None:
        return None
    rows = {name: own or first for name, own in known.items()}
    low = first_id(model)
    specs = (
        replace(s, low=min(low, rows[s.name] - 1), high=rows[s.name] - 1) if s.name in rows else s
        for s in candidate.specs
    )
    return replace(candidate, specs=tuple(specs))


def _run(model: nn.Module, known: Parameters, specs: tuple[Spec, ...]) -> DryRun:
    """A dry run on few sequences, of the first two ids."""
    low = first_id(model)
    closed = (replace(spec, low=low, high=low + 1) if spec.whole and spec.low is None else spec for spec in specs)
    args, kwargs = as_call(_item(known, cast(draw(closed, seed=0), model_dtype(model))))
    return dry_run(model, args, kwargs, whole=True)


def _item(known: Parameters, drawn: dict[str, Tensor]) -> Any:
    """Arguments by name, or by position where forward names none."""
    return drawn if known.names else tuple(drawn.values())


def _rows_apart(model: nn.Module, known: Parameters, candidate: Candidate) -> bool:
    """Whether the rows of a matrix do not see each other."""
    data = cast(draw(candidate.specs, seed=0), model_dtype(model))
    changed = {name: torch.cat([tensor[:1] + 1, tensor[1:]]) for name, tensor in data.items()}
    outputs = [dry_run(model, *as_call(_item(known, each)), whole=True).output for each in (data, changed)]
    return rows_apart(*outputs)


def _drawn(model: nn.Module, known: Parameters, found: Candidate, options: InputOptions) -> Inputs:
    """The inputs of the whole run."""
    rows = found.specs[0].shape[0] if found.layout == "bd" else options.batch_size
    sized = found.sized(rows * (options.batches or 1))
    drawn = draw(sized.specs, options.seed)
    said = ", ".join(map(str, sized.specs))
    flags = " ".join(f"--random {str(spec)!r}" for spec in sized.specs)
    layout = f" --layout {found.layout}" if found.layout else ""
    text = f"no inputs were given; inferred from the model: {flags} --seed {options.seed}{layout}"
    longest = rows if found.layout == "bd" else options.max_tokens
    return assemble(
        model,
        replace(options, layout=options.layout or found.layout, max_tokens=longest),
        lambda: [_item(known, drawn)],
        f"inferred: {said}, seed {options.seed}",
        whole=True,
        drawn=True,
        seed=options.seed,
        notes=(Note("RS210", text),),
    )


def _failure(model: nn.Module, known: Parameters, tried: list[tuple[Candidate, DryRun]]) -> InputError:
    """The error that nothing ran, in the words of the model on the candidate with which it got furthest."""
    details: list[tuple[str, str]] = []
    if tried:
        candidate, seen = max(tried, key=lambda pair: pair[1].finished)
        details = [("tried", ", ".join(map(str, candidate.specs))), ("the model said", _said(seen))]
    if names := (known.required or known.names)[:NAMED]:
        details.append(("forward needs" if known.required else "forward takes", ", ".join(names)))
    return InputError(
        "RS211",
        f"no inputs were given, and none could be inferred: {type(model).__name__} ran on nothing that was tried",
        details=details,
        remedies=[
            ("Random numbers, once for each argument", "--random 'x=8x128x64'"),
            ("Random ids", "--random 'ids=8x128:int64:0..255'"),
            ("Your data", "--input data.npz"),
        ],
    )


def _said(seen: DryRun) -> str:
    """What went wrong in a dry run, in the model's words."""
    if seen.error is not None:
        return f"{type(seen.error).__name__}: {seen.error}".partition("\n")[0][:300]
    if seen.wrong:
        return f"{seen.wrong[0].where or 'the embedding'} cannot look up these values"
    return "it ran, but not as sequences of tokens"
