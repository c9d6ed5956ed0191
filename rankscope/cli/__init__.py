"""The command line: one file a command, found by walking this folder, and `main`, which turns errors into exit codes.

0 measured · 1 a requirement failed · 2 usage or configuration · 3 could not measure · 70 bug · 130 interrupted ·
141 closed pipe. Nothing here imports torch; the body of a command does.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from rankscope.cli._command import Commands
from rankscope.cli._terminal import NoOutput, Terminal
from rankscope.errors import CannotMeasure, RankscopeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED, CLOSED_PIPE = 130, 141
COMPLETE = "_RANKSCOPE_COMPLETE"  # the shell sets it when it asks what may come next


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: the arguments, those of the process if not given.

    Returns:
        The exit code.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: what is said goes nowhere, the exit code stays right
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open to the end
    terminal = Terminal()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job can be interrupted too
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII screen shows a question mark, and nothing breaks
    try:
        with terminal.warnings():
            code = _run(list(sys.argv[1:] if argv is None else argv), terminal)
        sys.stdout.flush()
    except (OSError, NoOutput) as error:
        _hush(sys.stdout)
        cause = error if isinstance(error, OSError) else error.cause
        if isinstance(cause, BrokenPipeError):
            return CLOSED_PIPE
        return terminal.tell(UsageError("RS601", f"the standard output cannot be written: {cause.strerror or cause}"))
    return code


def _run(argv: list[str], terminal: Terminal) -> int:
    """Run the command; every end but that of the standard output becomes an exit code."""
    commands = Commands("rankscope")
    if asked := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(commands, {}, "rankscope", COMPLETE, asked)
    try:
        code = commands.main(argv, "rankscope", standalone_mode=False, obj=terminal)
    except (KeyboardInterrupt, click.Abort):
        terminal.say("interrupted")
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        terminal.say(error.format_message())
        return UsageError.exit_code
    except click.ClickException as error:
        return terminal.tell(_usage(error), error)
    except RankscopeError as error:
        return terminal.tell(error, error)
    except (NoOutput, BrokenPipeError):
        raise
    except MemoryError as error:
        return terminal.tell(CannotMeasure("RS901", "nothing was measured: the memory of this machine is full"), error)
    except SystemExit as error:
        headline = f"nothing was measured: the model's code ended the program (sys.exit({error.code!r}))"
        return terminal.tell(CannotMeasure("RS902", headline), error)
    except Exception as error:  # the one place where a bug becomes an exit code
        return terminal.tell(_bug(error, argv), error)
    return code if isinstance(code, int) else 0


def _usage(error: click.ClickException) -> UsageError:
    """What click found wrong, in the form of every other error."""
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "rankscope"
    lines = error.format_message().rstrip(".").splitlines() or ["the command line cannot be read"]
    remedies = [("All options", f"{path} --help")]
    if lines[0].startswith("Got unexpected extra argument") and path.endswith(("probe", "inspect")):
        remedies.insert(0, ("One MODEL is taken, so", f'for model in *.pt; do {path} "$model"; done'))
    return UsageError("RS102", " ".join(lines), remedies=remedies)


def _bug(error: Exception, argv: list[str]) -> RankscopeError:
    """What to tell of an exception that nobody foresaw."""
    message = (str(error).splitlines() or [""])[0]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}"  # noqa: PTH119 - no absolute path
    told = [] if "--debug" in argv else [("For the report, run it again with", "--debug")]
    headline = f"rankscope stopped on a bug of its own: {type(error).__name__}: {message}"
    return RankscopeError("RS900", headline, details=[("where", where)], remedies=told)


def _hush(stream: Any) -> None:
    """Let the interpreter's last flush of a closed pipe go nowhere, instead of a complaint on the way out."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
