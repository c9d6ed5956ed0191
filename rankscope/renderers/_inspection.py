"""What `rankscope inspect` shows: the file, the model, its stacks with like blocks folded, and the way out."""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import TYPE_CHECKING

from rich.text import Text

from rankscope.formats import size
from rankscope.records import display_name
from rankscope.renderers._screen import Screen, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.facts import BlockFacts, StackFacts, SumFacts
    from rankscope.inspection import Inspection, Refusal
    from rankscope.renderers import Style


def render_inspection(found: Inspection, style: Style) -> str:
    """An inspection for people.

    Args:
        found: what `inspect` found.
        style: what the reader's screen can show.

    Returns:
        The whole text.
    """
    screen = Screen(style)
    screen.pairs(_facts(found))
    for stack in found.stacks:
        screen.line()
        _stack(screen, stack)
    if found.outside:
        screen.line()
        screen.pairs([("outside", _summed(found.outside))])
    if found.refusal is not None:
        screen.line()
        _refusal(screen, found.refusal)
    told = [("skipped", f"{display_name(name)}: {plain(reason)}") for name, reason in found.skipped.items()]
    told += [("note", f"{plain(note.text)} [{note.code}]") for note in found.notes]
    if told:
        screen.line()
    screen.pairs(told)
    return screen.text()


def _facts(found: Inspection) -> list[tuple[str, str]]:
    """What the file is and holds, and what the model is."""
    lines: list[tuple[str, str]] = []
    description, model = found.description, found.model
    if description is not None:
        lines.append(("file", f"{plain(found.spec)}: {description.kind}, {size(description.size)}"))
        lines += [(plain(label), plain(text)) for label, text in description.facts]
        lines.append(("loads", plain(description.loads)))
    if model is not None:
        count = "1 parameter" if model.parameters == 1 else f"{model.parameters:,} parameters"
        parts = [display_name(model.type), count, size(model.size), *model.dtypes]
        named = "" if description is not None else f"{plain(model.spec)}: "
        lines.append(("model", f"{named}{', '.join(parts)} ({plain(model.form)})"))
    lines += [("edit", plain(edit)) for edit in found.edits]
    if found.inputs is not None:
        lines.append(("inputs", plain(found.inputs)))
    return lines


def _stack(screen: Screen, stack: StackFacts) -> None:
    """One stack: its title, a line for each run of blocks that are alike, and the reasons for what is not seen."""
    count = len(stack.blocks)
    kinds = f" {screen.times} {display_name(stack.types[0])}" if len(stack.types) == 1 else " blocks"
    title = Text(display_name(stack.stack) or "model", style="bold")
    norm = f", {stack.norm}-norm" if stack.norm in {"pre", "post"} else f", {stack.norm} norms" if stack.norm else ""
    screen.line(title.append(f": {count}{kinds}{norm}", style="not bold"))
    told: list[str] = []
    several = len(stack.types) > 1
    headings = [("\nk", "right"), ("\nblock", "fold"), *([("\ntype", "fold")] if several else [])]
    headings += [("\nalike", "right"), ("\nadds", "right"), ("other\nsums", "right")]
    grid = screen.grid([*headings, ("\nvalues", "left"), ("\nattention", "left")])
    for blocks in _runs(stack.blocks):
        first, last = blocks[0], blocks[-1]
        alike = len(blocks) > 1
        name = display_name(first.layer)
        cells = [
            _span(blocks),
            f"{name} … {display_name(last.layer)}" if alike else name,
            *([display_name(first.type)] if several else []),
            str(len(blocks)) if alike else "",
            str(first.adds),
            str(first.internal),
            _seen(screen, first.values, first.no_values, told),
            _seen(screen, first.attention, first.no_attention, told),
        ]
        grid.add_row(*map(Text, cells))
    screen.console.print(grid)
    screen.pairs([(screen.mark(i + 1), text) for i, text in enumerate(told)], label="dim")
    summed = [(_span(blocks), _summed(blocks[0].sums)) for blocks in _runs(stack.blocks) if blocks[0].sums]
    screen.pairs([(f"sums {span}", text) for span, text in summed], label="dim")


def _span(blocks: Sequence[BlockFacts]) -> str:
    first, last = blocks[0], blocks[-1]
    return str(first.index) if first is last else f"{first.index}–{last.index}"


def _summed(sums: Sequence[SumFacts]) -> str:
    """Sums in words: where, by which function, which operand is the skip, and whether edits act on it."""
    words = []
    for each in sums:
        where = f"{display_name(each.module)}: " if each.module else ""
        kind = " through a map" if each.kind == "projection" else ", of several streams" if each.mixed else ""
        skip = ("first", "second")[each.skip]
        words.append(f"{where}{plain(each.operation)}, skip {skip}{kind}, {each.status}")
    return "; ".join(words)


def _runs(blocks: Sequence[BlockFacts]) -> list[list[BlockFacts]]:
    """Neighbours that differ in name and number alone."""
    return [list(run) for _, run in groupby(blocks, lambda block: dataclasses.replace(block, index=0, layer=""))]


def _seen(screen: Screen, how: str | None, reason: str | None, told: list[str]) -> str:
    """Whether something is seen, with the mark of how, or of the reason why it is not."""
    text = plain(how or reason or "not looked for")
    if text not in told:
        told.append(text)
    return ("—" if how is None else "yes") + screen.mark(told.index(text) + 1)


def _refusal(screen: Screen, refusal: Refusal) -> None:
    """Why there is no more, and the next steps, the safest first."""
    screen.line(Text(plain(refusal.text), style="yellow").append(f" [{refusal.code}]", style="dim"))
    screen.pairs([(plain(label), plain(text)) for label, text in refusal.details], indent=2)
    screen.steps(refusal.remedies)
