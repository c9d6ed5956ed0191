"""What rounding, a broken sequence or a gap between blocks could hide from a certificate, and does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from certified import Block, Mixer, Net, Rows, mu, skip_net, tokens
from torch import Tensor, nn

import rankscope
from rankscope.certificate.matrices import fits
from rankscope.certificate.rounding import close, multiple, near

if TYPE_CHECKING:
    from rankscope.certificate import Sequence


FAST = "ids=2x16:int64:0..255"


def every(model: nn.Module, inputs: Any, **options: Any) -> dict[int, Sequence]:
    found = rankscope.certify(model, inputs, **options).stacks[0].sequences
    return {each.sequence: each for each in found}


def test_a_broken_sequence_changes_nothing_for_the_others_of_its_batch() -> None:
    inputs = tokens(3)
    whole = every(skip_net(128.0), inputs)
    inputs[0, 3, 2] = math.nan
    found = every(skip_net(128.0), inputs)
    assert found[0].additive.status == "undefined"
    assert [found[i] for i in (1, 2)] == [whole[i] for i in (1, 2)]


def test_a_broken_first_sequence_hides_no_map_of_attention() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 3, 24, dropout=0.0, batch_first=True, norm_first=True)
    model, inputs = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval(), tokens(2)
    whole = every(model, inputs)[1]
    inputs[0, 3, 2] = math.nan
    found = every(model, inputs)[1]
    assert [step.value_norm for step in found.steps] == pytest.approx([step.value_norm for step in whole.steps])
    behind = every(model, [inputs[:1], inputs[1:]])[1]  # a batch that shows nothing stands before the one that does
    assert behind.steps[0].value_norm == pytest.approx(whole.steps[0].value_norm)


@pytest.mark.parametrize("lam", [1e7, 1e9])
def test_a_branch_that_rounding_hides_is_not_believed(lam: float) -> None:
    """A bias is no M·Y·C_V. Beside λY nothing of it can be told in float32, and float64 tells."""
    said = []
    for bias in (True, False):
        found = every(skip_net(lam, bias=bias), tokens(1))[0]
        assert found.theorem.status == "not applicable"
        said.append(str(found.theorem.reason))
    assert "float64" in said[1]
    biased, plain = (every(skip_net(lam, bias=bias).double(), tokens(1).double())[0] for bias in (True, False))
    assert "a bias" in str(biased.theorem.reason)
    assert plain.theorem.status == "holds"


def test_a_fit_is_told_hidden_or_refused() -> None:
    shown = torch.ones(4, 3, dtype=torch.float64)
    assert fits(shown, shown, 1.0, 1e-7) is True
    assert fits(shown * (1 + 0.9e-4), shown, 1.0, 1e-7) is True
    assert fits(shown * (1 + 2e-4), shown, 1.0, 1e-7) is False
    assert fits(shown + 1, shown, 1e9, 1e-7) is None
    assert fits(shown + 1e6, shown, 1e3, 1e-7) is False
    assert fits(shown * math.nan, shown, 1.0, 1e-7) is False
    assert fits(0 * shown, 0 * shown, 0.0, 1e-7) is True


def test_row_norm_is_seen_where_rows_are_almost_unit_before_it() -> None:
    """|λ| = 1 and a small F: in bfloat16 λY + F is as good as its unit rows, and is not what the block gave."""

    class Small(Mixer):
        def forward(self, x: Tensor) -> Tensor:
            return 0.02 * super().forward(x)

    for lam in (1.0, -1.0):
        torch.manual_seed(0)
        model = Net([Block(Small(12, shows=False), lam, Rows()) for _ in range(3)], Rows())
        found = every(model.bfloat16(), tokens(1).bfloat16())[0]
        assert {step.norm for step in found.steps} == {"row"}
        assert all(step.bound is not None and step.bound <= step.mu for step in found.steps)


class After(nn.Module):
    """Multiplies what a block gives."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


def test_what_comes_after_an_add_counts_however_little_it_is() -> None:
    """2 % are nothing beside the rounding of bfloat16, and over many layers they are much."""
    model = skip_net(1.0, depth=6, norm=lambda: After(0.98), first=nn.Identity()).bfloat16()
    found = every(model, tokens(1).bfloat16())[0]
    for step in found.steps:
        assert step.norm == "none"
        assert step.kept == pytest.approx(step.mu / step.mu_before, rel=1e-9)
        assert step.mu_low <= step.mu <= step.mu_high
        assert step.mu_bar_low <= step.mu_bar <= step.mu_bar_high


