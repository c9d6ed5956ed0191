"""Reports of runs over parts of the inputs become the report of one run over all; the twin is that one run."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from schemas import closed

import rankscope
from rankscope.cli import main
from rankscope.errors import CannotMeasure, UsageError
from rankscope.records import Note
from rankscope.sums import KEY, packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from rankscope.records import Report, Row, Vector

SCHEMA = json.loads((Path(rankscope.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
FORWARD = ["forward", "pooled:effective_rank", "pooled:effective_rank_unit_centered", "pooled:singular_values"]


@cache
def net() -> torch.nn.Module:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()


@cache
def inputs() -> torch.Tensor:
    return torch.randn(9, 12, 16, generator=torch.Generator().manual_seed(1))


def run(x: Any, measures: Any = FORWARD, **options: Any) -> Report:
    return rankscope.probe(net(), x, measures=measures, device="cpu", **{"keep_sums": True, **options})


@cache
def whole(measures: str | None = None) -> Report:
    return run(inputs(), measures or FORWARD)


def entries(report: Report) -> dict[Any, Row | Vector]:
    every: list[Row | Vector] = [*report.rows, *report.spectra]
    return {each.key: each for each in every}


def agree(one: Any, other: Any) -> bool:
    """Values of two rows to 1e-12; those of a pool, whose least σ may be rounding, to their bounds."""
    slack = (one.error or 0.0) + (other.error or 0.0) if one.scope == "pooled" else 0.0
    if isinstance(one.value, float) and isinstance(other.value, float):
        return abs(one.value - other.value) <= slack + 1e-12 * max(1.0, abs(other.value))
    return bool(one.value == other.value)


def close(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-12 * max(1.0, abs(other))
    return bool(one == other)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True))
def test_any_split_merges_to_the_one_run(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), 9]
    merged = rankscope.merge(*[run(inputs()[start:end]) for start, end in pairwise(ends)])
    expected, found = entries(whole()), entries(merged)
    assert found.keys() == expected.keys()
    for key, entry in expected.items():
        for field in fields(entry):
            one, other = getattr(found[key], field.name), getattr(entry, field.name)
            bounded = entry.scope == "pooled" and field.name in {"value", "samples"}
            assert field.name == "error" or bounded or close(one, other), (key, field.name)
    for row, one_run in zip(merged.rows, whole().rows, strict=True):
        assert agree(row, one_run), row.key
    for sums, one_sums in zip(merged.sums, whole().sums, strict=True):
        assert sums.place == one_sums.place
        assert all(np.allclose(a, b, 1e-12, 1e-12) for a, b in zip(sums.arrays[2:], one_sums.arrays[2:], strict=True))
    assert merged.layers == whole().layers
    assert [d.verdict for d in merged.depth] == [d.verdict for d in whole().depth]
    assert {k: merged.inputs[k] for k in ("sequences", "tokens", "lengths")} == {
        k: whole().inputs[k] for k in ("sequences", "tokens", "lengths")
    }
    assert len(merged.sums) == len(whole().sums) == 8  # raw and unit, at the input and after three blocks


def test_merging_merged_reports_is_the_same() -> None:
    a, b, c = (run(part) for part in torch.tensor_split(inputs(), 3))
    left, right = rankscope.merge(rankscope.merge(a, b), c), rankscope.merge(a, rankscope.merge(b, c))
    assert all(agree(row, other) for row, other in zip(left.rows, right.rows, strict=True))
    assert rankscope.merge(a) is a


def test_a_part_inside_of_a_merged_report_is_not_taken_twice() -> None:
    a, b = run(inputs()[:4]), run(inputs()[4:])
    with pytest.raises(CannotMeasure, match="report 1 and report 2 are of the same inputs"):
        rankscope.merge(rankscope.merge(a, b), a)


def test_measures_of_a_gradient_are_not_merged() -> None:
    parts = [run(part, "full") for part in torch.tensor_split(inputs(), 2)]
    merged = rankscope.merge(*parts)
    assert [row.key for row in merged.rows] == [row.key for row in whole("full").rows]
    for row, one in zip(merged.rows, whole("full").rows, strict=True):
        if row.scope == "batch":
            assert (row.status, row.value) == ("skipped", None)
            assert "gradient" in str(row.reason)
        else:
            assert row.status == one.status
            assert agree(row, one), row.key
    assert any(row.scope == "batch" for row in merged.rows)


def test_without_sums_pooled_measures_say_so_and_the_rest_is_merged() -> None:
    parts = [run(inputs()[:4]), run(inputs()[4:], keep_sums=False)]
    merged = rankscope.merge(*parts)
    pooled = [row for row in merged.rows if row.scope == "pooled"]
    assert pooled
    assert {(row.status, row.value) for row in pooled} == {("skipped", None)}
    assert all(".safetensors" in str(row.reason) for row in pooled)
    assert all(row.status == "ok" for row in merged.rows if row.scope == "sequence" and row.site == "block")
    assert merged.sums == ()


def test_an_undefined_part_makes_the_row_undefined_and_is_named() -> None:
    bad = inputs()[4:].clone()
    bad[1, 3] = torch.nan
    merged = rankscope.merge(run(inputs()[:4]), run(bad))
    row = next(row for row in merged.rows if row.measure == "mu" and row.layer_index == 0)
    assert (row.status, row.value, row.sequences) == ("undefined", None, 9)
    assert row.reason == "non-finite values in 1 of 5 sequences in report 2"
    assert row.samples[:4] == whole().rows[0].samples[:4]
    assert row.samples[5] is None
    pooled = next(row for row in merged.rows if row.scope == "pooled" and row.layer_index == 0)
    assert (pooled.status, pooled.value) == ("undefined", None)


def test_short_sequences_of_one_run_are_left_out_as_in_one_run() -> None:
    batches = [inputs()[:4], inputs()[4:, :3]]
    merged, one = rankscope.merge(*map(run, batches)), run(batches)
    for row, expected in zip(merged.rows, one.rows, strict=True):
        assert (row.status, row.sequences, row.tokens) == (expected.status, expected.sequences, expected.tokens)
        assert agree(row, expected), row.key


def test_tokens_that_are_all_zero_in_one_part() -> None:
    batches = [inputs()[:4], torch.zeros(2, 12, 16)]
    merged, one = rankscope.merge(*map(run, batches)), run(batches)
    for row, expected in zip(merged.rows, one.rows, strict=True):
        assert row.status == expected.status, (row.key, row.reason, expected.reason)
        assert agree(row, expected), row.key


class Ragged(torch.nn.Module):
    """Three blocks, the last of which drops a token of the batches of 9: no mask fits what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        for number, layer in enumerate(self.layers):
            x = layer(x if number < 2 or x.shape[1] == 12 else x[:, :-1])
        return x


