"""Put rankscope and what a target needs into .venv; quick when there is nothing to do.

    install.py base     the package, editable
    install.py test     and the tools: pytest, ruff, mypy, Sphinx
    install.py check    and the model packages of the tests
    install.py bench    the package, and the peers that the benchmark runs beside it

The environment variable TORCH chooses the torch:
    auto      what .venv has already; else the CPU build where no NVIDIA driver answers, the CUDA build where one does
    cpu       the CPU build; where its index cannot be reached, whatever the default index holds
    cuda      the build of the default index
    system    the torch of the Python that runs this script, reused and left as it is

torch goes in first and by itself, and every call of pip is held by constraints.txt: otherwise a package that wants
torch may replace it. An install that was killed half-way starts afresh the next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LEVELS = {"base": ("test", "check", "bench"), "test": ("check",), "check": (), "bench": ()}  # and which hold it too
ALONE = {"check": "models", "bench": "bench"}  # a group of packages taken without their own dependencies
CHOICES = ("auto", "cpu", "cuda", "system")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
OLDEST_TORCH = (2, 10)


def say(text: str) -> None:
    """One line on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def stop(headline: str, *lines: str) -> SystemExit:
    """The exit to raise: what is wrong, then what to do."""
    return SystemExit("\n  ".join((f"error: {headline}", *lines)))


def python() -> Path:
    """The interpreter of .venv."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def ask(interpreter: str | Path, code: str, timeout: float = 120) -> str | None:
    """What `code` prints last when `interpreter` runs it; None where it fails."""
    try:
        done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout.strip().splitlines() or [""])[-1] if done.returncode == 0 else None


# -- what to install ---------------------------------------------------------------------------------------------------


def requirements(level: str) -> list[str]:
    """What pip resolves for a level; torch and the model packages are not among them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    wanted += [*extras["dev"], *extras["docs"]] if level in ("test", "check") else []
    wanted += extras["hf"] if level == "check" else []
    return [line for line in wanted if not re.match(r"torch(?![\w-])", line)]


