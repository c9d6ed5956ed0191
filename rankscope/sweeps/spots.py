"""Spots: every point of a sweep before it is measured, from models, edits and options of the zoo, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rankscope.comparison.subjects import told_apart
from rankscope.errors import UsageError
from rankscope.records import display_name
from rankscope.specs import shown as shown_path
from rankscope.sweeps.axes import MODEL, NEXT_EDIT, SEED, Axis, Spot, Template, over, product, shown, template
from rankscope.zoo import check_spec
from rankscope.zoo._spec import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rankscope.sweeps.ranges import Value


@dataclass(frozen=True, slots=True)
class Asked:
    """What a sweep was asked to change: models, options of them, and edits while they run."""

    models: tuple[Any, ...]
    options: tuple[Axis, ...] = ()
    edits: tuple[Template, ...] = ()

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Every axis, the columns of the table."""
        models = (Axis(MODEL, names_of(self.models)),) if len(self.models) > 1 else ()
        return (*models, *self.options, *(axis for edit in self.edits for axis in edit.axes))

    @property
    def waits(self) -> bool:
        """Whether the layers of the model must be known first."""
        return any(axis.selector is not None and not axis.values for axis in self.axes)

    def over_layers(self, layers: Sequence[tuple[int, str]]) -> Asked:
        """The same with the layers that the axes over layers mean.

        Args:
            layers: index and name of each that can be edited.

        Returns:
            What is asked of this model.

        Raises:
            UsageError: a selector names none of them.
        """
        edits = []
        for edit in self.edits:
            axes = []
            for axis in edit.axes:
                if axis.selector is None or axis.values:
                    axes.append(axis)
                    continue
                chosen = axis.selector.select(layers)
                if not chosen:
                    span = f"{layers[0][0]} to {layers[-1][0]}" if layers else "none"
                    headline = f"@{axis.selector} names no layer that can be edited"
                    raise UsageError("RS471", headline, details=[("layers", span)])
                axes.append(Axis(axis.name, tuple(map(float, chosen)), axis.selector))
            edits.append(Template(edit.parts, tuple(axes)))
        return Asked(self.models, self.options, tuple(edits))

    def spots(self) -> list[Spot]:
        """Every point, those of one model beside each other."""
        axes = self.axes
        own = [axis.name for axis in self.options]
        by_name = dict(zip(names_of(self.models), self.models, strict=True))
        found = []
        for chosen in product(axes):
            values = dict(zip((axis.name for axis in axes), chosen, strict=True))
            model = by_name[str(values[MODEL])] if len(self.models) > 1 else self.models[0]
            options = {name: values[name] for name in own}
            found.append(Spot(values, _with(model, options), self._edits(chosen), _beside(model, options)))
        return found

    def _edits(self, chosen: Sequence[Value]) -> str:
        """The edits of one point as one text."""
        rest = list(chosen[len(chosen) - sum(len(edit.axes) for edit in self.edits) :])
        texts = []
        for edit in self.edits:
            texts.append(edit.text(rest[: len(edit.axes)]))
            rest = rest[len(edit.axes) :]
        return "+".join(texts)


def asked(models: Sequence[Any], edits: Iterable[str] = (), options: Iterable[str] | Mapping[str, Any] = ()) -> Asked:
    """Read what a sweep is over, and refuse what cannot be meant before anything is opened.

    Args:
        models: at least one.
        edits: as ``--edit`` takes them.
        options: as ``--over`` takes them.

    Returns:
        What is asked.

    Raises:
        UsageError: nothing is swept, or a name or a value is wrong.

    Example:
        >>> [spot.model for spot in asked(["zoo:transformer,width=16"], [], ["depth=2,4"]).spots()]
        ['zoo:transformer,width=16,depth=2', 'zoo:transformer,width=16,depth=4']
    """
    if not models:
        raise UsageError("RS471", "nothing was swept: no model was named", remedies=[_FIRST])
    names = names_of(models)
    if len(names) != len(set(names)):
        raise UsageError("RS471", f"a model is named twice among {', '.join(map(display_name, names))}: once is enough")
    found = Asked(tuple(models), _whole(models, over(options)), tuple(map(template, edits)))
    if not found.axes:
        raise UsageError(
            "RS471",
            f"nothing is swept: {display_name(names[0])} is one model, and neither --edit nor --over says what changes",
            remedies=[_FIRST, ("Options of the zoo", "--over depth=2:24:4"), ("Several models", "name them all")],
        )
    for axis in found.options:
        for model in models:
            _check_option(model, axis)
    if not found.waits:
        product(found.axes)
    return found


_FIRST = ("An edit", "rankscope sweep MODEL --edit 'lambda_skip=-20:20:9'")


def names_of(models: Sequence[object]) -> tuple[str, ...]:
    """What models are called in the table: as they were typed, without the absolute part of a path.

    Args:
        models: specs, paths or modules.

    Returns:
        As many names.

    Example:
        >>> names_of(["/x/a/net.pt", "/x/b/net.pt"])
        ('a/net.pt', 'b/net.pt')
    """
    return tuple(told_apart([shown_path(_text(model)) for model in models], models))


def _text(model: object) -> str:
    return str(model) if isinstance(model, str | PurePath) else type(model).__name__


def _base(model: object) -> str:
    """The part of a spec of the zoo before its edits; empty for any other model."""
    text = _text(model)
    return NEXT_EDIT.split(text)[0].removeprefix("zoo:") if text.startswith("zoo:") else ""


def _with(model: Any, options: Mapping[str, Value]) -> Any:
    """A spec of the zoo with some options set; other models as they are."""
    base = _base(model)
    if not base or not options:
        return model
    name, items = split(base)
    items |= {key: [shown(value)] for key, value in options.items()}
    text = ",".join([name, *(f"{key}={','.join(texts)}" for key, texts in items.items())])
    return f"zoo:{text}{_text(model).removeprefix(f'zoo:{base}')}"


def _beside(model: Any, options: Mapping[str, Value]) -> dict[str, Value]:
    """The options that no spec holds: the seed of random weights."""
    return {} if _base(model) else dict(options)


def _whole(models: Sequence[Any], axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """The axes with whole numbers where the option takes no others."""
    from rankscope.declarations import declaration

    names = {split(_base(model))[0] for model in models if _base(model)}
    kinds: dict[str, str] = {SEED: "int"}
    for name in names:
        known = declaration("zoo", "architecture", name)
        kinds |= {key: parameter.kind for key, parameter in known.parameters.items()} if known else {}
    found = []
    for axis in axes:
        whole = kinds.get(axis.name) == "int"
        rounded = (float(round(value)) if whole and isinstance(value, float) else value for value in axis.values)
        found.append(Axis(axis.name, tuple(dict.fromkeys(rounded))))
    return tuple(found)


def _check_option(model: Any, axis: Axis) -> None:
    """Refuse an option that a model has not."""
    if _base(model):
        for value in axis.values:
            check_spec(_base(_with(model, {axis.name: value})))
    elif axis.name != SEED:
        raise UsageError(
            "RS471",
            f"{display_name(_text(model))} has no option {display_name(axis.name)} that could be swept",
            details=[("known", "options of zoo:NAME models, and seed")],
            remedies=[("Options of an architecture", "rankscope zoo transformer"), _FIRST],
        )


__all__ = ["MODEL", "SEED", "Asked", "asked", "names_of"]
