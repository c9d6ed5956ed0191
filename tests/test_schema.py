"""The published schema of the report: what is written validates, what is broken does not, all properties are told."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import torch
from reports import a_hostile_report, a_report, undefined_report
from torch import nn

import rankscope
from rankscope.records import SCHEMA, Coverage, Depth, Layer, Note, Row, Vector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankscope.records import Report

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = json.loads((ROOT / "rankscope" / "report.schema.json").read_text(encoding="utf-8"))


def closed(schema: Any) -> Any:
    """The schema as a writer must keep it: nothing that it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(part) for name, part in schema.items()}
    described = schema.get("type") == "object" and "properties" in schema and "description" in schema
    return {**found, "additionalProperties": False} if described else found


READER = jsonschema.Draft202012Validator(PUBLISHED)
WRITER = jsonschema.Draft202012Validator(closed(PUBLISHED))


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2, enable_nested_tensor=False)


def probed(**options: Any) -> Report:
    return rankscope.probe(encoder(), torch.randn(3, 8, 16), **options)


@pytest.mark.parametrize(
    "report",
    [a_report(), a_report(depth=0), a_hostile_report(), undefined_report()],
    ids=["plain", "one layer", "hostile", "undefined"],
)
def test_reports_made_by_hand_validate(report: Report) -> None:
    WRITER.validate(report.to_dict())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"measures": "full"},
        {"measures": "singular_values,value_spectrum"},
        {"measures": "head:value_cosine,head:attention_entropy,mu"},
        {"measures": "grad_norm", "loss": "cotangent"},
        {"layers": "*.linear1"},
    ],
    ids=str,
)
def test_reports_of_probe_validate(options: dict[str, Any]) -> None:
    WRITER.validate(json.loads(probed(**options).to_json()))


def test_a_report_with_missing_numbers_validates() -> None:
    short = rankscope.probe(encoder(), torch.randn(2, 3, 16))
    assert any(row.status != "ok" for row in short.rows)
    WRITER.validate(short.to_dict())
    broken = rankscope.probe(encoder(), torch.full((2, 8, 16), float("nan")))
    assert any(row.status != "ok" for row in broken.rows)
    WRITER.validate(json.loads(broken.to_json()))


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)
    assert PUBLISHED["properties"]["schema"]["const"] == SCHEMA
    assert SCHEMA.endswith(f"/{PUBLISHED['$id'].rpartition(':')[2]}")


def objects(schema: Any, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a schema that describes an object."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            yield path, schema
        for name, part in schema.items():
            yield from objects(part, f"{path}/{name}")
    elif isinstance(schema, list):
        for i, part in enumerate(schema):
            yield from objects(part, f"{path}/{i}")


def test_every_property_is_described() -> None:
    found = dict(objects(PUBLISHED))
    assert len(found) >= 9
    for path, part in found.items():
        assert part["description"].endswith("."), path
        for name, kind in part["properties"].items():
            assert kind.get("description", "").endswith("."), f"{path}/{name}"
        assert set(part["required"]) <= set(part["properties"]), path


def test_the_records_and_the_schema_name_the_same_fields() -> None:
    parts = {**PUBLISHED["$defs"], "coverage": PUBLISHED["properties"]["coverage"]}
    parts["note"] = PUBLISHED["properties"]["notes"]["items"]
    for name, record in {
        "row": Row,
        "vector": Vector,
        "layer": Layer,
        "depth": Depth,
        "coverage": Coverage,
        "note": Note,
    }.items():
        assert list(parts[name]["properties"]) == [field.name for field in dataclasses.fields(record)]
    assert list(PUBLISHED["properties"]) == list(a_report().to_dict())


def test_what_a_later_version_adds_is_let_through_to_a_reader_and_not_to_a_writer() -> None:
    data = a_report(depth=1).to_dict()
    data["new"] = data["rows"][0]["new"] = 1
    READER.validate(data)
    with pytest.raises(jsonschema.ValidationError):
        WRITER.validate(data)
    older = a_report(depth=1).to_dict()
    del older["spectra"]
    READER.validate(older)


BREAKS = {
    "schema": lambda d: d.update(schema="rankscope.report/2"),
    "no rows": lambda d: d.pop("rows"),
    "no key": lambda d: d["rows"][0].pop("measure"),
    "text for a number": lambda d: d["rows"][0].update(value="0.5"),
    "ok without a value": lambda d: d["rows"][0].update(value=None),
    "undefined with a value": lambda d: d["rows"][0].update(status="undefined", reason="none"),
    "undefined without a reason": lambda d: d["rows"][0].update(status="undefined", value=None),
    "status": lambda d: d["rows"][0].update(status="fine"),
    "site": lambda d: d["rows"][0].update(site="blocks"),
    "index": lambda d: d["rows"][0].update(layer_index=-1),
    "samples": lambda d: d["rows"][0].update(samples=["x"]),
    "verdict": lambda d: d["depth"][0].update(verdict="fine"),
    "decay": lambda d: d["depth"][0].update(decay="fast"),
    "checksum": lambda d: d["inputs"].update(sha256="xyz"),
    "time": lambda d: d.update(created="yesterday"),
    "note": lambda d: d["notes"].append({"code": "X", "text": "t"}),
    "shape": lambda d: d["layers"][0].update(shape=["8"]),
    "coverage": lambda d: d["coverage"].update(found=None),
    "list": lambda d: d.update(model=[]),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_does_not_validate(name: str) -> None:
    data = copy.deepcopy(a_report(depth=2).to_dict())
    READER.validate(data)
    BREAKS[name](data)
    with pytest.raises(jsonschema.ValidationError):
        READER.validate(data)
