from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from schemas import closed
from swept import IDS, TINY, a_hostile_sweep, a_sweep, over_layers, searched

import rankscope
from rankscope.sweeps import SCHEMA, Effect, Found, Point, Sweep

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = json.loads((ROOT / "rankscope" / "sweep.schema.json").read_text(encoding="utf-8"))
REPORT = json.loads((ROOT / "rankscope" / "report.schema.json").read_text(encoding="utf-8"))
READER = jsonschema.Draft202012Validator(PUBLISHED)
REPORTS = jsonschema.Draft202012Validator(REPORT)


def opened(schema: Any) -> Any:
    """The schema as a writer must keep it; what a report may hold is for its own schema to say."""
    found = closed(schema)
    del found["$defs"]["point"]["properties"]["report"]["additionalProperties"]
    return found


WRITER = jsonschema.Draft202012Validator(opened(PUBLISHED))


@pytest.mark.parametrize(
    "sweep",
    [a_sweep(), a_sweep(lost=1), searched(), over_layers(), a_hostile_sweep()],
    ids=lambda sweep: sweep.model[:8],
)
def test_what_is_written_validates(sweep: Sweep) -> None:
    data = json.loads(sweep.to_json())
    WRITER.validate(data)
    for point in [data["reference"], *data["points"]]:
        if point and point["report"]:
            REPORTS.validate(point["report"])


def test_what_a_run_writes_validates(tmp_path: Path) -> None:
    found = rankscope.sweep(
        TINY,
        edit="lambda_skip=1:9:3",
        until="mu_bar >= 0.9 @ last",
        random=IDS,
        measures="mu_bar",
        output=tmp_path / "r",
    )
    WRITER.validate(json.loads(found.to_json()))
    WRITER.validate(json.loads((tmp_path / "r" / "sweep.json").read_text()))


def test_the_schema_is_a_schema_and_names_the_fields_of_the_records() -> None:
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)
    assert PUBLISHED["properties"]["schema"]["const"] == SCHEMA
    for name, record in {"point": Point, "found": Found, "effect": Effect}.items():
        assert list(PUBLISHED["$defs"][name]["properties"]) == [field.name for field in dataclasses.fields(record)]
    assert list(PUBLISHED["properties"]) == list(a_sweep().to_dict())


BREAKS = {
    "schema": lambda d: d.update(schema="rankscope.sweep/2"),
    "no points": lambda d: d.pop("points"),
    "no axis": lambda d: d.update(axes=[]),
    "text for a loss": lambda d: d["points"][0].update(loss="2"),
    "origin": lambda d: d["points"][0].update(origin="guess"),
    "keeps": lambda d: d["points"][0].update(keeps="yes"),
    "another report": lambda d: d["points"][0]["report"].update(schema="rankscope.report/2"),
    "time": lambda d: d.update(created="yesterday"),
    "until": lambda d: d["until"].pop("sentence"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_does_not_validate(name: str) -> None:
    data = copy.deepcopy(searched().to_dict())
    READER.validate(data)
    BREAKS[name](data)
    with pytest.raises(jsonschema.ValidationError):
        READER.validate(data)
