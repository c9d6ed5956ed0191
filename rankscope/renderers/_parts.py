"""Parts of a report in words, shared by the formats for people. Every text that comes back is one printable line."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rankscope.depth import MU_BAR, RESIDUAL
from rankscope.records import display_name
from rankscope.renderers._screen import plain
from rankscope.renderers._sentence import sentence
from rankscope.table import at_floor, number, numbers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rankscope.records import Report, Row
    from rankscope.table import Column, Table


def facts(report: Report) -> list[tuple[str, str]]:
    """What was measured, as pairs (label, text): the model, its inputs, and the machine."""
    model, inputs, where = report.model, report.inputs, report.environment
    count = model.get("parameters")
    size = f"{count:,} parameters" if isinstance(count, int) else None
    kind = [model.get("class"), size, model.get("format")]
    named = plain(model.get("spec", "model"))
    told = ", ".join(plain(part) for part in kind if part)
    lines = [("model", f"{named} ({told})" if told else named)]
    if model.get("edits"):
        lines.append(("edits", ", ".join(plain(edit) for edit in model["edits"])))
    if inputs:
        lines.append(("inputs", inputs_line(inputs)))
    run = [where.get("device"), where.get("dtype"), where.get("spectra") and f"spectra {where['spectra']}"]
    if any(run):
        lines.append(("run", plain(", ".join(str(part) for part in run if part))))
    return lines


def inputs_line(inputs: object) -> str:
    """Source, seed, and how many sequences of how many tokens.

    Args:
        inputs: what a report says of its inputs.

    Returns:
        One printable line.
    """
    known = dict(inputs) if isinstance(inputs, dict) else {}
    sequences, tokens = known.get("sequences"), known.get("tokens")
    source, seed = str(known.get("source", "inputs")), known.get("seed")
    parts = [source] if seed is None or "seed" in source else [source, f"seed {seed}"]
    if isinstance(sequences, int) and isinstance(tokens, int) and sequences:
        some = f"{sequences:,} sequence" if sequences == 1 else f"{sequences:,} sequences"
        span = lengths(known)
        each = span and (f"{span[0]:,}" if span[0] == span[1] else f"{span[0]:,} to {span[1]:,}")
        parts += [f"{some} of {each} tokens"] if each else [some, f"{tokens:,} tokens"]
    return plain(", ".join(parts))


def lengths(inputs: object) -> tuple[int, int] | None:
    """The fewest and the most tokens of a sequence, where a report tells: older ones do not.

    Args:
        inputs: those of a report.

    Returns:
        Both ends, or None.
    """
    span = inputs.get("lengths") if isinstance(inputs, dict) else None
    whole = isinstance(span, list | tuple) and len(span) == 2 and all(isinstance(end, int) for end in span)
    return (span[0], span[1]) if span and whole else None


def verdict(report: Report, stack: str) -> tuple[str, str] | None:
    """The verdict of a stack: the word, and the sentence."""
    for entry in report.depth:
        if entry.stack == stack and entry.measure == RESIDUAL:
            return entry.verdict, plain(sentence(entry, report.rows))
    return None


def learned(report: Report, stack: str) -> list[tuple[str, str]]:
    """What the blocks of a stack say of their λ and value mixes, for audit: each name with its numbers over the blocks.

    Args:
        report: any report.
        stack: one of its stacks.

    Returns:
        Pairs (label, text); none for most models.
    """
    layers = [layer for layer in report.layers if layer.stack == stack and layer.index > 0]
    told = []
    for name in dict.fromkeys(name for layer in layers for name in layer.lambdas):
        texts = numbers([layer.lambdas.get(name) for layer in layers])
        told.append((display_name(name), f"{' '.join(text or '–' for text in texts)} (k = 1 … {layers[-1].index})"))
    return told


def what_helps(word: str) -> str | None:
    """The command that says what to do about a verdict; none where nothing needs doing."""
    return f"rankscope explain {word}" if word in {"collapsed", "thinning"} else None


def coverage(report: Report) -> str:
    """How many layers were found, hooked, fired, measured and skipped, and why."""
    cover = report.coverage
    line = f"{cover.found} found, {cover.hooked} hooked, {cover.fired} fired, {cover.measured} measured"
    if not cover.skipped:
        return line
    reasons = defaultdict(list)
    for name, reason in cover.skipped.items():
        reasons[plain(reason)].append(display_name(name))
    told = "; ".join(f"{_some(names)}: {reason}" for reason, names in reasons.items())
    return f"{line}, {len(cover.skipped)} skipped ({told})"


def _some(names: list[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more} more"


@dataclass(slots=True)
class Footnotes:
    """The distinct reasons for missing numbers, each told once and numbered in the order of appearance."""

    texts: list[str] = field(default_factory=list)
    floor: bool = False

    def mark(self, row: Row) -> int:
        """The number of the footnote of a row that has no number.

        Args:
            row: a row whose status is not ok.

        Returns:
            A number from 1 on.
        """
        text = plain(f"{row.status}: {row.reason}" if row.reason else row.status)
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def split(table: Table) -> tuple[list[Column], list[tuple[str, str]]]:
    """Columns with a number somewhere, and lines that say which others there are and why they have none.

    Args:
        table: one stack.

    Returns:
        The columns to show, and pairs (label, text) of the rest.
    """
    shown = [column for column in table.columns if any(value is not None for value in column.values)]
    reasons: dict[str, list[str]] = defaultdict(list)
    for column in table.columns:
        if column not in shown:
            reasons[_why(column.rows)].append(column.label)
    return shown, [("absent", f"{', '.join(labels)}: {why}") for why, labels in reasons.items()]


def _why(rows: Iterable[Row | None]) -> str:
    reasons = dict.fromkeys(plain(f"{r.status}: {r.reason}" if r.reason else r.status) for r in rows if r is not None)
    return "; ".join(list(reasons)[:2]) + ("; …" if len(reasons) > 2 else "")


def cells(column: Column, notes: Footnotes, unicode: bool = True) -> list[tuple[str, int]]:
    """The texts of a column, each with the number of its footnote (0 for none).

    Args:
        column: one measure over the layers.
        notes: takes the reasons of what is missing.
        unicode: without it the marks are ASCII.

    Returns:
        As many pairs as there are layers.
    """
    texts = numbers(column.values)
    found: list[tuple[str, int]] = []
    for row, text in zip(column.rows, texts, strict=True):
        if row is None:
            found.append(("", 0))
        elif number(row) is None:
            found.append(("—" if unicode else "--", notes.mark(row)))
        else:
            notes.floor |= at_floor(row)
            found.append(((("≤" if unicode else "<") if at_floor(row) else "") + text, 0))
    return found


def floor_note(report: Report) -> str:
    """What the mark of a value at the floor means."""
    dtype = report.environment.get("dtype", "the data's dtype")
    return f"at or below the noise floor of {plain(dtype)} at this shape: smaller values cannot be told apart"


VERDICT_MEASURES = (RESIDUAL, MU_BAR)
