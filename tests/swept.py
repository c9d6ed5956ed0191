"""Sweeps made by hand, for the tests of everything that reads a sweep."""

from __future__ import annotations

from dataclasses import replace

from reports import a_hostile_report, a_report

from rankscope.records import Note
from rankscope.sweeps import Effect, Found, Point, Sweep
from rankscope.sweeps.axes import Axis

TINY = "zoo:transformer,depth=3,width=16,heads=2"
IDS = "ids=4x16:int64:0..255"


def a_sweep(count: int = 5, depth: int = 6, lost: int | None = None) -> Sweep:
    """A sweep of λ in which the tokens stay the further apart, the larger it is; point number `lost` failed."""
    values = tuple(float(1 + 4 * i) for i in range(count))
    points = []
    for i, value in enumerate(values):
        report = replace(a_report(depth, decay=0.5 + 0.49 * i / max(count - 1, 1), gradients=False), notes=())
        point = Point({"lambda_skip": value}, f"m.pt+lambda_skip={value:g}", report=report, loss=2.0 + i, seconds=0.1)
        points.append(replace(point, report=None, loss=None, reason="it broke [RS401]") if i == lost else point)
    reference = Point({}, "m.pt", "reference", a_report(depth, decay=0.4, gradients=False), 1.9)
    return Sweep(
        model="m.pt",
        axes=(Axis("lambda_skip", values),),
        points=tuple(points),
        reference=reference,
        loss="lm",
        loss_told="next-token cross-entropy",
        inputs=reference.report.inputs if reference.report else {},
        options={"measures": ["quick"]},
        planned=count,
        notes=(Note("RS476", "1 of 5 points were measured by an earlier run, and are taken over"),),
        created="2026-11-21T20:00:00Z",
        rankscope="0.1.0",
    )


def _bound(status: str, reason: str | None, *numbers: float | None) -> dict[str, object]:
    return {"status": status, "reason": reason, **dict(zip(("mu", "mu_bar", "smallest_lambda"), numbers, strict=True))}


def searched() -> Sweep:
    """A sweep with what a search found, and with a point that the search needed."""
    plain = a_sweep()
    extra = replace(plain.points[2], values={"lambda_skip": 11.0}, origin="search")
    points = tuple(replace(point, keeps="ok" if i > 2 else "failed") for i, point in enumerate((*plain.points, extra)))
    found = Found(
        rule="mu_bar >= 0.3 @ last",
        edit="lambda_skip=11",
        value=11.0,
        neutral=1.0,
        low=10.9,
        high=11.0,
        monotone=True,
        reference_keeps="failed",
        sentence="mu_bar >= 0.3 @ last: the smallest edit that keeps it is lambda_skip=11; 10.9 fails.",
        layers=((1, 1.0), (2, 11.0)),
        loss=3.0,
        reference_loss=1.9,
        loss_change=1.1 / 1.9,
        certified={
            "retain": 0.9,
            "stack": "layers.*",
            "layers": 6,
            "sequence": 3,
            "sequences": 4,
            "mu": 4.0,
            "mu_bar": 0.72,
            "additive": _bound("holds", None, 3.9, 0.7, 9.5),
            "theorem": _bound("not applicable", "block 1: its rows are not scaled", None, None, 5000.0),
            "seminorm": _bound("undefined", "the tokens are not finite", None, None, None),
            "reason": None,
        },
    )
    return replace(plain, points=points, until=found)


def over_layers() -> Sweep:
    """A sweep that makes an edit at one layer after the other, with its ranking."""
    plain = a_sweep()
    points = tuple(replace(point, values={"no_skip@": float(i)}) for i, point in enumerate(plain.points, 1))
    axes = (Axis("no_skip@", tuple(float(i) for i in range(1, 6))),)
    effects = tuple(
        Effect(i, point.values, 0.5 / i, {"mu_bar": -0.1 * i, "effective_rank": None})
        for i, point in enumerate(points, 1)
    )
    return replace(plain, axes=axes, points=points, ranking=effects)


def a_hostile_sweep() -> Sweep:
    """A sweep whose model, values, layers, reasons and notes are names that try to break out."""
    report = a_hostile_report()
    names = ("</script><script>alert(1)</script>", "\x1b[31mred", "=cmd|'/c calc'!A0", "*b* `c` | d", "[/foo]")
    points = tuple(Point({"model": name}, name, report=report) for name in names)
    lost = Point({"model": "lost"}, "lost", reason="<img src=x onerror=alert(1)>\n\x1b[2J [RS401]")
    sweep = a_sweep()
    return replace(
        sweep,
        model=", ".join(names),
        axes=(Axis("model", (*names, "lost")),),
        points=(*points, lost),
        loss_told="<b>loss</b>",
        notes=(Note("RS476", "<script>alert(2)</script>"),),
    )
