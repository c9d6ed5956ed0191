"""Measuring from the command line: a model is opened, its inputs gathered and its layers measured, behind a bar."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from rankscope.cli import _defaults, _options
from rankscope.cli._progress import working
from rankscope.errors import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Mapping

    import click

    from rankscope.cli._terminal import Terminal
    from rankscope.records import Report, Row, Vector


def measured(
    ctx: click.Context,
    terminal: Terminal,
    model: str,
    aliases: Mapping[str, str],
    *,
    keep_sums: bool = False,
    **measuring: Any,
) -> Report:
    """Measure a model as the options of the sections Model, Inputs and Measuring say.

    Args:
        ctx: the context of a command with those sections.
        terminal: where notes and the bar go.
        model: MODEL.
        aliases: names of models from the configuration.
        keep_sums: whether the report keeps the sums of its pools.
        **measuring: fields of `MeasureOptions` that go before the options.

    Returns:
        The report.
    """
    from rankscope.cli import _slips  # which `rankscope check REPORT` does without

    _slips.check(ctx, model, aliases)
    flags = {section: _options.given(ctx, section) for section in ("Model", "Inputs", "Measuring")}
    _defaults.announce(ctx, terminal, flags)
    seed = {key: value for key, value in flags["Inputs"].items() if key == "seed"}
    with working(terminal) as progress:
        from rankscope.inputs import InputOptions, gather
        from rankscope.measures import resolve
        from rankscope.pipeline import MeasureOptions, check_options, measure
        from rankscope.sources import LoadOptions, open_model

        wanted = InputOptions(**flags["Inputs"])
        options = MeasureOptions(**{**flags["Measuring"], **measuring})
        resolve(options.measures)
        check_options(options, wanted)  # a slip is told before a large model is read
        progress("opening the model", 0, None)
        source = open_model(model, LoadOptions(**flags["Model"], **seed, aliases=aliases))
        terminal.notes(source.notes)
        progress("gathering inputs", 0, None)
        batches = gather(source, wanted)
        terminal.notes(batches.notes)
        return measure(source, batches, options, progress=progress, keep_sums=keep_sums)


def insist(report: Report) -> None:
    """Fail where not one row has a number, with the most frequent reasons.

    Args:
        report: what was measured.

    Raises:
        CannotMeasure: no row is ok.
    """
    rows: list[Row | Vector] = [*report.rows, *report.spectra]
    if any(row.status == "ok" for row in rows):
        return
    reasons = Counter(row.reason or row.status for row in rows)
    details = [(f"{count} rows", reason) for reason, count in reasons.most_common(3)]
    told = f"none of {len(rows)} rows is ok" if rows else "no layer gave a row"
    raise CannotMeasure("RS440", f"no number could be had: {told}", details=details)