class Between(nn.Module):
    """Blocks, and after each the tokens are drawn a little to their mean; rows stay unit where `rows`."""

    def __init__(self, net: Net, by: float, *, rows: bool) -> None:
        super().__init__()
        self.first, self.blocks, self.by, self.rows = net.first, net.blocks, by, rows

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
            x = x - self.by * (x - x.mean(1, keepdim=True))
            x = nn.functional.normalize(x, dim=-1) if self.rows else x
        return x


def test_what_little_is_lost_between_blocks_is_in_the_bound() -> None:
    model = Between(skip_net(1e5, depth=12).bfloat16(), 0.015, rows=True)
    found = every(model, tokens(1).bfloat16())[0]
    assert found.additive.bound is not None
    assert all(step.bound <= step.mu for step in found.steps)
    lost = sum(step.loss for step in found.steps)
    assert found.additive.bound < found.mu_first - lost - 1e-3  # more than the blocks themselves took
    free = Between(skip_net(4.0, depth=12, norm=nn.Identity, first=nn.Identity()).bfloat16(), 0.015, rows=False)
    left = every(free, tokens(1).bfloat16())[0]
    expected = left.mu_first
    for k, step in enumerate(left.steps):
        if k:
            expected -= max(0.0, left.steps[k - 1].mu - step.mu_before)
        expected = 4 * expected - step.rho * step.mu_before
    assert left.seminorm.bound == pytest.approx(expected, rel=1e-9)
    assert left.seminorm.bound <= left.mu_last


def test_blocks_that_are_left_out_are_missed() -> None:
    found = every(skip_net(128.0, depth=4), tokens(1), layers=["blocks.0", "blocks.3"])[0]
    assert "its input is not what the block before gave" in str(found.additive.reason)
    assert found.steps[0].bound is not None
    assert found.steps[1].bound is None


def test_a_change_in_one_sequence_is_told_of_that_one() -> None:
    def roll(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return (torch.cat([args[0][:1].roll(1, -1), args[0][1:]]),)

    model = skip_net(128.0)
    model.blocks[1].register_forward_pre_hook(roll)
    found = every(model, tokens(2))
    assert found[0].additive.status == "not applicable"
    assert found[1].additive.status == "holds"


@pytest.mark.parametrize("lam", [-10.0, 0.9, 1.1, 3.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_lambda_is_read_without_the_noise_of_a_dtype(lam: float, dtype: torch.dtype) -> None:
    stream = tokens(1, 64).to(dtype)
    asked = torch.tensor(lam, dtype=dtype).item()  # what the dtype can hold of it
    found = multiple(lam * stream, stream)
    assert found == pytest.approx(lam, rel=torch.finfo(dtype).eps)
    assert found == lam or abs(asked - lam) > 0
    assert multiple(stream.double() * 1.23456789012, stream.double()) == pytest.approx(1.23456789012, abs=1e-12)


def test_what_is_broken_in_both_is_left_out_and_in_one_is_not() -> None:
    one, other = torch.tensor([1.0, math.nan, 3.0]), torch.tensor([2.0, math.inf, 6.0])
    assert multiple(other, one) == 2.0
    assert multiple(torch.tensor([2.0, 4.0, 6.0]), one) is None
    assert close(one, one.clone())
    assert not close(one, torch.tensor([1.0, 2.0, 3.0]))
    assert not near(one[:2], one, 1.0)


def test_rows_of_a_dtype_between_two_adds_are_in_the_bound() -> None:
    """With an MLP two row norms stand in a block: what each of them rounds is lost as well."""
    for dtype in ("bfloat16", "float32"):
        found = rankscope.certify("zoo:lambda_skip,depth=3,width=32,lam=1e4,mlp=on", random=FAST, dtype=dtype)
        for each in found.stacks[0].sequences:
            assert all(step.norm == "row" and step.bound <= step.mu for step in each.steps)


def test_the_twin_of_mu_agrees() -> None:
    assert every(skip_net(8.0), tokens(1))[0].mu_first == pytest.approx(mu(Rows()(tokens(1))[0]), rel=1e-6)
