"""Run every check, each to its end, and say how long each took. Exit 1 where one failed.

The output of a part is shown where it fails; of the test runs the closing line is always shown, and that a
browser could not be had.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ".venv/bin/python"
# A file of tests on each core; more than 4 at once would want more memory than a small machine has.
AT_ONCE = ["--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
PARTS = {
    "install": [sys.executable, ".ci/install.py", "check"],
    "browser": [sys.executable, ".ci/browser.py"],
    "format": [PYTHON, "-m", "ruff", "format", "--check", "--quiet", "."],
    "lint": [PYTHON, "-m", "ruff", "check", "--quiet", "."],
    "types": [PYTHON, "-m", "mypy"],
    "docs": [PYTHON, "docs/generate.py", "--check"],
    "figures": [PYTHON, "docs/architectures.py", "--check"],
    "site": [PYTHON, "docs/build.py"],
    "doctests": [PYTHON, "-m", "pytest", "--quiet", "rankscope"],
    "tests": [PYTHON, "-m", "pytest", "--quiet", "--cov", "--cov-report=", *AT_ONCE, "tests"],
}
# How the tests say that they skip because a package is missing. Here none may be.
MISSING = re.compile(r"^SKIPPED.*(which `make check` installs|not installed|in the extra)", re.MULTILINE)


def run(name: str, command: list[str]) -> tuple[bool, float]:
    """Run one part; its output is shown where it fails.

    Args:
        name: what the part is called.
        command: what it runs.

    Returns:
        Whether it passed, and the seconds it took.
    """
    print(f"{name} ...", flush=True)
    start = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    passed = done.returncode == 0 and not MISSING.search(done.stdout)
    if not passed:
        print(done.stdout, flush=True)
    elif "pytest" in command or (name == "browser" and done.stdout):
        print(done.stdout.strip().splitlines()[-1], flush=True)
    return passed, time.monotonic() - start


def main() -> int:
    """Run the parts.

    Returns:
        The exit code.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests run on every core already
    results = {}
    for name, command in PARTS.items():
        results[name] = run(name, command)
        if name == "install" and not results[name][0]:
            break
    print()
    for name, (passed, seconds) in results.items():
        print(f"{name:10} {'ok' if passed else 'FAILED':8} {seconds:6.1f} s")
    print(f"{'total':10} {'':8} {sum(seconds for _, seconds in results.values()):6.1f} s", flush=True)
    return 0 if all(passed for passed, _ in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
