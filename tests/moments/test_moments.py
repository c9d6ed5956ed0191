"""Moments: the fast ways against the slow twin and plain numpy, on every family, shape, dtype and form."""

import math
import threading

import numpy as np
import pytest
import torch
from cases import FAMILIES, FORMS, family
from hypothesis import given, settings
from hypothesis import strategies as st
from test_memory import on_a_gpu
from torch.utils._python_dispatch import TorchDispatchMode

from rankscope.measures import resolve
from rankscope.moments import exact, fast, moments, solve, stacked
from rankscope.moments.stack import Stack
from rankscope.records import Layer
from rankscope.reduction import Reduction
from rankscope.spectra.engine import coarse
from rankscope.spectra.reference import svd

SHAPES = ((6, 40), (40, 6), (24, 24), (1, 3), (2, 1))
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
NEEDS = ("norms", "size", "spread", "purity", "spectrum")
WANTED = [(form, need) for form in FORMS for need in NEEDS]
EPS = 2.0**-52


def ahead(tokens, wanted=WANTED):
    """The way of a GPU, which holds on a CPU too."""
    ordered = sorted(wanted, key=lambda pair: pair[1] != "spectrum")
    found = stacked(tokens, ordered)
    solve([found])
    return found


def at_hand(tokens, wanted=WANTED):
    found = moments(tokens, wanted)
    solve([found])
    return found


WAYS = (at_hand, ahead)


def by_numpy(tokens, form):
    """A sequence in a form, as the definitions read; zero tokens are no part of the unit forms."""
    y = tokens.double().numpy()
    if form.startswith("unit"):
        norms = np.linalg.norm(y, axis=1)
        y = y[norms > 0] / norms[norms > 0, None]
    if form.endswith("centered") and len(y):
        shifted = y - y[:1]
        y = shifted - shifted.mean(0)
    return y


def frobenius(y):
    return math.sqrt(math.fsum(np.square(y).sum(0)))


