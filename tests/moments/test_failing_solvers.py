"""A solver that reports failure, on a device or on the CPU: what can be had is, the rest is an error, not a number."""

import math

import numpy as np
import pytest
import torch
from test_memory import on_a_gpu

from rankscope.measures import resolve
from rankscope.moments import fast, moments, solve, stacked
from rankscope.records import Layer
from rankscope.reduction import Reduction
from rankscope.spectra import cpu

LAYERS = [Layer("h.*", index, f"h.{index}", "Block") for index in range(3)]
WANTED = [("raw", "spectrum"), ("unit", "spectrum")]
eigvalsh = torch.linalg.eigvalsh


def waiting(sizes=(3, 2)):
    generator = torch.Generator().manual_seed(0)
    return [stacked(torch.randn(size, 6, 9, generator=generator), WANTED) for size in sizes]


def gives_up_on_stacks(grams, **_):
    if grams.ndim == 3 and len(grams) > 1:
        raise torch.linalg.LinAlgError("the stack did not converge")
    return eigvalsh(grams)


def is_wrong_on_stacks(grams, **_):
    values = eigvalsh(grams)
    if grams.ndim == 3 and len(grams) > 1:
        values[-1, 0] += 1e-3
    return values


def has_no_memory_for_stacks(grams, **_):
    if grams.ndim == 3 and len(grams) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return eigvalsh(grams)


@pytest.mark.parametrize("broken", [gives_up_on_stacks, is_wrong_on_stacks, has_no_memory_for_stacks])
def test_what_a_stack_does_not_give_is_solved_one_at_a_time(monkeypatch, broken):
    expected, found = waiting(), waiting()
    solve(expected)
    monkeypatch.setattr(torch.linalg, "eigvalsh", broken)
    monkeypatch.setattr(cpu, "eigenvalues", broken)  # what a device is asked for, on the CPU
    solve(found)
    for one, other in zip(found, expected, strict=True):
        assert one.failed == {}
        for key, pair in other.found.items():
            torch.testing.assert_close(one.found[key], pair, rtol=1e-12, atol=1e-12)


def test_what_cannot_be_solved_at_all_is_told_and_is_no_number(monkeypatch):
    found, expected = waiting(), waiting()
    solve(expected)
    bad = found[1].waiting["unit"][1].clone()

    def broken(grams):
        if any(torch.equal(gram, bad) for gram in grams):
            raise np.linalg.LinAlgError("did not converge")
        return torch.stack([eigvalsh(gram) for gram in grams])

    def no_svd(_):
        raise fast.CaptureError("RS431", fast.UNSOLVED)

    monkeypatch.setattr(cpu, "eigenvalues", broken)
    monkeypatch.setattr(fast, "svd", no_svd)
    solve(found)
    assert found[0].failed == {}
    assert found[1].failed == {("unit", "spectrum"): fast.UNSOLVED}
    assert found[1].found["unit", "spectrum"][1].isnan().all()
    for one, other in zip(found, expected, strict=True):
        for key, pair in other.found.items():
            sound = ~one.found[key].isnan().any(-1).any(-1)
            assert sound.sum() == len(sound) - (key[0] == "unit" and one is found[1])
            torch.testing.assert_close(one.found[key][sound], pair[sound], rtol=1e-12, atol=1e-12)


def test_a_gram_whose_eigenvalues_fail_is_solved_by_its_svd(monkeypatch):
    found, expected = waiting(), waiting()
    solve(expected)

    def broken(_):
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(cpu, "eigenvalues", broken)
    solve(found)
    for one, other in zip(found, expected, strict=True):
        assert one.failed == {}
        for key, pair in other.found.items():
            off = (one.found[key][:, 0] - pair[:, 0]).abs()
            assert bool((off <= one.found[key][:, 1] + pair[:, 1]).all())
            assert bool((one.found[key][:, 1] < 1e-6).all())


@pytest.mark.parametrize("gpu", [False, True])
def test_a_failure_costs_its_own_layer_and_leaves_no_sample(monkeypatch, gpu):
    solved = []
    if gpu:
        on_a_gpu(monkeypatch, solved)
    tokens = [torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    bad = stacked(tokens[1], WANTED).waiting["unit"][1]
    eigenvalues = fast.eigenvalues

    def broken(grams):
        if any(torch.allclose(gram, bad) for gram in grams):
            raise torch.linalg.LinAlgError("did not converge")
        return eigenvalues(grams)

    def no_svd(stack):
        raise fast.CaptureError("RS431", fast.UNSOLVED)

    monkeypatch.setattr(fast, "eigenvalues", broken)
    monkeypatch.setattr(fast, "svd", no_svd)
    reduction = Reduction(resolve(["effective_rank_unit", "numerical_rank_unit", "mu", "effective_rank"]), "gram64")
    for layer, each in zip(LAYERS, tokens, strict=True):
        reduction.activation(layer, each, None, 0)
    rows = reduction.rows()
    assert len(rows) == 12
    for row in rows:
        if row.layer_index == 1 and row.measure.endswith("rank_unit"):
            assert (row.status, row.value, row.samples, row.reason) == ("error", None, (), fast.UNSOLVED)
        else:
            assert (row.status, len(row.samples)) == ("ok", 2)
            assert all(math.isfinite(sample) for sample in row.samples)


def test_chunks_of_the_solver_change_nothing(monkeypatch):
    expected, found = waiting((5, 4)), waiting((5, 4))
    solve(expected)
    solve(found, most=8 * 36 * 2)
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(one.found[key], pair) for key, pair in other.found.items())
    sizes = []
    spectra = fast._spectra
    monkeypatch.setattr(fast, "_spectra", lambda grams, longer: sizes.append(len(grams)) or spectra(grams, longer))
    monkeypatch.setattr(fast, "MOST_NUMBERS", 36 * 4)
    solve(waiting((5, 4)))
    assert sizes == [4, 4, 4, 4, 2]


def test_the_svd_route_that_fails_is_told_too(monkeypatch):
    def no_svd(*_):
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(torch.linalg, "svdvals", no_svd)
    reduction = Reduction(resolve(["effective_rank", "mu"]), "svd")
    reduction.activation(LAYERS[0], torch.randn(2, 6, 9), None, 0)
    rows = {row.measure: row for row in reduction.rows()}
    assert (rows["effective_rank"].status, rows["effective_rank"].value) == ("error", None)
    assert rows["mu"].status == "ok"


def test_a_failing_solver_in_a_thread_gives_threads_back(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(fast, "eigenvalues", lambda grams: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            moments(torch.randn(4, 5, 6), WANTED)
        assert torch.get_num_threads() == 2
        monkeypatch.undo()
        assert moments(torch.randn(4, 5, 6), WANTED).failed == {}
    finally:
        torch.set_num_threads(before)
