"""Probing: models measured one after the other on the same batches, which are gathered once."""

from __future__ import annotations

import re
import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from rankscope.capture.session import call, undisturbed
from rankscope.comparison.subjects import letter, naming, other_inputs
from rankscope.comparison.unlike import kinds, kinds_of_specs, unlike
from rankscope.editing import in_force_of
from rankscope.edits import split_model
from rankscope.errors import CaptureError, InputError
from rankscope.inputs import InputOptions, from_python, gather
from rankscope.inputs.arguments import Parameters, parameters
from rankscope.inputs.options import given_source
from rankscope.inputs.shared import fingerprint_of, renamed
from rankscope.pipeline import ALONE, MeasureOptions, check_options, measure
from rankscope.placing import placed, to_model
from rankscope.records import Note
from rankscope.sources import LoadOptions, edited, open_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rankscope.comparison.records import Subject
    from rankscope.comparison.subjects import Announce
    from rankscope.errors import RankscopeError
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
        self._told = inputs is not None or given_source(gathering) is not None
        self._origin: str | None = None  # whose inputs all see, where the user named none
        self._kinds: list[Any] = []
        self._opened: tuple[str | None, tuple[str, ...], Source] | None = None

    def __call__(
        self, models: Sequence[tuple[int, Any]], saved: Subject | None
    ) -> Iterator[tuple[int, Report, float | None]]:
        """Measure models; each is let go before the next is opened."""
        with ALONE:
            for number, model in models:
                with naming(number, model):
                    found = self._one(number, model, saved)
                yield number, *found

    def _one(self, number: int, model: Any, saved: Subject | None) -> tuple[Report, float | None]:
        """The report of one model, and the seconds of a forward pass."""
        self._stage("opening the model")
        source = self._open(model)
        try:
            inputs = self._inputs_of(source, saved)
            report = measure(source, inputs, self._measuring, progress=self._progress)
        except (InputError, CaptureError) as error:
            if self._origin is not None:
                self._blame(error, source)
            raise
        if self._origin is None and not self._told:
            self._origin = f"{letter(number)}, {source.spec}"
        # Names of arguments enter a fingerprint; these are the same batches under the names of another forward.
        report = replace(report, inputs={**report.inputs, "sha256": self._sha256})
        self._stage("timing the forward pass")
        return report, forward_seconds(source, next(iter(inputs.batches)), self._measuring, inputs.layout)

    def _open(self, model: Any) -> Source:
        """Open a model; what differs from the one before by its edits alone stays open."""
        text, edits = split_model(model, self._load.aliases) if isinstance(model, str) else (model, ())
        if self._opened and self._opened[0] == text and (edits or self._opened[1]):
            source = self._opened[2]
        else:
            self._opened = None  # let go before the next is read
            source = open_model(text, self._load)
            self._tell(*source.notes)
        self._opened = (text if isinstance(text, str) else None), edits, source
        return edited(source, edits) if edits else source

    def _inputs_of(self, source: Source, saved: Subject | None) -> Inputs:
        """The batches for one model; the first gathers them."""
        if self._inputs is not None:
            return self._same(source)
        self._stage("gathering inputs")
        if saved is not None and not self._told:
            self._origin = f"{saved.letter}, {saved.name}"
            self._kinds = kinds_of_specs(_drawn(saved.report)[0])
        inputs = self._gather(source, None if saved is None else saved.report)
        if self._origin is not None:
            note = Note("RS626", f"the inputs are those of {self._origin}: {inputs.source}{self._idle(saved)}")
            inputs = replace(inputs, notes=(*inputs.notes, note))
        self._inputs, self._parameters = inputs, parameters(source.model)
        self._kinds = kinds(next(iter(inputs.batches)))
        self._tell(*inputs.notes)
        return inputs

    def _idle(self, saved: Subject | None) -> str:
        """That a seed was given which the inputs do not have."""
        seed = self._gathering.seed
        drawn = saved and saved.report.inputs.get("seed")
        return "" if seed in {0, drawn} else f"; seed {seed} is that of random weights alone"

    def _blame(self, error: RankscopeError, source: Source) -> None:
        """Say whose inputs a model failed on, and where it takes others altogether, that nothing helps."""
        error.details = (*error.details, ("inputs from", str(self._origin)))
        if told := unlike(source, self._kinds):
            error.details = (("error", error.headline), *error.details, ("they are", told))
            error.headline = f"{source.spec} and {self._origin} take different inputs; nothing makes them comparable"
            error.remedies = ()

    def _gather(self, source: Source, saved: Report | None) -> Inputs:
        """The batches for all models, kept: a source that draws anew on each pass would give others to each."""
        if self._given is not None:
            found = [from_python(source, self._given, self._gathering)]
        elif saved is None or self._told:
            found = [gather(source, self._gathering)]
        else:
            found = [gather(source, options) for options in _recipes(saved, self._gathering)]
        kept = [replace(inputs, batches=tuple(inputs.batches)) for inputs in found]
        marks = [fingerprint_of(inputs.batches) for inputs in kept]
        if saved is None:
            self._sha256 = marks[0]
            return kept[0]
        if saved.inputs.get("sha256") not in marks:
            seen = {"source": kept[0].source, "sha256": marks[0]}
            error = other_inputs(f"the report of {saved.model.get('spec')}", saved.inputs, source.spec, seen)
            if not self._told and not _drawn(saved)[0]:
                told = f"they came from {saved.inputs.get('source')}: what was given then must be given again"
                error.details = (*error.details, ("not drawn again", told))
            raise error
        self._sha256 = str(saved.inputs["sha256"])
        return kept[marks.index(self._sha256)]

    def _same(self, source: Source) -> Inputs:
        """The batches of the first model for another, whose forward may call its first argument otherwise."""
        assert self._inputs is not None
        own = parameters(source.model)
        batches = [renamed(batch, self._parameters, own) for batch in self._inputs.batches]
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
    specs, seed = _drawn(saved)
    return [replace(options, random=specs, seed=seed), options] if specs else [options]


def _drawn(saved: Report) -> tuple[tuple[str, ...], int]:
    """The specs and the seed by which the inputs of a report were drawn; no specs where they were not."""
    drawn = _RECIPE.fullmatch(str(saved.inputs.get("source")))
    return (tuple(re.split(r", (?=\w+=)", drawn["specs"])), int(drawn["seed"])) if drawn else ((), 0)


def forward_seconds(source: Source, batch: Batch, options: MeasureOptions, layout: str | None = None) -> float:
    """The time of a plain forward pass of one batch, without hooks of measures: the median of three.

    Edits are in force: what they cost is part of it.

    Args:
        source: a model that has run before, so that nothing is warmed up here.
        batch: one call of it.
        options: `device`, `dtype` and `layers` are used.
        layout: the axes of the inputs, if the user gave them.

    Returns:
        Seconds.
    """
    model, device, dtype = placed(source, options.device, options.dtype)
    ready = to_model(batch, device, dtype)
    seconds = []
    with undisturbed(model), torch.no_grad(), in_force_of(source.edits, model, ready, layout, options.layers):
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
