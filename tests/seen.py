"""What a probe and an inspection see of a model, in the words of a table's cells."""

from __future__ import annotations

import functools
import math
import re
import sys
import tempfile
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from architectures import CATALOGUE
from model_forms import MAKERS

from rankscope.errors import RankscopeError
from rankscope.inputs import from_python, gather
from rankscope.inspection import Inspection, inspect_source
from rankscope.pipeline import measure, read_options
from rankscope.sources import open_model

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    def depth(self) -> str:
        """Stacks and the number of their blocks."""
        pairs = zip(self.stacks, self.blocks, strict=True)
        return ", ".join(f"`{stack}` × {number}" for stack, number in pairs) or "none: every module"

    def residual(self) -> str:
        """The residual adds of a block, each number that occurs, stack by stack."""
        return ", ".join(" or ".join(map(str, sorted(numbers))) for numbers in self.adds) or "—"

    def values(self) -> str:
        """How values are seen, or why they are undefined."""
        return self._how("value_cosine", "values")

    def maps(self) -> str:
        """How attention maps are seen, or why they are undefined."""
        return self._how("attention_entropy", "attention")

    def _how(self, measure: str, kind: str) -> str:
        rows = self.rows(measure)
        return told(
            getattr(block, kind) if rows[key].status == "ok" else f"{rows[key].status}: {reason(rows[key].reason)}"
            for key, block in self.each_block()
        )

    def gradients(self) -> str:
        """Whether the gradients of every layer were measured, or why not."""
        rows = self.rows("grad_norm").values()
        return told("yes" if row.status == "ok" else f"{row.status}: {reason(row.reason)}" for row in rows)

    def inputs(self) -> str:
        """The arguments that were inferred, without their sizes."""
        source = str(self.report.inputs["source"])
        return ", ".join(re.findall(r"(\w+)=", source)) if source.startswith("inferred") else "given"


def told(entries: Iterable[str]) -> str:
    """What was said of the blocks, each text once, with the number of blocks where they differ."""
    counted = Counter(entries)
    if len(counted) == 1:
        return next(iter(counted))
    return "; ".join(f"{text} ({number} layer{'s' if number > 1 else ''})" for text, number in counted.items())


def reason(text: str | None) -> str:
    """A reason without the shapes of this one model, and no longer than a cell."""
    return textwrap.shorten(re.sub(r"[(\[]\d[\d, ]*[)\]]", "(…)", text or "no reason"), REASON, placeholder=" …")


def see(model: Any, inputs: Any = None, **options: Any) -> Seen:
    """Probe a model, and inspect it on the same inputs."""
    given, load, gathering, measuring = read_options(inputs, {"measures": MEASURES, **options})
    source = open_model(model, load)
    found = gather(source, gathering) if given is None else from_python(source, given, gathering)
    report = measure(source, found, measuring)
    return Seen(report, inspect_source(source, next(iter(found.batches)), found.layout, measuring))


@functools.cache
def architecture(name: str) -> Seen:
    """What is seen of an architecture of the catalogue; it is looked at once a session."""
    entry = CATALOGUE[name]
    return see(entry.build(), entry.inputs() if entry.inputs else None, **SMALL)


@dataclass(frozen=True)
class Opened:
    """A form that was opened, beside the live model: what was seen of both, the flags, the code of the refusal."""

    found: Seen
    live: Seen
    flags: tuple[str, ...]
    refused: str | None

    def apart(self) -> float:
        """The largest difference of two numbers, relative where they are above 1; infinite where rows differ."""
        here, there = ({row.key: row for row in seen.report.rows} for seen in (self.found, self.live))
        if here.keys() != there.keys() or any(here[key].status != there[key].status for key in here):
            return math.inf
        pairs = [(row.value, there[key].value) for key, row in here.items() if row.status == "ok"]
        return max(
            (abs(a - b) / max(1.0, abs(b)) for a, b in pairs if a is not None and b is not None), default=math.inf
        )


@functools.cache
def opened(name: str) -> Opened:
    """Make a form in a folder of its own, open it with its flags, and try it without them; once a session."""
    maker = MAKERS[name]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])  # a factory puts its folder there
        patch.chdir(folder)
        if "transformers" in maker.needs:
            patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", folder)
        made = maker.make(Path(folder))
        found = see(made.spec or made.live, made.inputs, **SMALL, **made.flags)
        live = see(made.live, made.inputs, **SMALL)
        refused = None
        if made.flags:
            try:
                open_model(made.spec)
            except RankscopeError as error:
                refused = error.code
    return Opened(found, live, tuple(made.flags), refused)
