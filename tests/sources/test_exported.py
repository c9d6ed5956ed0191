"""Exported programs: opened with trust alone, their modules apart, the same numbers as before they were exported."""

from __future__ import annotations

import inspect
import logging
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import hostile
import pytest
import torch
from torch import nn

import rankscope
from rankscope.errors import LoadError, UsageError
from rankscope.sources import LoadOptions, open_model

if TYPE_CHECKING:
    from pathlib import Path

TRUST = LoadOptions(trust=True)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.mlp(x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, ids: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        x: torch.Tensor = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        return x if scale is None else x * scale


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


IDS = torch.arange(16).reshape(2, 8)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("exported") / "net.pt2"
    torch.export.save(torch.export.export(net(), (IDS,)), path)
    return path


def test_nothing_is_loaded_without_trust(archive: Path) -> None:
    with pytest.raises(LoadError, match="--trust") as caught:
        open_model(archive)
    assert caught.value.code == "RS302"
    with pytest.raises(LoadError, match="not the one that was trusted"):
        open_model(archive, LoadOptions(trust_sha256="0" * 64))


def test_the_sample_inputs_of_an_archive_run_code_only_where_it_is_trusted(tmp_path: Path) -> None:
    path = hostile.exported(tmp_path)
    with pytest.raises(LoadError):
        open_model(path)
    assert not (tmp_path / hostile.CANARY).exists()


def test_modules_run_with_the_weights_in_place(archive: Path) -> None:
    source = open_model(archive, TRUST)
    assert source.format == "exported"
    assert [note.code for note in source.notes] == ["RS346"]
    fired = []
    for name, module in source.model.named_modules():
        module.register_forward_hook(lambda *_, name=name: fired.append(name))
    assert source.example is not None
    torch.testing.assert_close(source.model(*source.example.args), net()(IDS))
    assert {"blocks.0", "blocks.1", "blocks.2", "blocks.1.attention", "blocks.2.mlp.1", "embedding"} <= set(fired)
    weights = dict(source.model.named_parameters())
    assert torch.equal(weights["blocks.1.mlp.0.weight"], net().blocks[1].mlp[0].weight)
    assert type(source.model.get_submodule("blocks.0")).__name__ == "Block"


def test_the_report_is_that_of_the_model_it_was_made_from(archive: Path) -> None:
    """Blocks, values of attention and gradients: the same rows, the same numbers."""
    source = open_model(archive, TRUST)
    assert source.example is not None
    ours = rankscope.probe(source.model, source.example.args[0], loss="cotangent")
    theirs = rankscope.probe(net(), IDS, loss="cotangent")
    assert [layer.name for layer in ours.layers] == ["blocks.0.input", "blocks.0", "blocks.1", "blocks.2"]
    assert {layer.type for layer in ours.layers} == {"Block"}
    assert {row.status for row in ours.rows} == {"ok"}
    assert {row.site for row in ours.rows} >= {"block", "value", "gradient", "weight_gradient"}
    assert {row.key: row.value for row in ours.rows} == {row.key: pytest.approx(row.value) for row in theirs.rows}


def test_keyword_arguments_and_open_lengths(tmp_path: Path) -> None:
    length = torch.export.Dim("length", min=2, max=64)
    shapes: Any = {"ids": {1: length}, "scale": None}
    program = torch.export.export(net(), (IDS,), {"scale": torch.tensor(2.0)}, dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "net.pt2")
    source = open_model(tmp_path / "net.pt2", TRUST)
    assert source.example is not None
    assert list(source.example.kwargs) == ["scale"]
    ids, scale = torch.arange(10).reshape(2, 5), torch.tensor(3.0)
    expected = net()(ids, scale)
    for args, kwargs in (((ids,), {"scale": scale}), ((), {"scale": scale, "ids": ids}), ((ids, scale), {})):
        torch.testing.assert_close(source.model(*args, **kwargs), expected)
    assert list(inspect.signature(source.model.forward).parameters) == ["ids", "scale"]
    report = rankscope.probe(source.model, {"ids": ids, "scale": scale}, measures="mu_bar")
    assert report.coverage.measured == 4


def test_weights_for_a_factory(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "arch.py").write_text("import test_exported\nfrom test_exported import Net\n")
    with pytest.MonkeyPatch.context() as patch:
        import sys

        patch.setitem(sys.modules, "test_exported", sys.modules[__name__])
        source = open_model(f"{tmp_path}/arch.py:Net", LoadOptions(weights=archive, trust=True))
    assert torch.equal(source.model.embedding.weight, net().embedding.weight)
    assert "RS346" in {note.code for note in source.notes}


@pytest.mark.parametrize("record", ["models/model.json", "data/weights/weight_0"])
def test_a_damaged_archive_is_told_in_a_line(
    record: str, archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(tmp_path / "net.pt2", "w") as broken:
        for name in whole.namelist():
            broken.writestr(name, b"{" if name.endswith(record) else whole.read(name))
    capfd.readouterr()
    with pytest.raises(LoadError) as caught:
        open_model(tmp_path / "net.pt2", TRUST)
    assert caught.value.code == "RS373"
    assert "\n" not in dict(caught.value.details)["torch says"]
    assert capfd.readouterr() == ("", ""), "torch logs tracebacks of its own before it raises"
    assert not caplog.records
    assert logging.root.manager.disable == 0


def test_no_random_weights(archive: Path) -> None:
    with pytest.raises(UsageError, match="needs a factory"):
        open_model(archive, LoadOptions(trust=True, init_only=True))


def test_what_cannot_be_taken_apart(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(program: Any) -> None:
        raise AssertionError("a graph\nof another sort")

    monkeypatch.setattr(torch.export, "unflatten", fails)
    with pytest.raises(LoadError, match="torch says  AssertionError: a graph") as caught:
        open_model(archive, TRUST)
    assert caught.value.code == "RS374"


def test_live_graphs_are_not_measured_in_silence() -> None:
    """The children of `program.module()` and of traced modules take hooks and never call them."""
    program = torch.export.export(net(), (IDS,))
    for given in (program, program.module()):
        with pytest.raises(LoadError, match=r"torch\.export\.unflatten\(program\)"):
            rankscope.probe(given, IDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own, on its pytrees
        model = torch.export.unflatten(program)
    report = rankscope.probe(model, IDS, measures="mu_bar")
    assert report.coverage.measured == 4
