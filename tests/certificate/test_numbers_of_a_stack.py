"""Every number of a block and of a stack against the formulas written out again, on blocks made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from certified import mu, normal, skip_net, tokens, unit
from torch import Tensor

import rankscope
from rankscope.certificate import seminorm
from rankscope.certificate.matrices import Mixed
from rankscope.certificate.overall import sequence, worst_first
from rankscope.certificate.steps import Part, Seen, step
from rankscope.certificate.theorem import norms
from rankscope.certificate.words import sentence
from rankscope.errors import CannotMeasure
from rankscope.records import Layer

if TYPE_CHECKING:
    from rankscope.capture.places import Place
    from rankscope.certificate.records import Step

EPS = 2.0**-23


def chord(x: float) -> float:
    return math.sqrt(2 - 2 * math.sqrt(1 - x * x))


def block(begin: Tensor, parts: list[Part], end: Tensor, mixed: Mixed | None = None, k: int = 1) -> Step:
    layer = Layer(f"blocks.{k - 1}", k, "blocks.*", "Block")
    return step(Seen(layer, begin, end, tuple(parts), len(parts), None, EPS, mixed or Mixed()), 0.8)


def rows(seed: int, count: int = 6, width: int = 4) -> tuple[torch.Generator, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return random, unit(normal(random, count, width) + normal(random, 1, width))


def two_adds(seed: int, strong: int) -> tuple[Step, Tensor, Tensor, list[float]]:
    """Two adds with row norms; the branch of the one is three times that of the other."""
    random, begin = rows(seed)
    sizes = [0.3, 0.3]
    sizes[strong] = 0.9
    branches = [size * unit(normal(random, 6, 4)) for size in sizes]
    middle = unit(5 * begin + branches[0])
    end = unit(-4 * middle + branches[1])
    parts = [Part(begin, 5 * begin + branches[0], 5.0), Part(middle, -4 * middle + branches[1], -4.0, "rows")]
    return block(begin, parts, end), begin, end, [sizes[0] / 5, sizes[1] / 4]


@pytest.mark.parametrize("strong", [0, 1])
def test_the_losses_of_several_adds_are_summed_and_the_largest_x_is_told(strong: int) -> None:
    for seed in range(20):
        found, begin, end, ratios = two_adds(seed, strong)
        assert found.loss == pytest.approx(math.sqrt(6) * sum(map(chord, ratios)), rel=1e-6)
        assert found.x == pytest.approx(max(ratios), rel=1e-6)
        assert found.delta == pytest.approx(0.9, rel=1e-6)
        assert mu(end) >= mu(begin) - found.loss
        least = found.lambda_additive  # one |λ| for both
        lost = math.sqrt(6) * (chord(0.3 / least) + chord(0.9 / least))
        assert lost == pytest.approx(0.2 * mu(begin), rel=1e-6)


def test_one_add_that_may_turn_a_row_by_any_angle_is_enough_to_lose_the_bound() -> None:
    _, begin = rows(0)
    branch = 6 * unit(begin.roll(1, 0))
    end = unit(begin + 1e-3 * branch)
    parts = [Part(begin, 1000 * begin + branch, 1000.0), Part(end, end + branch, 1.0, "rows")]
    found = block(begin, parts, unit(end + branch))
    assert found.loss is None
    assert "δ is 6" in str(found.no_additive)
    at_one = block(begin, [Part(begin, begin + unit(begin.roll(1, 0)), 1.0)], unit(begin + unit(begin.roll(1, 0))))
    assert at_one.x == pytest.approx(1.0)


def test_rows_that_are_not_quite_unit_are_allowed_for() -> None:
    """The shortest row decides x, and what the norm and the rows miss of 1 is lost as well."""
    random, exact = rows(3)
    sizes = 1 + 8e-6 * torch.tensor([[-1.0], [1.0], [0.5], [-0.5], [0.2], [1.0]], dtype=torch.float64)
    begin = exact * sizes
    branch = 0.5 * unit(normal(random, 6, 4))
    total = 2 * begin + branch
    end = unit(total) * (1 + 0.4e-6)
    found = block(begin, [Part(begin, total, 2.0)], end)
    x = 0.5 / (2 * sizes.min().item())
    assert found.x == pytest.approx(x, rel=1e-12)
    rounding = (end - unit(total)).norm().item() + (begin - exact).norm().item()
    assert found.loss == pytest.approx(math.sqrt(6) * chord(x) + rounding, rel=1e-9)
    assert found.loss - math.sqrt(6) * chord(x) == pytest.approx(rounding, rel=1e-6)


def test_rows_that_were_rounded_between_two_adds_are_allowed_for() -> None:
    _, begin = rows(4)
    rounded = unit(begin).bfloat16().double()
    found = block(begin, [Part(begin, 2 * begin, 2.0), Part(rounded, 3 * rounded, 3.0, "rows")], unit(rounded))
    rounding = (rounded - begin).norm() + (rounded - unit(rounded)).norm()
    assert found.loss == pytest.approx(rounding.item(), rel=1e-9)


def shown(matrix: Tensor, values: Tensor, stream: Tensor) -> Mixed:
    branch = matrix @ stream @ values
    return Mixed(matrix.norm().item(), torch.linalg.matrix_norm(values, 2).item(), branch)


def theorem_stack(lams: list[float], seed: int = 0) -> tuple[list[Step], Tensor, list[tuple[float, float]]]:
    random, stream = rows(seed)
    first, steps, norms = stream, [], []
    for k, lam in enumerate(lams):
        matrix, values = normal(random, 6, 6) / (k + 1), normal(random, 4, 4)
        mixed = shown(matrix, values, stream)
        norms.append((mixed.mixing_norm or 0.0, mixed.value_norm or 0.0))
        total = lam * stream + matrix @ stream @ values
        steps.append(block(stream, [Part(stream, total, lam)], unit(total), mixed, k + 1))
        stream = unit(total)
    return steps, first, norms


def b_of(lam: float, s: float, a: float, depth: int) -> float:
    return a**-depth * 2 * abs(lam) * 6 * 4 * s / (lam**2 - a * (s + abs(lam)) ** 2)


def test_the_theorem_of_a_stack_is_the_formula() -> None:
    steps, first, norms = theorem_stack([-9e5, 8e5, 7e5])
    c_m, s = max(n for n, _ in norms), max(n for _, n in norms)
    found = sequence(0, (6, 4), steps, set(), 0.8).theorem
    assert found.lam == 7e5
    assert (found.mixing_norm, found.value_norm) == (c_m, s)
    assert found.condition == pytest.approx(7e5**2 - 0.64 * (s * c_m + 7e5) ** 2)
    assert found.b == pytest.approx(b_of(7e5, s * c_m, 0.64, 3))
    assert found.mu_squared == pytest.approx(mu(first) ** 2)
    assert found.status == "holds"
    assert b_of(found.smallest_lambda, s * c_m, 0.64, 3) == pytest.approx(mu(first) ** 2)
    for (c, value), each in zip(norms, steps, strict=True):
        assert each.condition == pytest.approx(each.lam**2 - 0.64 * (c * value + abs(each.lam)) ** 2)
        assert b_of(each.lambda_theorem, c * value, 0.64, 1) == pytest.approx(each.mu_before**2)


def test_the_least_lambda_is_that_of_least_size() -> None:
    steps, *_ = theorem_stack([-9e5, 8e5, -7e5])
    assert sequence(0, (6, 4), steps, set(), 0.8).theorem.lam == -7e5
    assert sequence(0, (6, 4), theorem_stack([3e5, -9e5])[0], set(), 0.8).theorem.lam == 3e5


def test_the_status_of_the_theorem_follows_b() -> None:
    """Over N it is out of reach; between mu² and N this input fails; under mu² it holds."""
    steps, first, norms = theorem_stack([1e6, 1e6])
    s = max(n for n, _ in norms) * max(n for _, n in norms)
    statuses = {}
    for goal in (6.1, 5.9, (6 + mu(first) ** 2) / 2, 1.001 * mu(first) ** 2, 0.999 * mu(first) ** 2):
        lam = 1.0
        while b_of(lam, s, 0.64, 2) > goal or lam**2 <= 0.64 * (s + lam) ** 2:
            lam *= 1.0001
        again = [replace(each, lam=lam) for each in steps]
        statuses[goal] = sequence(0, (6, 4), again, set(), 0.8).theorem.status
    assert list(statuses.values()) == ["not applicable", "fails", "fails", "fails", "holds"]


def additive_stack(lam: float) -> tuple[list[Step], Tensor, Tensor]:
    random, stream = rows(1)
    first, steps = stream, []
    for k in range(3):
        total = lam * stream + (0.1 + 0.1 * k) * unit(normal(random, 6, 4))
        steps.append(block(stream, [Part(stream, total, lam)], unit(total), None, k + 1))
        stream = unit(total)
    return steps, first, stream


def test_the_additive_certificate_of_a_stack_is_the_formula() -> None:
    start = mu(additive_stack(9.0)[1])

    def left(lam: float) -> float:
        return start - math.sqrt(6) * sum(chord(delta / lam) for delta in (0.1, 0.2, 0.3))

    found = sequence(0, (6, 4), additive_stack(9.0)[0], set(), 0.8).additive
    assert found.bound == pytest.approx(left(9.0))
    assert found.retained == pytest.approx(left(9.0) / start)
    least = found.smallest_lambda
    assert left(least) == pytest.approx(0.8**3 * start)
    for factor, status in ((1.0001, "holds"), (0.9999, "fails")):
        assert sequence(0, (6, 4), additive_stack(factor * least)[0], set(), 0.8).additive.status == status
    weak = sequence(0, (6, 4), additive_stack(0.32)[0], set(), 0.8).additive
    assert weak.bound < 0
    assert (weak.status, weak.smallest_lambda) == ("fails", pytest.approx(least))
    assert "says nothing" in str(weak.reason)


def seminorm_stack(lam: float) -> tuple[list[Step], list[Tensor], list[Tensor]]:
    random, stream = rows(2)
    steps, streams, branches = [], [], []
    for k in range(3):
        branch = (0.02 + 0.02 * k) * normal(random, 6, 4) - 0.1 * (k + 1) * stream
        streams.append(stream)
        branches.append(branch)
        total = lam * stream + branch
        steps.append(block(stream, [Part(stream, total, lam)], total, None, k + 1))
        stream = total
    return steps, streams, branches


@pytest.mark.parametrize("lam", [-4.0, 4.0, 0.7])
def test_the_seminorm_certificate_of_a_stack_is_the_formula(lam: float) -> None:
    steps, streams, branches = seminorm_stack(lam)
    found = sequence(0, (6, 4), steps, set(), 0.8).seminorm
    bound, least = mu(streams[0]), []
    for each, y, f in zip(steps, streams, branches, strict=True):
        bound = max(0.0, abs(lam) * bound - mu(f))
        assert each.kept == pytest.approx(mu(lam * y + f) / mu(y))
        assert (each.mu_low, each.mu_high) == pytest.approx((abs(abs(lam) * mu(y) - mu(f)), abs(lam) * mu(y) + mu(f)))
        sign = math.copysign(1.0, lam)
        assert mu(sign * each.lambda_seminorm * y + f) == pytest.approx(0.8 * mu(y))
        least.append(each.lambda_seminorm)
    assert found.smallest_lambda == max(least)
    assert found.status == ("holds" if all(each.kept >= 0.8 for each in steps) else "fails")
    assert found.bound == (pytest.approx(bound) if bound else None)


def test_a_block_between_the_asked_fraction_and_its_square_fails() -> None:
    _, stream = rows(5)
    for lam, status in ((0.81, "holds"), (0.79, "fails"), (0.65, "fails")):
        branch = torch.ones(6, 4, dtype=torch.float64)  # one vector for all tokens: mu is that of λY
        steps = [block(stream, [Part(stream, lam * stream + branch, lam)], lam * stream + branch)]
        assert sequence(0, (6, 4), steps, set(), 0.8).seminorm.status == status


def test_the_sentence_says_what_is_asked_of_the_stack() -> None:
    found = sequence(0, (6, 4), additive_stack(9.0)[0], set(), 0.8)
    text = sentence(found, 1, 0.8)
    assert "0.8 of mu a block, 0.512 over 3" in text
    assert f"at least {found.additive.bound:.4g}" in text
    weak, strong = (sequence(i, (6, 4), additive_stack(lam)[0], set(), 0.8) for i, lam in enumerate((4.0, 40.0)))
    assert [each.sequence for each in worst_first([strong, weak])] == [0, 1]


def test_the_block_where_the_numbers_end_is_named() -> None:
    steps = additive_stack(9.0)[0]
    steps[1] = replace(steps[1], mu=None)
    found = sequence(0, (6, 4), steps, set(), 0.8)
    assert {found.additive.status, found.seminorm.status, found.theorem.status} == {"undefined"}
    assert str(found.additive.reason).startswith("block 2: ")


def test_a_row_that_may_turn_by_a_right_angle_has_no_bound() -> None:
    """x = 1 to the last bit: the theory asks for less."""
    begin = torch.eye(4, dtype=torch.float64)
    total = begin + begin.roll(1, 0)
    found = block(begin, [Part(begin, total, 1.0)], unit(total))
    assert found.x == 1.0
    assert found.loss is None


def test_of_groups_with_features_of_their_own_the_largest_counts() -> None:
    """A stream that lives in the features of the largest group alone meets the bound."""
    matrices = torch.stack([3 * torch.eye(4), 0.1 * torch.eye(4)]).double()
    c_m, s = norms(matrices)
    assert (c_m.item(), s) == (pytest.approx(6.0), 1.0)


def test_the_ends_of_mu_bar_are_the_formula() -> None:
    found = seminorm.Sizes(mu=1.0, mu_branch=0.5, norm=2.0, norm_branch=1.0, inner=0.0)
    assert seminorm.mu_bar_range(-3.0, found) == pytest.approx((2.5 / 7, 3.5 / 5))


def test_four_tokens_are_enough_and_three_are_not() -> None:
    assert rankscope.certify(skip_net(8.0), tokens(1, 4)).stacks
    with pytest.raises(CannotMeasure, match="nothing was certified"):
        rankscope.certify(skip_net(8.0), tokens(1, 3))


def test_a_block_that_could_not_be_read_breaks_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a large λ the stream hardly changes, and its numbers alone would not tell the missing block."""
    from rankscope.capture.layout import Unmeasurable
    from rankscope.run import Run

    read = Run.read

    def failing(self: Run, tensor: Tensor, place: Place) -> Any:
        if place.layer.index == 2:
            raise Unmeasurable("not to be had")
        return read(self, tensor, place)

    monkeypatch.setattr(Run, "read", failing)
    found = rankscope.certify(skip_net(1e8), tokens(1)).stacks[0].worst
    assert [each.index for each in found.steps] == [1, 3]
    assert found.additive.status == "not applicable"
    assert found.steps[1].bound is None
