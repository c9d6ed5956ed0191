"""Singular values: against exactly known spectra, against the reference, and what is refused."""

import math

import numpy as np
import pytest
import torch
from cases import FAMILIES, SHAPES, family, known_spectrum
from threadpoolctl import threadpool_info

from rankscope.errors import CaptureError
from rankscope.spectra import cpu, cuda, engine, spectrum
from rankscope.spectra.reference import svd

METHODS = ("auto", "gram64", "svd")
PROFILES = {
    "flat": lambda n: torch.ones(n),
    "halving": lambda n: 2.0 ** -torch.arange(n).clamp(max=20),
    "linear": lambda n: torch.arange(n, 0, -1),
    "rank_one": lambda n: torch.arange(n) == 0,
    "nearly_rank_one": lambda n: torch.where(torch.arange(n) == 0, 1.0, 2.0**-10),
}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (16, 64), (64, 16), (128, 128), (2048, 4)])
@pytest.mark.parametrize("method", METHODS)
def test_known_spectra_within_the_error_bound(method, shape, profile):
    matrix, expected = known_spectrum(*shape, PROFILES[profile](min(shape)).double())
    got = spectrum(matrix, method=method)
    assert got.singular_values.shape == got.error.shape == (min(shape),)
    assert (got.rows, got.width) == shape
    assert bool(((got.singular_values - expected).abs() <= got.error).all())
    assert bool((got.error <= 1e-6 * expected[0]).all()), "the bound says something"


@pytest.mark.parametrize("rows", [128, 384, 768, 4096])
@pytest.mark.parametrize("width", [2, 3, 16])
def test_equal_tokens_whose_roundings_all_add_up(rows, width):
    for seed in range(5):
        y = family("equal", rows, width, seed)
        top = math.sqrt(rows * math.fsum((y[0] ** 2).tolist()))
        expected = torch.tensor([top] + [0.0] * (width - 1), dtype=torch.float64)
        for method in ("gram64", "svd"):
            got = spectrum(y, method=method)
            assert bool(((got.singular_values - expected).abs() <= got.error).all())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gram_route_agrees_with_the_reference_within_its_bound(name, dtype):
    for shape in SHAPES:
        y = family(name, *shape, dtype=dtype)
        reference, slack = svd(y.unsqueeze(0))
        for method in ("auto", "gram64"):
            got = spectrum(y, method=method)
            off = (got.singular_values - reference[0]).abs()
            assert bool((off <= got.error + slack[0]).all()), (shape, method, (off / got.error).max())
            assert bool((got.singular_values.diff() <= 0).all()), "descending"
            assert bool((got.singular_values >= 0).all())


def test_auto_resolves_what_counts_towards_the_numerical_rank():
    y = torch.diag(torch.tensor([1.0, 1e-3, 1e-6, 1e-9]))
    y = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double())[0] @ y.double()
    coarse, fine = spectrum(y, method="gram64"), spectrum(y, source_dtype=torch.float32)
    assert coarse.error[2] > engine.RESOLVED * 1e-6
    assert fine.error[2] <= engine.RESOLVED * 1e-6
    assert fine.singular_values[2].item() == pytest.approx(1e-6, rel=1e-9)


@pytest.mark.parametrize("rows", [64, 128, 512])
def test_from_64_rows_on_no_gram_leaves_the_numerical_rank_in_doubt(monkeypatch, rows):
    monkeypatch.setattr(engine, "svd", lambda stack: pytest.fail("the Gram is given up"))
    for name in FAMILIES:
        spectrum(family(name, rows, rows + rows // 2), source_dtype=torch.float32)


def test_auto_takes_the_svd_only_for_data_that_is_float64(monkeypatch):
    used = []
    monkeypatch.setattr(engine, "svd", lambda stack: used.append(len(stack)) or svd(stack))
    y = family("gaussian", 8, 8)
    spectrum(y.float())
    spectrum(y, source_dtype=torch.float32)
    spectrum(y.bfloat16())
    assert used == []
    spectrum(y)
    spectrum(y.float(), source_dtype=torch.float64)
    assert used == [1, 1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-30, 1e30, 1e200, 1e300])
def test_no_scale_over_or_underflows(scale, method):
    y = family("gaussian", 6, 9)
    plain, scaled = spectrum(y, method=method), spectrum(y * scale, method=method)
    torch.testing.assert_close(scaled.singular_values / scale, plain.singular_values, rtol=1e-12, atol=0)
    assert bool(torch.isfinite(scaled.error).all())


@pytest.mark.parametrize("method", METHODS)
def test_zeros_beside_others_are_exactly_zero(method):
    got = spectrum(torch.stack([torch.zeros(3, 4), torch.eye(3, 4)]), method=method)
    assert got.singular_values[0].tolist() == got.error[0].tolist() == [0, 0, 0]
    torch.testing.assert_close(got.singular_values[1], torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (0,)])
def test_batch_shapes_and_items_of_their_own(batch):
    y = torch.randn(*batch, 6, 4, generator=torch.Generator().manual_seed(1))
    before = y.clone()
    got = spectrum(y)
    assert got.singular_values.shape == (*batch, 4)
    assert torch.equal(y, before), "the input is left as it was"
    flat = [spectrum(one).singular_values for one in y.reshape(-1, 6, 4)]
    for one, other in zip(got.singular_values.reshape(-1, 4), flat, strict=True):
        assert torch.equal(one, other)


def test_chunks_change_nothing(monkeypatch):
    y = torch.randn(7, 5, 6, generator=torch.Generator().manual_seed(1))
    whole = spectrum(y)
    monkeypatch.setattr(engine, "CHUNK_BYTES", 1)
    assert torch.equal(spectrum(y).singular_values, whole.singular_values)


