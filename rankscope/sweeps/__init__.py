"""Sweeps: one model over the values of an edit, options of the zoo, seeds or checkpoints, on the same inputs.

`sweep` is the twin of `rankscope sweep`. torch is imported only where something is to be measured.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.errors import UsageError
from rankscope.requirements import Requirement, needed
from rankscope.sweeps.records import SCHEMA, Effect, Found, Point, Sweep
from rankscope.sweeps.saved import read_sweep
from rankscope.sweeps.searches import Search, search_of
from rankscope.sweeps.spots import asked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import nn

    from rankscope.pipeline import MeasureOptions
    from rankscope.sweeps.running import Plan

__all__ = ["SCHEMA", "Effect", "Found", "Point", "Sweep", "planned", "read_sweep", "sweep"]


def sweep(
    *models: str | Path | nn.Module,
    inputs: Any = None,
    edit: str | Iterable[str] = (),
    over: str | Iterable[str] | Mapping[str, Any] = (),
    until: str | Requirement | None = None,
    per_layer: bool = False,
    jobs: int = 1,
    output: str | Path | None = None,
    fresh: bool = False,
    **options: Any,
) -> Sweep:
    """Measure a model at every value of what is swept, on the same inputs; the twin of ``rankscope sweep``.

    Args:
        *models: one, whose edits or options are swept, or several; each as `rankscope.probe` takes it.
        inputs: as `rankscope.probe` takes them.
        edit: edits with a range, such as ``"lambda_skip=-20:20:9"``, or with layers to be taken one at a time, such as
            ``"drop@*"``; several make the product.
        over: options of a ``zoo:`` model, and ``seed``: ``"depth=2:24:4"``, or ``{"depth": [2, 4]}``.
        until: a rule such as ``"mu_bar >= 0.3 @ last"``; the smallest edit that keeps it is searched.
        per_layer: search a value for every layer too.
        jobs: processes; the models must have names that others can open.
        output: a ``.json`` file, or a folder for a report a point, that takes the points as they come; a sweep that was
            interrupted goes on from it.
        fresh: measure all anew, whatever `output` holds.
        **options: those of `rankscope.probe`.

    Returns:
        The sweep. A point that could not be measured says why.

    Example:
        >>> found = sweep("zoo:transformer,width=16,heads=2", over="depth=2,3", measures="mu_bar", batch_size=2)
        >>> [(point.values["depth"], len(point.report.layers)) for point in found.points]
        [(2.0, 3), (3.0, 4)]
    """
    from rankscope.pipeline import ALONE, check_options, read_options
    from rankscope.sweeps.keeping import Kept
    from rankscope.sweeps.measuring import Measuring
    from rankscope.sweeps.running import Running

    edits = [edit] if isinstance(edit, str) else list(edit)
    given = [over] if isinstance(over, str) else over
    wanted = asked(models, edits, given)
    inputs, load, gathering, measuring = read_options(inputs, options)
    check_options(measuring, gathering)
    kept = () if output is None else (Kept(Path(output), folder=Path(output).suffix != ".json"),)
    plan, measuring = planned(measuring, search_of(wanted, until, per_layer), jobs)
    for place in kept:
        place.check()
    plan = replace(plan, kept=kept, fresh=fresh)
    with ALONE:
        return Running(wanted, Measuring(inputs, load, gathering, measuring), plan)()


def planned(measuring: MeasureOptions, search: Search | None, jobs: int) -> tuple[Plan, MeasureOptions]:
    """How a sweep is run, and what is measured for it.

    Args:
        measuring: what is measured; what a search needs is added.
        search: the rule that is searched, if any.
        jobs: processes.

    Returns:
        Both.

    Raises:
        UsageError: there is not even one process.
    """
    from rankscope.sweeps.running import Plan

    if jobs < 1:
        raise UsageError("RS474", f"{jobs} jobs measure nothing: at least 1 is needed")
    if search is not None:
        measuring = replace(measuring, measures=needed([search.rule], measuring.measures))
    return Plan(search, jobs, options=shared_options(measuring)), measuring


def shared_options(measuring: MeasureOptions) -> dict[str, Any]:
    """The options that a later run must share to go on with an earlier one, as JSON holds them.

    Args:
        measuring: what is measured.

    Returns:
        Names and plain values.
    """
    found: dict[str, Any] = {}
    for each in fields(measuring):
        value = getattr(measuring, each.name)
        if each.name == "memory":
            continue
        plain = value is None or isinstance(value, str | int)
        listed = list(value) if isinstance(value, tuple | list) else getattr(value, "__name__", "function")
        found[each.name] = value if plain else listed
    return found
