"""Structured transformations: every shape keeps its property, also while it is trained; their limits."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional as F

from rankscope import probe
from rankscope.errors import UsageError
from rankscope.zoo import build
from rankscope.zoo.structured import StructuredMap

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

SMALL = "depth=2,width=16,heads=2,vocab=20"
SHAPES = ("spectral", "orthogonal", "antisymmetric", "low_rank", "circulant")
OPTIONS = "gain=0.8,damping=0.3,rank=3"


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(0))


def maps(model: nn.Module) -> list[StructuredMap]:
    return [module for module in model.modules() if isinstance(module, StructuredMap)]


def trained(model: nn.Module, ids: torch.Tensor, steps: int = 3) -> nn.Module:
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimiser.step()
    return model


def check(shape: str, path: torch.Tensor) -> None:
    """The property that defines a shape, in float64."""
    width = len(path)
    eye = torch.eye(width, dtype=torch.float64)
    if shape == "spectral":
        assert torch.linalg.svdvals(path)[0] <= 0.8 + 1e-12
    elif shape == "orthogonal":
        torch.testing.assert_close(path.mT @ path, eye, rtol=0, atol=2e-6)  # it starts from a float32 basis
    elif shape == "antisymmetric":
        torch.testing.assert_close(path + path.mT, -0.6 * eye)
        assert torch.linalg.eigvals(path).real.tolist() == pytest.approx([-0.3] * width)
    elif shape == "low_rank":
        singular = torch.linalg.svdvals(path)
        assert singular[3] < 1e-12 * singular[0] < singular[2]
    else:
        torch.testing.assert_close(path.roll((1, 1), (0, 1)), path)
        spectrum = torch.fft.fft(path[:, 0]).abs().sort(descending=True).values
        torch.testing.assert_close(torch.linalg.svdvals(path), spectrum)


@pytest.mark.parametrize("shape", SHAPES)
class TestEveryShape:
    def test_keeps_its_property_through_training(self, shape: str, ids: torch.Tensor) -> None:
        model = build(f"structured,{SMALL},shape={shape},{OPTIONS}").double()
        before = [each.path().detach() for each in maps(model)]
        assert len(before) == 2 * 5
        after = [each.path().detach() for each in maps(trained(model, ids))]
        for old, new in zip(before, after, strict=True):
            check(shape, old)
            check(shape, new)
            assert not torch.allclose(old, new, atol=1e-3), "it is trained"

    def test_is_told_from_an_unshaped_map(self, shape: str) -> None:
        path = torch.randn(16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        with pytest.raises(AssertionError):
            check(shape, path)

    def test_without_correction_every_map_is_its_linear_path(self, shape: str, ids: torch.Tensor) -> None:
        model = build(f"structured,{SMALL},shape={shape},correction=0")
        x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1))
        for each in maps(model):
            assert torch.equal(each(x), x @ each.path().mT)
            torch.testing.assert_close(each(2 * x - x.flip(1)), 2 * each(x) - each(x).flip(1), rtol=0, atol=1e-5)
        assert not any("correction" in name for name, _ in model.named_parameters())

    def test_the_correction_is_added_to_the_path(self, shape: str) -> None:
        each = maps(build(f"structured,{SMALL},shape={shape},correction=0.3,hidden=5"))[0]
        x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1))
        assert each.correction.up.out_features == 5
        torch.testing.assert_close(each(x), x @ each.path().mT + 0.3 * each.correction(x))

    def test_probes_and_learns(self, shape: str, ids: torch.Tensor) -> None:
        model = build(f"structured,{SMALL},shape={shape}")
        report = probe(model, ids, measures=["mu_bar", "value_cosine", "grad_condition"])
        assert {row.status for row in report.rows} == {"ok"}
        assert {row.measure for row in report.rows} == {"mu_bar", "value_cosine", "grad_condition", "grad_rank"}

        def loss() -> float:
            return F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).item()

        before = loss()
        trained(model, ids, steps=10)
        assert loss() < before - 1

    def test_without_skip_only_what_is_mapped_goes_on(self, shape: str) -> None:
        sublayer = build(f"structured,{SMALL},shape={shape},skip=off").blocks[0].map
        x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1))
        assert torch.equal(sublayer(x), sublayer.mixer(sublayer.norm(x)))


def test_attention_is_that_of_the_transformer_on_the_linear_paths(ids: torch.Tensor) -> None:
    plain, model = build(f"transformer,{SMALL},mlp=off"), build(f"structured,{SMALL},correction=0")
    mixer, other = plain.blocks[0].attention.mixer, model.blocks[0].attention.mixer
    with torch.no_grad():
        for name in ("query", "key", "value", "out"):
            getattr(mixer, name).weight.copy_(getattr(other, name).path())
    x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(other(x), mixer(x), rtol=0, atol=1e-6)


def test_a_weight_under_the_gain_is_left_as_it_is() -> None:
    path = maps(build(f"structured,{SMALL},gain=100"))[0].path
    assert torch.equal(path(), path.weight)


@functools.cache
def chain(shape: str, correction: float, seed: int, maps_in_a_row: int = 24) -> Callable[[torch.Tensor], torch.Tensor]:
    """Maps of one feature width, one after the other: no tokens, no skip, no norm."""
    options = f"depth={maps_in_a_row},width=16,heads=2,vocab=20,shape={shape},correction={correction}"
    parts = [block.map.mixer.double() for block in build(f"structured,{options}", seed=seed).blocks]
    return lambda x: functools.reduce(lambda y, part: part(y), parts, x)


def unshaped(seed: int, maps_in_a_row: int = 24) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same of plain MLPs."""
    model = build(f"transformer,depth={maps_in_a_row},width=16,heads=2,vocab=20,ratio=1", seed=seed).double()
    return lambda x: functools.reduce(lambda y, block: block.mlp.mixer(y), model.blocks, x)


