"""The tables of docs/models.md: every cell is what a probe and an inspection of the model said."""

from __future__ import annotations

import functools
import re
import textwrap
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from architectures import CATALOGUE

from rankscope.inputs import from_python, gather
from rankscope.inspection import Inspection, inspect_source
from rankscope.pipeline import measure, read_options
from rankscope.sources import open_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rankscope.inspection import BlockFacts
    from rankscope.records import Report, Row

SMALL = {"batch_size": 2, "max_tokens": 16}  # as inferred without a flag, only smaller
MEASURES = ("mu_bar", "value_cosine", "attention_entropy", "grad_norm")
NO_STACK = "modules"
REASON = 110  # letters


@dataclass(frozen=True)
class Seen:
    """What a probe and an inspection saw of one model."""

    report: Report
    facts: Inspection

    @property
    def stacks(self) -> list[str]:
        return [stack.stack for stack in self.facts.stacks if stack.stack != NO_STACK]

    @property
    def blocks(self) -> tuple[int, ...]:
        return tuple(len(stack.blocks) for stack in self.facts.stacks if stack.stack != NO_STACK)

    @property
    def adds(self) -> tuple[frozenset[int], ...]:
        stacks = (stack for stack in self.facts.stacks if stack.stack != NO_STACK)
        return tuple(frozenset(block.adds for block in stack.blocks) for stack in stacks)

    def rows(self, measure: str) -> dict[tuple[str, int], Row]:
        return {(row.stack, row.layer_index): row for row in self.report.rows if row.measure == measure}

    def each_block(self) -> Iterable[tuple[tuple[str, int], BlockFacts]]:
        for stack in self.facts.stacks:
            yield from (((stack.stack, block.index), block) for block in stack.blocks)


def see(model: Any, inputs: Any = None, **options: Any) -> Seen:
    """Probe a model, and inspect it on the same inputs."""
    given, load, gathering, measuring = read_options(inputs, {"measures": MEASURES, **options})
    source = open_model(model, load)
    found = gather(source, gathering) if given is None else from_python(source, given, gathering)
    report = measure(source, found, measuring)
    return Seen(report, inspect_source(source, next(iter(found.batches)), found.layout, measuring))


@functools.cache
def seen(name: str) -> Seen:
    """What was seen of an architecture of the catalogue; it is looked at once a session."""
    architecture = CATALOGUE[name]
    return see(architecture.build(), architecture.inputs() if architecture.inputs else None, **SMALL)


def told(entries: Iterable[str]) -> str:
    """What was said of the blocks, each text once, with the number of blocks where they differ."""
    counted = Counter(entries)
    if len(counted) == 1:
        return next(iter(counted))
    return "; ".join(f"{text} ({number} block{'s' if number > 1 else ''})" for text, number in counted.items())


def how(found: Seen, measure: str, kind: str) -> str:
    """How values or attention maps are seen, or why they are undefined."""
    rows, texts = found.rows(measure), []
    for key, block in found.each_block():
        row = rows[key]
        seen_by = getattr(block, kind)
        texts.append(seen_by or "seen" if row.status == "ok" else f"{row.status}: {reason(row.reason)}")
    return told(texts)


def reason(text: str | None) -> str:
    """A reason without the shapes of this one model, and no longer than a cell."""
    return textwrap.shorten(re.sub(r"[(\[]\d[\d, ]*[)\]]", "(…)", text or "no reason"), REASON, placeholder=" …")


def gradients(found: Seen) -> str:
    rows = found.rows("grad_norm").values()
    return told("yes" if row.status == "ok" else f"{row.status}: {reason(row.reason)}" for row in rows)


def adds(found: Seen) -> str:
    """The residual adds of a block, each number that occurs."""
    return ", ".join(" or ".join(map(str, sorted(numbers))) for numbers in found.adds) or "—"


def depth(found: Seen) -> str:
    pairs = zip(found.stacks, found.blocks, strict=True)
    return ", ".join(f"`{stack}` × {number}" for stack, number in pairs) or "none: every module"


def given(found: Seen, *, by_hand: bool) -> str:
    """The inputs, without their sizes."""
    source = str(found.report.inputs["source"])
    return "given" if by_hand else ", ".join(re.findall(r"(\w+)=", source))


HEAD = (
    "| architecture | stacks × blocks | adds a block | values | attention maps | gradients | inputs inferred |\n"
    "|---|---|---|---|---|---|---|"
)


def line(name: str, found: Seen, *, by_hand: bool = False) -> str:
    """One row of a table."""
    cells = (
        name,
        depth(found),
        adds(found),
        how(found, "value_cosine", "values"),
        how(found, "attention_entropy", "attention"),
        gradients(found),
        given(found, by_hand=by_hand),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def version(package: str) -> str:
    """A package with its version, as far as it matters here."""
    if package.startswith("tests/"):
        return f"`{package}`"
    return f"{package} {'.'.join(metadata.version(package).split('+')[0].split('.')[:2])}"


def architectures() -> str:
    """The tables of the catalogue, one a family."""
    families: dict[str, list[str]] = {}
    for name, architecture in CATALOGUE.items():
        families.setdefault(architecture.family, []).append(name)
    parts = []
    for family, names in families.items():
        packages = dict.fromkeys(version(CATALOGUE[name].package) for name in names)
        rows = (line(name, seen(name), by_hand=CATALOGUE[name].inputs is not None) for name in names)
        parts.append("\n".join([f"### {family[0].upper()}{family[1:]} ({', '.join(packages)})\n", HEAD, *rows]))
    return "\n\n".join(parts)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def sections(parts: Mapping[str, str]) -> str:
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in parts.items())
