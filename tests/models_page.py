"""docs/models.md: every cell is what a probe and an inspection of the model said.

A row whose package is not installed is left as the page has it.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from architectures import CATALOGUE
from model_forms import MAKERS
from seen import Seen, architecture, opened
from trained import REFUSED, TRAINED, refused, trained

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AGREE = 1e-6
PAGE = """# Models

<!-- Made by tests/test_models_page.py: `pytest tests/test_models_page.py --renew` writes it anew. -->

What rankscope opens, and what it captures of each architecture. Every row of every table is what a probe of that model
said when the page was made: nothing is filled in by hand. The models of the first and the last part are tiny, with
random weights.

## Forms of MODEL

Each form is made from a small model, opened with the flags named, and probed; its numbers are held against those of the
live model, and agree to one part in a million.

{forms}

## Trained models

Published weights, from the packages named.

{trained}

{refused}

## Architectures

The residual adds are those that a trace of one forward pass finds; the tests know for each architecture how many its
code has. *Values* and *attention maps* say by which operation of the model they are seen, or why they are undefined.
*Inputs* are those that were inferred where none were given.

{architectures}
"""


@dataclass(frozen=True)
class Line:
    """One row: its first cell, the modules that it needs, and how the other cells are had."""

    name: str
    needs: tuple[str, ...]
    cells: Callable[[], Sequence[str]]

    def text(self, old: str, title: str) -> str | None:
        """The row; where a package is missing, what the page has of it, if anything."""
        if all(importlib.util.find_spec(module) for module in self.needs):
            return row((self.name, *self.cells()))
        return kept(old, title, self.name)


def kept(old: str, title: str, name: str) -> str | None:
    """A row of the page, told by the heading above it and its first cell."""
    part = re.split(r"^#+ ", old, flags=re.MULTILINE)
    lines = [line for text in part if text.startswith(title) for line in text.splitlines()]
    return next((line for line in lines if line.startswith(f"| {name} |")), None)


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(title: str, head: Sequence[str], lines: Sequence[Line], old: str) -> str:
    rows = [text for line in lines if (text := line.text(old, title))]
    return "\n".join([row(head), row(["---"] * len(head)), *rows])


HEAD = ("architecture", "stacks × blocks", "adds a block", "values", "attention maps", "gradients", "inputs")


def captured(seen: Seen) -> tuple[str, ...]:
    """What was captured of a model, in the order of `HEAD`."""
    return (seen.depth(), seen.residual(), seen.values(), seen.maps(), seen.gradients(), seen.inputs())


def needed(package: str) -> tuple[str, ...]:
    return () if package.startswith("tests/") else (package.replace("-", "_"),)


def version(package: str) -> str:
    """A package with its version, as far as it matters here."""
    if package.startswith("tests/"):
        return f"`{package}`"
    number = metadata.version(package) if importlib.util.find_spec(needed(package)[0]) else "?"
    return f"{package} {'.'.join(number.split('+')[0].split('.')[:2])}"


def architectures(old: str) -> str:
    """The tables of the catalogue, one a family."""
    families: dict[str, list[str]] = {}
    for name, entry in CATALOGUE.items():
        families.setdefault(entry.family, []).append(name)
    parts = []
    for family, names in families.items():
        title = f"{family} ({', '.join(dict.fromkeys(version(CATALOGUE[name].package) for name in names))})"
        title = title[:1].upper() + title[1:]
        lines = [
            Line(name, needed(CATALOGUE[name].package), lambda name=name: captured(architecture(name)))
            for name in names
        ]
        parts.append(f"### {title}\n\n{table(title, HEAD, lines, old)}")
    return "\n\n".join(parts)


def form(name: str) -> tuple[str, ...]:
    """The cells of a form after its name."""
    seen = opened(name)
    flags = (
        "`[tool.rankscope.models]`" if flag == "aliases" else f"`--{flag.replace('_', '-')}`" for flag in seen.flags
    )
    code = f"[{seen.refused}](errors.md#{seen.refused.lower()})" if seen.refused else "—"
    same = "the same" if seen.apart() <= AGREE else f"apart by {seen.apart():.0e}"
    kind = str(seen.found.report.model["format"])
    return (", ".join(flags) or "none", code, kind, seen.found.depth(), seen.found.values(), same)


def page(old: str) -> str:
    """The whole page.

    Args:
        old: the page as it is, for the rows that cannot be had here.

    Returns:
        Markdown.
    """
    head = ("form", "flags", "refused without them", "recognised as", "stacks × blocks", "values", "numbers")
    forms = [Line(name, maker.needs, lambda name=name: form(name)) for name, maker in MAKERS.items()]
    real = [Line(name, entry.needs, lambda name=name: captured(trained(name))) for name, entry in TRAINED.items()]
    shut = [Line(name, entry.needs, lambda name=name: refused(name)) for name, entry in REFUSED.items()]
    return PAGE.format(
        forms=table("Forms of MODEL", head, forms, old),
        trained=table("Trained models", ("model", *HEAD[1:]), real, old),
        refused=table("Trained models", ("model", "refused", "why", "the way out"), shut, old),
        architectures=architectures(old),
    )