def hold(found, index, tokens):
    """Assert that what was found of one sequence is what numpy finds."""
    for form in FORMS:
        y = by_numpy(tokens, form)
        size = frobenius(y)
        spread = frobenius(by_numpy(tokens, "unit_centered" if form.startswith("unit") else "centered"))
        scale = frobenius(by_numpy(tokens, "unit" if form.startswith("unit") else "raw"))
        floor = 64 * EPS * scale  # what the rounding of the unit tokens leaves of a form that is zero
        get = {need: found.found[form, need][index] for need in NEEDS}
        np.testing.assert_allclose(get["norms"], np.linalg.norm(tokens.double().numpy(), axis=1), rtol=1e-12)
        assert get["size"].item() == pytest.approx(size, rel=1e-9, abs=floor)
        assert get["spread"].item() == pytest.approx(spread, rel=1e-9, abs=floor)
        if len(y) == 0:
            continue
        sigma = np.linalg.svd(y, compute_uv=False)
        if size > 1e6 * floor:
            shares = (sigma / size) ** 2
            assert get["purity"].item() == pytest.approx((shares**2).sum(), rel=1e-9)
        values, errors = (part.numpy() for part in get["spectrum"])
        n = len(sigma)
        slack = errors[:n] + 64 * EPS * max(1.0, math.sqrt(max(y.shape))) * scale
        assert (np.abs(values[:n] - sigma) <= slack).all(), form
        resolved = errors[:n] < 1e-10 * sigma
        np.testing.assert_allclose(values[:n][resolved], sigma[resolved], rtol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_way_finds_what_the_definitions_say(name, dtype):
    for shape in SHAPES:
        tokens = torch.stack([family(name, *shape, seed, dtype).to(dtype) for seed in range(2)])
        ways = WAYS if dtype != torch.float64 else (at_hand,)
        for way in ways:
            found = way(tokens)
            assert found.finite.tolist() == [True, True]
            for index, sequence in enumerate(tokens):
                hold(found, index, sequence)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_slow_twin_too(name):
    for shape in SHAPES:
        tokens = family(name, *shape)
        for method in ("auto", "svd"):
            hold(exact(tokens.float(), WANTED, method), 0, tokens)


@pytest.mark.parametrize("shape", [(12, 20), (20, 12)])
@pytest.mark.parametrize("way", WAYS)
def test_zero_tokens_are_no_part_of_the_unit_forms(way, shape):
    tokens = torch.stack([family("gaussian", *shape, seed).float() for seed in range(4)])
    tokens[1, 3] = 0
    tokens[2, [0, 5, 11]] = 0
    tokens[3] = 0
    found = way(tokens)
    rows = shape[0]
    assert found.count.tolist() == [rows, rows - 1, rows - 3, 0]
    assert found.finite.tolist() == [True] * 4
    for index, sequence in enumerate(tokens):
        hold(found, index, sequence)
    for index in range(3):
        torch.testing.assert_close(found.common[index], exact(tokens[index], [], "auto").common[0])
    for form in FORMS:
        assert found.found[form, "size"][3] == found.found[form, "spread"][3] == 0
        assert found.found[form, "spectrum"][3].tolist() == [[0.0] * min(shape)] * 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("shape", [(12, 20), (20, 12)])
@pytest.mark.parametrize("way", WAYS)
def test_a_sequence_that_is_not_finite_touches_no_other(way, shape, value):
    tokens = torch.stack([family("gaussian", *shape, seed).float() for seed in range(3)])
    tokens[0, 2] = 0
    alone = way(tokens[[0, 2]])
    tokens[1, 4, 3] = value
    found = way(tokens)
    assert found.finite.tolist() == [True, False, True]
    for key, tensor in found.found.items():
        assert torch.equal(tensor[[0, 2]], alone.found[key]), key
    assert torch.equal(found.common[[0, 2]], alone.common)


@pytest.mark.parametrize("way", WAYS)
def test_one_token_and_none(way):
    one = way(torch.tensor([[[3.0, 4.0]]]))
    assert one.found["raw", "spectrum"][0, 0].tolist() == [5.0]
    assert one.found["unit", "size"].item() == 1
    assert one.found["centered", "spread"].item() == one.found["unit_centered", "size"].item() == 0
    none = way(torch.empty(2, 0, 5))
    assert none.found["raw", "spectrum"].shape == (2, 2, 0)
    assert none.found["unit", "size"].tolist() == [0, 0]
    assert none.count.tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(48, 64), (64, 48)])
@pytest.mark.parametrize("way", WAYS)
def test_a_sink_costs_the_unit_spectrum_nothing(way, shape):
    tokens = family("gaussian", *shape).float()
    tokens[0] *= 1e5
    values, errors = way(tokens.unsqueeze(0)).found["unit", "spectrum"][0].numpy()
    sigma = np.linalg.svd(by_numpy(tokens, "unit"), compute_uv=False)
    np.testing.assert_allclose(values, sigma, rtol=1e-6)
    assert (np.abs(values - sigma) <= errors + 1e-14).all()
    assert (errors <= 1e-6 * sigma).all(), "the bound says as much"


