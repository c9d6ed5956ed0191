"""Saved sweeps: read back from JSON, so that a run that was interrupted goes on where it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.errors import CannotMeasure, UsageError
from rankscope.plain import Malformed, build, listed, part, wrong
from rankscope.records import Note, Report
from rankscope.saved import kind, load
from rankscope.sweeps.axes import Axis
from rankscope.sweeps.records import SCHEMA, Effect, Found, Point, Sweep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rankscope.sweeps.ranges import Value

INDEX = "sweep.json"
"""The file of a folder of reports that says which report is which point."""


def read_sweep(path: str | Path) -> Sweep:
    """Read a sweep that was saved as JSON; the reports of a folder are read with it.

    Args:
        path: the file.

    Returns:
        The sweep, equal to the one that was saved.

    Raises:
        CannotMeasure: the file cannot be read, or is no sweep.
    """
    path, text = Path(path), ""
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
        return _built(data, path.parent)
    except OSError as error:
        raise CannotMeasure("RS472", f"{path} was not read: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        found = kind(text)
        what = f"{found}" if found and found != "a sweep" else wrong(error)
        raise CannotMeasure(
            "RS472",
            f"{path} is no sweep: {what}",
            remedies=[("Write elsewhere", f"-o {path.stem}-2.json"), ("Measure anew", "--fresh")],
        ) from error


def _built(data: dict[str, Any], folder: Path) -> Sweep:
    """The record of plain data."""
    if part(data, "schema") != SCHEMA:
        raise Malformed(f"its schema is not {SCHEMA}")
    axes = tuple(Axis(str(each["name"]), tuple(map(_value, each["values"]))) for each in part(data, "axes"))
    reference, until = part(data, "reference"), part(data, "until")
    return Sweep(
        model=str(part(data, "model")),
        axes=axes,
        points=tuple(_point(each, folder) for each in part(data, "points")),
        reference=None if reference is None else _point(reference, folder),
        loss=part(data, "loss"),
        loss_told=part(data, "loss_told"),
        inputs=dict(part(data, "inputs")),
        options=dict(part(data, "options")),
        until=None if until is None else _until(until),
        ranking=listed(Effect, data, "ranking"),
        planned=int(part(data, "planned")),
        notes=listed(Note, data, "notes"),
        created=part(data, "created"),
        rankscope=part(data, "rankscope"),
    )


def _value(value: Any) -> Value:
    return value if isinstance(value, str) else float(value)


def _point(data: Mapping[str, Any], folder: Path) -> Point:
    """One point with its report, which may lie in a file of its own beside the index."""
    plain = {**data, "values": {name: _value(value) for name, value in part(data, "values").items()}}
    report, file = plain.pop("report"), plain.get("file")
    found = None if report is None else Report.from_json(json.dumps(report))
    if report is None and file:
        if Path(file).name != file:
            raise Malformed(f"{file!r} is no name of a file beside it")
        found = load(folder / file) if (folder / file).exists() else None
    return build(Point, {**plain, "report": found})


def _until(data: Mapping[str, Any]) -> Found:
    layers = tuple((int(each["layer_index"]), float(each["value"])) for each in data["layers"])
    return build(Found, {**data, "layers": layers})


def resumed(path: Path, wanted: Sweep) -> Sweep | None:
    """What an earlier run left of the same sweep, whatever the values that it went through.

    Args:
        path: where the sweep is written to.
        wanted: this run, with the fingerprint of its inputs; it has no points yet.

    Returns:
        The earlier sweep; None where there is none.

    Raises:
        UsageError: it was of another model, of other inputs, or measured in another way.
    """
    if not path.exists():
        return None
    found = read_sweep(path)
    here, there = _shared(wanted), _shared(found)
    differ = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    if differ and found.points:
        told = [(name, f"{_short(there.get(name))} there, {_short(here.get(name))} now") for name in differ]
        raise UsageError(
            "RS473",
            f"{path.name} holds points of another sweep, which cannot be gone on with: {', '.join(differ)} differ",
            details=told[:6],
            remedies=[("Write elsewhere", f"-o {path.stem}-2.json"), ("Measure all anew, and lose those", "--fresh")],
        )
    return found


def _shared(sweep: Sweep) -> dict[str, Any]:
    """What two runs must have in common."""
    own = {"model": sweep.model, "swept": ", ".join(sweep.columns), "inputs": str(sweep.inputs.get("sha256"))}
    return {**own, **sweep.options}


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
