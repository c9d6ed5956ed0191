"""Certificate: what the λ-skip theory guarantees for a model on these inputs, and the smallest λ that would.

`certify` is the twin of `rankscope certify`. Three certificates, as functions of numbers: `theorem` (Theorem 4.1 of
arXiv 2410.10609), `additive` and `seminorm`. `certifying` runs the batches,
and `watching` sees what the blocks get, add and give; `steps` makes the numbers of a block of it, `overall` those of a
stack.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rankscope.certificate.records import SCHEMA, Block, Certificate, Measured, Sequence, Stack, Step, Theorem
from rankscope.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

__all__ = [
    "RETAIN",
    "SCHEMA",
    "Block",
    "Certificate",
    "Measured",
    "Sequence",
    "Stack",
    "Step",
    "Theorem",
    "certify",
    "fraction",
]

RETAIN = 0.9
_USED = ("layers", "skip_layers", "device", "dtype")


def certify(
    model: str | Path | nn.Module,
    inputs: Any = None,
    *,
    retain: float | None = None,
    a: float | None = None,
    **options: Any,
) -> Certificate:
    """Say what the λ-skip theory guarantees for a model on its inputs; the twin of ``rankscope certify``.

    Args:
        model: as `rankscope.probe` takes it.
        inputs: as `rankscope.probe` takes them.
        retain: the fraction of mu that every layer is to keep, between 0 and 1; 0.9 where neither it nor `a` is given.
        a: its square, as the theorem has it, in its place.
        **options: those of `rankscope.probe` about models, inputs, layers, device and dtype.

    Returns:
        The certificate.

    Raises:
        UsageError: an option is unknown, or would do nothing.

    Example:
        >>> found = certify("zoo:lambda_skip,depth=3,width=16,lam=64", random="ids=1x32:int64:0..255")
        >>> [step.bound < step.mu for step in found.stacks[0].worst.steps]
        [True, True, True]
    """
    from dataclasses import fields

    from rankscope.certificate.run import certified
    from rankscope.inputs import from_python, gather
    from rankscope.pipeline import ALONE, MeasureOptions, check_options, read_options
    from rankscope.sources import open_model

    asked = fraction(retain, a)
    idle = sorted({field.name for field in fields(MeasureOptions)}.difference(_USED).intersection(options))
    if idle:
        raise UsageError("RS103", f"certify measures mu alone: {', '.join(idle)} would do nothing")
    inputs, load, gathering, measuring = read_options(inputs, options)
    with ALONE:
        check_options(measuring, gathering)
        source = open_model(model, load)
        found = gather(source, gathering) if inputs is None else from_python(source, inputs, gathering)
        return certified(source, found, measuring, asked)


def fraction(retain: float | None, a: float | None) -> float:
    """The fraction √a of mu that every layer is to keep.

    Args:
        retain: the fraction itself, or None.
        a: its square, or None.

    Returns:
        Between 0 and 1; 0.9 where neither is given.

    Raises:
        UsageError: both are given, or one is not between 0 and 1.

    Example:
        >>> fraction(None, None), fraction(None, 0.25)
        (0.9, 0.5)
    """
    if retain is not None and a is not None:
        raise UsageError(
            "RS481",
            "retain and a were both given: a is the square of the fraction that is retained",
            remedies=[("Give one of them", f"retain {retain:g}, which is a = {retain**2:.4g}")],
        )
    for name, value in (("retain", retain), ("a", a)):
        if value is not None and not 0 < value < 1:
            raise UsageError(
                "RS480",
                f"{name} is {value:g}, expected a number between 0 and 1, without the ends",
                remedies=[("Nine tenths of mu in every layer", "--retain 0.9, or --a 0.81")],
            )
    return math.sqrt(a) if a is not None else RETAIN if retain is None else retain
