"""The site of docs/: it builds without a warning, a mistake fails it, and it asks no network for anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import ABSENT, BROWSER, DRIVER, running

import rankscope

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))

pytest.importorskip("sphinx", reason="needs Sphinx, which `make check` installs")


def build(docs: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, docs / "build.py", "--out", out],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("docs") / "site"
    done = build(ROOT / "docs", out)
    assert done.returncode == 0, done.stdout
    assert done.stdout.strip() == f"open {(out / 'index.html').as_uri()}"
    return out


class Page(HTMLParser):
    """What a page links to, what it loads, and the names that it describes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.described: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        (self.links if tag == "a" else self.loads).add(found.get("href", ""))
        self.loads |= {found.get(name, "") for name in ("src", "srcset", "data", "poster")}
        self.loads |= set(addresses(found.get("style", "")))
        if tag == "dt" and "id" in found:
            self.described.add(found["id"])


def addresses(css: str) -> list[str]:
    """What a style sheet loads."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    return re.findall(r"url\(\s*['\"]?([^'\")]+)", css) + re.findall(r"@import\s+['\"]([^'\"]+)", css)


def elsewhere(site: Path) -> list[str]:
    """What the pages and style sheets of a site load from another place."""
    loads = {load for path in site.rglob("*.html") for load in Page(path).loads}
    loads |= {load for path in site.rglob("*.css") for load in addresses(path.read_text(encoding="utf-8"))}
    return sorted(load for load in loads if re.match(r"(?:[a-z]+:)?//", load))


def test_every_page_is_in_the_sidebar_of_the_first(site: Path) -> None:
    links = Page(site / "index.html").links
    assert {name for name in PAGES if f"{name}.html" in links} == set(PAGES) - {"index"}
    text = (site / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'<p class="caption"[^>]*><span class="caption-text">(.*?)</span>', text) == [
        "Start",
        "How to",
        "Reference",
        "Project",
    ]


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    assert elsewhere(site) == []


def test_what_is_loaded_from_elsewhere_is_seen(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        '<script src="https://a.example/x.js"></script><link href="//b.example/x.css"><a href="https://fine.example">'
        '<p style="background: url(http://c.example/x.png)"><img src="own.png" srcset="https://e.example/x 2x">'
    )
    (tmp_path / "page.css").write_text('@import "https://d.example/x.css"; p { background: url("own.png") }')
    assert [re.sub(r".*//(.).*", r"\1", load) for load in elsewhere(tmp_path)] == ["b", "c", "a", "d", "e"]


def test_the_page_of_python_has_every_public_name_and_no_private_one(site: Path) -> None:
    described = Page(site / "python.html").described
    assert {f"rankscope.{name}" for name in rankscope.__all__ if name != "__version__"} <= described
    assert [name for name in described if any(part.startswith("_") for part in name.split("."))] == []


def test_a_dead_link_a_lost_page_and_an_unknown_name_fail(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "CHANGELOG.md", tmp_path)
    shutil.copytree(ROOT / "rankscope", tmp_path / "rankscope", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (docs / "lost.md").write_text("# Lost\n\n[dead](nowhere.md) [heading](cli.md#nothing)\n")
    with (docs / "python.md").open("a") as page:
        page.write("\n```{eval-rst}\n.. autofunction:: rankscope.prob\n```\n")
    done = build(docs, tmp_path / "site")
    assert done.returncode != 0
    for told in ("isn't included in any toctree", "nowhere.md", "nothing", "prob"):
        assert told in done.stdout, done.stdout
    assert "open file:" not in done.stdout


@pytest.mark.skipif(DRIVER is None or BROWSER is None, reason=ABSENT)
def test_the_pages_fit_a_telephone_and_ask_no_network_in_a_browser(site: Path) -> None:
    with running() as (browser, _):
        browser.show(400, 800)
        for name in PAGES:
            browser.open(site / f"{name}.html")
            width = browser.run("return document.documentElement.scrollWidth")
            assert width <= 400, f"{name}.html is {width} wide"
        assert [url for url in browser.requests() if re.match(r"(?:http|ws)s?:", url)] == []
        assert [entry["message"] for entry in browser.log("browser") if entry["level"] == "SEVERE"] == []
