"""The page in a real browser: it draws, sorts and filters, complains of nothing and asks no network for anything."""

from __future__ import annotations

import functools
import http.server
import json
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from chromium import ABSENT, BROWSER, DRIVER, running
from large_page import large_pages
from reports import HOSTILE, a_hostile_report, a_report
from swept import a_hostile_sweep, searched

from rankscope import compare
from rankscope.records import display_name
from rankscope.renderers import COMPARISONS, FINDINGS, RENDERERS, SWEEPS
from rankscope.requirements import judge, parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from chromium import Browser

pytestmark = pytest.mark.skipif(DRIVER is None or BROWSER is None, reason=ABSENT)

CELLS = "return [...document.querySelectorAll('#numbers tbody tr')].filter(r => !r.hidden).map(r => {}).map(String)"
HEADS = "return [...document.querySelectorAll('#numbers thead th')].filter(h => !h.hidden).map(h => h.textContent)"
TAB, ENTER, SPACE = "\ue004", "\ue007", " "


@pytest.fixture(scope="module")
def chromium() -> Iterator[tuple[Browser, Path]]:
    with running() as found:
        yield found


@pytest.fixture
def browser(chromium: tuple[Browser, Path]) -> Browser:
    window, _ = chromium
    window.show(1200, 900)
    window.open("about:blank")
    window.log("browser")
    window.requests()
    return window


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = a_report(depth=4, decay=0.5, spec="a.pt")
    lost: dict[str, Any] = {"status": "skipped", "value": None, "reason": "never ran"}
    rows = tuple(replace(row, **lost) if (row.measure, row.layer_index) == ("mu_bar", 3) else row for row in base.rows)
    found = {
        "two": [replace(base, rows=rows), a_report(depth=11, spec="b.pt")],
        "hostile": [a_hostile_report(), a_report(spec="</script><script>alert(1)</script>" + "z" * 300)],
    }
    folder = tmp_path_factory.mktemp("pages")
    rules = [parse("mu_bar >= 0.05"), parse("value_cosine <= 0.5 @ last"), parse("mu >= 0")]
    texts = {name: RENDERERS["html"].text(reports) for name, reports in found.items()}
    texts |= {f"large {name}": text for name, text in large_pages().items()}
    texts["hostile comparison"] = COMPARISONS["html"].text(compare(*found["hostile"]))
    texts["hostile findings"] = FINDINGS["html"].text(judge(found["hostile"][0], rules))
    texts["sweep"] = SWEEPS["html"].text(searched())
    texts["hostile sweep"] = SWEEPS["html"].text(a_hostile_sweep())
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


def column(browser: Browser, number: int) -> list[str]:
    found: list[str] = browser.run(CELLS.format(f"r.cells[{number}].firstChild?.textContent ?? ''"))
    return found


def heads(browser: Browser) -> list[str]:
    return [text.replace("\n", "").strip(" ↕↑↓") for text in browser.run(HEADS)]


def type_into(browser: Browser, field: str, text: str) -> None:
    browser.run(f"const f = document.getElementById('{field}'); f.value = ''; f.focus(); f.select()")
    browser.press(*text) if text else browser.run(
        f"document.getElementById('{field}').dispatchEvent(new Event('input'))"
    )


def quiet(browser: Browser) -> None:
    assert browser.log("browser") == []


PAGES = ["two", "hostile", "hostile comparison", "hostile findings", "sweep", "hostile sweep"]
PAGES += ["large reports", "large comparison", "large findings"]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1400])
def test_it_draws_at_any_width_and_complains_of_nothing(
    browser: Browser, pages: dict[str, Path], name: str, dark: bool, width: int
) -> None:
    browser.show(width, 900, dark)
    browser.open(pages[name])
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), "the page itself is too wide"
    sizes = browser.run("return [...document.querySelectorAll('.figures .chart')].slice(0, 6).map(s => s.clientWidth)")
    assert min(sizes) > 250
    drawn = browser.run(
        "return [...document.querySelectorAll('.chart path.line')].filter(p => p.getTotalLength()).length"
    )
    assert drawn > 6
    ground = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(18, 22, 29)" if dark else "rgb(255, 255, 255)")
    assert browser.picture()[:4] == b"\x89PNG"
    quiet(browser)


