"""Parquet: the rows as a columnar file, through pyarrow, which the extra ``rankscope[parquet]`` installs.

The columns are those of JSON Lines without `samples`: model and created first, then the fields of a row. Whole numbers
are int64, numbers float64, and what is missing is null. The metadata of the file holds the schema of the report.
"""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any, BinaryIO

from rankscope.records import SCHEMA, Row
from rankscope.renderers import Style, renderer
from rankscope.renderers._rows import COLUMNS, lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.records import Report


@renderer("parquet", ".parquet", binary=True, needs="pyarrow.parquet", extra="parquet", rows=True)
def write(reports: Sequence[Report], stream: BinaryIO, _: Style) -> None:
    """Write the rows of all reports.

    Args:
        reports: any reports.
        stream: where to.
        _: not asked.
    """
    import pyarrow
    import pyarrow.parquet

    types = {"int": pyarrow.int64(), "float": pyarrow.float64(), "str": pyarrow.string()}
    schema = pyarrow.schema([(name, types[_kind(name)]) for name in COLUMNS], metadata={"rankscope.schema": SCHEMA})
    found = list(lines(reports))
    columns = {name: [_value(line[name]) for line in found] for name in COLUMNS}
    pyarrow.parquet.write_table(pyarrow.Table.from_pydict(columns, schema=schema), stream)


def _kind(name: str) -> str:
    """What a column holds, by the annotation of the field."""
    hint = typing.get_type_hints(Row).get(name, str)
    return next((kind.__name__ for kind in (int, float) if kind in {hint, *typing.get_args(hint)}), "str")


def _value(value: Any) -> Any:
    """A text that UTF-8 can carry; a name may hold half of a surrogate pair."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