@pytest.mark.parametrize("shape", [(48, 64), (64, 48)])
@pytest.mark.parametrize("way", WAYS)
def test_equal_tokens(way, shape):
    tokens = family("equal", *shape).float()
    found = way(tokens.unsqueeze(0)).found
    assert found["raw", "spread"].item() <= 1e-7 * found["raw", "size"].item()
    for form in ("raw", "unit"):
        p = found[form, "spectrum"][0, 0]
        p = p[p > 0] / p.sum()
        assert math.exp(-(p * p.log()).sum()) == pytest.approx(1, abs=2e-5)
    assert found["raw", "purity"].item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_tokens_that_differ_by_a_millionth(way):
    tokens = family("nearly_equal_6", 48, 64)
    found = way(tokens.float().unsqueeze(0)).found
    for form in ("centered", "unit_centered"):
        y = by_numpy(tokens, form)
        assert found[form, "spread"].item() == pytest.approx(np.linalg.norm(y), rel=1e-9)
        shares = np.linalg.svd(y, compute_uv=False) ** 2
        assert found[form, "purity"].item() == pytest.approx((shares**2).sum() / shares.sum() ** 2, rel=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(FAMILIES),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 5),
    st.lists(st.floats(-6, 6), min_size=1, max_size=4),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.sampled_from(WAYS),
)
def test_the_bound_of_the_unit_spectrum_holds(name, rows, width, seed, powers, dtype, way):
    scale = torch.tensor([10.0 ** powers[i % len(powers)] for i in range(rows)]).unsqueeze(1)
    tokens = (family(name, rows, width, seed) * scale).to(dtype)
    found = way(tokens.unsqueeze(0), [("raw", "spectrum"), ("unit", "spectrum")])
    values, errors = found.found["unit", "spectrum"][0]
    y = torch.from_numpy(by_numpy(tokens, "unit"))
    expected, slack = svd(y.unsqueeze(0)) if len(y) else (torch.zeros(1, 0), torch.zeros(1, 0))
    n = expected.shape[1]
    # the unit tokens themselves are rounded, each by an eps of its norm of 1
    assert bool(((values[:n] - expected[0]).abs() <= errors[:n] + slack[0] + 2 * EPS * math.sqrt(rows)).all())
    assert bool((values[n:] <= errors[n:].clamp(min=1e-7 * math.sqrt(rows))).all())


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.integers(0, 5), st.sampled_from(((12, 20), (20, 12))), st.integers(0, 3))
def test_splitting_a_batch_and_threads_change_no_bit(cut, seed, shape, zeros):
    names = ("gaussian", "equal", "sink_token", "inverse", "nearly_equal_6", "rank_one")
    tokens = torch.stack([family(name, *shape, seed).float() for name in names])
    tokens[2, :zeros] = 0
    before = torch.get_num_threads()
    whole = moments(tokens, WANTED)
    parts = [moments(part, WANTED) for part in (tokens[:cut], tokens[cut:]) if len(part)]
    others = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            others.append(moments(tokens, WANTED))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for key, tensor in whole.found.items():
        assert torch.equal(torch.cat([part.found[key] for part in parts]).nan_to_num(-1), tensor.nan_to_num(-1)), key
        for other in others:
            assert torch.equal(other.found[key].nan_to_num(-1), tensor.nan_to_num(-1)), key


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.integers(0, 5), st.sampled_from(((70, 96), (96, 70), (9, 64))), st.integers(0, 3))
def test_splitting_a_batch_changes_no_bit_of_what_waits(cut, seed, shape, zeros):
    names = ("gaussian", "equal", "sink_token", "inverse", "nearly_equal_6", "rank_one")
    tokens = torch.stack([family(name, *shape, seed).float() for name in names])
    tokens[2, :zeros] = 0
    whole = moments(tokens, WANTED)
    assert whole.waiting
    parts = [moments(part, WANTED) for part in (tokens[:cut], tokens[cut:]) if len(part)]
    parts += [moments(tokens, WANTED, at_once=2)]
    for key, grams in whole.waiting.items():
        assert torch.equal(torch.cat([part.waiting[key] for part in parts]), torch.cat([grams, grams])), key
    solve([whole, *parts])
    for key, tensor in whole.found.items():
        joined = torch.cat([part.found[key] for part in parts]).nan_to_num(-1)
        assert torch.equal(joined, torch.cat([tensor, tensor]).nan_to_num(-1)), key


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", [(64, 1), (64, 64), (8, 64), (65, 300), (300, 65), (256, 768), (2048, 64)])
def test_a_gram_that_waits_needs_no_svd(name, shape):
    tokens = family(name, *shape).float()
    found = moments(tokens.unsqueeze(0), [("raw", "spectrum"), ("unit", "spectrum")])
    assert set(found.waiting) == {"raw", "unit"}
    solve([found])
    for pair in found.found.values():
        assert not bool(coarse(pair[:, 0], pair[:, 1], max(shape)).any())