def jacobian(net: Callable[[torch.Tensor], torch.Tensor], seed: int = 0) -> torch.Tensor:
    """Singular values of ∂net/∂x at a Gaussian x."""
    x = torch.randn(16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.svdvals(torch.autograd.functional.jacobian(net, x))


def sensitivity(net: Callable[[torch.Tensor], torch.Tensor], epsilon: float = 1e-3) -> float:
    """s(ε) = E‖f(x + ε u ‖x‖) − f(x)‖ / (ε ‖f(x)‖), u uniform on the sphere."""
    draws = torch.randn(201, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x, u = draws[0], F.normalize(draws[1:], dim=-1)
    with torch.no_grad():
        moved = net(x + epsilon * x.norm() * u) - net(x)
    return (moved.norm(dim=-1).mean() / (epsilon * net(x).norm())).item()


@pytest.mark.parametrize("seed", [0, 1, 2])
class TestClaims:
    """What holds of better conditioning and lower sensitivity, of 24 maps in a row."""

    def test_orthogonal_paths_are_perfectly_conditioned(self, seed: int) -> None:
        net = chain("orthogonal", 0.0, seed)
        values = jacobian(net)
        assert (values[0] / values[-1]).item() == pytest.approx(1, abs=1e-4)
        assert sensitivity(net) == pytest.approx(1, abs=1e-4)

    def test_a_small_correction_keeps_most_of_it_and_a_large_one_does_not(self, seed: int) -> None:
        small, large = jacobian(chain("orthogonal", 0.1, seed)), jacobian(chain("orthogonal", 1.0, seed))
        assert small[0] / small[-1] < 10
        assert large[0] / large[-1] > 1e3
        assert sensitivity(chain("orthogonal", 0.1, seed)) == pytest.approx(1, abs=0.2)

    def test_without_a_shape_the_jacobian_is_singular(self, seed: int) -> None:
        values = jacobian(unshaped(seed))
        assert values[0] / values[-1] > 1e10

    def test_the_spectral_path_lets_nothing_grow(self, seed: int) -> None:
        assert jacobian(chain("spectral", 0.0, seed))[0] <= 1 + 1e-9


@pytest.mark.parametrize(
    ("spec", "code", "says"),
    [
        ("structured,shape=toeplitz", "RS101", "unknown value of shape: 'toeplitz'"),
        ("structured,shape=low_rank,rank=65", "RS352", "rank is 65, expected at most width, 64"),
        ("structured,rank=0", "RS352", "rank is 0, expected at least 1"),
        ("structured,hidden=0", "RS352", "hidden is 0, expected at least 1"),
        ("structured,gain=0", "RS352", "gain is 0, expected more than 0"),
        ("structured,correction=some", "RS351", "option correction is 'some'"),
        ("structured,heads=3", "RS352", "width is 64, expected a multiple of heads, 3"),
    ],
)
def test_bad_options_are_usage_errors(spec: str, code: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        build(spec)
    assert caught.value.code == code
