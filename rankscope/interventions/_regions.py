"""Regions: which hits of a place belong together where activation checkpointing runs a part of the model again.

A checkpointed region runs once in the forward pass and again, as it was, when the backward pass comes to it; the last
region first. Hits are numbered as in the forward pass: so an edit of one hit of a place acts on the same hit again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.utils.checkpoint

if TYPE_CHECKING:
    from types import FrameType

Key = tuple[Any, ...]
"""A place, and the function that runs there."""
_FILE = torch.utils.checkpoint.__file__


@dataclass(eq=False, slots=True)
class Region:
    """The hits of one checkpointed region; `again` counts those of the backward pass that runs it again."""

    hits: dict[Key, list[int]] = field(default_factory=dict)
    again: dict[Key, int] = field(default_factory=dict)
    used: bool = False


class Regions:
    """The regions of the forward passes inside one context, and those that are being run again."""

    def __init__(self) -> None:
        self._all: list[Region] = []
        self._open: tuple[FrameType, Region] | None = None  # a frame is kept while its region runs, no longer
        self._task = -1
        self._bare: dict[Key, int] = {}  # hits of this backward pass outside every region
        self.waiting = False  # a backward pass is still to come

    def note(self, steps: Key, hit: int, graph: bool) -> None:
        """Note a hit of the forward pass, if it runs inside a region.

        Args:
            steps: the place.
            hit: its number.
            graph: whether the backward pass will need what was made here.
        """
        frame = _checkpoint()
        if frame is None:
            return
        if self._open is None or self._open[0] is not frame:
            self._open = frame, Region()
            self._all.append(self._open[1])
        self._open[1].hits.setdefault(steps, []).append(hit)
        self.waiting |= graph or _reentrant(frame)

    def again(self, steps: Key, count: int) -> int | None:
        """The number that a place of the backward pass had in the forward pass.

        Args:
            steps: the place.
            count: how often it runs in a forward pass.

        Returns:
            The hit; None where its forward pass is unknown, so that nothing of it was edited either. Without a region,
            as in reversible nets that run themselves again, the last hit comes first.
        """
        frame, task = _checkpoint(), torch._C._current_graph_task_id()
        if task != self._task:
            self._task, self._open = task, None
            self._bare.clear()
        if frame is None:
            number = self._bare[steps] = self._bare.get(steps, -1) + 1
            return count - 1 - number % count
        if self._open is None or self._open[0] is not frame:
            known = [region for region in self._all if steps in region.hits]
            fresh = [region for region in known if not region.used] or known
            if not fresh:
                return None
            fresh[-1].used = True
            fresh[-1].again.clear()
            self._open = frame, fresh[-1]
        region = self._open[1]
        number = region.again[steps] = region.again.get(steps, -1) + 1
        hits = region.hits.get(steps, [])
        self.waiting = False
        return hits[number] if number < len(hits) else None

    def close(self) -> None:
        """Let go of the frame of the last region."""
        self._open = None

    def begin(self) -> None:
        """A forward pass begins: regions of which a backward pass has made use are not needed any more."""
        self._all = [region for region in self._all if not region.used]
        self.close()

    def end(self) -> None:
        """A backward pass has ended."""
        self.waiting = False
        self.close()


def _checkpoint() -> FrameType | None:
    """The innermost frame of torch's checkpointing on the stack."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename != _FILE:
        frame = frame.f_back
    return frame


def _reentrant(frame: FrameType) -> bool:
    """Whether the region runs under no_grad although its result will have gradients."""
    args: Any = frame.f_locals.get("args", ()) if frame.f_code.co_name == "forward" else ()
    return any(isinstance(value, torch.Tensor) and value.requires_grad for value in args)
