"""Matrix families that numerical tests share, and the failure inputs that every measure answers."""

from __future__ import annotations

import math

import torch

from rankscope.spectra import spectrum

FORMS = ("raw", "centered", "unit", "unit_centered")
SHAPES = ((32, 40), (48, 20), (7, 5))
FAMILIES = (
    "gaussian",
    "inverse",
    "inverse_square",
    "exponential",
    "nearly_equal_3",
    "nearly_equal_6",
    "deficient",
    "equal",
    "outlier_features",
    "sink_token",
    "rank_one",
    "parallel_up_to_sign",
)


def family(name, rows, width, seed=0, dtype=torch.float32):
    """One matrix of a family, rounded to a dtype and given as float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n = min(rows, width)
    index = torch.arange(1, n + 1, dtype=torch.float64)

    def graded(sigma):
        left, right = torch.linalg.qr(normal(rows, n))[0], torch.linalg.qr(normal(width, n))[0]
        return (left * sigma) @ right.T

    def integers(*shape):
        return torch.randint(-3, 4, shape, generator=generator).double()

    inner = max(1, n // 4)
    sign = torch.where(torch.arange(rows) % 2 == 0, 1.0, -1.0).double().unsqueeze(1)
    scale = {"outlier_features": 1000.0, "sink_token": 100.0}.get(name, 1.0)
    y = {
        "gaussian": lambda: normal(rows, width),
        "inverse": lambda: graded(1 / index),
        "inverse_square": lambda: graded(index**-2),
        "exponential": lambda: graded(10 ** (-8 * (index - 1) / max(1, n - 1))),
        "nearly_equal_3": lambda: normal(1, width) + 1e-3 * normal(rows, width),
        "nearly_equal_6": lambda: normal(1, width) + 1e-6 * normal(rows, width),
        "deficient": lambda: integers(rows, inner) @ integers(inner, width) + 0.25,
        "equal": lambda: normal(1, width).expand(rows, width).clone(),
        "outlier_features": lambda: normal(rows, width),
        "sink_token": lambda: normal(rows, width),
        "rank_one": lambda: normal(rows, 1) @ normal(1, width),
        "parallel_up_to_sign": lambda: sign @ normal(1, width),
    }[name]()
    if name == "outlier_features":
        y[:, : max(1, width // 20)] *= scale
    if name == "sink_token":
        y[0] *= scale
    return y.to(dtype).double()


def failure_inputs(rows=16, width=8):
    """The inputs of definitions §2 for which every measure has one stated answer."""
    y = family("gaussian", rows, width, seed=3)
    one = y[:1].expand(rows, width).clone()
    poisoned = {"nan": y.clone(), "infinity": y.clone()}
    poisoned["nan"][2, 3] = math.nan
    poisoned["infinity"][2, 3] = -math.inf
    return {
        "gaussian": y,
        "rank_one": family("rank_one", rows, width, seed=3, dtype=torch.float64),
        "identical": one,
        "identical_noise": one + 1e-3 * family("gaussian", rows, width, seed=4),
        "zeros": torch.zeros(rows, width, dtype=torch.float64),
        **poisoned,
        "bfloat16": y.bfloat16().double(),
        "one_token": y[:1],
        "three_tokens": y[:3],
    }


def hadamard(n):
    """Sylvester's matrix: entries ±1, H Hᵀ = n·I; n a power of two."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < n:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def known_spectrum(rows, width, sigma):
    """A matrix whose singular values, sigma·√(rows·width), are known exactly; rows and width powers of two."""
    n = min(rows, width)
    return (hadamard(rows)[:, :n] * sigma) @ hadamard(width)[:, :n].T, sigma * math.sqrt(rows * width)


def as_need(need, y):
    """A matrix, or several, in the kind that a measure asks for: as it is, its spectrum, or an attention map of it."""
    if need.endswith("spectrum"):
        return spectrum(y)
    if need == "allowed":
        return torch.ones_like(y, dtype=torch.bool).tril(1)
    if need == "attention":
        weights = y.abs().tril(1)
        return weights / weights.sum(-1, keepdim=True).clamp(min=1e-300)
    return y
