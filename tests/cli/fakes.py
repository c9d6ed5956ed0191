"""Stand-ins for the parts behind the command line, so that its own tests need no torch.

As a program, ``python fakes.py ACT ARGUMENTS…`` runs the command line over them; `ACT` says what measuring does. The
folder of the tests must be on the path.
"""

from __future__ import annotations

import os
import sys
import time
import types
from dataclasses import dataclass, field
from typing import Any

from reports import a_hostile_report, a_report, undefined_report

from rankscope.records import Inputs, Note, Report
from rankscope.registry import unknown_name

NAMES = ("rankscope.sources", "rankscope.inputs", "rankscope.measures", "rankscope.pipeline")


@dataclass
class Calls:
    """What the command asked of each part."""

    act: str = "report"
    model: str = ""
    load: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    measure: dict[str, Any] = field(default_factory=dict)


class Options(dict[str, Any]):
    """Options that were given, with the field that the command itself reads."""

    @property
    def measures(self) -> tuple[str, ...]:
        return self.get("measures", ("quick",))


def measured(act: str, progress: Any) -> Report:
    progress("layers", 2, None)
    progress("[/layers]", 1, 12)
    if act == "print":
        print("the model prints")  # noqa: T201 - what a user's code may do
    if act == "chdir":
        os.chdir("/")
    if act == "interrupt":
        raise KeyboardInterrupt
    if act == "sleep":
        sys.stderr.write("measuring\n")
        sys.stderr.flush()
        time.sleep(30)
    if act == "undefined":
        return undefined_report()
    if act == "empty":
        return Report(model={"spec": "x"}, rows=())
    return a_hostile_report() if act == "hostile" else a_report(depth=300 if act == "long" else 12)


def modules(calls: Calls) -> dict[str, types.ModuleType]:
    """The modules to put in place of the real ones."""
    sources, inputs, measures, pipeline = (types.ModuleType(name) for name in NAMES)

    def open_model(spec: str, options: dict[str, Any]) -> Any:
        calls.model, calls.load = spec, options
        return types.SimpleNamespace(notes=(Note("RS340", "taken as \x1b[31mthe alias"),))

    def gather(source: Any, options: dict[str, Any]) -> Inputs:
        calls.inputs = options
        return Inputs((), "random", notes=(Note("RS240", "inputs were inferred"),))

    def measure(source: Any, found: Inputs, options: dict[str, Any], progress: Any, keep_sums: bool) -> Report:
        calls.measure = options
        return measured(calls.act, progress)

    def resolve(names: tuple[str, ...]) -> None:
        if "mu_baar" in names:
            raise unknown_name("measure", "mu_baar", ["mu_bar"])

    vars(sources).update(LoadOptions=dict, open_model=open_model)
    vars(inputs).update(InputOptions=dict, gather=gather)
    vars(measures).update(resolve=resolve)
    vars(pipeline).update(MeasureOptions=Options, measure=measure, check_options=lambda *_: None)
    return dict(zip(NAMES, (sources, inputs, measures, pipeline), strict=True))


if __name__ == "__main__":
    from rankscope.cli import _slips, main

    sys.modules.update(modules(Calls(act=sys.argv[1])))
    _slips.check = lambda *_: None  # type: ignore[assignment]
    sys.exit(main(sys.argv[2:]))
