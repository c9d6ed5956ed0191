from __future__ import annotations

import io
import pkgutil
import re
import sys
import warnings

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankscope.cli
from rankscope.cli import main
from rankscope.cli._command import GROUPS, Command, Commands
from rankscope.cli._terminal import Terminal, form
from rankscope.errors import CannotMeasure, DegradedWarning, InputError, RankscopeError, UsageError


@pytest.fixture
def body(monkeypatch: pytest.MonkeyPatch):
    """Replace the body of `probe` by a function, and run `rankscope probe x`."""

    def run(act, *arguments: str) -> int:
        from rankscope.cli.probe import command

        monkeypatch.setattr(command, "callback", lambda **_: act())
        return main(["probe", "x", *arguments])

    return run


def raiser(error: BaseException | type[BaseException]):
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("RS101", "wrong"), 2),
        (CannotMeasure("RS440", "nothing"), 3),
        (InputError("RS250", "nothing"), 3),
        (RankscopeError("RS900", "bug"), 70),
        (KeyError("x"), 70),
        (RecursionError("deep"), 70),
        (KeyboardInterrupt, 130),
        (click.Abort(), 130),
        (click.UsageError("bad"), 2),
        (click.FileError("x"), 2),
        (BrokenPipeError(), 141),
        (MemoryError(), 3),
        (SystemExit(0), 3),
        (SystemExit("bye"), 3),
    ],
)
def test_exit_codes(body, capsys: pytest.CaptureFixture[str], error: BaseException, code: int) -> None:
    assert body(raiser(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.count("error:") == (code not in {130, 141})


def test_success_is_zero(body) -> None:
    assert body(lambda: None) == 0


def test_a_bug_is_told_in_a_few_lines_and_traced_under_debug(body, capsys: pytest.CaptureFixture[str]) -> None:
    assert body(raiser(ValueError("first\nsecond"))) == 70
    err = capsys.readouterr().err
    assert "rankscope stopped on a bug of its own: ValueError: first" in err
    assert "[RS900]" in err
    assert "--debug" in err
    assert "second" not in err
    assert len(err.splitlines()) == 3
    assert body(raiser(ValueError("first\nsecond")), "--debug") == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_debug_traces_an_error_of_rankscope_too(body, capsys: pytest.CaptureFixture[str]) -> None:
    assert body(raiser(UsageError("RS101", "wrong")), "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prob"], "No such command 'prob'. Did you mean 'probe'?"),
        (["model.pt"], "To measure a model: rankscope probe model.pt"),
        (["probe"], "Missing argument 'MODEL'"),
        (["probe", "x", "--sed", "1"], "Did you mean '--seed'?"),
        (["probe", "x", "--seed", "-1"], "is not in the range"),
        (["probe", "x", "--seed"], "requires an argument"),
        (["probe", "x", "--batches", "0"], "is not in the range"),
        (["probe", "x", "--layout", "bdt"], "is not one of"),
        (["probe", "x", "--device", "tpu"], "is none of auto, cpu, cuda"),
        (["probe", "x", "--dtype", "int8"], "is not one of"),
        (["probe", "x", "--measures", " ,"], "a list of names"),
        (["probe", "x", "y"], "unexpected extra argument"),
        (["--verson"], "Did you mean '--version'?"),
    ],
)
def test_usage_errors(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "[RS102]" in err.splitlines()[0]
    assert words in err
    assert "--help" in err


def test_no_argument_shows_the_help_as_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert (out, "Usage: rankscope" in err) == ("", True)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["-h"], ["probe", "--help"], ["--version"]):
        assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "rankscope 0." in out


ORDER = {
    "Measure": ["probe", "compare", "sweep"],
    "Judge": ["check", "certify"],
    "Look": ["report", "inspect", "explain", "zoo"],
    "Models over time": ["watch", "connect", "study"],
}


def test_the_overview_has_the_commands_in_their_groups_and_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    sections = re.findall(r"^([A-Z][a-z ]+):\n((?:  .*\n)+)", capsys.readouterr().out, re.MULTILINE)
    shown = {title: re.findall(r"^  (\w+)", lines, re.MULTILINE) for title, lines in sections if title != "Options"}
    assert list(shown) == [title for title in ORDER if title in shown]
    for title, names in shown.items():
        assert names == [name for name in ORDER[title] if name in names]
    folder = {module.name for module in pkgutil.iter_modules(rankscope.cli.__path__) if module.name[0] != "_"}
    assert {name for names in shown.values() for name in names} == folder


