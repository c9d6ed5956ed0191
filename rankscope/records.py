"""Records: the frozen vocabulary that passes between the parts, without torch: `Batch` goes in, `Report` comes out."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rankscope.errors import CannotMeasure
from rankscope.plain import build, finite, listed, part, wrong

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    import torch

    from rankscope.sums import Sums

SCHEMA = "rankscope.report/1"
Status = Literal["ok", "undefined", "skipped", "error"]
Scope = Literal["sequence", "pooled", "batch"]
Site = Literal["block", "value", "attention", "gradient", "weight_gradient", "jacobian"]


@dataclass(frozen=True, slots=True)
class Batch:
    """One call of the model.

    `keep` maps the name of a mask among the arguments to a boolean tensor (batch, tokens), true at real tokens; empty
    where every token is real.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    keep: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """A model and where it came from.

    `spec` is what the user typed, without absolute paths; `format` the form it was recognised as; `example` the inputs
    that came with it; `directory` where its tokenizer may lie; `edits`, as text or made in Python, are in force
    while it is measured.
    """

    model: torch.nn.Module
    spec: str
    format: str
    sha256: str | None = None
    example: Batch | None = None
    directory: Path | None = None
    notes: tuple[Note, ...] = ()
    edits: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Inputs:
    """Batches for one run, and what a report says of them. `batches` may be iterated more than once."""

    batches: Iterable[Batch]
    source: str
    seed: int | None = None
    layout: str | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values of a batch of matrices (*batch, rows, width).

    `singular_values` (*batch, n) float64, descending, n = min(rows, width); `error` (*batch, n) bounds the absolute
    numerical error of each; `rows` and `width` are the shape of one matrix.
    """

    singular_values: torch.Tensor
    error: torch.Tensor
    rows: int
    width: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something a reader of the numbers should know."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Layer:
    """A measured place: `index` 0 is the input of the first block of its stack, k = 1..K the outputs of the blocks."""

    stack: str
    index: int
    name: str
    type: str
    shape: tuple[int, ...] = ()
    lambdas: Mapping[str, float] = field(default_factory=dict, hash=False)  # what the block says of its λ and mixes


@dataclass(frozen=True, slots=True)
class Keyed:
    """What was measured and where; `key` is unique in a report."""

    stack: str
    layer_index: int
    layer: str
    site: Site
    scope: Scope
    head: int | None
    parameter: str | None
    measure: str
    version: int

    @property
    def key(self) -> tuple[str, int, str, str, int | None, str | None, str]:
        """Stack, layer_index, site, scope, head, parameter, measure."""
        return (self.stack, self.layer_index, self.site, self.scope, self.head, self.parameter, self.measure)


@dataclass(frozen=True, slots=True)
class Row(Keyed):
    """One value of one measure at one place."""

    value: float | None
    min: float | None = None
    max: float | None = None
    std: float | None = None
    samples: tuple[float | None, ...] = ()
    error: float | None = None
    ceiling: float | None = None
    reference: float | None = None
    floor: float | None = None
    sequences: int = 0
    tokens: int = 0
    status: Status = "ok"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Vector(Keyed):
    """Several numbers of one measure at one place, for each sequence or the one pool, each within `error`."""

    samples: tuple[tuple[float, ...] | None, ...] = ()
    error: float | None = None
    status: Status = "ok"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Depth:
    """How one measure falls over the depth of one stack, and the verdict of the stack (definitions: §3)."""

    stack: str
    measure: str
    verdict: str
    layer: str | None
    decay: str | None
    rate: float | None
    r2: float | None
    exponent: float | None
    worst_verdict: str | None = None
    worst_layer: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Layers found, hooked, fired and measured; `skipped` maps the name of a layer to the reason."""

    found: int = 0
    hooked: int = 0
    fired: int = 0
    measured: int = 0
    skipped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """What a probe found. Equal reports hold equal rows; `created` and `environment` may differ.

    Example:
        >>> report = Report(model={"spec": "net"}, rows=())
        >>> Report.from_json(report.to_json()) == report
        True
    """

    model: Mapping[str, Any]
    rows: tuple[Row, ...]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    depth: tuple[Depth, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    notes: tuple[Note, ...] = ()
    spectra: tuple[Vector, ...] = ()
    created: str = ""
    rankscope: str = ""
    schema: str = SCHEMA
    sums: tuple[Sums, ...] = field(default=(), compare=False)  # of its pools; in no JSON

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data in the order of the published schema; numbers that are not finite become null.

        Returns:
            Nested dicts, lists, strings and finite numbers.
        """
        plain: dict[str, Any] = finite(dataclasses.asdict(dataclasses.replace(self, sums=())))
        del plain["sums"]
        return {name: plain[name] for name in _FIRST} | plain

    def to_json(self) -> str:
        """The report as JSON text, which `from_json` reads back to an equal report."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a report back.

        Args:
            text: what `to_json` gave.

        Returns:
            The report.

        Raises:
            CannotMeasure: the text is no report, or one of another schema version.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise CannotMeasure("RS602", f"not a report: {wrong(error)}") from error
        if (found := data.get("schema") if isinstance(data, dict) else None) != SCHEMA:
            code = "RS603" if str(found).startswith("rankscope.report/") else "RS602"
            raise CannotMeasure(code, f"not a report this version can read: schema {found!r}, expected {SCHEMA!r}")
        data = {"spectra": [], **data}  # older reports have none
        try:
            parts: dict[str, Any] = {name: listed(kind, data, name) for name, kind in _PARTS.items()}
            coverage = build(Coverage, part(data, "coverage"))
            rest = {n: part(data, n) for n in ("model", "inputs", "environment", "created", "rankscope", "schema")}
        except ValueError as error:
            raise CannotMeasure("RS602", f"not a report: {wrong(error)}") from error
        return cls(**rest, **parts, coverage=coverage)

    def to_frame(self) -> pd.DataFrame:
        """The long table: one line a row, the row keys as columns, `samples` left out.

        Returns:
            A DataFrame with the fields of `Row` as columns.
        """
        import pandas as pd

        names = [f.name for f in dataclasses.fields(Row) if f.name != "samples"]
        return pd.DataFrame([[getattr(row, name) for name in names] for row in self.rows], columns=names)

    def save(self, path: str | Path) -> None:
        """Write the report; the suffix chooses the format. The file appears whole or not at all.

        Args:
            path: a file such as ``report.json``, ``report.csv`` or ``report.md``.
        """
        from rankscope.renderers import save

        save(self, Path(path))

    def _repr_html_(self) -> str:
        """The wide table, for notebooks."""
        from rankscope.renderers.notebook import render_html

        return render_html(self)

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{d.stack}: {d.verdict}" for d in self.depth if d.measure == "rank_one_residual_unit")
        size = f"{len(self.layers)} layers, {len({row.measure for row in (*self.rows, *self.spectra)})} measures"
        return f"<Report {self.model.get('spec')!r}: {size}; {verdicts or 'no verdict'}>"


_PARTS: dict[str, type] = {"layers": Layer, "rows": Row, "spectra": Vector, "depth": Depth, "notes": Note}
_FIRST = ("schema", "rankscope", "created", "model", "inputs", "environment", "layers")


def display_name(text: str) -> str:
    """A name from a model file made safe to print: control characters become U+FFFD, 200 characters at most.

    Args:
        text: a layer name, key or class name; untrusted.

    Returns:
        One line of printable text.

    Example:
        >>> display_name("blocks.0" + chr(10) + "[31m") == "blocks.0" + chr(0xFFFD) + "[31m"
        True
    """
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= 200 else clean[:199] + "…"