def test_no_number_of_a_table_is_broken(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(400, 900)
    browser.open(pages["large comparison"])
    heights = "return [...document.querySelectorAll('.listing tbody tr')].slice(0, 97).map(r => r.offsetHeight)"
    assert len(set(browser.run(heights))) == 1
    caption = "return document.querySelector('.listing caption span').getBoundingClientRect().right <= innerWidth"
    assert browser.run(caption)


def test_text_stands_out_from_its_ground(browser: Browser, pages: dict[str, Path]) -> None:
    script = """
        const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
            .map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
            return .2126 * v[0] + .7152 * v[1] + .0722 * v[2] };
        const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
            if (!c.endsWith(', 0)')) return c } return getComputedStyle(document.body).backgroundColor };
        return [...document.querySelectorAll('p, h1, h2, h3, dt, dd, th, td, li, span, figcaption, summary, a, output')]
            .filter(e => e.offsetParent && e.textContent.trim()).map(e => { const s = getComputedStyle(e);
            const [a, b] = [light(s.color), light(ground(e))];
            return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.className + e.tagName] })
            .filter(([ratio]) => ratio < 4.5)
    """
    for dark in (False, True):
        browser.show(1200, 900, dark)
        browser.open(pages["two"])
        assert browser.run(script) == []


def test_a_click_on_a_heading_sorts(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["two"])
    before = column(browser, 3)
    assert len(before) == 5 + 12
    browser.click("#numbers thead th:nth-child(4) button")
    assert [float(text) for text in column(browser, 3)] == sorted(map(float, before))
    assert browser.run("return document.querySelector('[aria-sort]').ariaSort") == "ascending"
    browser.click("#numbers thead th:nth-child(4) button")
    assert [float(text) for text in column(browser, 3)] == sorted(map(float, before), reverse=True)
    assert browser.run("return document.querySelectorAll('[aria-sort]').length") == 1
    assert browser.run("return document.querySelector('[aria-sort]').ariaSort") == "descending"
    quiet(browser)


def test_what_has_no_number_comes_last_either_way(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["two"])
    at = heads(browser).index("mu_bar")
    for _ in range(2):
        browser.click(f"#numbers thead th:nth-child({at + 1}) button")
        assert column(browser, at)[-1] == "—"


def test_layers_sort_by_their_numbers(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["two"])
    browser.click("#numbers thead th:nth-child(3) button")
    names = column(browser, 2)
    assert names.index("blocks.9") < names.index("blocks.10")


def test_the_keyboard_sorts_too(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["two"])
    browser.run("document.querySelector('#numbers thead button').focus()")
    browser.press(TAB, ENTER)
    assert browser.run("return document.activeElement.parentElement.ariaSort") == "ascending"
    assert column(browser, 1) == sorted(column(browser, 1), key=int)
    browser.press(SPACE)
    assert browser.run("return document.activeElement.parentElement.ariaSort") == "descending"
    outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_layers_measures_and_states_are_filtered(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["two"])
    every = heads(browser)
    type_into(browser, "by-layer", "blocks.1")
    assert column(browser, 2) == ["blocks.1", "blocks.1", "blocks.10"]
    type_into(browser, "by-layer", "A.PT")
    assert set(column(browser, 0)) == {"a.pt"}
    type_into(browser, "by-layer", "")
    type_into(browser, "by-measure", "effective")
    assert heads(browser) == [*every[:3], *(name for name in every if "effective" in name)]
    type_into(browser, "by-measure", "")
    choose = "const s = document.getElementById('by-status'); s.value = '{}'; s.dispatchEvent(new Event('change'))"
    browser.run(choose.format("skipped"))
    assert column(browser, 2) == ["blocks.2"]
    assert browser.run("return document.getElementById('shown').value").startswith("1 of 17 layers")
    browser.run(choose.format("error"))
    assert column(browser, 2) == []
    browser.run(choose.format("ok"))
    assert len(column(browser, 2)) == 17
    quiet(browser)


def test_all_measures_are_had_by_a_click(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["two"])
    few = heads(browser)
    browser.click("#all-measures")
    assert set(few) < set(heads(browser))
    assert "mu" in heads(browser)


def test_without_scripts_everything_is_there_to_read(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(1200, 900, scripts=False)
    browser.open(pages["two"])
    browser.show(1200, 900)  # the page is made; now it can be asked again
    assert browser.run("return document.querySelectorAll('#numbers thead button').length") == 0
    assert "mu" in heads(browser)
    assert len(column(browser, 3)) == 17
    for selector in (".controls", "#save"):
        assert browser.run(f"return document.querySelector('{selector}').offsetParent === null")
    browser.run("document.querySelector('details').open = true")
    assert browser.run("return [...document.querySelectorAll('.chart')].every(s => s.clientWidth > 250)")


def test_hostile_names_are_shown_and_do_nothing(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["hostile"])
    assert {" ".join(display_name(name).split()) for name in HOSTILE} <= {
        " ".join(text.split()) for text in column(browser, 2)
    }
    assert browser.run("return document.scripts.length") == 2
    assert browser.run("return document.querySelectorAll('b, i, img, iframe, object, embed').length") == 0
    quiet(browser)


def test_the_policy_is_in_force(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["two"])
    browser.run(
        "const s = document.createElement('script'); s.textContent = 'window.evil = 1'; document.body.append(s)"
    )
    assert browser.run("return window.evil === undefined")
    browser.run("const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i)")
    told = [entry["message"] for entry in browser.log("browser")]
    assert len(told) >= 2
    assert all("Content Security Policy" in text for text in told)


def test_no_request_leaves_the_page(browser: Browser, pages: dict[str, Path]) -> None:
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_: Any) -> None:
            asked.append(self.path)

    folder = pages["two"].parent
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/two.html"
        browser.open(address)
        browser.run("document.querySelector('details').open = true; scrollTo(0, 1e6)")
        time.sleep(0.5)
        server.shutdown()
    assert asked == ["/two.html"]
    assert [url for url in browser.requests() if not url.startswith("data:")] == [address]
    quiet(browser)


def test_the_numbers_can_be_saved(chromium: tuple[Browser, Path], browser: Browser, pages: dict[str, Path]) -> None:
    _, folder = chromium
    browser.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.open(pages["two"])
    browser.click("#save")
    file = folder / "rankscope.json"
    for _ in range(100):
        if file.exists() and file.stat().st_size:
            break
        time.sleep(0.05)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [report["model"]["spec"] for report in found["reports"]] == ["a.pt", "b.pt"]
    quiet(browser)


@pytest.mark.parametrize("name", ["large reports", "large comparison", "large findings"])
def test_a_large_page_is_painted_soon(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name])
    script = "return performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)[0] ?? null"
    found = None
    for _ in range(100):
        if (found := browser.run(script)) is not None:
            break
        time.sleep(0.05)
    size = pages[name].stat().st_size
    sys.stdout.write(f"first paint of {size / 1e3:.0f} kB after {found:.0f} ms\n")
    assert found is not None
    assert found < 5_000  # half a second where nothing else runs; a busy machine is let off


def test_a_pointer_above_a_layer_is_told_its_numbers(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["two"])
    script = """
        const chart = document.querySelector('.chart'), at = chart.querySelectorAll('.told rect');
        chart.scrollIntoView({ block: 'center' });
        return [...at].map(r => { const b = r.getBoundingClientRect();
            const hit = document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2);
            return [hit === r, r.textContent.split('\\n').length, Math.round(b.height / b.width)] })
    """
    found = browser.run(script)
    assert len(found) == 12
    assert all(hit for hit, _, _ in found)
    assert [lines for _, lines, _ in found] == [3] * 5 + [2] * 7
    assert min(ratio for _, _, ratio in found) > 3
