"""Whether a loaded model holds the numbers of its files: a loader may report success and leave weights random.

A few rows of each tensor are compared. Where they differ, the whole tensor is: one that was rearranged on purpose keeps
its sum and its norm.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from rankscope.records import Note
from rankscope.sources._weights import listed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import nn

    from rankscope.sources._state import State

_ACROSS = 16
# Sums of a whole tensor in float64 differ by less where its numbers are the same in another order.
_ALIKE = 1e-9
_OLD_NAMES = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Tensors of a model, each counted once however many names it has.

    `checked` hold the numbers of the file, `renamed` of them under another name; `differing` are names of those that do
    not, and `elsewhere` of those that have no counterpart in the file.
    """

    checked: int
    renamed: int
    differing: tuple[str, ...]
    elsewhere: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many tensors the model has."""
        return self.checked + len(self.differing) + len(self.elsewhere)

    def note(self) -> Note:
        """How many tensors were compared, and what could not be.

        Returns:
            The note for the report.
        """
        text = f"{self.checked} of {self.total} tensors checked against the file"
        if self.renamed:
            text += f", {self.renamed} of them under other names"
        if self.elsewhere:
            text += f"; {len(self.elsewhere)} have no counterpart in it: {listed(self.elsewhere)}"
        return Note("RS377", text)


def remember(state: State) -> dict[str, Part]:
    """What `compare` needs of tensors that a loader may take as they are, and write to.

    Args:
        state: the tensors of pickled weights.

    Returns:
        A few rows of each, with its sum and norm.
    """
    return {name: _Remembered(tensor) for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def compare(model: nn.Module, files: Iterable[Path], remembered: dict[str, Part] | None = None) -> Comparison:
    """Compare the tensors of a model with those that they were loaded from.

    Args:
        model: the loaded model.
        files: its safetensors files; not read where `remembered` is given.
        remembered: the tensors of pickled weights, as `remember` gave them.

    Returns:
        How many were compared, and which differ.
    """
    with ExitStack() as stack:
        given = _given(files, stack) if remembered is None else remembered
        prefix = f"{getattr(model, 'base_model_prefix', '')}."
        tensors = _tensors(model.state_dict())
        results = {names: _compare_one(tensor, names, given, prefix) for names, tensor in tensors.items()}
        unnamed = {names: tensors[names] for names, result in results.items() if result is None}
        used = {
            name for names in results.keys() - unnamed.keys() for each in names for name in _spellings(each, prefix)
        }
        renamed = _renamed(unnamed, {name: part for name, part in given.items() if name not in used})
    return Comparison(
        checked=sum(result is True for result in results.values()) + len(renamed),
        renamed=len(renamed),
        differing=tuple(names[0] for names, result in results.items() if result is False),
        elsewhere=tuple(names[0] for names in unnamed if names not in renamed),
    )


class Part:
    """A tensor of a safetensors file, of which only what is asked for is read."""

    def __init__(self, content: Any) -> None:
        self.content = content
        self.shape: tuple[int, ...] = tuple(content.get_shape())

    def rows(self) -> torch.Tensor:
        """The first numbers of a few rows."""
        return _sample(self.content, self.shape)

    def totals(self) -> tuple[float, float]:
        """The sum and the norm of all numbers."""
        return _totals(self.content[:] if self.shape else self.content[...])


class _Remembered(Part):
    """A tensor in memory, of which a little is kept."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.shape = tuple(tensor.shape)
        self._rows = _sample(tensor, self.shape) if tensor.numel() else tensor.new_empty(0)
        self._totals = _totals(tensor)

    def rows(self) -> torch.Tensor:
        return self._rows

    def totals(self) -> tuple[float, float]:
        return self._totals