def test_a_pool_that_one_run_could_not_read_whole_is_no_value() -> None:
    torch.manual_seed(0)
    ragged = Ragged()

    def batch(count: int, tokens: int) -> dict[str, torch.Tensor]:
        mask = torch.ones(count, tokens, dtype=torch.long)
        mask[:, -1] = 0
        return {"x": inputs()[:count, :tokens] + count, "attention_mask": mask}

    def measured(batches: list[dict[str, torch.Tensor]]) -> Report:
        return rankscope.probe(ragged, batches, measures=["pooled:effective_rank"], device="cpu", keep_sums=True)

    batches = [batch(4, 12), batch(3, 12), batch(2, 9)]
    merged, one = rankscope.merge(measured(batches[:1]), measured(batches[1:])), measured(batches)
    assert [row.status for row in merged.rows] == [row.status for row in one.rows]
    assert [row.status for row in one.rows][-1] == "undefined"
    assert merged.rows[-1].value is None
    assert "in report 2" in str(merged.rows[-1].reason)


def test_inputs_of_no_finite_token_at_all() -> None:
    bad = torch.full((2, 12, 16), torch.nan)
    part = run(bad)
    assert {row.status for row in part.rows if row.scope == "pooled"} == {"undefined"}
    merged, one = rankscope.merge(run(inputs()[:4]), part), run([inputs()[:4], bad])
    assert [row.status for row in merged.rows] == [row.status for row in one.rows]
    assert merged.coverage == one.coverage
    for vector, expected in zip(merged.spectra, one.spectra, strict=True):
        assert vector.samples == expected.samples
    mixed = [[inputs()[:4]], [inputs()[4:6, :3], bad]]
    merged, one = (
        rankscope.merge(*[run(part, ["mu", "singular_values"]) for part in mixed]),
        run([*mixed[0], *mixed[1]], ["mu", "singular_values"]),
    )
    assert [len(vector.samples) for vector in merged.spectra] == [len(vector.samples) for vector in one.spectra]


def test_notes_of_one_part_say_so() -> None:
    merged = rankscope.merge(run([inputs()[:2], inputs()[2:4, :3]]), run(inputs()[4:]))
    short = "sequences have fewer than 4 tokens and are left out"
    assert [note.text for note in merged.notes if note.code == "RS533"] == [f"2 of 9 {short}"]
    both = rankscope.merge(*[run([inputs()[n : n + 2], inputs()[n : n + 2, :3]]) for n in (0, 2)])
    assert [note.text for note in both.notes if note.code == "RS533"] == [f"4 of 8 {short}"]
    noted = [replace(run(inputs()[n : n + 3]), notes=(Note("RS340", f"part {n}"),)) for n in (0, 3)]
    texts = [note.text for note in rankscope.merge(*noted).notes if note.code == "RS340"]
    assert texts == ["report 1: part 0", "report 2: part 3"]


