"""What the shell completes: names that rankscope knows, and files. Nothing here loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click

_FILES = 200  # more entries of a folder than this are left to the shell


def models(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """MODEL: files, demo checkpoints, and architectures after ``zoo:``."""
    from rankscope.zoo import list_zoo

    entries = list_zoo()
    names = [CompletionItem(entry.spec, help=entry.summary) for entry in entries if entry.spec.startswith(begun)]
    # A shell takes either its own files or what it is given; so where names are given, files come with them.
    return [*names, *_beside(begun)] if names else [CompletionItem(begun, type="file")]


def measures(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """The last name of a list with commas."""
    from rankscope.explanations import measure_names, presets

    before, comma, last = begun.rpartition(",")
    known = {**presets(), **measure_names()}
    return _matching({f"{before}{comma}{name}": told for name, told in known.items()}, f"{before}{comma}{last}")


def topics(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """What `rankscope explain` knows."""
    from rankscope.explanations import topics as known

    return _matching(known(), begun)


def formats(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Output formats of what the command gives."""
    from rankscope.renderers import CERTIFICATES, COMPARISONS, FINDINGS, RENDERERS, SWEEPS

    of = {"certify": CERTIFICATES, "compare": COMPARISONS, "check": FINDINGS, "sweep": SWEEPS}
    known = of.get(str(ctx.command.name), RENDERERS)
    return _matching(dict.fromkeys(known.names(), ""), begun)


def architectures(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """What `rankscope zoo` knows."""
    from rankscope.zoo import list_zoo

    return _matching({entry.name: entry.summary for entry in list_zoo()}, begun)


def _matching(known: dict[str, str], begun: str) -> list[CompletionItem]:
    return [CompletionItem(name, help=told) for name, told in known.items() if name.startswith(begun)]


def _beside(begun: str) -> Iterable[CompletionItem]:
    """Files and folders whose names begin so."""
    try:
        folder = Path(begun) if begun.endswith("/") else Path(begun).parent
        found = sorted(path for _, path in zip(range(_FILES), folder.iterdir(), strict=False))
    except (OSError, ValueError):
        return []
    shown = [f"{path}/" if path.is_dir() else str(path) for path in found if not path.name.startswith(".")]
    return [CompletionItem(name) for name in shown if name.startswith(begun)]
