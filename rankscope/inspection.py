"""Inspection: what a model is and what can be captured of it, without measuring, and without running a file's code."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.errors import CannotMeasure
from rankscope.formats import describe
from rankscope.plain import finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from rankscope.capture.places import Plan
    from rankscope.formats import Description
    from rankscope.pipeline import MeasureOptions
    from rankscope.records import Batch, Layer, Note, Source

SCHEMA = "rankscope.inspection/1"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model that was opened: its spec, the form it was recognised as, its class, and how large it is (in bytes)."""

    spec: str
    form: str
    type: str
    parameters: int
    size: int
    dtypes: tuple[str, ...]
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """One block: its residual `adds` and its other sums (`internal`), and how its values and attention maps are seen.

    Where `values` or `attention` is None, `no_values` or `no_attention` says why.
    """

    index: int
    layer: str
    type: str
    adds: int
    internal: int
    values: str | None = None
    no_values: str | None = None
    attention: str | None = None
    no_attention: str | None = None


@dataclass(frozen=True, slots=True)
class StackFacts:
    """A stack of blocks.

    `types` are the classes of its blocks, each once; `norm` says where it normalises (pre, post, sandwich), where that
    is known.
    """

    stack: str
    types: tuple[str, ...]
    blocks: tuple[BlockFacts, ...]
    norm: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no more to say: the code, what is wrong, and what to do, the safest first."""

    code: str
    text: str
    details: tuple[tuple[str, str], ...] = ()
    remedies: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `inspect` found, as far as it came.

    `description` is that of a file, None for a model that is none; `model` is None where nothing was opened; `inputs`
    says what the one forward pass ran on; `skipped` maps the name of a layer to the reason why it is not measured.
    """

    spec: str
    description: Description | None = None
    model: ModelFacts | None = None
    inputs: str | None = None
    stacks: tuple[StackFacts, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    refusal: Refusal | None = None

    def to_dict(self) -> dict[str, Any]:
        """The inspection as plain data.

        Returns:
            Nested dicts, lists, strings and numbers.
        """
        plain: dict[str, Any] = finite({"schema": SCHEMA, **asdict(self)})
        return plain


def inspect(model: str | Path | nn.Module, inputs: Any = None, **options: Any) -> Inspection:
    """Say what a model is and what can be captured of it; the twin of ``rankscope inspect``.

    A file is described by its content first. It is opened where that runs nothing from it, or where the options say
    that it may. Then one forward pass shows its blocks, residual adds, values and attention maps.

    Args:
        model: as `rankscope.probe` takes it.
        inputs: as `rankscope.probe` takes them.
        **options: as `rankscope.probe` takes them.

    Returns:
        What was found; a file that is refused is described, and `refusal` says why.

    Raises:
        CannotMeasure: there is no such model, or no file that could be described in its place.

    Example:
        >>> from torch import nn, zeros
        >>> layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> found = inspect(nn.TransformerEncoder(layer, 3), zeros(1, 8, 16))
        >>> [(stack.stack, [block.adds for block in stack.blocks]) for stack in found.stacks]
        [('layers.*', [2, 2, 2])]
    """
    path = _path(model, options.get("aliases") or {}) if isinstance(model, str | Path) else None
    found = Inspection(str(model) if isinstance(model, str | Path) else type(model).__name__)
    if path is not None:
        found = replace(found, description=(description := describe(path)))
        if (refusal := _shut(found.spec, description, options)) is not None:
            return replace(found, refusal=refusal)
    try:
        return _opened(found, model, inputs, options)
    except CannotMeasure as error:
        if path is None:
            raise
        return replace(found, refusal=_refusal(error))


def inspect_source(
    source: Source, batch: Batch, layout: str | None = None, options: MeasureOptions | None = None
) -> Inspection:
    """Say what can be captured of an opened model, by one forward pass.

    Args:
        source: the model.
        batch: what it runs on.
        layout: the axes of the inputs, where they are not the usual ones.
        options: `layers`, `skip_layers`, `device` and `dtype` are used.

    Returns:
        The model and its stacks, without a description of a file.
    """
    from rankscope.capture.planning import planned
    from rankscope.capture.session import undisturbed
    from rankscope.pipeline import MeasureOptions
    from rankscope.placing import placed, to_model

    options = options or MeasureOptions()
    model, device, dtype = placed(source, options.device, options.dtype)
    with undisturbed(model):
        plan, _ = planned(model, to_model(batch, device, dtype), layout, options.layers, options.skip_layers)
    return Inspection(
        source.spec, model=_model_facts(source), stacks=_stacks(plan), skipped=plan.skipped, notes=plan.notes
    )


def _path(spec: str | Path, aliases: Mapping[str, str]) -> Path | None:
    """The file or directory that a MODEL names; an alias is followed, unless something of its name lies here."""
    text = str(spec)
    for _ in range(len(aliases) + 1):
        path = Path(text.removeprefix("hf:"))
        try:
            if path.exists():
                return path
        except (OSError, ValueError):
            return None
        text = aliases.get(text, text)
    return None


def _shut(spec: str, description: Description, options: Mapping[str, Any]) -> Refusal | None:
    """Why a file is not opened, if opening it takes a flag that was not given, or is out of the question."""
    given = {name for name in ("arch", "allow", "trust") if options.get(name)}
    given |= {"trust"} if options.get("trust_sha256") else set()
    given |= {"allow"} if "trust" in given else set()
    if description.loads != "not at all" and given.issuperset(re.findall(r"--(\w+)", description.loads)):
        return None
    if description.problem is not None:
        text = f"{spec} was not opened: {description.problem}"
        return Refusal(description.code or "RS303", text, (), description.remedies)
    step = ("Say which class takes them", f"rankscope probe {spec} --arch yourmodule:Net")
    return Refusal("RS320", f"{spec} was not opened: it holds weights alone, without the architecture", (), (step,))


def _refusal(error: CannotMeasure) -> Refusal:
    return Refusal(error.code, error.headline, error.details, error.remedies)


def _opened(found: Inspection, model: Any, inputs: Any, options: dict[str, Any]) -> Inspection:
    """Open the model, and look at it as far as that goes."""
    from rankscope.inputs import from_python, gather
    from rankscope.pipeline import read_options
    from rankscope.sources import open_model

    inputs, load, gathering, measuring = read_options(inputs, options)
    source = open_model(model, load)
    found = replace(found, model=_model_facts(source), notes=source.notes)
    try:
        given = gather(source, gathering) if inputs is None else from_python(source, inputs, gathering)
        found = replace(found, inputs=given.source, notes=(*source.notes, *given.notes))
        seen = inspect_source(source, next(iter(given.batches)), given.layout, measuring)
    except CannotMeasure as error:
        return replace(found, refusal=_refusal(error))
    return replace(found, stacks=seen.stacks, skipped=seen.skipped, notes=(*found.notes, *seen.notes))


def _model_facts(source: Source) -> ModelFacts:
    parameters = list(source.model.parameters())
    return ModelFacts(
        spec=source.spec,
        form=source.format,
        type=type(source.model).__name__,
        parameters=sum(parameter.numel() for parameter in parameters),
        size=sum(parameter.numel() * parameter.element_size() for parameter in parameters),
        dtypes=tuple(dict.fromkeys(str(parameter.dtype).removeprefix("torch.") for parameter in parameters)),
        sha256=source.sha256,
    )


def _stacks(plan: Plan) -> tuple[StackFacts, ...]:
    """The stacks of a plan in its order."""
    blocks: dict[str, list[BlockFacts]] = {}
    for place in plan.places:
        if place.layer.index:
            blocks.setdefault(place.layer.stack, []).append(_block(plan, place.layer))
    norms = {add.layer.stack: add.norm for add in plan.adds if add.layer is not None and add.norm is not None}
    return tuple(
        StackFacts(stack, tuple(dict.fromkeys(block.type for block in found)), tuple(found), norms.get(stack))
        for stack, found in blocks.items()
    )


def _block(plan: Plan, layer: Layer) -> BlockFacts:
    adds = [add for add in plan.adds if add.layer == layer]
    values = _listed([place.how for place in plan.values.values() if place.layer == layer])
    maps = [place for place in plan.attention.values() if place.layer == layer]
    attention = _listed([f"{place.how} (cross)" if place.kind == "cross" else place.how for place in maps])
    key = (layer.stack, layer.index)
    return BlockFacts(
        index=layer.index,
        layer=layer.name,
        type=layer.type,
        adds=sum(add.status == "residual" for add in adds),
        internal=sum(add.status == "internal" for add in adds),
        values=values,
        no_values=None if values else plan.no_values.get(key),
        attention=attention,
        no_attention=None if attention else plan.no_attention.get(key),
    )


def _listed(words: list[str]) -> str | None:
    """How something is seen; several ways in one block are told together."""
    return ", ".join(dict.fromkeys(words)) or None
