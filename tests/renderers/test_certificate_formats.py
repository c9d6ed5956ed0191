"""A certificate as a table, JSON, CSV, Markdown and HTML: all of it is told, in any width, and no name breaks out."""

from __future__ import annotations

import copy
import csv
import html.parser
import io
import json
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import jsonschema
import pytest
from certified import skip_net, tokens
from reports import HOSTILE
from rich.cells import cell_len
from schemas import closed

import rankscope
from rankscope.certificate import Block, Certificate, Measured, Sequence, Stack, Step, Theorem
from rankscope.records import Note
from rankscope.renderers import CERTIFICATES, Style
from rankscope.renderers._certificate import grid, outcomes

SCHEMA = json.loads(Path(rankscope.__file__).with_name("certificate.schema.json").read_text(encoding="utf-8"))
READER = jsonschema.Draft202012Validator(SCHEMA)
WRITER = jsonschema.Draft202012Validator(closed(SCHEMA))


@cache
def plain() -> Certificate:
    return rankscope.certify(skip_net(128.0, depth=5), tokens(3))


@cache
def reasons() -> Certificate:
    return rankscope.certify(skip_net(0.0, depth=2, first=None, shows=False), tokens(1))


@cache
def broken() -> Certificate:
    inputs = tokens(2)
    inputs[0] *= float("nan")
    return rankscope.certify(skip_net(1.0, first=skip_net().blocks[0].mixer), inputs)


def name(number: int) -> str:
    return HOSTILE[number % len(HOSTILE)]


@cache
def hostile() -> Certificate:
    found = plain()

    def renamed(each: Sequence) -> Sequence:
        odd = [
            {"layer": name(k), "type": name(k + 1), "no_values": name(k), "value_norm": None}
            for k, _ in enumerate(each.steps)
        ]
        return replace(each, steps=tuple(replace(step, **own) for step, own in zip(each.steps, odd, strict=True)))

    stacks = tuple(
        replace(
            stack,
            stack=name(1),
            sentence=name(2),
            blocks=tuple(
                replace(block, layer=name(block.index), type=name(block.index), lambdas={name(block.index): 2.0})
                for block in stack.blocks
            ),
            sequences=tuple(map(renamed, stack.sequences)),
        )
        for stack in found.stacks
    )
    notes = tuple(Note(text, text) for text in HOSTILE)
    return replace(found, model={"spec": name(3), "class": name(4)}, stacks=stacks, notes=notes)


def empty() -> Certificate:
    """Numbers that are not finite, and a stack of one block, by hand."""
    step = Step(1, "block", "Block", mu_before=float("inf"), mu=float("nan"), no_seminorm="why")
    nothing = Measured("undefined", "why")
    sequence = Sequence(0, 5, 3, None, None, Theorem("undefined"), nothing, nothing, (step,))
    return Certificate({"spec": "net"}, 0.9, 0.81, (Stack("s", "nothing", (Block(1, "block", "Block"),), (sequence,)),))


CASES = {"plain": plain, "reasons": reasons, "broken": broken, "hostile": hostile, "empty": empty}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_the_schema_holds_for_what_is_written(make: object) -> None:
    found = make()  # type: ignore[operator]
    data = json.loads(CERTIFICATES["json"].text(found))
    if found.created:
        WRITER.validate(data)
    assert "NaN" not in json.dumps(data)


def test_the_schema_refuses_what_is_broken() -> None:
    good = plain().to_dict()
    for change in ("schema", "stacks", "status"):
        data = copy.deepcopy(good)
        if change == "status":
            data["stacks"][0]["sequences"][0]["theorem"]["status"] = "perhaps"
        else:
            del data[change]
        assert not READER.is_valid(data)


def test_the_schema_tells_every_field() -> None:
    parts = SCHEMA["$defs"]
    for kind in (Step, Block, Sequence, Stack, Theorem, Measured, Note):
        assert set(parts[kind.__name__.lower()]["properties"]) == {field.name for field in fields(kind)}
    assert set(SCHEMA["properties"]) == {field.name for field in fields(Certificate)}


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_the_table_fits_any_screen(make: object, columns: int, unicode: bool) -> None:
    text = CERTIFICATES["table"].text(make(), Style(columns=columns, unicode=unicode))  # type: ignore[operator]
    assert all(cell_len(line) <= columns for line in text.splitlines()) or columns == 40
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    if make is not hostile and not unicode:
        assert text.isascii()


