"""Running: the points of a sweep, those of an earlier run taken over, then the search and the ranking."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from rankscope._version import __version__
from rankscope.errors import RankscopeError
from rankscope.plain import now
from rankscope.records import Note
from rankscope.sweeps.axes import Spot
from rankscope.sweeps.digits import brief_edit
from rankscope.sweeps.jobs import in_processes
from rankscope.sweeps.joining import frame, joined
from rankscope.sweeps.ranking import ranking
from rankscope.sweeps.records import Found, Point, Sweep
from rankscope.sweeps.saved import resumed
from rankscope.sweeps.spots import names_of
from rankscope.sweeps.until import number_of, outcome, per_layer, search

if TYPE_CHECKING:
    from rankscope.sweeps.axes import Axis
    from rankscope.sweeps.keeping import Kept
    from rankscope.sweeps.measuring import Measuring
    from rankscope.sweeps.searches import Search
    from rankscope.sweeps.spots import Asked

Tell = Callable[[Point, int, int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a sweep is run, beside what is swept.

    `kept` takes the points as they come; `fresh` measures all anew; `tell` is shown every point, its number, and of how
    many; `options` are what a later run must share to go on.
    """

    search: Search | None = None
    jobs: int = 1
    kept: tuple[Kept, ...] = ()
    fresh: bool = False
    tell: Tell | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Running:
    """One run of a sweep.

    Args:
        asked: what is swept.
        measuring: measures points.
        plan: how it is run.
    """

    def __init__(self, asked: Asked, measuring: Measuring, plan: Plan) -> None:
        self._asked, self._measuring, self._plan = asked, measuring, plan
        self._points: list[Point] = []
        self._reference: Point | None = None
        self._earlier: dict[tuple[Any, ...], Point] = {}
        self._others = 0  # points of an earlier run that this one did not ask for
        self._before: list[tuple[Axis, ...]] = []
        self._planned = 0
        self._notes: list[Note] = []
        self._options = dict(plan.options)

    def __call__(self) -> Sweep:
        """Measure every point.

        Returns:
            The sweep. What is kept on disk is whole also where this is interrupted.
        """
        try:
            self._begin()
            spots = self._asked.spots()
            self._planned = len(spots)
            self._measure(spots)
            found = self._certified(self._search(self._plan.search)) if self._plan.search else None
            sweep = replace(self._sweep(), until=found)
            sweep = replace(sweep, ranking=ranking(sweep.axes, sweep.points, sweep.reference))
        except BaseException:
            if self._points:
                self._keep(last=True)
            raise
        for kept in self._plan.kept:
            kept.write(sweep, last=True)
        return sweep

    def _begin(self) -> None:
        """Open the first model, take over what an earlier run left, and measure the model as it is."""
        asked = self._asked
        alone = len(asked.models) == 1 and not asked.options
        if asked.edits:
            self._options["edits"] = " ".join(map(frame, asked.edits))
        if not alone:
            self._options["seed"] = self._measuring.seed
        first = Spot({}, asked.models[0]) if not asked.options else asked.over_layers([(1, "")]).spots()[0]
        if alone:
            self._measuring.open(first)
            self._options["weights"] = self._measuring.mark(first)
            self._take_over()
        if not (alone and asked.edits):
            return
        known = self._earlier.get(("reference",))
        self._reference = self._judged(known or self._measuring(first, "reference", strict=True))
        self._told(self._reference, 0)
        report = self._reference.report
        assert report is not None
        if asked.waits:
            layers = [(layer.index, layer.name) for layer in report.layers if layer.index]
            self._asked = asked.over_layers(list(dict(layers).items()))

    def _take_over(self) -> None:
        """The points of an earlier run of the same sweep."""
        for kept in self._plan.kept:
            here = replace(self._sweep(), inputs={"sha256": self._measuring.sha256})
            found = None if self._plan.fresh else resumed(kept.index, here)
            if found is None or not found.points:
                continue
            self._before.append(found.axes)
            for point in found.points:
                if point.report is not None:
                    self._earlier.setdefault(point.key, point)
            if found.reference is not None and found.reference.report is not None:
                self._earlier.setdefault(("reference",), found.reference)

    def _measure(self, spots: Sequence[Spot]) -> None:
        """Measure the points that are not known yet, in the order in which they were asked for."""
        keys = {Point(spot.values, "").key: spot for spot in spots}
        if not self._measuring.sha256:
            self._open_first(spots)
        known = [key for key, spot in keys.items() if key in self._earlier and self._is_same(spot, self._earlier[key])]
        for number, key in enumerate(known, 1):
            self._points.append(self._judged(replace(self._earlier[key], origin="range")))
            self._told(self._points[-1], number)
        if known:
            text = f"{len(known)} of {len(keys)} points were measured by an earlier run, and are taken over"
            self._notes.append(Note("RS476", text))
        self._keep_others(keys)
        rest = [spot for key, spot in keys.items() if key not in known]
        if self._plan.jobs > 1 and len(rest) > 1:
            for point in in_processes(rest, self._measuring.setup(), self._plan.jobs):
                self._add(self._judged(self._measuring.adopted(point)))
        else:
            for spot in rest:
                self._add(self._judged(self._measuring(spot)))
        order = {key: number for number, key in enumerate(keys)}
        self._points.sort(key=lambda point: order.get(point.key, len(order)))  # those of an earlier run at the end

    def _keep_others(self, keys: Container[tuple[Any, ...]]) -> None:
        """Keep what an earlier run measured and this one did not ask for: nothing measured is lost."""
        others = [point for key, point in self._earlier.items() if key != ("reference",) and key not in keys]
        self._points += [self._judged(point) for point in others]
        self._others = len(others)
        if others:
            text = f"{len(others)} points of an earlier run, which this one did not ask for, are kept beside its own"
            self._notes.append(Note("RS476", text))

    def _open_first(self, spots: Sequence[Spot]) -> None:
        """Gather the inputs with the first model that opens."""
        last: RankscopeError | None = None
        for spot in spots:
            try:
                self._measuring.open(spot)
            except RankscopeError as error:
                last = error
            else:
                self._take_over()
                return
        if last is not None:
            raise last

    def _is_same(self, spot: Spot, point: Point) -> bool:
        """Whether a point of an earlier run is of the same weights; of one model alone that was seen to."""
        if "weights" in self._options:
            return True
        try:
            sha256 = self._measuring.open(spot).sha256
        except RankscopeError:
            return False
        return point.report is not None and sha256 == point.report.model.get("sha256")

    def _judged(self, point: Point) -> Point:
        search = self._plan.search
        return replace(point, keeps=None if search is None else outcome(point.report, search.rule))

    def _add(self, point: Point) -> None:
        self._points.append(point)
        self._told(point, len(self._points) - self._others)
        self._keep()

    def _told(self, point: Point, number: int) -> None:
        if self._plan.tell is not None:
            self._plan.tell(point, number, self._planned)

    def _keep(self, *, last: bool = False) -> None:
        for kept in self._plan.kept:
            kept.write(self._sweep(), last=last)

    def _model(self) -> str:
        return ", ".join(names_of(self._asked.models))

    def _sweep(self) -> Sweep:
        """What is known so far."""
        report = next((point.report for point in (self._reference, *self._points) if point and point.report), None)
        return Sweep(
            model=self._model(),
            axes=reduce(joined, self._before, self._asked.axes),
            points=tuple(self._points),
            reference=self._reference,
            loss=self._measuring.loss_name,
            loss_told=self._measuring.loss_told,
            inputs={} if report is None else report.inputs,
            options=self._options,
            planned=max(self._planned + self._others, len(self._points)),
            notes=tuple(self._notes),
            created=now(),
            rankscope=__version__,
        )

    def _search(self, wanted: Search) -> Found:
        """The smallest edit that keeps the rule."""
        edit, neutral = self._asked.edits[0], wanted.neutral
        assert self._reference is not None
        column = edit.axes[0].name

        def at(value: float) -> Point:
            same = (point for point in self._points if point.report and number_of(point) == value)
            return next(same, None) or searched({column: value}, edit.text([value]))

        def searched(values: Mapping[str, Any], text: str) -> Point:
            spot = Spot(values, self._asked.models[0], text)
            known = self._earlier.get(Point(values, "").key)
            point = self._judged(replace(known, origin="search") if known else self._measuring(spot, "search"))
            if point.key not in {known.key for known in self._points}:
                self._points.append(point)
            self._told(point, len(self._points))
            self._keep()
            return point

        asked = {Point(spot.values, "").key for spot in self._asked.spots()}
        scan = [point for point in self._points if point.report is not None and point.key in asked]
        found = search(wanted.rule, edit, scan, self._reference, neutral, at)
        if not wanted.per_layer or found.value is None:
            return found
        layers = self._layers(edit.parts[0].place)
        trials: dict[str, Point] = {}

        def listed(text: str) -> Point:
            if text not in trials:
                point = self._measuring(
                    Spot({"layers": brief_edit(text) or "none"}, self._asked.models[0], text), "search"
                )
                trials[text] = self._judged(point)
                self._told(trials[text], len(self._points) + len(trials))
            return trials[text]

        answer = next(point for point in self._points if point.report and number_of(point) == found.value)
        return per_layer(found, edit, layers, listed, self._reference, [*scan, answer])

    def _certified(self, found: Found) -> Found:
        """The answer with its certificate; where there is no edit there is nothing to certify."""
        if found.edit is None:
            return found
        return replace(found, certified=self._measuring.certified(Spot({}, self._asked.models[0], found.edit)))

    def _layers(self, place: str | int | None) -> list[int]:
        """The layers that an edit acts on."""
        from rankscope.selectors import EVERY, parse_selector

        assert self._reference is not None
        assert self._reference.report is not None
        selector = parse_selector(place) if isinstance(place, str) else EVERY
        known = [(layer.index, layer.name) for layer in self._reference.report.layers if layer.index]
        return sorted(set(selector.select(known)))
