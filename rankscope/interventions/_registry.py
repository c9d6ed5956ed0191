"""The registry of edits: a function of an edit's file, its arguments, and the layers that it is meant for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from torch import Tensor

from rankscope.edit_values import check_number
from rankscope.edits import EditSpec, known_edits, layers_of, options_of, read_edits
from rankscope.errors import UsageError
from rankscope.registry import Registry
from rankscope.selectors import EVERY, Selector

if TYPE_CHECKING:
    from rankscope.interventions._actions import Action
    from rankscope.interventions._scene import Scene

P = ParamSpec("P")
Number = float | Tensor
"""An argument of an edit: a number, or in Python a tensor, which may be trained."""
Numbers = float | Sequence[float] | Tensor
"""One number, or a list of them; in Python also a tensor of one number or of several."""
Body = Callable[..., "Iterable[Action]"]


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit with its arguments, and the layers that it is meant for: ``no_skip() @ "6..8"``.

    Edits are put together with ``+``, in the order in which they are applied.
    """

    name: str
    arguments: Mapping[str, Any]
    body: Body
    where: Selector = EVERY

    def actions(self, scene: Scene) -> tuple[Action, ...]:
        """What it does to a model.

        Args:
            scene: the traced model, narrowed to the layers that are meant.

        Returns:
            The actions.
        """
        return tuple(self.body(scene, **self.arguments))

    def __matmul__(self, layers: str | int) -> Edit:
        return replace(self, where=layers_of(str(layers), f"{self.name}@{layers}"))

    def __add__(self, other: object) -> tuple[Edit, ...]:
        return (self, other) if isinstance(other, Edit) else NotImplemented

    def __radd__(self, other: object) -> tuple[Edit, ...]:
        return (*other, self) if isinstance(other, tuple) else NotImplemented

    def __str__(self) -> str:
        words = {name: _word(value) for name, value in self.arguments.items()}
        return str(EditSpec(self.name, words, self.where))


def _word(value: Any) -> Any:
    """An argument as a report shows it; a trained one by its shape."""
    if isinstance(value, Tensor):
        kind = "learned" if value.requires_grad else "tensor"
        return f"{kind}[{'x'.join(map(str, value.shape))}]" if value.ndim else kind
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


EDITS: Registry[Callable[..., Edit]] = Registry("edit", "rankscope.interventions")


def intervention(
    *, formula: str, paper: str | None = None, neutral: float | None = None, least: Mapping[str, float] | None = None
) -> Callable[[Callable[Concatenate[Scene, P], Iterable[Action]]], Callable[P, Edit]]:
    """Register an edit under the name of its function.

    Args:
        formula: what becomes of the model, in one line.
        paper: where it was published.
        neutral: the value of its one number that leaves the model as it is, from which a search sets out.
        least: the smallest value of an argument that has one.

    Returns:
        The decorator; it gives a function that takes the arguments, without the scene, and gives an `Edit`.
    """
    del formula, paper, neutral, least  # read off the source by `rankscope.declarations`

    def register(body: Callable[Concatenate[Scene, P], Iterable[Action]]) -> Callable[P, Edit]:
        name = body.__name__

        def edit(*args: P.args, **kwargs: P.kwargs) -> Edit:
            if args:
                raise UsageError("RS130", f"{name} takes its arguments by name, such as {_form(name)}")
            for key, value in kwargs.items():
                for number in value if isinstance(value, list | tuple) else (value,):
                    if isinstance(number, int | float) and key in options_of(known_edits()[name]):
                        check_number(known_edits()[name], key, number, f"{name}({key}={value!r})")
            return Edit(name, kwargs, body)

        edit.__name__, edit.__doc__ = name, body.__doc__
        EDITS.add(name, edit)
        return edit

    return register


def _form(name: str) -> str:
    return f"{name}({', '.join(f'{option}=…' for option in options_of(known_edits()[name]))})"


def as_edits(given: str | Edit | Iterable[Edit | str]) -> tuple[Edit, ...]:
    """Edits, however they are written.

    Args:
        given: a text such as ``"lambda_skip=1.5@6..8+no_norm"``, an edit, or several of either.

    Returns:
        The edits in the order in which they are applied.

    Raises:
        UsageError: no edit is named, or one that is unknown.

    Example:
        >>> [str(edit) for edit in as_edits("lambda_skip=1.5@6..8+no_skip@1")]
        ['lambda_skip=1.5@6..8', 'no_skip@1']
    """
    if isinstance(given, Edit):
        return (given,)
    if isinstance(given, str):
        return tuple(replace(EDITS[s.name](**s.arguments), where=s.where) for s in read_edits(given))
    found = tuple(edit for each in given for edit in as_edits(each))
    if not found:
        raise UsageError("RS130", "no edit was named")
    return found
