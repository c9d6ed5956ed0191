from __future__ import annotations

from dataclasses import replace

import pytest
from reports import HOSTILE
from rich.cells import cell_len

from rankscope.facts import BlockFacts, StackFacts
from rankscope.formats import Description, Kind
from rankscope.inspection import Inspection, ModelFacts, Refusal
from rankscope.records import Note
from rankscope.renderers import Style
from rankscope.renderers._inspection import render_inspection

MAPS = "scaled_dot_product_attention"
ZIP = Description(
    Kind.TORCH_ZIP,
    48_000_000,
    facts=(
        ("holds", "a pickled module, common.Net"),
        ("tensors", "148, float32"),
        ("would import", "common.Net, common.Block"),
    ),
    imports=("common.Net", "common.Block"),
    loads="with --allow 'common.*'",
)
REFUSED = Refusal(
    "RS301",
    "runs/model.pt was not loaded: it asks to import code",
    (),
    (
        ("If these are your classes", "rankscope inspect runs/model.pt --allow 'common.*'"),
        ("Safer, no pickle", "rankscope inspect common:Net --weights model.safetensors"),
        ("Runs any code in the file", "rankscope inspect runs/model.pt --trust"),
    ),
)


def block(index: int, **fields: object) -> BlockFacts:
    made = BlockFacts(index, f"model.layers.{index - 1}", "DecoderLayer", 2, 1, MAPS, None, MAPS, None)
    return replace(made, **fields)  # type: ignore[arg-type]


def opened(depth: int = 96) -> Inspection:
    alike = tuple(block(k) for k in range(1, depth + 1))
    other = (block(depth + 1, adds=1, values=None, no_values="2 attention calls in one block", type="Last"),)
    return Inspection(
        "net.py:Net",
        model=ModelFacts("net.py:Net", "python", "Net", 1_234_567, 4_938_268, ("float32",)),
        inputs="inferred: ids=8x128:int64:0..255, seed 0",
        stacks=(
            StackFacts("model.layers.*", ("DecoderLayer",), alike, "pre"),
            StackFacts("tail", ("DecoderLayer", "Last"), (*alike[:2], *other)),
        ),
        skipped={"head": "it never ran"},
        notes=(Note("RS210", "no inputs were given"),),
    )


@pytest.mark.parametrize(
    ("name", "found", "columns"),
    [
        ("inspect-refused-80", Inspection("runs/model.pt", ZIP, refusal=REFUSED), 80),
        ("inspect-opened-80", opened(), 80),
        ("inspect-opened-200", opened(), 200),
        ("inspect-opened-80-ascii", opened(), 80),
    ],
)
def test_golden(golden, name: str, found: Inspection, columns: int) -> None:
    text = render_inspection(found, Style(columns=columns, unicode="ascii" not in name))
    assert max(cell_len(line) for line in text.splitlines() if " rankscope " not in line) <= columns
    assert "ascii" not in name or text.isascii()
    golden(f"{name}.txt", text)


def test_blocks_that_are_alike_are_one_line_and_a_step_is_never_folded() -> None:
    text = render_inspection(opened(), Style(columns=120))
    assert "model.layers.0 … model.layers.95" in text
    assert text.count("model.layers.") < 10
    long = replace(REFUSED, remedies=(("Do", "rankscope probe " + "x" * 200),))
    lines = render_inspection(Inspection("m", ZIP, refusal=long), Style(columns=80)).splitlines()
    assert f"  Do:  rankscope probe {'x' * 200}" in lines


def test_names_from_a_file_cannot_speak_to_the_terminal() -> None:
    for name in HOSTILE:
        description = replace(ZIP, imports=(name, name), facts=((name, name),), loads=name)
        stack = StackFacts(name, (name,), (block(1, layer=name, values=name, attention=None, no_attention=name),))
        refusal = Refusal("RS301", name, ((name, name),), ((name, name),))
        model = ModelFacts(name, name, name, 1, 4, ("float32",))
        found = Inspection(name, description, model, name, (stack,), {name: name}, (Note("RS1", name),), refusal)
        for style in (Style(columns=80), Style(columns=80, color=False, unicode=False)):
            text = render_inspection(found, style)
            assert not any(ord(c) < 32 and c != "\n" for c in text)
