from __future__ import annotations

from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from reports import HOSTILE, a_hostile_report, a_report, undefined_report

from rankscope.records import display_name
from rankscope.renderers import RENDERERS

# HTML in the text is let through, so that a name that smuggled any in would show.
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


class Cells(HTMLParser):
    """Tags of a page, and the text of its table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def parsed(text: str) -> Cells:
    cells = Cells()
    cells.feed(PARSER.render(text))
    return cells


def test_golden(golden) -> None:
    golden("report.md", RENDERERS["md"].text(a_report(depth=3, decay=0.5)))
    golden("undefined.md", RENDERERS["md"].text(undefined_report()))


def test_hostile_names_are_text_and_no_markup() -> None:
    text = RENDERERS["md"].text(a_hostile_report())
    found = parsed(text)
    assert found.tags <= {"h2", "h3", "p", "ul", "li", "strong", "code", "table", "thead", "tbody", "tr", "th", "td"}
    lines = [row for row in found.rows if row[0].isdigit()]
    assert len(lines) == len(HOSTILE)
    assert {len(row) for row in lines} == {15}
    names = [row[1].replace("\N{ZERO WIDTH SPACE}", "") for row in lines]
    assert [name.strip() for name in names] == [display_name(name).strip() for name in HOSTILE]
    assert "@SUM" not in text


@pytest.mark.parametrize("start", ["# h", "- x", "1. x", "> x", "    x", "---", "| a |", "```", "<!-- x", "[a]: b"])
def test_no_name_begins_a_block(start: str) -> None:
    found = parsed(RENDERERS["md"].text(a_report(depth=1, spec=start)))
    assert found.tags <= {"h2", "h3", "p", "ul", "li", "strong", "code", "table", "thead", "tbody", "tr", "th", "td"}


def test_ordinary_names_stay_readable() -> None:
    text = RENDERERS["md"].text(a_report(depth=1))
    assert "| 1 | `blocks.0` |" in text
    assert "`rank_one_residual_unit`" in text
    assert "&#" not in text
