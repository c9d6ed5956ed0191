from __future__ import annotations

import io
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from reports import a_hostile_report, a_report, undefined_report

from rankscope.errors import UsageError
from rankscope.renderers import RENDERERS, check, save
from rankscope.renderers._rows import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A pyarrow that writes down what it is asked, so that the format is tested where there is none."""
    seen: dict[str, Any] = {}
    arrow, parquet = types.ModuleType("pyarrow"), types.ModuleType("pyarrow.parquet")

    class Table:
        @staticmethod
        def from_pydict(columns: dict[str, list[Any]], schema: Any) -> Any:
            seen.update(columns=columns, schema=schema)
            return "table"

    def schema(fields: list[tuple[str, str]], metadata: dict[str, str]) -> dict[str, str]:
        seen.update(metadata=metadata)
        return dict(fields)

    vars(arrow).update(
        int64=lambda: "int64", float64=lambda: "float64", string=lambda: "string", schema=schema, Table=Table
    )
    vars(parquet).update(write_table=lambda table, stream: stream.write(b"PAR1"))
    arrow.parquet = parquet  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", arrow)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", parquet)
    return seen


def test_columns_have_the_types_of_the_row(stand_in: dict[str, Any], tmp_path: Path) -> None:
    report = a_report(depth=1)
    save([report, report], tmp_path / "all.parquet")
    assert (tmp_path / "all.parquet").read_bytes() == b"PAR1"
    types_ = stand_in["schema"]
    assert tuple(types_) == COLUMNS
    assert {name for name, kind in types_.items() if kind == "int64"} == {
        *("layer_index", "head", "version", "sequences", "tokens")
    }
    assert types_["value"] == types_["error"] == types_["reference"] == "float64"
    assert types_["model"] == types_["parameter"] == types_["status"] == "string"
    assert [len(column) for column in stand_in["columns"].values()] == [2 * len(report.rows)] * len(COLUMNS)
    assert stand_in["metadata"] == {"rankscope.schema": "rankscope.report/1"}


def test_half_a_surrogate_pair_does_not_stop_it(stand_in: dict[str, Any]) -> None:
    RENDERERS["parquet"].content(a_hostile_report())
    for name in stand_in["columns"]["layer"]:
        name.encode()


def test_the_file_reads_back() -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra rankscope[parquet]")
    reports = [a_report(depth=2, spec="a"), undefined_report()]
    content = RENDERERS["parquet"].content(reports)
    assert isinstance(content, bytes)
    table = parquet.read_table(io.BytesIO(content))
    rows = [row for report in reports for row in report.rows]
    assert tuple(table.column_names) == COLUMNS
    assert table.column("value").to_pylist() == [row.value for row in rows]
    assert table.column("layer").to_pylist() == [row.layer for row in rows]
    assert set(table.column("model").to_pylist()) == {report.model["spec"] for report in reports}


def test_without_pyarrow_the_install_line_is_told_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for act in (
        lambda: check([tmp_path / "r.parquet"]),
        lambda: save(a_report(depth=1), tmp_path / "r.parquet"),
        lambda: RENDERERS["parquet"].text(a_report(depth=1)),
    ):
        with pytest.raises(UsageError, match=r"pip install 'rankscope\[parquet\]'") as caught:
            act()
        assert caught.value.code == "RS606"
    assert list(tmp_path.iterdir()) == []


def test_it_is_no_text(stand_in: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"-o report\.parquet") as caught:
        RENDERERS["parquet"].text(a_report(depth=1))
    assert caught.value.code == "RS607"