# -- what is refused ---------------------------------------------------------------------------------------------------


def other_net() -> Report:
    torch.manual_seed(3)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 48, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    return rankscope.probe(model, inputs()[4:], measures=FORWARD, device="cpu")


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (other_net, "report 2 has another model than report 1"),
        (lambda: run(inputs()[:4]), "report 1 and report 2 are of the same inputs"),
        (lambda: run(inputs()[4:], ["mu"]), "report 2 has another row than report 1"),
        (lambda: run(inputs()[4:], layers=["layers.1"]), "report 2 has another layer than report 1"),
        (lambda: run(inputs()[4:], spectra="svd"), "report 2 has another way to spectra than report 1"),
        (lambda: run(inputs()[4:].double(), dtype="float64"), "report 2 has another dtype than report 1"),
    ],
)
def test_what_no_one_run_could_give_is_refused(other: Callable[[], Report], why: str) -> None:
    with pytest.raises(CannotMeasure, match=why) as caught:
        rankscope.merge(run(inputs()[:4]), other())
    assert caught.value.code == "RS611"


def test_reports_made_by_hand_are_refused_in_words() -> None:
    a, b = run(inputs()[:4]), run(inputs()[4:])
    wrong = {**a.environment, "dtype": "save"}
    with pytest.raises(CannotMeasure, match="report 1 names no dtype that is measured, but 'save'"):
        rankscope.merge(replace(a, environment=wrong), replace(b, environment=wrong))
    narrow = replace(b.sums[0], origin=np.zeros(3), offset=np.zeros(3), scatter=np.eye(3))
    with pytest.raises(CannotMeasure, match=r"the sums of layer 0 of layers\.\* are of different widths"):
        rankscope.merge(a, replace(b, sums=(narrow, *b.sums[1:])))
    with pytest.raises(TypeError, match="at least one report"):
        rankscope.merge()


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    names = ["a.safetensors", "b.safetensors"]
    for name, part in zip(names, torch.split(inputs(), [4, 5]), strict=True):
        run(part).save(name)
    return names


def test_a_file_gives_back_the_report_and_its_sums(parts: list[str]) -> None:
    back, report = rankscope.load(parts[0]), run(inputs()[:4])
    assert back.rows == report.rows
    assert back.spectra == report.spectra
    assert [each.place for each in back.sums] == [each.place for each in report.sums]
    for one, other in zip(back.sums, report.sums, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.arrays, other.arrays, strict=True))
    assert "sums" not in json.loads(report.to_json())


