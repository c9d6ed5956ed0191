from __future__ import annotations

import dataclasses
import json

from reports import HOSTILE, a_hostile_report, a_report, undefined_report

from rankscope.records import Row
from rankscope.renderers import RENDERERS


def lines(*reports: object) -> list[dict]:
    text = RENDERERS["jsonl"].text(reports)  # type: ignore[arg-type]
    assert text.isascii()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_is_a_row_with_its_model_and_time() -> None:
    report = a_report(depth=2)
    found = lines(report)
    assert len(found) == len(report.rows)
    for line, row in zip(found, report.rows, strict=True):
        assert list(line) == ["model", "created", *(field.name for field in dataclasses.fields(Row))]
        assert (line["model"], line["created"]) == (report.model["spec"], report.created)
        assert (line["value"], line["measure"], line["samples"]) == (row.value, row.measure, list(row.samples))


def test_rows_of_several_reports_follow_each_other() -> None:
    first, second = a_report(depth=1, spec="a.pt"), a_report(depth=2, spec="b.pt")
    found = lines(first, second)
    assert found == lines(first) + lines(second)
    assert [line["model"] for line in found] == ["a.pt"] * len(first.rows) + ["b.pt"] * len(second.rows)


def test_names_stay_as_they_are_and_missing_numbers_are_null() -> None:
    names = {line["layer"] for line in lines(a_hostile_report())}
    assert names >= {name for name in HOSTILE if name}
    assert any(line["value"] is None and line["reason"] for line in lines(undefined_report()))