def test_the_table_says_what_matters() -> None:
    text = CERTIFICATES["table"].text(plain(), Style(columns=80))
    worst = plain().stacks[0].worst
    for word in ("blocks.4", "certified", "additive", "holds", "out of reach", f"{worst.additive.bound:.4g}", "C_M ="):
        assert word in text
    assert "more columns" in text
    full = CERTIFICATES["table"].text(plain(), Style(columns=80, every=True))
    assert "more columns" not in full
    assert all(f"sequence {number} of 3" in full for number in range(3))


def test_a_note_that_was_announced_is_not_told_again() -> None:
    found = replace(plain(), notes=(Note("RS533", "a note"),))
    assert "a note" in CERTIFICATES["table"].text(found)
    assert "a note" not in CERTIFICATES["table"].text(found, Style(announced=frozenset({"a note"})))


def test_the_csv_has_a_line_for_each_sequence_and_block() -> None:
    lines = list(csv.DictReader(io.StringIO(str(CERTIFICATES["csv"].text(plain())))))
    assert len(lines) == 3 * 5
    assert lines[0]["sequence"] == str(plain().stacks[0].worst.sequence)
    assert float(lines[0]["mu"]) == plain().stacks[0].worst.steps[0].mu
    assert len(plain().to_frame()) == 15


@pytest.mark.parametrize("name", ["md", "html"])
@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_no_name_becomes_markup(make: object, name: str) -> None:
    text = str(CERTIFICATES[name].text(make()))  # type: ignore[operator]
    assert "<script" not in text
    assert "<img" not in text


def test_the_page_draws_mu_and_its_bound() -> None:
    page = str(CERTIFICATES["html"].text(plain()))
    seen: list[str] = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append(tag)

    Reader().feed(page)
    assert seen.count("svg") >= 2
    assert page.count('class="line') == 4  # the curves and their keys
    assert "http" not in page.replace("http://www.w3.org", "")


def test_it_is_saved_by_its_suffix(tmp_path: Path) -> None:
    for suffix in ("json", "csv", "md", "html", "txt"):
        plain().save(tmp_path / f"found.{suffix}")
        assert (tmp_path / f"found.{suffix}").stat().st_size > 500
    assert "additive certificate holds" in repr(plain())


def everywhere(certificate: Certificate) -> list[str]:
    style = Style(columns=240, every=True)
    return [CERTIFICATES[form].text(certificate, style) for form in ("table", "md", "html")]


def test_a_bound_under_0_is_no_number_to_read() -> None:
    found = rankscope.certify(skip_net(3.0, depth=3), tokens(1))
    bounds = [step.bound for step in found.stacks[0].worst.steps]
    assert min(bound for bound in bounds if bound is not None) < 0
    assert "the additive bound is not above 0 and says nothing" in found.stacks[0].sentence
    column = next(c for c in grid(found.stacks[0], found.stacks[0].worst).columns if c.heading == "certified")
    assert [cell.startswith("—") for cell, _ in column.cells[1:]] == [bound is None or bound <= 0 for bound in bounds]
    assert outcomes(found.stacks[0])[0][2:4] == ("—", "—")
    assert all("it says nothing" in text for text in everywhere(found))


def test_arithmetic_of_the_theorem_is_shown_where_it_applies() -> None:
    bias, pure = (rankscope.certify(skip_net(128.0, bias=bias), tokens(1)) for bias in (True, False))
    assert bias.stacks[0].worst.theorem.condition > 0
    assert "a(S·C_M" not in "".join(everywhere(bias))
    assert all("not applicable; measured: C_M =" in text for text in everywhere(bias))
    assert all("a(S·C_M" in text for text in everywhere(pure))


def test_what_holds_as_measured_alone_is_told_apart() -> None:
    found = rankscope.certify("zoo:transformer,depth=3", random="ids=1x16:int64:0..255")
    assert all("holds as measured" in text for text in everywhere(found))
    assert outcomes(found.stacks[0])[2][1] == "holds as measured"