def test_threads_and_limits_are_given_back(monkeypatch):
    from threadpoolctl import threadpool_info, threadpool_limits

    def limits():
        return [entry["num_threads"] for entry in threadpool_info()]

    with threadpool_limits(2, user_api="blas"):
        before, threads = limits(), torch.get_num_threads()
        moments(torch.randn(3, 8, 6), WANTED)
        assert (limits(), torch.get_num_threads()) == (before, threads)
        monkeypatch.setattr("rankscope.moments.fast.eigenvalues", lambda grams: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            moments(torch.randn(3, 8, 6), WANTED)
        assert (limits(), torch.get_num_threads()) == (before, threads)


def test_short_sequences_go_several_to_a_call(monkeypatch):
    stacks, before = [], torch.get_num_threads()
    monkeypatch.setattr(fast, "Stack", lambda tokens, ahead: stacks.append(len(tokens)) or Stack(tokens, ahead=ahead))
    tokens = torch.randn(6, 8, 12)
    zero, infinite = tokens.clone(), tokens.clone()
    zero[4, 3], infinite[1, 2, 5] = 0, torch.inf
    try:
        torch.set_num_threads(2)
        for each, sizes in ((tokens, [3, 3]), (zero, [3, 3, 1, 1, 1]), (infinite, [3, 3, 1, 1, 1])):
            stacks.clear()
            moments(each, WANTED)
            assert sorted(stacks, reverse=True) == sizes
        stacks.clear()
        moments(tokens, WANTED, at_once=2)
        assert stacks == [1] * 6
    finally:
        torch.set_num_threads(before)


def test_what_waits_is_solved_with_what_is_alike():
    several = [torch.randn(2, 6, 9), torch.randn(3, 6, 9), torch.randn(1, 9, 6), torch.randn(2, 4, 4)]
    wanted = [(form, "spectrum") for form in FORMS]
    waiting = [stacked(tokens, wanted) for tokens in several]
    assert all(set(found.waiting) == set(FORMS) for found in waiting)
    solve(waiting)
    for tokens, found in zip(several, waiting, strict=True):
        assert found.waiting == {}
        for key, pair in moments(tokens, wanted).found.items():
            off = (pair[:, 0] - found.found[key][:, 0]).abs()
            assert bool((off <= pair[:, 1] + found.found[key][:, 1]).all())


def test_in_several_threads_at_once():
    tokens = torch.randn(4, 12, 20)
    expected, seen = moments(tokens, WANTED), []
    threads = [threading.Thread(target=lambda: seen.append(moments(tokens, WANTED))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found in seen:
        assert all(torch.equal(found.found[key], value) for key, value in expected.found.items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_cuda_device_agrees_with_the_processor(name):
    for shape in SHAPES:
        tokens = torch.stack([family(name, *shape, seed).float() for seed in range(3)])
        tokens[1, 0] = 0
        found = ahead(tokens.cuda())
        for index, sequence in enumerate(tokens):
            found.found = {key: value.cpu() for key, value in found.found.items()}
            hold(found, index, sequence)


class NothingIsLookedAt(TorchDispatchMode):
    """Fails where a number is read, for which a device would have to be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert not {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero"} & set(str(function).split("."))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("shape", [(3, 12, 20), (3, 20, 12)])
def test_on_a_device_no_number_is_looked_at_before_the_end(monkeypatch, shape):
    on_a_gpu(monkeypatch, [])
    reduction = Reduction(resolve(["forward"]))
    tokens = torch.randn(shape)
    with NothingIsLookedAt():
        with pytest.raises(AssertionError):
            bool(tokens.sum() > 0)
        found = stacked(tokens, [("raw", "spectrum"), *WANTED])
        for layer in (Layer("h.*", index, f"h.{index}", "Block") for index in range(3)):
            reduction.activation(layer, tokens, None, 0)
    assert set(found.waiting) == set(FORMS)
    reduction.end_of_batch()
    assert {row.status for row in reduction.rows()} == {"ok"}
