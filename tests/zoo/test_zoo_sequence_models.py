"""Linear attention, S4D, Mamba and Mamba-2: their forms agree with each other, and with transformers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rankscope.zoo import build
from rankscope.zoo._selective import CHUNK, chunked, matrices, scan, start_steps
from rankscope.zoo.linear_attention import LinearAttention
from rankscope.zoo.mamba import MambaMixer
from rankscope.zoo.mamba2 import Mamba2Mixer
from rankscope.zoo.s4d import LTI

TOKENS = (1, 33, CHUNK, 2 * CHUNK + 7)


def tokens(count: int, width: int = 16) -> torch.Tensor:
    return torch.randn(2, count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(count))


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("count", TOKENS)
def test_linear_attention_is_its_recurrence(count: int) -> None:
    module, x = LinearAttention(16, 4, causal=True).double(), tokens(count)
    close(module(x), module.recurrent(x))


def test_linear_attention_of_huge_queries_is_finite() -> None:
    module = LinearAttention(16, 4, causal=True)
    assert torch.isfinite(module(1e4 * tokens(9).float())).all()
    assert torch.isfinite(module.recurrent(1e4 * tokens(9).float())).all()


def test_linear_attention_without_mask_is_the_sum_over_all_tokens() -> None:
    module, x = LinearAttention(16, 1, causal=False).double(), tokens(7)
    q, k, v = (linear(x) for linear in (module.query, module.key, module.value))
    q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
    rows = [
        [
            sum((q[b, i] @ k[b, j]) * v[b, j] for j in range(7)) / sum(q[b, i] @ k[b, j] for j in range(7))
            for i in range(7)
        ]
        for b in range(2)
    ]
    close(module(x), module.out(torch.stack([torch.stack(row) for row in rows])))


@pytest.mark.parametrize("count", TOKENS)
@pytest.mark.parametrize("init", ["lin", "real"])
@pytest.mark.parametrize("kernels", [1, 4, 16])
def test_the_convolution_of_s4d_is_its_recurrence(count: int, init: str, kernels: int) -> None:
    module, x = LTI(16, kernels, 6, init=init).double(), tokens(count)
    close(module(x), module.recurrent(x))


def test_the_start_of_s4d_is_that_of_the_paper() -> None:
    lin = LTI(4, 4, 8)
    torch.testing.assert_close(-lin.log_decay.exp(), torch.full((4, 4), -0.5))
    torch.testing.assert_close(lin.frequency, torch.pi * torch.arange(4.0).repeat(4, 1))
    torch.testing.assert_close(-LTI(4, 4, 3, init="real").log_decay.exp(), -torch.arange(1.0, 4).repeat(4, 1))


def test_the_kernel_of_s4d_is_that_of_the_discretised_equation() -> None:
    """k_l = 2 Re Σ_n C_n B̄_n Ā_n^l with Ā = exp(ΔA), B̄ = (Ā − 1)/A."""
    module = LTI(3, 3, 4).double()
    kernel = module.kernel(5)
    for h in range(3):
        step = module.log_step[h].exp().item()
        for lag in range(5):
            total = 0.0
            for n in range(2):
                a = complex(-module.log_decay[h, n].exp().item(), module.frequency[h, n].item())
                c = complex(*module.read_out[h, n].tolist())
                bar = complex(torch.tensor(step * a, dtype=torch.complex128).exp().item())
                total += 2 * (c * (bar - 1) / a * bar**lag).real
            assert kernel[h, lag].item() == pytest.approx(total, rel=1e-9)


def selective(count: int, heads: int, modes: int) -> tuple[torch.Tensor, ...]:
    """x, Δ, A, B, C."""
    g = torch.Generator().manual_seed(count)
    x, b, c = (
        torch.randn(*shape, dtype=torch.float64, generator=g) for shape in ((2, count, heads, 3), *[(2, count, 5)] * 2)
    )
    step = torch.rand(2, count, heads, dtype=torch.float64, generator=g) * 3
    return x, step, -torch.rand(heads, modes, dtype=torch.float64, generator=g) * 4, b, c


@pytest.mark.parametrize("count", TOKENS)
@pytest.mark.parametrize("heads", [1, 4])
class TestScans:
    def test_the_scan_is_its_matrices(self, count: int, heads: int) -> None:
        for modes in (1, 5):
            x, *rest = selective(count, heads, modes)
            close(scan(x, *rest), torch.einsum("bhij,bjhp->bihp", matrices(*rest), x))

    def test_the_chunks_are_the_scan(self, count: int, heads: int) -> None:
        given = selective(count, heads, 1)
        close(chunked(*given), scan(*given))
        close(chunked(*given, chunk=5), scan(*given))


def test_the_gradients_of_the_three_forms_agree() -> None:
    found = []
    for form in (scan, chunked, lambda x, *rest: torch.einsum("bhij,bjhp->bihp", matrices(*rest), x)):
        given = [part.requires_grad_() for part in selective(CHUNK + 9, 2, 1)]
        form(*given).sin().sum().backward()
        found.append([part.grad for part in given])
    for one in found[1:]:
        for grad, expected in zip(one, found[0], strict=True):
            close(grad, expected)


def test_long_decays_do_not_overflow() -> None:
    """The decays are summed in their logarithm: exp of the differences, never the ratio of two exponentials."""
    x, step, a, b, c = selective(200, 2, 1)
    for form in (scan, chunked):
        assert torch.isfinite(form(x, 50 * step, 50 * a, b, c)).all()
    assert torch.isfinite(matrices(50 * step, 50 * a, b, c)).all()


def test_steps_start_between_their_ends() -> None:
    found = nn.functional.softplus(start_steps(1000))
    assert 0.99e-3 < found.min() < 2e-3
    assert 0.05 < found.max() < 0.101


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
def test_gate_and_norm_are_left_out(name: str) -> None:
    small = f"{name},depth=2,width=16,state=4"
    full, bare = build(small), build(f"{small},gate=off,norm=off")
    inner = 32
    assert full.blocks[0].mixer.in_proj.out_features == bare.blocks[0].mixer.in_proj.out_features + inner
    assert any(isinstance(module, nn.RMSNorm) for module in full.modules())
    assert not any(isinstance(module, nn.RMSNorm) for module in bare.modules())
    assert all(p.requires_grad for p in bare.parameters())


def test_the_gate_multiplies_what_leaves_the_state_space() -> None:
    gated, bare = MambaMixer(8, 4, gate=True).double(), MambaMixer(8, 4, gate=False).double()
    weights = gated.state_dict()
    bare.load_state_dict(weights | {"in_proj.weight": weights["in_proj.weight"][:16]})
    with torch.no_grad():  # a gate of ones: silu(z) = 1 at z = 1.2785
        gated.in_proj.weight[16:] = 0
        gated.in_proj.weight[16:, 0] = 1.278464542761074
    x = tokens(6, 8)
    x[..., 0] = 1
    close(gated(x), bare(x))


@pytest.mark.models
class TestTransformers:
    def test_mamba_agrees_on_copied_weights(self) -> None:
        modeling = pytest.importorskip(
            "transformers.models.mamba.modeling_mamba", reason="transformers is not installed"
        )
        config = modeling.MambaConfig(hidden_size=32, state_size=8, num_hidden_layers=1)
        torch.manual_seed(0)
        theirs, ours = modeling.MambaMixer(config, 0).eval(), MambaMixer(32, 8, gate=True)
        self.check(theirs, ours)

    def test_mamba2_agrees_on_copied_weights(self) -> None:
        modeling = pytest.importorskip(
            "transformers.models.mamba2.modeling_mamba2", reason="transformers is not installed"
        )
        config = modeling.Mamba2Config(
            hidden_size=32, state_size=8, num_heads=4, head_dim=16, n_groups=1, num_hidden_layers=1
        )
        torch.manual_seed(0)
        theirs, ours = modeling.Mamba2Mixer(config, 0).eval(), Mamba2Mixer(32, 4, 8, norm=True, gate=True)
        self.check(theirs, ours)

    @staticmethod
    def check(theirs: nn.Module, ours: nn.Module) -> None:
        with torch.no_grad():  # ones would not tell whether they are used
            for name, parameter in theirs.named_parameters():
                if name in {"D", "norm.weight", "conv1d.bias"}:
                    parameter.uniform_(0.5, 1.5)
        ours.load_state_dict(theirs.state_dict(), strict=True)
        x = tokens(CHUNK + 9, 32).float()
        found, expected = ours(x), theirs(x)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
