"""Probing: models measured one after the other on the same batches, which are gathered once."""

from __future__ import annotations

import re
import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from rankscope.capture.session import call, undisturbed
from rankscope.comparison.subjects import naming, other_inputs
from rankscope.inputs import Fingerprint, InputOptions, from_python, gather
from rankscope.inputs.arguments import Parameters, parameters
from rankscope.inputs.options import given_source
from rankscope.pipeline import ALONE, MeasureOptions, check_options, measure
from rankscope.placing import placed, to_model
from rankscope.sources import LoadOptions, open_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rankscope.comparison.subjects import Announce
    from rankscope.records import Batch, Inputs, Report, Source

    Progress = Any

PASSES = 3
_RECIPE = re.compile(r"(?:random|inferred): (?P<specs>.+), seed (?P<seed>\d+)")


class Probing:
    """Measures models on one set of batches: those that were given, else those of a saved report, else of the first.

    Args:
        inputs: from Python, as `rankscope.probe` takes them; None where the options name a source, or none does.
        load: how models are opened.
        gathering: where inputs come from.
        measuring: what to measure.
        progress: called with a stage, how much of it is done, and of how much.
        announce: called with the notes on a model and on the inputs, as they come.
    """

    def __init__(
        self,
        inputs: Any,
        load: LoadOptions,
        gathering: InputOptions,
        measuring: MeasureOptions,
        progress: Progress = None,
        announce: Announce | None = None,
    ) -> None:
        check_options(measuring, gathering)  # a slip is told before a large model is read
        self._given, self._load, self._gathering, self._measuring = inputs, load, gathering, measuring
        self._progress, self._announce = progress, announce
        self._inputs: Inputs | None = None
        self._sha256, self._parameters = "", Parameters((), (), (), False, False)

    def __call__(
        self, models: Sequence[tuple[int, Any]], saved: Report | None
    ) -> Iterator[tuple[int, Report, float | None]]:
        """Measure models; each is let go before the next is opened."""
        with ALONE:
            for number, model in models:
                with naming(number, model):
                    found = self._one(model, saved)
                yield number, *found

    def _one(self, model: Any, saved: Report | None) -> tuple[Report, float | None]:
        """The report of one model, and the seconds of a forward pass."""
        self._stage("opening the model")
        source = open_model(model, self._load)
        if self._inputs is None:
            self._stage("gathering inputs")
            self._inputs = self._gather(source, saved)
            self._parameters = parameters(source.model)
            inputs = self._inputs
            self._tell(*source.notes, *inputs.notes)
        else:
            self._tell(*source.notes)
            inputs = self._same(source)
        report = measure(source, inputs, self._measuring, progress=self._progress)
        # Names of arguments enter a fingerprint; these are the same batches under the names of another forward.
        report = replace(report, inputs={**report.inputs, "sha256": self._sha256})
        self._stage("timing the forward pass")
        return report, forward_seconds(source, next(iter(inputs.batches)), self._measuring)

    def _gather(self, source: Source, saved: Report | None) -> Inputs:
        """The batches for all models, kept: a source that draws anew on each pass would give others to each."""
        if self._given is not None:
            found = [from_python(source, self._given, self._gathering)]
        elif saved is None or given_source(self._gathering) is not None:
            found = [gather(source, self._gathering)]
        else:
            found = [gather(source, options) for options in _recipes(saved, self._gathering)]
        kept = [replace(inputs, batches=tuple(inputs.batches)) for inputs in found]
        marks = [_fingerprint(inputs.batches) for inputs in kept]
        if saved is None:
            self._sha256 = marks[0]
            return kept[0]
        if saved.inputs.get("sha256") not in marks:
            seen = {"source": kept[0].source, "sha256": marks[0]}
            error = other_inputs(f"the report of {saved.model.get('spec')}", saved.inputs, source.spec, seen)
            raise error
        self._sha256 = str(saved.inputs["sha256"])
        return kept[marks.index(self._sha256)]

    def _same(self, source: Source) -> Inputs:
        """The batches of the first model for another, whose forward may call its first argument otherwise."""
        assert self._inputs is not None
        own = parameters(source.model)
        batches = [_renamed(batch, self._parameters, own) for batch in self._inputs.batches]
        found = from_python(source, batches, replace(self._gathering, batches=None), self._inputs.source)
        return replace(found, seed=self._inputs.seed)

    def _stage(self, stage: str) -> None:
        if self._progress:
            self._progress(stage, 0, None)

    def _tell(self, *notes: Any) -> None:
        if self._announce:
            self._announce(notes)


def _recipes(saved: Report, options: InputOptions) -> list[InputOptions]:
    """How the inputs of a saved report may be had again: drawn by its specs, or as the model's own."""
    drawn = _RECIPE.fullmatch(str(saved.inputs.get("source")))
    if drawn is None:
        return [options]
    specs = tuple(re.split(r", (?=\w+=)", drawn["specs"]))
    return [replace(options, random=specs, seed=int(drawn["seed"])), options]


def _fingerprint(batches: Any) -> str:
    fingerprint = Fingerprint()
    for batch in batches:
        fingerprint.update(batch)
    return fingerprint.hexdigest()


def _renamed(batch: Batch, first: Parameters, own: Parameters) -> Batch:
    """A batch with the name of the first argument as the model has it, where it does not know the given one."""
    if not first.positional or not own.positional:
        return batch
    old, new = first.positional[0], own.positional[0]
    if old not in batch.kwargs or old in own.names or new in batch.kwargs:
        return batch
    kwargs = {new if name == old else name: value for name, value in batch.kwargs.items()}
    return replace(batch, kwargs=kwargs)


def forward_seconds(source: Source, batch: Batch, options: MeasureOptions) -> float:
    """The time of a plain forward pass of one batch, without hooks: the median of three.

    Args:
        source: a model that has run before, so that nothing is warmed up here.
        batch: one call of it.
        options: `device` and `dtype` are used.

    Returns:
        Seconds.
    """
    model, device, dtype = placed(source, options.device, options.dtype)
    ready = to_model(batch, device, dtype)
    seconds = []
    with undisturbed(model), torch.no_grad():
        for _ in range(PASSES):
            _finish(device)
            start = time.perf_counter()
            call(model, ready)
            _finish(device)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _finish(device: torch.device) -> None:
    """Wait for what was queued on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