def _sample(content: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """The first numbers of the first, the middle and the last row: a single one may be of padding, and zero anyhow."""
    rows: list[Any] = [slice(at, at + 1) for at in sorted({0, shape[0] // 2, shape[0] - 1})] if shape else [...]
    return torch.cat([content[row].detach().flatten()[:_ACROSS].cpu() for row in rows])


def _totals(tensor: torch.Tensor) -> tuple[float, float]:
    wide = tensor.detach().cpu().double()
    return float(wide.sum()), float(torch.linalg.vector_norm(wide))


def _given(files: Iterable[Path], stack: ExitStack) -> dict[str, Part]:
    """The tensors of safetensors files by name, none of them read yet."""
    found: dict[str, Part] = {}
    for file in files:
        content = stack.enter_context(safe_open(file, framework="pt", device="cpu"))
        found |= {name: Part(content.get_slice(name)) for name in content.keys()}  # noqa: SIM118 - no mapping
    return found


def _tensors(own: dict[str, Any]) -> dict[tuple[str, ...], torch.Tensor]:
    """Tensors with all their names: tied weights are one tensor."""
    names: dict[Any, list[str]] = {}
    for name, tensor in own.items():
        if isinstance(tensor, torch.Tensor):
            place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride()) if tensor.numel() else name
            names.setdefault(name if tensor.is_meta else place, []).append(name)
    return {tuple(group): own[group[0]] for group in names.values()}


def _compare_one(own: torch.Tensor, names: tuple[str, ...], given: dict[str, Part], prefix: str) -> bool | None:
    """Whether a tensor is that of the file under one of its names, or None where the file has none of its shape."""
    spelled = [given[name] for each in names for name in _spellings(each, prefix) if name in given]
    fitting = [part for part in spelled if part.shape == tuple(own.shape) and own.numel() and not own.is_meta]
    results = [result for part in fitting if (result := _same(own, part)) is not None]
    return any(results) if results else None  # of tied weights a file may hold two that differ; the model uses one


def _renamed(own: dict[tuple[str, ...], torch.Tensor], given: dict[str, Part]) -> set[tuple[str, ...]]:
    """The tensors whose shape and numbers stand in the file under another name."""
    found = set()
    parts = [part for part in given.values() if 0 not in part.shape]
    sorts = {tensor.dtype for tensor in own.values() if tensor.is_floating_point()}
    marks = {(sort, part.shape, _numbers(part.rows(), sort)) for sort in sorts for part in parts}
    for names, tensor in own.items():
        shape = tuple(tensor.shape)
        if tensor.is_meta or not tensor.numel():
            continue
        if (tensor.dtype, shape, _numbers(_sample(tensor, shape), tensor.dtype)) in marks:
            found.add(names)
    return found


def _spellings(name: str, prefix: str) -> list[str]:
    """The names that a tensor may have in a file: its own, with or without the prefix of the model, or an old one."""
    found = [name, prefix + name, name.removeprefix(prefix)]
    for new, old in _OLD_NAMES:
        found += [each.removesuffix(new) + old for each in found if each.endswith(new)]
    return found


def _same(own: torch.Tensor, part: Part) -> bool | None:
    """Whether the numbers are those of the file, rounded to the type of the model; None for quantised ones."""
    theirs, mine = part.rows(), _sample(own, part.shape)
    if theirs.is_floating_point() != own.is_floating_point() or theirs.is_complex() != own.is_complex():
        return None
    if _numbers(mine, own.dtype) == _numbers(theirs, own.dtype):
        return True
    if own.is_complex() or own.numel() == 1:
        return False
    exact = theirs.dtype == own.dtype or not own.is_floating_point()
    alike = _ALIKE if exact else torch.finfo(own.dtype).eps
    scale = _totals(own)[1] * own.numel() ** 0.5
    return all(abs(a - b) <= alike * scale for a, b in zip(_totals(own), part.totals(), strict=True))


def _numbers(rows: torch.Tensor, sort: torch.dtype) -> tuple[float, ...]:
    """Numbers rounded to a type, ready to be compared; what is not finite is as good as zero."""
    rounded = rows.to(sort)
    wide = torch.view_as_real(rounded.to(torch.complex128)) if rounded.is_complex() else rounded.double()
    return tuple(wide.nan_to_num().flatten().tolist())