def test_the_command_merges_files(parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *parts, "--merge", "-o", "whole.json", "-o", "whole.safetensors", "-o", "whole.html"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "merged of 2 runs" in out
    written = json.loads(Path("whole.json").read_text(encoding="utf-8"))
    jsonschema.validate(written, SCHEMA)
    jsonschema.validate(written["inputs"], closed(SCHEMA["properties"]["inputs"]))
    found = rankscope.load("whole.json")
    for row, expected in zip(found.rows, whole().rows, strict=True):
        assert agree(row, expected), row.key
    assert len(rankscope.load("whole.safetensors").sums) == 8
    assert main(["check", "whole.safetensors", "--min", "effective_rank=1"]) == 0
    assert main(["compare", parts[0], parts[1]]) == 3  # of other inputs
    capsys.readouterr()
    assert main(["report", parts[0], parts[0], "--merge"]) == 3
    assert "same inputs" in capsys.readouterr().err


def test_probe_writes_the_sums_where_that_format_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    zoo = "zoo:transformer,depth=2,width=16,heads=2,vocab=64"
    for seed in ("1", "2"):
        command = ["probe", zoo, "--random", "ids=2x8:int64:0..63", "--seed", seed, "--measures", "pooled:stable_rank"]
        assert main([*command, "-o", f"{seed}.safetensors", "-o", f"{seed}.json"]) == 0
    assert len(rankscope.load("1.safetensors").sums) == 3
    assert rankscope.load("1.json").sums == ()
    capsys.readouterr()
    assert main(["report", "1.json", "-o", "again.safetensors"]) == 2
    assert "RS610" in capsys.readouterr().err
    assert not Path("again.safetensors").exists()
    assert main(["report", "1.safetensors", "2.safetensors", "-o", "both.safetensors"]) == 2
    assert "RS608" in capsys.readouterr().err
    assert main(["report", "1.safetensors", "--format", "safetensors"]) == 2
    assert "RS607" in capsys.readouterr().err
    assert main(["report", "1.safetensors", "2.safetensors", "--merge"]) == 3  # of another seed
    said = " ".join(capsys.readouterr().err.split())
    assert "report 2 (2.safetensors) has another model than report 1 (1.safetensors)" in said
    assert main(["probe", "1.safetensors"]) == 3
    assert "rankscope report 1.safetensors" in capsys.readouterr().err


def test_the_format_of_sums_needs_them_only_where_there_are_pools(tmp_path: Path) -> None:
    run(inputs(), ["mu"], keep_sums=False).save(tmp_path / "mu.safetensors")
    assert rankscope.load(tmp_path / "mu.safetensors").sums == ()
    with pytest.raises(UsageError, match="keep_sums=True"):
        run(inputs(), keep_sums=False).save(tmp_path / "pools.safetensors")
    assert not (tmp_path / "pools.safetensors").exists()
    run(inputs(), ["mu", "pooled:effective_rank"], memory="4KiB").save(tmp_path / "skipped.safetensors")
    assert rankscope.load(tmp_path / "skipped.safetensors").sums == ()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _changed(name: str, array: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        arrays = load_file(path)
        save_file({**arrays, name: array}, path, {KEY: "1"})

    return change


def _without(path: Path) -> None:
    save_file({"report": load_file(path)["report"]}, path, {KEY: "1"})


def _no_report(path: Path) -> None:
    path.write_bytes(packed({"schema": "rankscope.report/1"}, ()))


def _text(**changed: Any) -> Callable[[Path], None]:
    """Facts of the inputs, of the first sums and of the first row, changed."""

    def change(path: Path) -> None:
        arrays = load_file(path)
        data = json.loads(arrays["report"].tobytes())
        data["inputs"] |= changed.pop("inputs", {})
        data["coverage"] |= changed.pop("coverage", {})
        data["sums"][0] |= changed.pop("sums", {})
        data["rows"][0] |= changed
        content = np.frombuffer(json.dumps(data).encode(), np.uint8)
        save_file({**arrays, "report": content}, path, {KEY: "1"})

    return change


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_text(inputs={"seed": [1]}), "RS611"),
        (_text(inputs={"sha256": ["q"]}), "RS611"),
        (_text(inputs={"sequences": -1}), "RS611"),
        (_text(inputs={"parts": {}}), "RS611"),
        (_text(sums={"stack": {}}), "RS602"),
        (_text(sums={"unit": "no"}), "RS602"),
        (_text(sums={"sequences": 0}), "RS602"),
        (_text(sums={"dtype": "float4_e2m1fn_x2"}), "RS611"),
        (_text(sequences=-4), "RS602"),
        (_text(sequences=10**14), "RS602"),
        (_text(samples=[10**400] * 4), "RS602"),
        (_text(head={}), "RS602"),
        (_text(samples=[1.7e308] * 4, value=1.7e308), "RS611"),
        (_text(coverage={"fired": "x"}), "RS602"),
        (_text(coverage={"skipped": {"a": {}}}), "RS602"),
        (_text(sums={"count": 10**30}), "RS602"),
        (_text(sums={"layer_index": 1}), "RS602"),
        (_text(reason=3), "RS602"),
    ],
)
def test_a_report_changed_by_hand_is_refused(
    spoil: Callable[[Path], None], code: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(Path(parts[0]))
    assert main(["report", *parts, "--merge", "-o", "whole.json"]) == 3
    assert code in capsys.readouterr().err
    assert not Path("whole.json").exists()


def test_rows_without_samples_have_no_value(parts: list[str]) -> None:
    _text(samples=[])(Path(parts[0]))
    row = rankscope.merge(*parts).rows[0]
    assert (row.status, row.value, row.reason) == ("skipped", None, "its samples were not kept")


@pytest.mark.parametrize(
    "spoil",
    [
        _cut,
        _without,
        _no_report,
        _changed("0.scatter", np.eye(3)),
        _changed("0.origin", np.zeros(16, np.float32)),
        _changed("0.offset", np.full(16, np.nan)),
        _changed("0.origin", np.zeros(())),
        _changed("0.scatter", np.triu(np.ones((16, 16)))),
        _changed("0.scatter", -np.eye(16)),
    ],
)
def test_a_spoiled_file_is_refused(
    spoil: Callable[[Path], None], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(Path(parts[0]))
    assert main(["report", *parts, "--merge", "-o", "whole.json"]) == 3
    assert "RS602" in capsys.readouterr().err
    assert not Path("whole.json").exists()
