from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from large_page import MOST, large_pages, large_reports
from reports import HOSTILE, SEQUENCES, a_hostile_report, a_report, block_row, undefined_report
from swept import a_hostile_sweep, a_sweep, over_layers, searched

from rankscope import compare
from rankscope.cli import main
from rankscope.depth import RESIDUAL
from rankscope.records import Report, Vector, display_name
from rankscope.renderers import COMPARISONS, FINDINGS, RENDERERS, SWEEPS, save
from rankscope.renderers._axis import Axis
from rankscope.renderers._page.grids import spans
from rankscope.renderers._svg import Chart, Line, draw, strip
from rankscope.requirements import judge, parse
from rankscope.table import tables

ROOT = Path(__file__).resolve().parents[2]
HTML = RENDERERS["html"]
WORDS = """
html head meta title link style body svg defs path use rect text g polyline a header p h1 h2 h3 main section div article
span dl dt dd figure figcaption ul ol li details summary table caption thead tbody tr th td sup wbr form label input
select option output button footer script code
"""
KNOWN = set(WORDS.split())
VOID = {"meta", "link", "input", "wbr"}
UNCLOSED = {"td", "th", "tr", "thead", "tbody"}  # HTML lets their end tags out, which keeps a large table small


class Seen(HTMLParser):
    """Tags with their attributes, and the text in each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        self.texts = {tag: [text.strip() for text in texts] for tag, texts in self.texts.items()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in VOID | UNCLOSED:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in UNCLOSED:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        tag = self.tags[-1][0] if self.tags else "html"
        if tag in self.texts:
            self.texts[tag][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def data_of(text: str) -> Any:
    return json.loads(text.partition('id="data">')[2].partition("</script>")[0])


def numbers_of(text: str) -> list[list[str]]:
    """The lines of the full table: the text of every cell."""
    body = text.partition('<table id="numbers"')[2].partition("</table>")[0].partition("<tbody>")[2]
    lines = body.split("<tr>")[1:]
    return [[re.sub(r"<sup>.*|\n", "", cell) for cell in re.split(r"<t[dh][^>]*>", line)[1:]] for line in lines]


def spectral_report() -> Report:
    base = a_report(depth=8)
    samples = tuple(tuple(math.exp(-i - s) for i in range(64)) for s in range(SEQUENCES))
    where = [("blocks", k, f"blocks.{k}", "block", "sequence", None, None) for k in range(9)]
    return replace(base, spectra=tuple(Vector(*place, "singular_values", 1, samples) for place in where))


PAGES = {
    "one": lambda: HTML.text(a_report()),
    "two": lambda: HTML.text([a_report(decay=0.5, spec="a.pt"), a_report(depth=5, spec="b.pt", gradients=False)]),
    "twelve": lambda: HTML.text([a_report(spec=f"run/{i}.pt", decay=0.99 - 0.02 * i) for i in range(12)]),
    "hostile": lambda: HTML.text([a_hostile_report(), a_report(spec="</script><script>alert(1)</script>")]),
    "undefined": lambda: HTML.text(undefined_report()),
    "spectra": lambda: HTML.text(spectral_report()),
    "empty": lambda: HTML.text(Report(model={}, rows=())),
    "none": lambda: HTML.text([]),
    "compared": lambda: COMPARISONS["html"].text(compare(a_report(decay=0.5, spec="<a>"), a_report(spec="<b>"))),
    "hostile, compared": lambda: COMPARISONS["html"].text(compare(a_hostile_report(), a_report())),
    "checked": lambda: FINDINGS["html"].text(judge(a_report(decay=0.5), [parse("mu_bar >= 0.05"), parse("mu >= 0")])),
    "hostile, checked": lambda: FINDINGS["html"].text(judge(a_hostile_report(), [parse("mu_bar >= 0.5")])),
    "swept": lambda: SWEEPS["html"].text(a_sweep(lost=2)),
    "searched": lambda: SWEEPS["html"].text(searched()),
    "ranked": lambda: SWEEPS["html"].text(over_layers()),
    "hostile, swept": lambda: SWEEPS["html"].text(a_hostile_sweep()),
}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: make() for name, make in PAGES.items()}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound_and_holds_all_that_it_needs(pages: dict[str, str], name: str) -> None:
    text = pages[name]
    seen = Seen(text)
    assert seen.open == []
    assert {tag for tag, _ in seen.tags} <= KNOWN
    for _, attributes in seen.tags:
        assert not {
            key for key in attributes if key.startswith("on") or key in {"style", "src", "action", "formaction"}
        }
        address = attributes.get("href")
        assert address is None or address.startswith(("#", "data:,")), address
    assert "url(" not in text
    assert "@import" not in text
    assert text.isprintable() or not re.search(r"[^\n]", "".join(c for c in text if not c.isprintable()))


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_lets_in_its_own_style_and_script_alone(pages: dict[str, str], name: str) -> None:
    text = pages[name]
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    for rule, inside in (("style-src", style), ("script-src", script)):
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
    assert len(re.findall("<script", text)) == 2  # the other one is the data


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_by_those_who_do_not_see_it(pages: dict[str, str], name: str) -> None:
    seen = Seen(pages[name])
    assert len(seen.of("h1")) == 1
    levels = [int(tag[1]) for tag, _ in seen.tags if re.fullmatch(r"h\d", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for svg in seen.of("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and svg["aria-label"])
    assert len(seen.of("table")) == len(seen.of("caption"))
    assert all(head["scope"] in {"row", "col"} for head in seen.of("th"))
    ids = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in seen.tags:
        wanted = [attributes.get(key) for key in ("aria-labelledby", "aria-describedby")]
        wanted += [(attributes.get("href") or "").removeprefix("#")]
        assert all(word in ids or word.startswith("data:") for word in filter(None, wanted))


def test_the_verdict_comes_first_and_in_words(pages: dict[str, str]) -> None:
    seen = Seen(pages["two"])
    assert seen.texts["h1"] == ["a.pt: collapsed; b.pt: healthy"]
    assert seen.texts["h2"][0] == "Verdict"
    assert "From blocks.4 on: the tokens of every sequence are within" in pages["two"]
    assert Seen(pages["twelve"]).texts["h1"] == ["Of 12: 1 collapsed, 7 thinning, 4 healthy"]
    assert Seen(pages["none"]).texts["h1"] == ["Nothing was measured"]


def test_the_table_holds_every_number(pages: dict[str, str]) -> None:
    report = a_report()
    (table,) = tables(report)
    lines = numbers_of(pages["one"])
    assert [line[:2] for line in lines] == [[str(k), name] for k, name in zip(table.index, table.names, strict=True)]
    for i, line in enumerate(lines):
        for column, cell in zip(table.columns, line[2:], strict=True):
            value = column.values[i]
            if value is None:
                assert cell == ""
            else:
                assert float(cell.removeprefix("≤")) == pytest.approx(value, rel=0.06, abs=6e-4)
    two = numbers_of(pages["two"])
    assert [line[0] for line in two] == ["a.pt"] * 13 + ["b.pt"] * 6


def test_the_data_are_embedded_with_five_digits(pages: dict[str, str]) -> None:
    report = a_report()
    (table,) = tables(report)
    found = data_of(pages["one"])
    (stack,) = found["stacks"]
    assert stack["layer"] == list(table.names)
    for column in table.columns:
        for value, known in zip(stack["measures"][column.label], column.values, strict=True):
            assert value == (known if known is None else pytest.approx(known, rel=1e-4))
    assert found["reports"][0]["inputs"] == report.inputs


def test_hostile_names_are_text(pages: dict[str, str]) -> None:
    text = pages["hostile"]
    names = {display_name(name) for name in HOSTILE}
    assert names <= set(data_of(text)["stacks"][0]["layer"])
    shown = {re.sub(r"&(lt|gt|amp|#34|#39);", _unescaped, line[2]) for line in numbers_of(text)}
    assert names <= shown
    assert "<b>" not in text
    assert "alert(1)</script>" not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text
    for page in ("hostile, compared", "hostile, checked"):
        assert "alert(1)</script>" not in pages[page]


def _unescaped(found: re.Match[str]) -> str:
    return {"lt": "<", "gt": ">", "amp": "&", "#34": '"', "#39": "'"}[found[1]]


def test_what_is_missing_says_why(pages: dict[str, str]) -> None:
    text = pages["undefined"]
    assert "undefined: fewer than 4 tokens" in text
    assert "k = 0…3" in text
    assert set(re.findall(r"<td class=(\w+)>—<sup>1", text)) == {"undefined"}
    assert '<svg class="chart"' not in text
    assert "the output does not depend on a gradient" in pages["two"]


@pytest.mark.parametrize(
    ("name", "status"), [("skipped", "skipped"), ("error", "error"), ("undefined", "undefined"), ("nan", "undefined")]
)
def test_no_status_becomes_a_number(name: str, status: str) -> None:
    base = a_report(depth=2)
    bad = {"status": "ok" if name == "nan" else name, "value": math.nan if name == "nan" else None, "reason": "of old"}
    rows = tuple(replace(row, **bad) if row.measure == "mu_bar" and row.layer_index == 1 else row for row in base.rows)
    text = HTML.text(replace(base, rows=rows))
    assert text.count(f"<td class={status}>—<sup>1</sup>") == 1
    assert "nan" not in "".join(map("".join, numbers_of(text)))
    assert data_of(text)["stacks"][0]["measures"]["mu_bar"][1] is None


def test_a_chart_tells_the_numbers_of_each_layer(pages: dict[str, str]) -> None:
    figure = pages["two"].partition(f"<figure><h3>{RESIDUAL}</h3>")[2].partition("</figure>")[0]
    told = re.findall(r"<rect x=([\d.]+) width=([\d.]+)><title>(.*?)</title>", figure, re.DOTALL)
    assert len(told) == 13
    assert told[0][2] == "blocks.0.input, k = 0\na.pt: 0.930\nb.pt: 0.930"
    assert told[12][2] == "blocks.11, k = 12\na.pt: 2.3e-4"
    for (x, width, _), (after, _, _) in pairwise(told):
        assert float(x) + float(width) == pytest.approx(float(after), abs=0.2)  # no gap, and none over another
    one = pages["one"].partition(f"<figure><h3>{RESIDUAL}</h3>")[2]
    assert "<title>blocks.0.input, k = 0: 0.930</title>" in one
    for word in ("collapsed &lt; 0.05", "thinning &lt; 0.3", "log scale", "layer k", 'class="band s0"'):
        assert word in figure


def test_layers_of_other_names_are_told_apart_and_what_is_lost_says_so() -> None:
    base = a_report(depth=2, spec="a")
    lost: dict[str, Any] = {"status": "skipped", "value": None, "reason": "never ran"}
    rows = [replace(row, layer=f"h.{row.layer_index}", **(lost if row.layer_index == 2 else {})) for row in base.rows]
    layers = tuple(replace(layer, name=f"h.{layer.index}") for layer in base.layers)
    text = HTML.text([base, replace(base, rows=tuple(rows), layers=layers, model={"spec": "b"})])
    figure = text.partition(f"<figure><h3>{RESIDUAL}</h3>")[2].partition("</figure>")[0]
    assert "<title>k = 0\na, blocks.0.input: 0.930\nb, h.0: 0.930</title>" in figure
    assert "\nb, h.2: skipped</title>" in figure
    assert figure.count("<use href=#mx class=x ") == 1


def test_no_two_models_have_the_same_line(pages: dict[str, str]) -> None:
    legend = pages["twelve"].partition('class="legend"')[2].partition("</ul>")[0]
    styles = list(zip(re.findall(r'line (s\d)"', legend), re.findall(r"#(m\d)", legend), strict=True))
    assert len(set(styles)) == len(styles) == 12
    css = (ROOT / "rankscope/renderers/_page/page.css").read_text()
    dashes = [re.search(rf"\.line\.s{i} {{ stroke-dasharray: ([^;]+);", css) for i in range(1, 8)]
    assert len({dash[1] for dash in dashes if dash}) == 7


def test_the_heat_map_knows_which_end_is_healthy() -> None:
    def levels(measure: str, report: Report) -> str:
        line = HTML.text(report).partition('<table class="heat">')[2].partition(f">{measure}</th>")[2]
        return "".join(re.findall(r"<rect x=\d+ class=(\w+)>", line.partition("</tr>")[0]))

    assert levels(RESIDUAL, a_report(depth=3, decay=0.01)) == "h0h8h8h8"
    assert levels("effective_rank_unit", a_report(depth=2, decay=0.001)).startswith("h0h8")
    assert levels("grad_norm", a_report(depth=9)).startswith("n0")
    assert levels("grad_norm", a_report(depth=9)).endswith("n8")
    assert levels("token_norm_ratio", a_report(depth=3)) == "h0h1h1h1"  # 1.2 to 1.5: little, and shown as little
    assert "xh" in levels("value_cosine", a_report(depth=3)).replace("n", "h")


def test_spectra_are_drawn_as_curves(pages: dict[str, str]) -> None:
    text = pages["spectra"]
    figure = text.partition("<h3>singular_values")[2].partition("</figure>")[0]
    assert figure.count('class="line s') == 12  # six layers, each in the chart and in its legend
    assert "6 of 9 layers" in figure
    assert "singular_values" not in pages["one"]


def test_a_comparison_shows_where_its_models_differ() -> None:
    rows = [row for row in a_report(depth=4, decay=0.5).rows if row.measure != "mu"]
    other = replace(a_report(depth=4, spec="other.pt"), rows=tuple(rows))
    comparison = compare(a_report(depth=4), other)
    text = COMPARISONS["html"].text(comparison)
    seen = Seen(text)
    assert "A beside B" in seen.texts["h2"]
    assert display_name(comparison.sentence[:60]) in text
    assert text.count('<span class="word ') >= 5 + 2  # an outcome for each pair of layers, a verdict for each model
    assert "Layer by layer" in text


def test_a_check_shows_what_does_not_hold_and_why() -> None:
    rules = [replace(parse("mu_bar >= 0.1 @ last"), reason="the head <reads> it"), parse("value_cosine >= -1")]
    findings = judge(a_report(depth=9, decay=0.5), rules)
    text = FINDINGS["html"].text(findings)
    assert Seen(text).texts["h1"] == ["The check failed: 1 of 2 requirements not shown to hold"]
    for word in ("the head &lt;reads&gt; it", "mu_bar &gt;= 0.1 @ last", '<span class="word failed">', "first at "):
        assert word in text
    assert data_of(text)["passed"] is False
    good = FINDINGS["html"].text(judge(a_report(), [parse("mu_bar >= 0.1")]))
    assert Seen(good).texts["h1"] == ["The check passed: its requirement holds"]
    lost = FINDINGS["html"].text(judge(undefined_report(), [parse("mu_bar >= 0.1")]))
    assert "4 layers: k = 0…3" in lost
    alone = FINDINGS["html"].text(replace(findings, report=None))
    assert "first at " in alone
    assert "<h2" in alone


def test_the_command_line_writes_it_by_suffix_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        save(a_report(depth=2, spec=name), Path(f"{name}.json"))
    assert main(["report", "a.json", "b.json", "-o", "both.html", "-o", "both.htm"]) == 0
    capsys.readouterr()
    assert main(["report", "a.json", "b.json", "--format", "html"]) == 0
    assert capsys.readouterr().out.strip() == Path("both.html").read_text(encoding="utf-8").strip()
    assert Path("both.htm").read_text(encoding="utf-8") == Path("both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["reports", "comparison", "findings"])
def test_the_largest_pages_stay_below_a_megabyte(name: str) -> None:
    reports = large_reports()
    assert len(reports) == 3
    assert {layer.index for layer in reports[0].layers} == set(range(97))
    assert len({(row.measure, row.scope) for row in reports[0].rows}) >= 84
    size = len(large_pages()[name].encode())
    sys.stdout.write(f"{name}: {size} bytes\n")
    assert size < MOST


def test_a_spectrum_of_every_head_is_drawn_small() -> None:
    base = spectral_report()
    heads = tuple(replace(vector, head=head) for vector in base.spectra for head in range(16))
    part = HTML.text(replace(base, spectra=heads)).partition('id="spectra-h"')[2].partition("<section")[0]
    assert part.count("<figure>") == 16
    assert part.count("<g class=told>") == 6
    assert len(part) < 150_000


def test_ticks_are_round_and_inside() -> None:
    assert Axis(0, 1).ticks(5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert Axis(1e-7, 1, True).ticks(4) == pytest.approx([1e-6, 1e-4, 1e-2, 1])
    assert Axis(2, 5, True).ticks(3) == [2, 3, 4, 5]
    assert Axis(0, 4).ticks(8)[1] == 0.5
    assert Axis(0, 4, whole=True).ticks(8) == [0, 1, 2, 3, 4]
    for low, high in ((0, 1e-12), (-3e9, 2e7), (5, 5), (0.1, 0.10001)):
        ticks = Axis(low, high).ticks(5)
        assert all(low - 1e-9 * abs(low) <= tick <= high + 1e-9 * abs(high) for tick in ticks)
        assert len(ticks) <= 8
    assert [Axis(1, 100, True).at(value) for value in (-1, 0, 1, 10, 1e9)] == pytest.approx([0, 0, 0, 0.5, 1])


def test_a_curve_has_gaps_where_there_is_no_number() -> None:
    line = Line("a", 0, (0, 1, 2, 3, 4), (1.0, 1.0, None, 1.0, 0.5))
    svg = draw(Chart("x", "k", "", Axis(0, 4), Axis(0, 1), (line,), whole=False))
    (path,) = re.findall(r'<path class="line s0" d="(.*?)"', svg)
    assert path == "M54,14h94M334,14l94,100"
    steep = Line("a", 0, (0, 1, 2, 3), (0.0, 0.5, 1.0, 0.0))
    small = draw(Chart("x", "k", "", Axis(0, 3), Axis(0, 1), (steep,), whole=False))
    assert 'd="M54,214l125-100 124-100 125,200"' in small
    whole = draw(Chart("x", "k", "", Axis(0, 4), Axis(0, 1), (line,)))
    assert 'd="M54,14L147.5,14M334.5,14L428,114"' in whole


def test_equal_neighbours_of_a_strip_are_one_where_none_is_told() -> None:
    svg = strip(["h0", "h0", None, "h1"], [], "x")
    assert re.findall(r"<path class=(\w+) d=(\S+)", svg) == [("h0", "M0,0h2v1h-2z"), ("h1", "M3,0h1v1h-1z")]
    assert strip(["h0", None], ["<a>", "b"], "x").count("<title>") == 2


def test_layers_in_words() -> None:
    assert spans([0]) == "k = 0"
    assert spans([0, 1, 2, 5, 7, 8]) == "k = 0…2, 5, 7…8"


def test_markers_that_would_run_together_are_left_out() -> None:
    def drawn(points: int, style: int) -> list[tuple[str, float]]:
        ys = (0.5,) * points
        line = Line("a", style, tuple(range(points)), ys, hollow=frozenset({1}))
        svg = draw(Chart("x", "k", "", Axis(0, points - 1), Axis(0, 1), (line,)))
        return [(look, float(x)) for look, x in re.findall(r"<use href=#m\d( class=\w)? x=([\d.]+)", svg)]

    assert [look for look, _ in drawn(5, 0)] == ["", " class=o", "", "", ""]
    many = [x for _, x in drawn(97, 1)]
    assert many[0] == 54
    assert many[-1] == 428
    assert len(many) == 34
    assert many != [x for _, x in drawn(97, 2)]


EXTREMES = (0.0, 5e-324, 1e-310, 1.7e308, -1.7e308, 1.0, 1e-300, 3.0000000001)


@pytest.mark.parametrize("first", EXTREMES)
def test_no_number_is_too_large_or_too_small_for_a_page(first: float) -> None:
    for last in EXTREMES:
        rows = [
            block_row(measure, k, value, min=first, max=last, floor=first, reference=last, ceiling=last)
            for measure in (RESIDUAL, "effective_rank_unit", "grad_norm", "token_norm_ratio", "one_of_tomorrow")
            for k, value in enumerate((first, last))
        ]
        text = HTML.text(replace(a_report(depth=1), rows=tuple(rows), depth=(), created=math.nan))  # type: ignore[arg-type]
        assert not re.search(r"[\s\"=,](nan|inf)", text.partition("<table")[0].partition("</style>")[2])
        json.dumps(data_of(text), allow_nan=False)
