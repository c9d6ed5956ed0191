from __future__ import annotations

import json

from reports import a_hostile_report, a_report

from rankscope.records import Report
from rankscope.renderers import RENDERERS, Style


def test_the_report_comes_back_equal_hostile_names_and_all() -> None:
    for report in (a_report(), a_hostile_report()):
        for style in (Style(), Style(unicode=False)):
            text = RENDERERS["json"].text(report, style)
            text.encode("utf-8")  # half of a surrogate pair among the names would not pass
            assert Report.from_json(text) == report
            assert text.endswith("}\n")


def test_an_ascii_screen_gets_ascii() -> None:
    text = RENDERERS["json"].text(a_hostile_report(), Style(unicode=False))
    assert text.isascii()
    assert json.loads(text)["layers"][15]["name"] == "名前.层.0"
    assert "名前" in RENDERERS["json"].text(a_report(spec="名前"), Style())
