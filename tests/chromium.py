"""A browser for the tests: headless Chromium through chromedriver, which speaks WebDriver over HTTP."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DRIVER = shutil.which("chromedriver")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_WHY = Path(__file__).resolve().parent.parent / ".venv" / "no-chromium"  # left there by .ci/browser.py
ABSENT = "no chromium and chromedriver, " + (
    f"and none can be had: {_WHY.read_text()}" if _WHY.exists() else "which `make check` installs"
)
FLAGS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "disable-dev-shm-usage",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "hide-scrollbars",
)
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """One window of one running browser."""

    def __init__(self, port: int, folder: str) -> None:
        self._at = f"http://127.0.0.1:{port}/session"
        options = {
            "binary": BROWSER,
            "args": [*(f"--{flag}" for flag in FLAGS), f"--user-data-dir={folder}"],
            "prefs": {"download.default_directory": folder},
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self._at += "/" + self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self._at + path, data, {"Content-Type": "application/json"}, method=method)
        with _DIRECT.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, page: Path | str) -> None:
        self._call("POST", "/url", {"url": page.as_uri() if isinstance(page, Path) else page})

    def run(self, script: str, *arguments: Any) -> Any:
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def command(self, name: str, **parameters: Any) -> Any:
        """One of the DevTools, which do what WebDriver cannot."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def press(self, *keys: str) -> None:
        """Press keys one after the other, where the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def click(self, selector: str) -> None:
        element = self._call("POST", "/element", {"using": "css selector", "value": selector})
        self._call("POST", f"/element/{next(iter(element.values()))}/click", {})

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What was logged since the last look."""
        entries: list[dict[str, Any]] = self._call("POST", "/se/log", {"type": kind})
        return entries

    def requests(self) -> list[str]:
        """The addresses that pages asked for since the last look."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def show(self, width: int, height: int, dark: bool = False, scripts: bool = True) -> None:
        """Set the window, the colours that the reader prefers, and whether scripts run."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        wish = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[wish])
        self.command("Emulation.setScriptExecutionDisabled", value=not scripts)

    def picture(self) -> bytes:
        return base64.b64decode(self._call("GET", "/screenshot"))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._call("DELETE", "")


@contextlib.contextmanager
def running() -> Iterator[tuple[Browser, Path]]:
    """A browser, and the folder that it saves files to; both are gone afterwards."""
    assert DRIVER is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "HOME": folder}
        driver = subprocess.Popen(
            [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        try:
            assert driver.stdout is not None
            found = next(filter(None, (re.search(r"successfully on port (\d+)", line) for line in driver.stdout)))
            browser = Browser(int(found[1]), folder)
            try:
                yield browser, Path(folder)
            finally:
                browser.close()  # else it outlives a test that fails
        finally:
            driver.terminate()
            driver.communicate(timeout=20)
