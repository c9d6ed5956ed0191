"""Inspection: what a model is and what can be captured of it, without measuring, and without running a file's code."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.edits import split_model
from rankscope.errors import CannotMeasure
from rankscope.facts import StackFacts, SumFacts, outside_facts, stack_facts
from rankscope.formats import describe
from rankscope.plain import finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from rankscope.formats import Description
    from rankscope.pipeline import MeasureOptions
    from rankscope.records import Batch, Note, Source

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
    says what the one forward pass ran on; `skipped` maps the name of a layer to the reason why it is not measured;
    `outside` are sums of a skip and its branch outside every block, `edits` what each edit of the model acts on.
    """

    spec: str
    description: Description | None = None
    model: ModelFacts | None = None
    inputs: str | None = None
    stacks: tuple[StackFacts, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    refusal: Refusal | None = None
    outside: tuple[SumFacts, ...] = ()
    edits: tuple[str, ...] = ()

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
    from rankscope.capture.plan import plan
    from rankscope.capture.planning import traced
    from rankscope.capture.session import undisturbed
    from rankscope.editing import made_of
    from rankscope.interventions import as_edits
    from rankscope.pipeline import MeasureOptions
    from rankscope.placing import placed, to_model

    options = options or MeasureOptions()
    model, device, dtype = placed(source, options.device, options.dtype)
    with undisturbed(model):
        watched, few = traced(model, to_model(batch, device, dtype), layout)
        found = plan(watched, options.layers, options.skip_layers)
        edits = as_edits(source.edits) if source.edits else ()
        told = made_of(model, watched, few, edits, layers=options.layers)[0].told if edits else ()
    return Inspection(
        source.spec,
        model=_model_facts(source),
        stacks=stack_facts(found),
        skipped=found.skipped,
        notes=found.notes,
        outside=outside_facts(found),
        edits=told,
    )


def _path(spec: str | Path, aliases: Mapping[str, str]) -> Path | None:
    """The file or directory that a MODEL names; an alias is followed, unless something of its name lies here."""
    text, _ = split_model(str(spec), aliases)
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
    seen = replace(seen, inputs=found.inputs, notes=(*found.notes, *seen.notes), description=found.description)
    return replace(seen, spec=found.spec)


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