@pytest.mark.parametrize("threads", [1, 2])
def test_inside_inference_mode_and_of_tensors_that_require_grad(threads):
    y, before = torch.randn(5, 6, requires_grad=True), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            inside = spectrum(y * 1)
        assert torch.equal(inside.singular_values, spectrum(y).singular_values)
        assert not spectrum(y).singular_values.requires_grad
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("method", METHODS)
def test_non_finite_is_refused(bad, method):
    y = torch.ones(2, 3, 4)
    y[1, 2, 3] = bad
    with pytest.raises(ValueError, match="finite"):
        spectrum(y, method=method)


def test_wrong_calls():
    with pytest.raises(ValueError, match="method is one of"):
        spectrum(torch.eye(2), method="qr")
    with pytest.raises(TypeError, match=r"floating dtype, got torch\.int64"):
        spectrum(torch.eye(2, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"floating dtype, got torch\.complex64"):
        spectrum(torch.eye(2, dtype=torch.complex64))
    with pytest.raises(ValueError, match="rows, width"):
        spectrum(torch.ones(3))
    with pytest.raises(ValueError, match="rows, width"):
        spectrum(torch.ones(2, 0, 3))


def wrong_sum(grams):
    values = torch.linalg.eigvalsh(grams)
    values[..., -1] *= 1 + 1e-9
    return values


def wrong_small_one(grams):
    values = torch.linalg.eigvalsh(grams)
    values[..., 0] += 1e-9
    return values


def wrong_squares(grams):
    values = torch.linalg.eigvalsh(grams)
    values[..., -1] += 1e-9
    values[..., 0] -= 1e-9
    return values


def gives_up(grams):
    raise np.linalg.LinAlgError("did not converge")


@pytest.mark.parametrize("broken", [wrong_sum, wrong_small_one, wrong_squares, gives_up])
def test_a_bad_eigenvalue_solve_falls_back_to_the_svd(monkeypatch, broken):
    y = torch.diag(torch.tensor([1.0, 0.5, 1e-6]))
    monkeypatch.setattr(cpu, "eigenvalues", broken)
    assert torch.equal(spectrum(y, method="gram64").singular_values, spectrum(y, method="svd").singular_values)


def svd_gives_up(*args):
    raise torch.linalg.LinAlgError("did not converge")


@pytest.mark.parametrize("broken", [svd_gives_up, lambda a: torch.full((1, 6), math.nan)])
def test_both_failing_is_an_error_with_a_code(monkeypatch, broken):
    monkeypatch.setattr(cpu, "eigenvalues", gives_up)
    monkeypatch.setattr(torch.linalg, "svdvals", broken)
    with pytest.raises(CaptureError, match="could not be computed") as caught:
        spectrum(family("gaussian", 6, 9), method="gram64")
    assert caught.value.code == "RS431"


def test_cuda_functions_agree_with_those_of_the_cpu():
    for shape in SHAPES:
        stack = torch.stack([family("gaussian", *shape, seed) for seed in range(3)])
        torch.testing.assert_close(cuda.grams(stack), cpu.grams(stack), rtol=1e-13, atol=1e-13)
        grams = cpu.grams(stack)
        torch.testing.assert_close(cuda.eigenvalues(grams), cpu.eigenvalues(grams), rtol=1e-12, atol=1e-12)


def test_a_thread_of_ours_keeps_to_one_thread_of_the_libraries():
    def threads(index):
        before = torch.get_num_threads()
        big = torch.ones(1 << 17).exp()  # the first call of a thread that torch would split
        return before, torch.get_num_threads(), {entry["num_threads"] for entry in threadpool_info()}, float(big[0])

    before = torch.get_num_threads()
    try:
        for given in (2, 3):
            torch.set_num_threads(given)
            found = cpu.in_threads(threads, range(6))
            assert all(here == later == 1 for here, later, *_ in found)
            assert all(entries == {1} for *_, entries, _ in found)
            assert torch.get_num_threads() == given
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("count", "each", "at_once", "sizes"),
    [
        (8, 1, None, [4, 4]),
        (5, 1, None, [2, 3]),
        (1, 1, None, [1]),
        (0, 1, None, [0]),
        (7, cpu.CACHED // 2, None, [1, 2, 2, 2]),
        (3, 2 * cpu.CACHED, None, [1, 1, 1]),
        (8, 1, 4, [2, 2, 2, 2]),
        (3, 0, 1, [1, 1, 1]),
    ],
)
def test_parts_for_two_threads(count, each, at_once, sizes):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        parts = cpu.slices(count, each, at_once)
        assert sorted(part.stop - part.start for part in parts) == sizes
        assert [index for part in parts for index in range(count)[part]] == list(range(count))
        assert cpu.in_threads(lambda _: cpu.slices(count, each), [0]) == [[slice(0, count)]]
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", FAMILIES)
def test_on_a_cuda_device(name):
    y = torch.stack([family(name, 48, 64, seed) for seed in range(3)])
    got, expected = spectrum(y.cuda(), method="gram64"), spectrum(y, method="svd")
    assert got.singular_values.is_cuda
    off = (got.singular_values.cpu() - expected.singular_values).abs()
    assert bool((off <= got.error.cpu() + expected.error).all())


def test_blas_threads_are_given_back():
    from threadpoolctl import threadpool_info, threadpool_limits

    with threadpool_limits(2, user_api="blas"):
        before = [entry["num_threads"] for entry in threadpool_info()]
        spectrum(torch.eye(5))
        assert [entry["num_threads"] for entry in threadpool_info()] == before