def taken_alone(level: str) -> list[str]:
    """Packages of a level that come without their own dependencies: models for the tests, peers of the benchmark."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return list(groups[ALONE[level]]) if level in ALONE else []


def fingerprint(level: str) -> str:
    """Changes when the level has to be installed anew."""
    models = taken_alone(level)
    pins = (ROOT / "constraints.txt").read_text()
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return hashlib.sha256(json.dumps([requirements(level), models, pins, package]).encode()).hexdigest()


# -- which torch -------------------------------------------------------------------------------------------------------


def driver_answers(timeout: float = 10.0) -> bool:
    """Whether an NVIDIA driver lists a GPU; a driver that is there and does not is a note, never a failure."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return False
    try:
        process = subprocess.Popen([smi, "-L"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        listed = process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in a broken driver it ignores even that
            process.communicate(timeout=1)
        say(f"note: nvidia-smi did not answer within {timeout:g} s; going on without a GPU")
        return False
    except OSError as error:
        say(f"note: nvidia-smi cannot be run ({error}); going on without a GPU")
        return False
    if process.returncode or "GPU " not in listed:
        say(f"note: nvidia-smi lists no GPU ({(listed.strip() or 'no output').splitlines()[0]}); going on without one")
        return False
    return True


def reachable(url: str, seconds: float = 5.0) -> bool:
    """Whether an index answers soon, tried twice. A process of its own: a look-up of a name knows no time-out."""
    code = (
        "import ssl, sys, urllib.error, urllib.request\n"
        f"try: urllib.request.urlopen({url!r}, timeout={seconds})\n"
        # pip brings its own certificates: let it try
        "except urllib.error.URLError as error: sys.exit(not isinstance(error.reason, ssl.SSLError))\n"
    )
    return any(ask(sys.executable, code, timeout=seconds + 1) is not None for _ in range(2))


def system_torch() -> tuple[str, list[str]]:
    """Version of the torch that the running interpreter imports, and that interpreter's folders of packages."""
    if Path(sys.prefix) == VENV:
        raise stop("TORCH=system reuses a torch from outside .venv, but .venv is active", "first:   deactivate")
    code = (
        "import json, sys, torch\n"
        "folders = [p for p in sys.path if p.endswith(('site-packages', 'dist-packages'))]\n"
        "print(json.dumps([torch.__version__, folders]))"
    )
    found = ask(sys.executable, code)
    advice = (
        "one that has it:   make PYTHON=/path/to/python3 TORCH=system ...",
        "one of its own:    make TORCH=cpu ...",
    )
    if found is None:
        raise stop(f"TORCH=system, but {sys.executable} cannot import torch", *advice)
    version, folders = json.loads(found)
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_TORCH:
        needed = ".".join(map(str, OLDEST_TORCH))
        raise stop(f"TORCH=system, but {sys.executable} has torch {version}; {needed} or newer is needed", *advice)
    return version, folders


# -- installing --------------------------------------------------------------------------------------------------------


def pip(*arguments: str) -> str | None:
    """Run pip in .venv, held by the constraints; its output where it failed, else None."""
    pins = VENV / "constraints.txt"
    settings = {
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_USER": "0",
        "PIP_REQUIRE_VIRTUALENV": "1",
    }
    done = subprocess.run(
        [python(), "-m", "pip", "install", "-c", pins, *arguments],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode else None


def must(output: str | None) -> None:
    """Stop with the end of pip's output where it failed."""
    if output is not None:
        (VENV / "installing").unlink(missing_ok=True)  # pip ended by itself: .venv is as it was before the call
        raise stop("pip failed", *output.strip().splitlines()[-25:])


def make_venv(why: str) -> None:
    """Make .venv, in the place of one that cannot be used."""
    base = getattr(sys, "_base_executable", sys.executable)
    say(f"making .venv with {base}{why}")
    (VENV / "installed.json").unlink(missing_ok=True)  # first: an interrupted clearing must not look complete
    done = subprocess.run([base, "-m", "venv", "--clear", VENV], capture_output=True, text=True, check=False)
    if done.returncode:
        raise stop("the virtual environment was not made", *(done.stdout + done.stderr).strip().splitlines()[-10:])


def link_torch(version: str, folders: list[str]) -> None:
    """Let .venv see the packages of another Python after its own, and hold torch at what is there."""
    site = ask(python(), "import sysconfig; print(sysconfig.get_paths()['purelib'])") or ""
    lines = [f"import site; site.addsitedir({folder!r})\n" for folder in folders]
    (Path(site) / "rankscope-system-torch.pth").write_text("".join(lines))
    pins = (VENV / "constraints.txt").read_text()
    (VENV / "constraints.txt").write_text(re.sub(r"(?m)^torch==.*$", f"torch=={version}", pins))


def install_torch(choice: str) -> None:
    """Put a torch of its own into .venv, unless the one that the constraints name is there."""
    have = ask(python(), "import importlib.metadata as m; print(m.version('torch').partition('+')[0])")
    if f"torch=={have}" in (VENV / "constraints.txt").read_text().split():
        return
    if choice == "cpu" and sys.platform == "linux":  # elsewhere the default index holds CPU builds
        quick = ("--timeout", "15", "--retries", "1", "--no-deps", "--index-url", CPU_INDEX)
        if reachable(f"{CPU_INDEX}/torch/") and pip(*quick, "torch") is None:
            return
        say(f"note: {CPU_INDEX} does not answer; taking torch from the default index")
    must(pip("torch"))


def note_unusable_gpu() -> None:
    """Say where a CUDA build finds no GPU it can use: everything else works, on the CPU."""
    code = (
        "import torch, warnings\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always'); ok = torch.cuda.is_available()\n"
        "print('ok' if ok else ' '.join(str(seen[-1].message).split()) if seen else 'no GPU found')"
    )
    answer = ask(python(), code)
    if answer not in (None, "ok"):
        say(f"note: torch cannot use CUDA here ({answer}); everything runs on the CPU")


def install(level: str, torch: str, linked: tuple[str, list[str]] | None) -> None:
    """Bring .venv to a level."""
    start = time.monotonic()
    say(f"installing into .venv: {level}, torch: {torch}; the first time takes minutes")
    (VENV / "constraints.txt").write_text((ROOT / "constraints.txt").read_text())
    link_torch(*linked) if linked else install_torch(torch)
    must(pip(*requirements(level), *([] if linked else ["torch"])))
    must(pip("--no-deps", "--no-build-isolation", "-e", "."))
    if packages := taken_alone(level):
        must(pip("--no-deps", *packages))
    if torch == "cuda":
        note_unusable_gpu()
    say(f"installed in {time.monotonic() - start:.0f} s")


def base_of_venv() -> str | None:
    """Where the Python that .venv was made with lives; None where .venv is no whole environment with a pip of its own.

    The interpreter of a half-deleted one still runs, as the Python it was made with, and pip would install there.
    """
    code = (
        "import pip._internal.cli.main as m, sys; print(sys.base_prefix if m.__file__.startswith(sys.prefix) else '')"
    )
    prefix = ask(python(), "import sys; print(sys.prefix)")
    return (ask(python(), code) or None) if prefix and Path(prefix).resolve() == VENV.resolve() else None


def unusable(installed: dict[str, Any], torch: str, interrupted: bool) -> str | None:
    """Why .venv has to be made anew, as the end of a sentence; None where it can be kept."""
    if not VENV.exists():
        return ""
    if interrupted:
        return ": the last install was interrupted"
    base = installed.get("python") if python().exists() and (VENV / "pyvenv.cfg").exists() else None
    base = base or base_of_venv()
    if base is None or installed.get("root", str(ROOT)) != str(ROOT):
        return ": the one there does not work here"
    if os.environ.get("PYTHON") and base != sys.base_prefix:
        return ": another PYTHON was asked for"
    if torch != "auto" and torch != installed.get("torch", torch):
        return f": TORCH={torch} was asked for, the one there has {installed['torch']}"
    return None


def main(arguments: list[str]) -> None:
    """Install what the level given needs, unless it is there."""
    if len(arguments) != 1 or arguments[0] not in LEVELS:
        raise stop(f"give one of {', '.join(LEVELS)}")
    level, torch = arguments[0], os.environ.get("TORCH") or "auto"
    if torch not in CHOICES:
        raise stop(f"TORCH={torch} is none of {', '.join(CHOICES)}")

    record, busy = VENV / "installed.json", VENV / "installing"
    installed = json.loads(record.read_text()) if record.exists() and not busy.exists() else {}
    why = unusable(installed, torch, busy.exists())
    if why is None and any(installed.get(done) == fingerprint(done) for done in (level, *LEVELS[level])):
        return
    if why is not None:
        installed = {}
    if torch == "auto":
        torch = installed.get("torch", torch)
    if torch == "auto":
        torch = "cuda" if driver_answers() else "cpu"
    linked = (installed.get("linked") or system_torch()) if torch == "system" else None
    if why is not None:
        make_venv(why)
    installed = {"root": str(ROOT), "python": sys.base_prefix, "torch": torch, "linked": linked, **installed}
    busy.touch()
    install(level, torch, linked)
    record.write_text(json.dumps({**installed, level: fingerprint(level)}))
    busy.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
