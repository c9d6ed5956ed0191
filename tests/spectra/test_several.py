"""Spectra of many matrices, and of products without forming them, against a float64 SVD of the formed matrix."""

import numpy as np
import pytest
import torch

from rankscope.spectra import several
from rankscope.spectra.products import squares
from rankscope.spectra.several import spectra


def tokens(rows, width, kind="random", seed=0, dtype=torch.float32):
    """Rows as activations and gradients have them."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.randn(rows, width, generator=draw, dtype=torch.float64) * torch.arange(1, width + 1) ** -0.7
    turn = torch.linalg.qr(torch.randn(width, width, generator=draw, dtype=torch.float64))[0]
    y = y @ turn
    if kind == "common":  # one direction that all tokens share, a hundred times as large as the rest
        y = y + 100 * turn[0]
    elif kind == "pooled":  # every token gets the same gradient
        y = y[:1].expand(rows, width).clone()
    elif kind == "low":
        y = y[:, :5] @ turn[:5]
    elif kind == "masked":
        y[rows // 3 : rows // 2] = 0
    return y.to(dtype)


def held(found, left, right):
    """The singular values are those of the product to their bounds."""
    rows, width = left.shape[1], right.shape[1]
    exact = torch.linalg.svdvals(left.double().mT @ right.double())
    rounding = 1e-14 * torch.linalg.matrix_norm(left.double(), 2) * torch.linalg.matrix_norm(right.double(), 2)
    assert (found.rows, found.width) == (rows, width)
    assert found.singular_values.shape == found.error.shape == exact.shape
    off = (found.singular_values - exact).abs()
    assert bool((off <= found.error + rounding).all()), float((off - found.error).max() / exact[0])
    return exact


@pytest.mark.parametrize("left", ["random", "common", "pooled", "low", "masked"])
@pytest.mark.parametrize("right", ["random", "common", "pooled", "low"])
@pytest.mark.parametrize("rows", [1, 7, 48])
def test_products_have_the_singular_values_of_the_formed_matrix(left, right, rows):
    g, x = tokens(rows, 96, left, 1), tokens(rows, 80, right, 2)
    (found,) = spectra([(g, x)])
    exact = held(found, g, x)
    rest = found.singular_values[rows:]
    formed = "random" not in {left, right} and squares(g.double(), x.double()) is None  # its rounding is left
    assert bool((rest <= found.error[rows:] + 1e-14 * exact[0]).all() if formed else (rest == 0).all())
    if exact[0] > 1e-6 * torch.linalg.matrix_norm(g, 2) * torch.linalg.matrix_norm(x, 2):
        counted = exact > 96 * 2**-23 * exact[0]
        torch.testing.assert_close(found.singular_values[counted], exact[counted], rtol=2e-4, atol=0)


def test_the_small_matrix_is_used_where_it_can_be(monkeypatch):
    monkeypatch.setattr(several, "_dense", lambda matrix: 1 / 0)
    g, x = tokens(40, 96), tokens(40, 80, "common", 1)
    for pair in ((g, x), (tokens(40, 96, "pooled"), x), (g, tokens(40, 80, "pooled")), (tokens(40, 96, "masked"), x)):
        (found,) = spectra([pair])
        held(found, *pair)
    assert squares(tokens(9, 80, "pooled").double(), tokens(9, 80, "masked").double()) is None


def test_factors_that_nearly_cancel_are_formed():
    x = tokens(40, 80)
    g = tokens(40, 96, seed=1).double()
    left, _, right = torch.linalg.svd(x.double(), full_matrices=False)
    g = g - left[:, :20] @ (left[:, :20].mT @ g)  # nothing of the inputs' largest directions is left in the product
    g = 1e-7 * g / g.norm() + 0 * right.sum()
    pair = (torch.cat([g, g]), torch.cat([x.double(), -x.double() * (1 - 1e-9)]))
    pair = tuple(each.float() for each in pair)
    (found,) = spectra([pair])
    held(found, *pair)


def test_matrices_of_any_shape_come_back_in_order_and_are_let_go():
    matrices = [torch.randn(*shape) for shape in ((80, 70), (3, 200), (200, 90), (70, 80), (1, 1))]
    expected = [torch.linalg.svdvals(each.double()) for each in matrices]
    given = list(matrices)
    found = spectra(given)
    assert given == []
    for got, want, matrix in zip(found, expected, matrices, strict=True):
        assert (got.rows, got.width) == matrix.shape
        np.testing.assert_allclose(got.singular_values, want, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["auto", "gram64", "svd"])
def test_every_dtype_and_way(dtype, method):
    matrix, pair = tokens(90, 70).to(dtype), (tokens(20, 90).to(dtype), tokens(20, 70).to(dtype))
    whole, product = spectra([matrix, pair], method)
    exact = torch.linalg.svdvals(matrix.double())
    assert bool(((whole.singular_values - exact).abs() <= whole.error + 1e-14 * exact[0]).all())
    held(product, *pair)


def test_what_is_not_finite_or_zero_or_fails_says_so(monkeypatch):
    bad = torch.randn(70, 70)
    bad[3, 4] = torch.inf
    nan = tokens(8, 80)
    nan[2, 2] = torch.nan
    zero = (torch.zeros(0, 80), torch.zeros(0, 70))
    found = spectra([bad, (nan, tokens(8, 80)), (tokens(8, 80), nan), torch.zeros(70, 70), zero, bad[:5, :2]])
    assert found[:3] == [None, None, None]
    assert [float(each.singular_values.sum()) for each in found[3:5]] == [0, 0]
    assert found[5] is not None

    def broken(*args, **kwargs):
        raise torch.linalg.LinAlgError("not converged")

    monkeypatch.setattr(several, "eigenvalues", broken)
    matrix = torch.randn(70, 80)
    (by_svd,) = spectra([matrix])
    np.testing.assert_allclose(by_svd.singular_values, torch.linalg.svdvals(matrix.double()), rtol=1e-9)
    monkeypatch.setattr(several, "svd", broken)
    assert spectra([matrix]) == ["_LinAlgError: not converged"]


@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_factors_of_any_size(scale):
    pair = (tokens(20, 90) * scale, tokens(20, 70) * scale)
    held(spectra([pair])[0], *pair)


def test_all_of_one_size_are_solved_together(monkeypatch):
    calls = []

    def counted(grams):
        calls.append(tuple(grams.shape))
        return several_eigenvalues(grams)

    several_eigenvalues = several.eigenvalues
    monkeypatch.setattr(several, "eigenvalues", counted)
    monkeypatch.setattr(several, "_device", lambda matrix: "cuda")
    pair = (tokens(20, 90), tokens(20, 70))
    bad = torch.full((70, 90), torch.nan)
    matrices = [torch.randn(70, 90), torch.randn(90, 70), pair, torch.randn(70, 70), torch.randn(3, 3), bad]
    found = spectra(list(matrices))
    assert sorted(calls) == [(1, 20, 20), (3, 70, 70)]
    for got, matrix in zip(found[:2], matrices, strict=False):
        np.testing.assert_allclose(got.singular_values, torch.linalg.svdvals(matrix.double()), rtol=1e-6)
    held(found[2], *pair)
    assert found[5] is None
    calls.clear()
    spectra(matrices[:2], most=16 * 70 * 70)
    assert calls == [(1, 70, 70), (1, 70, 70)]
