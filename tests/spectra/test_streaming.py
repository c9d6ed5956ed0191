"""The pooled spectrum: however tokens are split and merged, it is that of all of them."""

import pytest
import torch
from cases import family
from hypothesis import given, settings
from hypothesis import strategies as st

from rankscope.spectra import Pooled, engine, spectrum
from rankscope.spectra.reference import svd


def pooled(*pieces):
    whole = Pooled()
    for piece in pieces:
        whole.add(piece)
    return whole


def centered(y):
    shifted = y - y[:1]
    return shifted - shifted.mean(0)


@pytest.mark.parametrize("name", ["gaussian", "nearly_equal_3", "nearly_equal_6", "sink_token", "deficient", "equal"])
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("shape", [(60, 8), (5, 9), (1, 4)])
def test_agrees_with_all_tokens_at_once_within_the_bound(name, offset, shape):
    y = family(name, *shape) + offset
    got = pooled(y[:1], y[1:2], y[2:])
    for form, whole in ((False, y), (True, centered(y))):
        have, want = got.spectrum(centered=form), spectrum(whole, method="svd")
        assert (have.rows, have.width) == shape
        slack = have.error + want.error + 4e-16 * whole.abs().amax() * len(y) ** 0.5
        assert bool(((have.singular_values - want.singular_values).abs() <= slack).all())


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 40), max_size=5),
    st.integers(0, 3),
    st.sampled_from([(0.0, 1.0), (1e3, 1.0), (1e3, 1e-5), (-1e8, 1e-2), (0.0, 1e-30), (0.0, 1e30)]),
    st.booleans(),
)
def test_any_split_and_merge_gives_the_one_shot_result(cuts, seed, place, sink):
    offset, spread = place
    y = family("gaussian", 40, 6, seed) * spread + offset
    if sink:
        y[0] *= 100
    pieces = torch.tensor_split(y, sorted(cuts))
    merged = Pooled()
    for part in (pooled(*pieces[::2]), pooled(*pieces[1::2])):
        merged.merge(part)
    one = pooled(torch.cat(list(pieces[::2]) + list(pieces[1::2])))
    for form in (False, True):
        expected, got = one.spectrum(form), merged.spectrum(form)
        relative = (got.singular_values - expected.singular_values).abs() / expected.singular_values
        resolved = expected.error < 1e-8 * expected.singular_values
        assert bool((relative[resolved] < 1e-12 + (1e-9 if sink else 0)).all())
        assert bool(((got.singular_values - expected.singular_values).abs() <= got.error + expected.error).all())
    assert merged.count == 40


def test_equal_tokens_are_exactly_zero_once_centered():
    y = family("equal", 30, 5) + 1e3
    assert pooled(y[:7], y[7:]).spectrum(centered=True).singular_values.tolist() == [0.0] * 5


def test_merging_leaves_the_other_as_it_was():
    first, second = pooled(torch.randn(4, 3)), pooled(torch.randn(6, 3))
    before = second.scatter.clone()
    first.merge(second)
    first.add(torch.randn(2, 3))
    assert torch.equal(second.scatter, before)
    assert (first.count, second.count) == (12, 6)
    empty = Pooled()
    empty.merge(second)
    empty.add(torch.randn(2, 3))
    assert torch.equal(second.scatter, before)


def test_nothing_added_and_nothing_merged_count_for_nothing():
    whole = pooled(torch.ones(2, 3), torch.empty(0, 3))
    whole.merge(Pooled())
    assert whole.count == 2
    with pytest.raises(ValueError, match="at least one token"):
        Pooled().spectrum(centered=False)


def test_inside_inference_mode_and_outside():
    whole = Pooled()
    with torch.inference_mode():
        whole.add(torch.eye(3))
    whole.add(torch.eye(3))
    torch.testing.assert_close(whole.spectrum(False).singular_values, torch.full((3,), 2.0, dtype=torch.float64).sqrt())


def test_wrong_tokens():
    whole = pooled(torch.ones(2, 3))
    with pytest.raises(ValueError, match="width 3, got 4"):
        whole.add(torch.ones(2, 4))
    with pytest.raises(ValueError, match="width 3, got 4"):
        whole.merge(pooled(torch.ones(2, 4)))
    with pytest.raises(ValueError, match=r"\(n, width\)"):
        whole.add(torch.ones(3))
    with pytest.raises(ValueError, match="finite"):
        whole.add(torch.tensor([[1.0, float("nan"), 0.0]]))
    with pytest.raises(TypeError, match="floating"):
        whole.add(torch.ones(2, 3, dtype=torch.int32))
    assert whole.count == 2, "a refused piece leaves nothing behind"


def test_a_bad_solve_falls_back(monkeypatch):
    y = family("gaussian", 20, 4)
    expected = pooled(y).spectrum(centered=False)

    def wrong(grams):
        return torch.linalg.eigvalsh(grams) * (1 + 1e-9)

    monkeypatch.setattr(engine.cpu, "eigenvalues", wrong)
    got = pooled(y).spectrum(centered=False)
    torch.testing.assert_close(got.singular_values, expected.singular_values, rtol=1e-12, atol=0)
    torch.testing.assert_close(got.singular_values, svd(y.unsqueeze(0))[0][0], rtol=1e-12, atol=0)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["gaussian", "nearly_equal_3", "sink_token", "deficient", "equal", "outlier_features"]),
    st.sampled_from([(40, 6), (9, 20), (64, 16)]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    st.lists(st.integers(0, 64), max_size=6),
    st.randoms(use_true_random=False),
)
def test_any_split_in_any_order_of_merging_is_one_matrix_to_1e_12(name, shape, dtype, cuts, random):
    y = family(name, *shape, dtype=dtype).to(dtype)
    pools = [pooled(piece) for piece in torch.tensor_split(y, sorted(cut % (len(y) + 1) for cut in cuts))]
    random.shuffle(pools)
    while len(pools) > 1:  # any tree of merges, each of two that are next to each other
        at = random.randrange(len(pools) - 1)
        pools[at].merge(pools.pop(at + 1))
    one = pooled(y)
    assert pools[0].count == one.count == len(y)
    for form in (False, True):
        got, expected = pools[0].spectrum(form), one.spectrum(form)
        lam, want = got.singular_values.square(), expected.singular_values.square()
        top = expected.singular_values[0]
        assert bool(((lam - want).abs() <= 1e-12 * top.square()).all())
        sure = want > 1e-6 * top.square()  # of the others a root tells half of the digits
        assert bool(((got.singular_values - expected.singular_values).abs()[sure] <= 1e-12 * top).all())


@pytest.mark.parametrize("threads", [1, 2])
def test_pieces_and_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y = family("gaussian", 50, 7)
        first, second = (pooled(y).spectrum(False).singular_values for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(first, second)
