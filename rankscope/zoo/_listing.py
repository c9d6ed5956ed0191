"""What the zoo holds, told without torch: declarations of the architectures, headers of the demo checkpoints."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rankscope.declarations import declarations
from rankscope.registry import unknown_name
from rankscope.zoo._spec import FLOATS, parse, split, words

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEMOS = Path(__file__).parent / "demo"


@dataclass(frozen=True, slots=True)
class ZooOption:
    """An option of an architecture: its default and the values it takes, as they are typed, and what it means."""

    name: str
    default: str
    values: str
    meaning: str


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """An architecture or a demo checkpoint; `spec` is what `rankscope probe` takes.

    `facts` are pairs (label, text): how a demo checkpoint was made.
    """

    name: str
    kind: Literal["architecture", "demo checkpoint"]
    spec: str
    summary: str
    description: str = ""
    paper: str | None = None
    claim: str | None = None
    options: tuple[ZooOption, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


_LIST = "numbers, as 8 or 8,16,32"
_SEED = ZooOption("seed", "0", "a whole number", "the seed of the random weights, beats --seed")


def list_zoo() -> tuple[ZooEntry, ...]:
    """What the zoo holds: the architectures, then the demo checkpoints; the twin of ``rankscope zoo``.

    Returns:
        The entries.

    Example:
        >>> [entry.spec for entry in list_zoo() if entry.kind == "demo checkpoint"]
        ['baseline', 'lambda-skip']
    """
    found = [_architecture(name) for name in declarations("zoo", "architecture")]
    return (*found, *(_demo(path) for path in sorted(_DEMOS.glob("*.safetensors"))))


def demos() -> list[str]:
    """The names of the demo checkpoints.

    Returns:
        Sorted names.

    Example:
        >>> demos()
        ['baseline', 'lambda-skip']
    """
    return sorted(path.stem for path in _DEMOS.glob("*.safetensors"))


def check_spec(spec: str) -> None:
    """Refuse a spec that names no architecture, or options that it has not; what `build` says of it, without torch.

    Args:
        spec: as `build` takes it.

    Example:
        >>> check_spec("transformer,depth=12")
    """
    name, items = split(spec)
    known = declarations("zoo", "architecture")
    if name not in known:
        error = unknown_name("architecture", name, list(known))
        raise error
    parse(
        items, {key: _kind(parameter.kind) for key, parameter in known[name].parameters.items()} | {"seed": int}, name
    )


def _kind(annotation: str) -> Any:
    """The type of an option, of its annotation as text."""
    numbers, _, literal = annotation.partition(" | ")
    if literal:
        return FLOATS | _kind(literal)
    if annotation.startswith("Literal["):
        choice: Any = Literal
        return choice[ast.literal_eval(f"({annotation.removeprefix('Literal[').removesuffix(']')},)")]
    return {"int": int, "float": float, "bool": bool, "tuple[float, ...]": FLOATS}[numbers]


def _architecture(name: str) -> ZooEntry:
    entry = declarations("zoo", "architecture")[name]
    meanings = entry.meanings
    options = tuple(
        ZooOption(key, _typed(parameter.default), _values(parameter.kind), meanings.get(key, ""))
        for key, parameter in entry.parameters.items()
    )
    words = entry.keywords
    return ZooEntry(
        name=name,
        kind="architecture",
        spec=f"zoo:{name}",
        summary=entry.summary,
        description=entry.description,
        paper=words.get("paper"),
        claim=words.get("claim"),
        options=(*options, _SEED),
    )


def _typed(value: object) -> str:
    """A default as it is typed in a spec."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(_typed, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(kind: str) -> str:
    """What an option takes, in words, of its annotation."""
    if instead := words(_kind(kind)):
        return " or ".join([_LIST, *instead])
    if kind.startswith("Literal["):
        return kind.removeprefix("Literal[").removesuffix("]").replace("'", "").replace(", ", ", ")
    return {"int": "a whole number", "float": "a number", "bool": "on or off", "tuple[float, ...]": _LIST}[kind]


def _demo(path: Path) -> ZooEntry:
    """A demo checkpoint by its header; the tensors behind it are not read."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
    facts = json.loads(header["rankscope.provenance"])
    spec = header["rankscope.spec"]
    summary = f"{spec.partition(',')[0]} trained on bytes, λ = {facts['lam']:g}: {facts['verdict']}"
    kept = {
        "architecture": f"zoo:{spec}",
        "parameters": f"{facts['parameters']:,}",
        "trained": f"{facts['steps']:,} steps, {facts['optimiser']}, seed {facts['seed']}, {facts['date']}",
        "data": f"{facts['data']} ({facts['data_bytes']:,} bytes)",
        "loss": f"{facts['train_loss']:.2f} nats a byte; {facts['sample_loss']:.2f} on the sample beside it",
        "verdict": facts["verdict"] + (f" from {facts['verdict_layer']} on" if facts["verdict_layer"] else ""),
    }
    return ZooEntry(path.stem, "demo checkpoint", path.stem, summary, facts=kept)
