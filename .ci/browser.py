"""Make Chromium and its driver available for the tests of the HTML page, where root and apt are there.

Where they cannot be had, the reason is left in .venv/no-chromium, and the tests skip with it: there is nothing that
`make check` could have done.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ABSENT = Path(__file__).resolve().parent.parent / ".venv" / "no-chromium"
PACKAGES = ("chromium", "chromium-driver")
PROGRAMS = ("chromium", "chromedriver")


def there() -> bool:
    """Whether both programs are on the path."""
    return all(shutil.which(program) for program in PROGRAMS)


def apt(*arguments: str) -> str | None:
    """Run apt-get; the last line of what it says where it fails, else None."""
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "--quiet", "--yes", *arguments]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout.strip().splitlines() or ["no output"])[-1] if done.returncode else None


def install() -> str | None:
    """Install the packages; why that is not possible, else None."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get to install them"
    if os.name != "posix" or os.geteuid() != 0:
        return f"only root can install them: apt-get install {' '.join(PACKAGES)}"
    wanted = ("install", "--no-install-recommends", *PACKAGES)
    if apt(*wanted) is None:
        return None
    return apt("update") or apt(*wanted)


def main() -> None:
    """Install what is missing, and leave the reason where that fails."""
    ABSENT.unlink(missing_ok=True)
    why = None if there() else install()
    if why is None and not there():
        why = "apt-get installed them, but they are not on the path"
    if why is not None:
        ABSENT.write_text(why)
        print(f"note: without {' and '.join(PROGRAMS)} the page is not tested in a browser: {why}")


if __name__ == "__main__":
    main()
