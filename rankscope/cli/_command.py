"""Commands as click classes: found lazily by walking the folder, listed in groups, options listed in sections."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

import click

from rankscope._version import __version__
from rankscope.cli._terminal import NoOutput
from rankscope.files import check_apart

if TYPE_CHECKING:
    from collections.abc import Iterator

# The groups of `rankscope --help`, in its order; a group without a command is not shown.
GROUPS = ("measure", "judge", "look", "models over time")
OUTPUT = "Output"
_FIRST_COLUMN = 26


@contextlib.contextmanager
def _pipe() -> Iterator[None]:
    """Keep a closed pipe from click, which would make exit code 1 of it."""
    try:
        yield
    except BrokenPipeError as error:
        raise NoOutput(error) from error


class Option(click.Option):
    """An option that belongs to a section of the help page."""

    def __init__(self, *arguments: Any, section: str = OUTPUT, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> Any:
        """What click adds in brackets, but for ranges, which the text makes plain."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


class Command(click.Command):
    """A command that has a place in a group of the overview, counted from 1."""

    def __init__(self, *arguments: Any, group: str = GROUPS[0], place: int = 0, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group
        self.place = place

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, unless it would overwrite a file that it is to read."""
        found = [ctx.params.get(str(p.name)) for p in self.params if p.name != "outputs" and _reads(p)]
        read = [path for value in found if value for path in (value if isinstance(value, tuple) else (value,))]
        check_apart(ctx.params.get("outputs", ()), read)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options in sections."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                line = (record[0].ljust(_FIRST_COLUMN), record[1])  # so that all sections line up
                sections.setdefault(getattr(parameter, "section", OUTPUT), []).append(line)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)


def _reads(parameter: click.Parameter) -> bool:
    """Whether what is given there may be a file that is read."""
    return isinstance(parameter, click.Argument) or isinstance(parameter.type, click.Path)


class Commands(click.Group):
    """All commands of this folder; a module is imported when its command is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name, help="Do my representations collapse, where, how fast, and what would stop it?")
        self.context_settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        self.no_args_is_help = True
        version = click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version)
        version.help = "Show the version and stop."
        self.params.append(version)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names of the modules, which are the names of the commands."""
        folder = importlib.import_module("rankscope.cli").__path__
        return sorted(module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        found: click.Command = importlib.import_module(f"rankscope.cli.{cmd_name}").command
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command; for an unknown one name the nearest, or `probe` where a model stands in its place."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1, cutoff=0.5)
            told = f" Did you mean {near[0]!r}?" if near else f" To measure a model: rankscope probe {name}"
            ctx.fail(f"No such command {name!r}.{told}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands in groups."""
        for group, commands in self.grouped(ctx).items():
            with formatter.section(group.capitalize()):
                formatter.write_dl([(str(command.name), command.get_short_help_str(80)) for command in commands])

    def grouped(self, ctx: click.Context) -> dict[str, list[Command]]:
        """The commands of each group that has some, each in its place; all are imported."""
        found = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        placed = sorted((each for each in found if isinstance(each, Command)), key=lambda command: command.place)
        groups = {group: [command for command in placed if command.group == group] for group in GROUPS}
        return {group: commands for group, commands in groups.items() if commands}

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """Parse the command line; --help and --version print here."""
        with _pipe():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _pipe():
            return super().invoke(ctx)


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        click.echo(f"rankscope {__version__}")
        ctx.exit()
