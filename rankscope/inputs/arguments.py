"""Arguments: what a batch is, and how it binds to the parameters of ``model.forward``."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch

from rankscope.errors import InputError
from rankscope.inputs.values import to_tensor
from rankscope.records import Batch, Note

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

Call = tuple[tuple[Any, ...], dict[str, Any]]

TARGETS = ("labels", "label", "targets", "target", "y")  # for the loss; kept where forward has no such parameter
FIRST = ("x", "ids", "input", "inputs", "data")  # names that stand for the first parameter where forward has none such


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a forward: those that may be given by position, all names, those without a default."""

    positional: tuple[str, ...]
    names: tuple[str, ...]
    required: tuple[str, ...]
    any_position: bool
    any_name: bool

    @property
    def ids(self) -> str | None:
        """The parameter that takes token ids, if the model takes any: ``input_ids``, else the first."""
        return "input_ids" if "input_ids" in self.names else next(iter(self.positional), None)

    def named(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by the names of their parameters; those of ``*args`` by their number.

        Args:
            args: by position.
            kwargs: by name.

        Returns:
            Name to value, in the order given.
        """
        names = dict(enumerate(self.positional))
        return {names.get(i, str(i)): value for i, value in enumerate(args)} | dict(kwargs)

    def own_names(self, names: Iterable[str], filled: int = 0) -> dict[str, str]:
        """The parameters that names stand for: a name of `FIRST` the first, ``arr_N`` of numpy.savez parameter N.

        Args:
            names: as given by the user; one that forward has, or that stands for nothing free, stands for itself.
            filled: how many parameters are given by position already.

        Returns:
            Each name with the name of its parameter.
        """
        names = list(names)
        own: dict[str, str] = {}
        for name in names:
            number = re.fullmatch(r"arr_([0-9]{1,4})", name)
            place = int(number[1]) if number else 0 if name in FIRST else len(self.positional)
            parameter = self.positional[place] if filled <= place < len(self.positional) else name
            free = name not in self.names and parameter not in names and parameter not in own.values()
            own[name] = parameter if free else name
        return own


def parameters(model: nn.Module) -> Parameters:
    """Read the signature of a model's forward; wrappers that pass everything on are looked through.

    Args:
        model: any module.

    Returns:
        Its parameters.

    Example:
        >>> parameters(torch.nn.Linear(2, 2)).names
        ('input',)
    """
    signature = inspect.signature(model.forward)
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds and len(kinds) <= 2:  # torch.compile, data parallel
        for inner in ("_orig_mod", "module"):
            if isinstance(getattr(model, inner, None), torch.nn.Module):
                return parameters(getattr(model, inner))
    free = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    explicit = [p for p in signature.parameters.values() if p.kind not in free]
    return Parameters(
        positional=tuple(p.name for p in explicit if p.kind is not inspect.Parameter.KEYWORD_ONLY),
        names=tuple(p.name for p in explicit),
        required=tuple(p.name for p in explicit if p.default is inspect.Parameter.empty),
        any_position=inspect.Parameter.VAR_POSITIONAL in kinds,
        any_name=inspect.Parameter.VAR_KEYWORD in kinds,
    )


def as_call(item: Any) -> Call:
    """Read one batch: a tensor, a tuple of positional arguments, a mapping of keyword arguments, or (args, kwargs).

    Args:
        item: the batch; numpy arrays count as tensors, a list as a tuple.

    Returns:
        Positional and keyword arguments, arrays made tensors.

    Raises:
        InputError: it is none of these.

    Example:
        >>> as_call(((1, 2), {"mask": None}))
        ((1, 2), {'mask': None})
    """
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    if isinstance(item, Batch):
        args, kwargs = item.args, item.kwargs
    elif isinstance(item, torch.Tensor | np.ndarray):
        args = (item,)
    elif isinstance(item, Mapping) and all(isinstance(name, str) for name in item):
        kwargs = item
    elif isinstance(item, tuple | list):
        pair = len(item) == 2 and isinstance(item[1], Mapping)
        values, kwargs = item if pair else (item, {})
        args = tuple(values) if isinstance(values, tuple | list) else (values,)
    else:
        raise InputError(
            "RS207",
            f"a batch of inputs cannot be read: it is {type(item).__name__}",
            details=[("expected", "a tensor, a tuple of tensors, a dict of names to tensors, or (args, kwargs)")],
        )
    return tuple(_arrays(value) for value in args), {name: _arrays(value) for name, value in kwargs.items()}


def _arrays(value: Any) -> Any:
    """The value with numpy arrays made tensors, also inside lists, tuples and dicts."""
    return torch.utils._pytree.tree_map_only(np.ndarray, to_tensor, value)


def bind(known: Parameters, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Call, tuple[Note, ...]]:
    """Bind arguments to parameters; a name that forward does not know is refused or noted.

    ``x``, ``ids``, ``input``, ``inputs`` and ``data`` stand for the first parameter, ``arr_N`` for parameter N, where
    forward has no parameter of that name. One value too many at the end, as in the (x, y) of a data set, is the target.

    Args:
        known: the parameters of forward.
        args: by position.
        kwargs: by name; targets (`TARGETS`) are kept although forward may not know them.

    Returns:
        The arguments, keyword arguments in the order of the parameters, and notes.

    Raises:
        InputError: an unknown name, a value too many, a parameter given twice or not at all.

    Example:
        >>> bind(parameters(torch.nn.Linear(2, 2)), (), {"x": 1})
        (((), {'input': 1}), ())
    """
    notes: list[Note] = []
    own = known.own_names(kwargs, len(args))
    given = {own[name]: value for name, value in kwargs.items()}
    surplus = 0 if known.any_position else len(args) - len(known.positional)
    if surplus == 1 and len(args) > 1 and not set(TARGETS) & set(given):
        *rest, given["target"] = args
        args = tuple(rest)
        notes.append(Note("RS225", "the last value of a batch is no argument of forward; it was taken as the target"))
    elif surplus > 0:
        _refuse_misfit(known, f"{len(args)} values were given by position, but forward takes {len(known.positional)}")
    notes += [note for name in given if (note := _unknown(known, name))]
    filled = known.positional[: len(args)]
    if twice := [name for name in filled if name in given]:
        _refuse_misfit(known, f"{twice[0]!r} was given twice, by position and by name")
    if missing := [name for name in known.required if name not in filled and name not in given]:
        _refuse_misfit(known, f"forward needs {', '.join(map(repr, missing))} too")
    ordered = {name: given[name] for name in known.names if name in given}
    return (args, ordered | given), tuple(notes)


def _unknown(known: Parameters, name: str) -> Note | None:
    """Refuse a name that no parameter has; a note where forward takes any name and none is near."""
    if name in known.names or name in TARGETS:
        return None
    near = difflib.get_close_matches(name, known.names, n=1, cutoff=0.75)
    if known.any_name and not near:
        meant = next((own for own in known.names if "mask" in name and own.endswith("mask")), None)
        guess = f"; did you mean {meant}?" if meant else ""
        text = f"forward has no parameter {name!r}; it was passed on with **kwargs, and may be unused{guess}"
        return Note("RS215", text)
    raise InputError(
        "RS213",
        f"the inputs do not fit the model: forward has no parameter {name!r}",
        details=[*(("did you mean", one) for one in near), ("forward takes", ", ".join(known.names) or "nothing")],
    )


def _refuse_misfit(known: Parameters, what: str) -> NoReturn:
    raise InputError(
        "RS214",
        f"the inputs do not fit the model: {what}",
        details=[("forward takes", ", ".join(known.names) or "nothing")],
    )