def test_every_module_of_the_folder_is_a_command_in_a_group() -> None:
    commands = Commands("rankscope")
    context = click.Context(commands)
    names = commands.list_commands(context)
    assert "probe" in names
    for name in names:
        command = commands.get_command(context, name)
        assert isinstance(command, Command)
        assert command.name == name
        assert command.group in GROUPS
        assert command.place > 0
    assert commands.get_command(context, "_options") is None


class Unflushed(io.StringIO):
    """A standard output whose last flush fails."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def flush(self) -> None:
        raise self.error


def test_a_closed_pipe_at_the_last_flush(body, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Unflushed(BrokenPipeError()))
    assert body(lambda: None) == 141


def test_a_full_disk_at_the_last_flush(
    body, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Unflushed(OSError(28, "No space left on device")))
    assert body(lambda: None) == 2
    assert "the standard output cannot be written: No space left" in capsys.readouterr().err


def test_an_error_is_shown_in_its_form() -> None:
    error = CannotMeasure(
        "RS301",
        "model.pt was not loaded: it asks to import code",
        details=[("kind", "an archive"), ("wants", "common.Net\ncommon.Block")],
        remedies=[("Safer, no pickle", "rankscope probe common:Net"), ("Your classes:", "--allow 'common.*'")],
    )
    assert form(error).splitlines() == [
        "error: model.pt was not loaded: it asks to import code                   [RS301]",
        "  kind   an archive",
        "  wants  common.Net",
        "         common.Block",
        "  Safer, no pickle:  rankscope probe common:Net",
        "  Your classes:      --allow 'common.*'",
    ]
    assert "\x1b[31m" in form(error, color=True)


def test_a_long_fact_is_folded_and_a_next_step_is_not() -> None:
    names = ", ".join(f"layers.{i}" for i in range(60))
    lines = form(UsageError("RS101", "no", details=[("known", names)], remedies=[("Run", names)])).splitlines()
    assert max(len(line) for line in lines[1:-1]) <= 100
    assert " ".join(line.strip().removeprefix("known").strip() for line in lines[1:-1]) == names
    assert lines[-1] == f"  Run:  {names}"


@given(st.text(max_size=200), st.text(max_size=50), st.text(max_size=50))
def test_an_error_cannot_speak_to_the_terminal(headline: str, label: str, text: str) -> None:
    shown = form(UsageError("RS101", headline, details=[(label, text)], remedies=[(label, text)]))
    assert not any(ord(c) < 32 and c != "\n" for c in shown)
    assert "\x1b" not in shown
    assert "[RS101]" in shown


@pytest.mark.parametrize(
    ("option", "environment", "tty", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {}, True, False),
    ],
)
def test_when_there_are_colours(monkeypatch, option: str, environment: dict, tty: bool, expected: bool) -> None:
    class Stream:
        def isatty(self) -> bool:
            return tty

    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Terminal(color=option).colors(Stream()) is expected  # type: ignore[arg-type]


def test_color_is_known_to_an_error_that_comes_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--color", "always"]) == 2
    assert "\x1b[31m" in capsys.readouterr().err


def test_warnings_are_one_line_and_quiet_silences_them(body, capsys: pytest.CaptureFixture[str]) -> None:
    def warn() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("no gradient\x1b[31m", DegradedWarning, stacklevel=1)
            warnings.warn("something\nlong", UserWarning, stacklevel=1)

    assert body(warn) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["warning: no gradient\ufffd[31m", "warning: something (UserWarning)"]
    assert body(warn, "-q") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(("words", "code"), [("--version", 0), ("probe no-such-file.pt", 3)])
def test_a_stream_that_the_shell_closed_changes_no_exit_code(closed: str, words: str, code: int) -> None:
    import subprocess

    typed = f"{sys.executable} -m rankscope {words} {closed}"
    assert subprocess.run(["sh", "-c", typed], capture_output=True, check=False).returncode == code


def test_several_models_are_told_to_go_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "a.pt", "b.pt"]) == 2
    assert 'for model in *.pt; do rankscope probe "$model"; done' in capsys.readouterr().err


def test_a_count_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "a.pt", "--batch-size", "x"]) == 2
    assert "'x' is not a valid whole number" in capsys.readouterr().err
