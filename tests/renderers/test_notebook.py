from __future__ import annotations

from html.parser import HTMLParser

from reports import HOSTILE, a_hostile_report, a_report, undefined_report

from rankscope.records import Report
from rankscope.renderers.notebook import render_html


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert all(name in {"class", "style"} for name, _ in attrs)
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_hostile_names_are_escaped_and_every_tag_closes() -> None:
    tags = Tags(render_html(a_hostile_report()))
    assert tags.open == []
    assert set(tags.seen) == {"div", "p", "b", "h4", "table", "tr", "th", "td"}
    assert tags.seen.count("tr") == len(HOSTILE) + 2  # the heading and the curves
    assert "\x1b" not in render_html(a_hostile_report())


def test_verdict_numbers_and_curves_are_there() -> None:
    page = render_html(a_report(depth=8, decay=0.5))
    assert "collapsed</b> from blocks.4 on" in page
    assert "█" in page
    assert "13 more" not in page


def test_a_report_shows_itself_in_a_notebook() -> None:
    assert a_report(depth=1)._repr_html_().startswith("<div")
    assert "fewer than 4 tokens" in undefined_report()._repr_html_()
    assert Tags(Report(model={}, rows=())._repr_html_()).open == []
