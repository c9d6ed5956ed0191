"""Measuring the points of a sweep: one set of inputs, a model opened once for all points that share it."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rankscope.edits import read_edits
from rankscope.errors import CannotMeasure, RankscopeError
from rankscope.inputs.shared import SharedInputs
from rankscope.pipeline import MeasureOptions, measure
from rankscope.placing import placed, to_model
from rankscope.sources import LoadOptions, open_model
from rankscope.specs import shown
from rankscope.sweeps.axes import SEED
from rankscope.sweeps.certified import certified
from rankscope.sweeps.jobs import Setup
from rankscope.sweeps.losses import TaskLoss
from rankscope.sweeps.records import Point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rankscope.beginning import Traces
    from rankscope.inputs import InputOptions
    from rankscope.records import Inputs, Note, Report, Row, Source, Vector
    from rankscope.sweeps.axes import Spot
    from rankscope.sweeps.records import Origin

    Progress = Callable[[str, int, int | None], None] | None


class Measuring:
    """Measures points on the inputs of the first model, one after the other.

    Args:
        inputs: from Python, as `rankscope.probe` takes them; None where the options name a source, or none does.
        load: how models are opened.
        gathering: where inputs come from.
        options: what to measure.
        progress: called with a stage, how much of it is done, and of how much.
        announce: called with the notes on the first model and on the inputs.
    """

    def __init__(
        self,
        inputs: Any,
        load: LoadOptions,
        gathering: InputOptions,
        options: MeasureOptions,
        progress: Progress = None,
        announce: Callable[[Iterable[Note]], None] | None = None,
    ) -> None:
        self._load, self._gathering, self._options = load, gathering, options
        self._progress, self._announce = progress, announce
        self._shared = SharedInputs(inputs, gathering)
        self._key: Any = None
        self._source: Source | None = None
        self._inputs: Inputs | None = None
        self._loss: TaskLoss | None = None
        self._traces: Traces = {}
        self.told: str | None = None  # where the inputs come from, where another process gathered them
        self.loss_name: str | None = None
        self.loss_told = ""

    @property
    def sha256(self) -> str:
        """The fingerprint of the inputs; empty before the first model was opened."""
        return self._shared.sha256

    @property
    def seed(self) -> int:
        """The seed of weights that are random."""
        return self._load.seed

    def open(self, spot: Spot) -> Source:
        """Open the model of a point, unless it is the one that is open, and gather the inputs with the first.

        Args:
            spot: the point.

        Returns:
            The model where it is measured.
        """
        key = (spot.model if isinstance(spot.model, str) else id(spot.model), tuple(spot.options.items()))
        if self._source is not None and key == self._key:
            return self._source
        self._source, self._traces = None, {}  # one model at a time
        self._stage("opening the model")
        first = not self._shared.sha256
        load = replace(self._load, seed=int(spot.options[SEED])) if SEED in spot.options else self._load
        source = open_model(spot.model, load)
        model, device, dtype = placed(source, self._options.device, self._options.dtype)
        self._stage("gathering inputs")
        self._inputs = self._shared.of(source)
        if first and self._announce:
            self._announce((*source.notes, *self._inputs.notes))
        batch = to_model(next(iter(self._inputs.batches)), device, dtype)
        self._loss = TaskLoss(self._options.loss, model, batch, self.told or self._inputs.source)
        if not self.loss_told or self._loss.name:
            self.loss_name, self.loss_told = self._loss.name, self._loss.told
        self._source, self._key = replace(source, model=model), key
        return self._source

    def mark(self, spot: Spot) -> str:
        """A fingerprint of the weights of a point's model, so that a later run can tell whether they are the same.

        Args:
            spot: the point.

        Returns:
            That of the file, else one of the state dict.
        """
        source = self.open(spot)
        if source.sha256:
            return source.sha256
        digest = hashlib.sha256()
        for name, tensor in source.model.state_dict().items():
            digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            if not tensor.is_meta:
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def setup(self) -> Setup:
        """What another process must know to measure points as this one does; the inputs were gathered."""
        assert self._inputs is not None
        batches = tuple(self._inputs.batches)
        return Setup(batches, self._load, self._gathering, self._options, torch.get_num_threads(), self._inputs.source)

    def adopted(self, point: Point) -> Point:
        """A point that another process measured, with what this one knows of the inputs.

        Args:
            point: whose report calls the inputs given.

        Returns:
            The point.
        """
        if point.report is None or self._inputs is None:
            return point
        own = {"source": self._inputs.source, "seed": self._inputs.seed, "sha256": self._shared.sha256}
        return replace(point, report=replace(point.report, inputs={**point.report.inputs, **own}))

    def __call__(self, spot: Spot, origin: Origin = "range", *, strict: bool = False) -> Point:
        """Measure one point.

        Args:
            spot: the point.
            origin: what it is measured for.
            strict: whether an error is raised; else the point says so.

        Returns:
            The point with its report, or with the reason why it has none.

        Raises:
            RankscopeError: it could not be measured, and the call is strict.
        """
        start = time.perf_counter()
        spec = ""
        try:
            source = self.open(spot)
            spec = "+".join(filter(None, (source.spec, spot.edits)))
            report, loss = self._measured(source, spot)
            _insist(report)
        except RankscopeError as error:
            if strict:
                raise
            typed = str(spot.model) if isinstance(spot.model, str | Path) else ""
            told = error.headline.replace(typed, shown(typed)) if typed else error.headline  # no absolute path
            return Point(spot.values, spec or spot.label, origin, reason=f"{told} [{error.code}]")
        return Point(spot.values, spec, origin, report, loss, seconds=round(time.perf_counter() - start, 3))

    def certified(self, spot: Spot) -> Mapping[str, Any]:
        """What the λ-skip theory guarantees for the model of a point, on the inputs of the sweep.

        Args:
            spot: the point.

        Returns:
            See `certified.certified`.
        """
        self._stage("certifying")
        source = _edited(self.open(spot), spot)
        assert self._inputs is not None
        return certified(source, self._inputs, self._options)

    def _measured(self, source: Source, spot: Spot) -> tuple[Report, float | None]:
        """The report of a point, and its task loss, both of the same forward passes."""
        assert self._inputs is not None
        assert self._loss is not None
        edited = _edited(source, spot)
        report = measure(edited, self._inputs, self._options, self._progress, self._loss.begin, self._traces)
        # Names of arguments enter a fingerprint; these are the same batches under the names of another forward.
        report = replace(report, inputs={**report.inputs, "sha256": self._shared.sha256})
        return report, self._loss.value

    def _stage(self, stage: str) -> None:
        if self._progress:
            self._progress(stage, 0, None)


def _edited(source: Source, spot: Spot) -> Source:
    """The model with the edits of a point after its own."""
    texts = tuple(map(str, read_edits(spot.edits))) if spot.edits else ()
    return replace(source, spec="+".join((source.spec, *texts)), edits=(*source.edits, *texts))


def _insist(report: Report) -> None:
    """Refuse a report in which nothing has a number."""
    rows: tuple[Row | Vector, ...] = (*report.rows, *report.spectra)
    if all(row.status != "ok" for row in rows):
        reasons = list(dict.fromkeys(row.reason or row.status for row in rows))
        raise CannotMeasure("RS440", f"no number could be had: {'; '.join(reasons[:2])}")
