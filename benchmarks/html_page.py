"""What the HTML pages cost: bytes, the seconds to make them, and what a browser needs to show them.

The pages are those whose sizes the tests hold to a limit: 96 layers, three models, the measures of the preset `full`.
Reports are saved and read back, as for ``rankscope compare a.json vs b.json c.json -o side.html``. The browser is
headless Chromium; without one its numbers are null. JSON goes to stdout, and to a file with --out.

    python benchmarks/html_page.py --depth 96
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from chromium import BROWSER, DRIVER, Browser, running
from large_page import DEPTH, large_reports, many_rules

import rankscope
from rankscope import compare
from rankscope.renderers import COMPARISONS, FINDINGS, RENDERERS, save
from rankscope.requirements import judge
from rankscope.saved import load

if TYPE_CHECKING:
    from collections.abc import Callable

PAINTED = "return performance.getEntriesByName('first-contentful-paint').map(e => e.startTime / 1e3)[0] ?? null"
READY = "return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd / 1e3"


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall time of one call, and what it gave."""
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def made(folder: Path, depth: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Write each page `repeats` times; what it is made from is timed once."""
    files = [folder / f"{letter}.json" for letter in "abc"]
    for report, file in zip(large_reports(depth), files, strict=True):
        save(report, file)
    reading, reports = timed(lambda: [load(file) for file in files])
    comparing, comparison = timed(lambda: compare(*files))
    judging, findings = timed(lambda: judge(reports[0], many_rules()))
    work: dict[str, tuple[float, Callable[[], str]]] = {
        "reports": (reading, lambda: RENDERERS["html"].text(reports)),
        "comparison": (comparing, lambda: COMPARISONS["html"].text(comparison)),
        "findings": (judging, lambda: FINDINGS["html"].text(findings)),
    }
    found = {}
    for name, (before, write) in work.items():
        text = write()
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
        start = time.process_time()
        seconds = [timed(write)[0] for _ in range(repeats)]
        found[name] = {
            "bytes": len(text.encode()),
            "subject_s": before,
            "page_processor_s": (time.process_time() - start) / repeats,
            "page_s": {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)},
        }
    return found


def shown(browser: Browser, page: Path) -> dict[str, float]:
    """Seconds from the request of a page to its first paint, and until its script has run."""
    browser.open("about:blank")
    browser.open(page)
    while (painted := browser.run(PAINTED)) is None:
        time.sleep(0.02)
    return {"first_paint_s": painted, "interactive_s": browser.run(READY)}


def main() -> int:
    """Make the pages and show them.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--depth", type=int, default=DEPTH)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = made(folder, given.depth, given.repeats)
        if DRIVER and BROWSER:
            with running() as (browser, _):
                for page, entry in pages.items():
                    runs = [shown(browser, folder / f"{page}.html") for _ in range(given.repeats)]
                    entry["browser"] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    result = {
        "benchmark": "html_page",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rankscope": rankscope.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "layers": given.depth,
        "models": len(large_reports(given.depth)),
        "repeats": given.repeats,
        "pages": {page: {"browser": None, **entry} for page, entry in pages.items()},
    }
    text = json.dumps(result, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
