"""The shipped checkpoints: what is said of them is true."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn import functional as F

from rankscope import zoo
from rankscope.zoo._parts import positions

DEMO = Path(zoo.__file__).parent / "demo"
NAMES = ("baseline", "lambda-skip")
SAMPLE = (DEMO / "sample.txt").read_text(encoding="ascii").splitlines()
IDS = torch.tensor([list(line.encode()) for line in SAMPLE])


def header(name: str) -> dict[str, str]:
    with safe_open(DEMO / f"{name}.safetensors", "pt") as file:
        return file.metadata()


def facts(name: str) -> dict[str, Any]:
    return json.loads(header(name)["rankscope.provenance"])


def checkpoint(name: str) -> torch.nn.Module:
    model = zoo.build(header(name)["rankscope.spec"], seed=9)
    model.load_state_dict(load_file(DEMO / f"{name}.safetensors"), strict=True)
    return model.eval()


def sample_loss(model: torch.nn.Module) -> float:
    with torch.no_grad():
        return F.cross_entropy(model(IDS)[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()).item()


def unit_layers(model: torch.nn.Module) -> list[torch.Tensor]:
    """Output of every block on the sample in float64, rows scaled to unit norm: (sequences, tokens, width)."""
    found: list[torch.Tensor] = []
    handles = [b.register_forward_hook(lambda module, args, y: found.append(y.double())) for b in model.blocks]
    with torch.no_grad():
        model(IDS)
    for handle in handles:
        handle.remove()
    return [y / y.norm(dim=-1, keepdim=True) for y in found]


def mu_bar(y: torch.Tensor) -> float:
    return ((y - y.mean(dim=1, keepdim=True)).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)).mean().item()


def rank_one_residual(y: torch.Tensor) -> float:
    s = torch.linalg.svdvals(y)
    return (s[:, 1:].square().sum(dim=1) / s.square().sum(dim=1)).sqrt().mean().item()


def effective_rank(y: torch.Tensor) -> float:
    s = torch.linalg.svdvals(y)
    p = s / s.sum(dim=1, keepdim=True)
    return torch.special.entr(p).sum(dim=1).exp().mean().item()


@pytest.fixture(scope="module")
def layers() -> dict[str, list[torch.Tensor]]:
    return {name: unit_layers(checkpoint(name)) for name in NAMES}


def test_the_sample_is_english_of_one_length() -> None:
    assert [len(line) for line in SAMPLE] == [128] * 8
    assert all(line.isprintable() and line == line.strip() for line in SAMPLE)
    assert sum(line.count(" ") for line in SAMPLE) > 8 * 12
    assert hashlib.sha256("\n".join(SAMPLE).encode()).hexdigest() == facts("baseline")["sample_sha256"]


@pytest.mark.parametrize("name", NAMES)
class TestEachCheckpoint:
    def test_is_small(self, name: str) -> None:
        assert (DEMO / f"{name}.safetensors").stat().st_size <= 2 * 1024**2

    def test_its_logits_are_those_of_the_layers_it_was_trained_with(self, name: str) -> None:
        """Bit for bit, from the tensors alone: attention, λ times the input added, rows scaled to unit length."""
        saved, lam = load_file(DEMO / f"{name}.safetensors"), facts(name)["lam"]
        x = F.embedding(IDS, saved["embedding.weight"])
        x = F.normalize(x + positions(128, 64, IDS.device), dim=-1, eps=torch.finfo(x.dtype).tiny)
        for k in range(24):
            maps = {part: saved[f"blocks.{k}.mixer.{part}.weight"] for part in ("query", "key", "value", "out")}
            heads = [
                F.linear(x, maps[part]).unflatten(-1, (4, 16)).transpose(1, 2) for part in ("query", "key", "value")
            ]
            mixed = F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(-2)
            x = F.normalize(lam * x + F.linear(mixed, maps["out"]), dim=-1, eps=torch.finfo(x.dtype).tiny)
        logits = F.linear(F.rms_norm(x, (64,), saved["last_norm.weight"]), saved["head.weight"])
        with torch.no_grad():
            assert torch.equal(checkpoint(name)(IDS), logits)

    def test_counts_its_parameters(self, name: str) -> None:
        assert sum(p.numel() for p in checkpoint(name).parameters()) == facts(name)["parameters"]

    def test_is_trained(self, name: str) -> None:
        untrained = zoo.build(header(name)["rankscope.spec"], seed=facts(name)["seed"])
        assert sample_loss(checkpoint(name)) < sample_loss(untrained) - 2

    def test_its_loss_is_what_is_said(self, name: str) -> None:
        # Another BLAS adds in another order; 24 normalised layers leave differences far under 1e-3.
        assert sample_loss(checkpoint(name)) == pytest.approx(facts(name)["sample_loss"], abs=1e-3)

    def test_its_measures_are_what_is_said(self, name: str, layers: dict[str, list[torch.Tensor]]) -> None:
        last = layers[name][-1]
        assert mu_bar(last) == pytest.approx(facts(name)["mu_bar_unit"], abs=1e-3)
        assert rank_one_residual(last) == pytest.approx(facts(name)["rank_one_residual_unit"], abs=1e-3)
        assert effective_rank(last) == pytest.approx(facts(name)["effective_rank_unit"], rel=1e-3)

    def test_the_readme_says_the_same(self, name: str) -> None:
        fact = facts(name)
        where = f" from {fact['verdict_layer']}" if fact["verdict_layer"] else ""
        row = (
            f"| `{name}` | {fact['lam']:g} | {fact['train_loss']:.2f} | {fact['sample_loss']:.2f} "
            f"| {fact['mu_bar_unit']:.3f} | {fact['rank_one_residual_unit']:.3f} | {fact['verdict']}{where} |"
        )
        readme = (DEMO / "README.md").read_text(encoding="utf-8")
        assert row in readme
        for key in ("data_sha256", "torch", "python", "date"):
            assert str(fact[key]) in readme


def test_only_lambda_differs() -> None:
    base, skip = (header(name)["rankscope.spec"] for name in NAMES)
    assert base.rpartition(",")[0] == skip.rpartition(",")[0]
    assert (base.rpartition(",")[2], facts("baseline")["lam"]) == ("lam=1", 1)
    same = ("data_sha256", "steps", "rate", "seed", "batch", "tokens", "optimiser", "betas", "clip", "parameters")
    assert {key: facts("baseline")[key] for key in same} == {key: facts("lambda-skip")[key] for key in same}


def test_the_baseline_has_collapsed(layers: dict[str, list[torch.Tensor]]) -> None:
    residuals = [rank_one_residual(y) for y in layers["baseline"]]
    first = next(k for k, r in enumerate(residuals) if r < 0.05)
    assert first < 23, "not at the last layer alone"
    assert max(residuals[first:]) < 0.05
    assert mu_bar(layers["baseline"][-1]) < 0.01
    assert facts("baseline")["verdict"] == "collapsed"
    assert facts("baseline")["verdict_layer"] == f"blocks.{first}"


def test_lambda_skip_is_healthy_at_every_layer(layers: dict[str, list[torch.Tensor]]) -> None:
    gaussian = torch.randn(64, 128, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reference = effective_rank(gaussian / gaussian.norm(dim=-1, keepdim=True))
    for y in layers["lambda-skip"]:
        assert mu_bar(y) > 0.3
        assert rank_one_residual(y) > 0.3
        assert effective_rank(y) - 1 > (reference - 1) / 10
    assert (facts("lambda-skip")["verdict"], facts("lambda-skip")["verdict_layer"]) == ("healthy", None)


def test_lambda_skip_learned_more() -> None:
    assert sample_loss(checkpoint("lambda-skip")) < sample_loss(checkpoint("baseline")) - 0.2


def test_the_training_data_is_what_is_said() -> None:
    from rankscope.studies.corpus import corpus

    if platform.python_version() != facts("baseline")["python"]:
        pytest.skip(f"the help topics of Python {platform.python_version()} are another text")
    text = corpus()
    assert hashlib.sha256(text.text).hexdigest() == facts("baseline")["data_sha256"]
    assert len(text.text) == facts("baseline")["data_bytes"]
    assert list(text.sample) == SAMPLE
