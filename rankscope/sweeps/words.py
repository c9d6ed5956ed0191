"""Words of a sweep: a line for each point, and a sentence for the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.depth import RESIDUAL
from rankscope.sweeps.axes import over_layers
from rankscope.sweeps.curves import FIRST, labels, last_row
from rankscope.sweeps.digits import brief
from rankscope.table import number, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rankscope.records import Report
    from rankscope.sweeps.records import Effect, Point, Sweep

CERTIFICATES = {"additive": "additive", "theorem": "Theorem 4.1", "seminorm": "seminorm"}
_NAMED = 4  # layers in a sentence
_KEEPS = {"ok": "keeps the rule", "failed": "fails the rule", "undefined": "the rule is undefined"}


def verdict_of(report: Report) -> str:
    """The verdict of the stacks of a report in a word or two.

    Args:
        report: any report.

    Returns:
        Such as ``healthy``; empty where none was taken.
    """
    words = dict.fromkeys(entry.verdict for entry in report.depth if entry.measure == RESIDUAL)
    return ", ".join(word for word in words if word != "undefined")


def line_of(point: Point) -> str:
    """One point in a line.

    Args:
        point: any.

    Returns:
        Its values, the end of the first measure, the loss and the time; or why it could not be measured.
    """
    if point.report is None:
        return f"{point.label}: not measured: {point.reason}"
    parts = []
    for label in FIRST:
        if (value := number(last_row(point, label))) is not None:
            parts.append(f"{label} {numbers([value])[0]} at the last layer")
            break
    parts += [verdict_of(point.report)] if verdict_of(point.report) else []
    parts += [f"loss {numbers([point.loss])[0]}"] if point.loss is not None else []
    parts += [_KEEPS[point.keeps]] if point.keeps else []
    time = f" ({point.seconds:.1f} s)" if point.seconds is not None else ""
    return f"{point.label}: {', '.join(parts) or 'measured'}{time}"


def sentence(sweep: Sweep) -> str:
    """What a sweep shows, in a sentence or two.

    Args:
        sweep: any.

    Returns:
        What the search found, or which layer matters most, or from where to where the first measure goes.
    """
    lost = len(sweep.points) - len(sweep.measured)
    told = f" {lost} of {len(sweep.points)} points could not be measured." if lost else ""
    missing = sweep.planned - len(sweep.points)
    told += f" {missing} points are not measured yet." if missing > 0 else ""
    if sweep.until is not None:
        return sweep.until.sentence + told
    if sweep.ranking:
        return _of_layers(sweep) + told
    first = next(iter(labels(sweep.points)), "mu_bar")
    known = [(value, point) for point in sweep.measured if (value := number(last_row(point, first))) is not None]
    if not known:
        return f"{len(sweep.measured)} points were measured.{told}"
    low, high = min(known, key=lambda pair: pair[0]), max(known, key=lambda pair: pair[0])
    texts = numbers([low[0], high[0]])
    ends = f"{texts[0]} ({low[1].label}) to {texts[1]} ({high[1].label})"
    return f"At the last layer {first} goes from {ends}.{told}"


def guarantees(sweep: Sweep) -> list[tuple[str, str]]:
    """What is certified of the answer of a search, as pairs (label, text).

    Args:
        sweep: any.

    Returns:
        A pair for each of the three certificates, or the reason why there is none; empty where nothing was certified.
    """
    found = None if sweep.until is None else sweep.until.certified
    if found is None:
        return []
    if found.get("reason"):
        return [("certificate", f"none: {found['reason']}")]
    asked = f"{found['retain']:g} of mu a block, the worst of {found['sequences']} sequences, {found['stack']}"
    return [
        ("certified", asked),
        *((name, _guarantee(found[key])) for key, name in CERTIFICATES.items() if found.get(key)),
    ]


def _guarantee(found: Mapping[str, Any]) -> str:
    """One certificate in a line."""
    parts = [f"{found['status']}: {found['reason']}" if found["reason"] else str(found["status"])]
    bounds = [f"{name} at least {found[name]:.4g}" for name in ("mu", "mu_bar") if found[name] is not None]
    parts += [f"{' and '.join(bounds)} at the last layer"] if bounds else []
    least = found["smallest_lambda"]
    parts += [f"least λ {least:.4g}"] if least is not None else []
    return "; ".join(parts)


def _of_layers(sweep: Sweep) -> str:
    """Which layers matter most and least; those that noise cannot tell apart are named together."""
    name = next(axis.name for axis in sweep.axes if over_layers(axis.name))
    of_loss = sweep.ranking[0].loss_change is not None
    by = "the loss" if of_loss else RESIDUAL

    def change(effect: Effect) -> str:
        value = effect.loss_change if of_loss else effect.changes.get(RESIDUAL)
        return f"{value:+.3g}" if value is not None else "unknown"

    first = [effect for effect in sweep.ranking if effect.rank == 1 or effect.as_first]
    layers, least = [brief(effect.values[name]) for effect in first], sweep.ranking[-1]
    last = f"layer {brief(least.values[name])} least ({change(least)})"
    if len(first) == 1:
        return f"Layer {layers[0]} matters most to {by} ({change(first[0])}), {last}."
    named = layers if len(layers) <= _NAMED else [*layers[: _NAMED - 1], f"{len(layers) - _NAMED + 1} more"]
    alike = f"Layers {', '.join(named[:-1])} and {named[-1]} cannot be told apart by {by}"
    if least in first:
        return f"{alike}: {change(first[0])} to {change(least)}."
    return f"{alike}, and matter most ({change(first[0])} to {change(first[-1])}); {last}."
