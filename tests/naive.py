"""Slow twins: every measure as its definition reads, one matrix at a time, numpy float64, exact sums."""

from __future__ import annotations

import math
from statistics import median

import numpy as np


def in_form(y, form):
    y = np.asarray(y, dtype=np.float64)
    if form.startswith("unit"):
        y = np.array([row / _norm(row) for row in y])
    if form.endswith("centered"):
        y = y - np.array([math.fsum(column) / len(y) for column in y.T])
    return y


def _norm(values):
    return math.sqrt(math.fsum(float(v) ** 2 for v in np.ravel(values)))


def sigma(y):
    return np.linalg.svd(np.asarray(y, dtype=np.float64), compute_uv=False)


def _entropy(p):
    return math.exp(-math.fsum(v * math.log(v) for v in p if v > 0))


def mu(y):
    return _norm(in_form(y, "centered"))


def mu_bar(y):
    return mu(y) / _norm(y)


def mu_1inf(y):
    def size(x):
        return math.sqrt(max(math.fsum(abs(c)) for c in x.T) * max(math.fsum(abs(r)) for r in x))

    return size(in_form(y, "centered")) / size(np.asarray(y))


def _cosine(a, b):
    return math.fsum(a * b) / (_norm(a) * _norm(b))


def token_similarity(y):
    y = in_form(y, "unit")
    pairs = [(i, j) for i in range(len(y)) for j in range(len(y)) if i != j]
    return math.fsum(float(y[i] @ y[j]) for i, j in pairs) / len(pairs)


def token_norm_ratio(y):
    norms = [_norm(row) for row in y]
    return max(norms) / median(norms)


def effective_rank(y):
    s = sigma(y)
    return _entropy(s / math.fsum(s))


def rankme(y):
    s = sigma(y)
    return _entropy(s / math.fsum(s) + 1e-7)


def entropy_rank(y):
    s = sigma(y)
    return _entropy(s**2 / math.fsum(s**2))


def participation_ratio(y):
    s = sigma(y)
    return math.fsum(s**2) ** 2 / math.fsum(s**4)


def stable_rank(y):
    s = sigma(y)
    return math.fsum(s**2) / s[0] ** 2


def rank_one_residual(y):
    s = sigma(y)
    return math.sqrt(math.fsum(s[1:] ** 2) / math.fsum(s**2))


def numerical_rank(y):
    s = sigma(y)
    return sum(v > max(np.shape(y)) * 2.0**-23 * s[0] for v in s)


def condition_number(y):
    return sigma(y)[0] / sigma(y)[numerical_rank(y) - 1]


def value_cosine(value, first_value):
    return math.fsum(_cosine(a, b) for a, b in zip(np.asarray(value), np.asarray(first_value), strict=True)) / len(
        value
    )


value_cosine_mixed = value_cosine


def value_delta(mixed_value, first_value):
    return _norm(np.asarray(mixed_value) - np.asarray(first_value)) / _norm(first_value)


def value_drain(value):
    first, *others = (_norm(row) for row in value)
    return first / (math.fsum(others) / len(others))


def value_spectrum(values_spectrum):
    y = np.asarray(values_spectrum, dtype=np.float64)
    moment = sum(np.outer(row, row) for row in y) / len(y)
    return np.sort(np.linalg.eigvalsh(moment))[::-1][: min(y.shape)].clip(min=0)


singular_values = sigma


def attention_entropy(attention, allowed):
    received = [0.0] * np.shape(attention)[1]
    for weights, at in zip(np.asarray(attention), np.asarray(allowed), strict=True):
        if any(at):
            received = [so_far + weight for so_far, weight in zip(received, weights, strict=True)]
    total = math.fsum(received)
    return -math.fsum(a / total * math.log(a / total) for a in received if a > 0)


def attention_entropy_ratio(attention, allowed):
    even = [[bool(a) / max(1, sum(at)) for a in at] for at in np.asarray(allowed)]
    return attention_entropy(attention, allowed) / attention_entropy(even, allowed)


def representation_change(tokens, previous):
    found = []
    for y, x in zip(np.asarray(tokens), np.asarray(previous), strict=True):
        if np.ptp(y) and np.ptp(x):
            found.append(2 - 2 * np.corrcoef(y, x)[0, 1])
    return math.fsum(found) / len(found)


def contribution(tokens, previous):
    return _norm(np.asarray(tokens) - np.asarray(previous)) / _norm(previous)


def grad_norm(gradient):
    return _norm(gradient)


def grad_norm_ratio(gradient, last_gradient):
    return _norm(gradient) / _norm(last_gradient)


grad_condition = condition_number
grad_rank = numerical_rank
grad_effective_rank = effective_rank
grad_stable_rank = stable_rank
