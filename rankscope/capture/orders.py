"""Orders: which axes of values and attention maps are sequences, heads, tokens and features."""

from __future__ import annotations

import math


def value_order(equation: str | None) -> tuple[int, ...] | None:
    """The order of axes that brings the values of an einsum to (batch, heads, tokens, width).

    Args:
        equation: the equation of map times values, such as ``"bnij,jbnd->ibnd"``.

    Returns:
        The order; None where the values need none.

    Example:
        >>> value_order("bnij,jbnd->ibnd")
        (1, 2, 0, 3)
    """
    letters = _letters(equation)
    if letters is None:
        return None
    _maps, values, shared, _queries, keys, width = letters
    return _order(values, shared + keys + width)


def map_order(equation: str | None) -> tuple[int, ...] | None:
    """The order of axes that brings the map of an einsum to (batch, heads, queries, keys).

    Args:
        equation: the equation of map times values.

    Returns:
        The order; None where the map needs none.

    Example:
        >>> map_order("ijbn,jbnd->ibnd")
        (2, 3, 0, 1)
    """
    letters = _letters(equation)
    if letters is None:
        return None
    maps, _values, shared, queries, keys, _width = letters
    return _order(maps, shared + queries + keys)


def _order(axes: str, wanted: str) -> tuple[int, ...] | None:
    """Where the wanted axes stand; None where they stand in that order, or where others stand between them."""
    order = tuple(axes.index(letter) for letter in wanted)
    return order if len(order) == len(axes) and order != tuple(range(len(axes))) else None


def _letters(equation: str | None) -> tuple[str, str, str, str, str, str] | None:
    """Letters of map and values; those of sequences and heads, of queries, keys and features."""
    plain = (equation or "").replace(" ", "")
    left, arrow, output = plain.partition("->")
    if not arrow or left.count(",") != 1 or "." in plain:
        return None
    maps, values = left.split(",")
    shared = "".join(letter for letter in maps if letter in values and letter in output)
    queries = "".join(letter for letter in maps if letter not in values)
    keys = "".join(letter for letter in maps if letter in values and letter not in output)
    width = "".join(letter for letter in values if letter not in maps)
    return maps, values, shared, queries, keys, width


def axes_fit(values: tuple[int, ...], block: tuple[int, ...], equation: str | None = None) -> bool:
    """Whether the tokens of values can be those of a block, judged by what one forward pass showed.

    Args:
        values: the shape of the values.
        block: the shape of the output of the block.
        equation: that of an einsum.

    Returns:
        False where they are windows or chunks of them; where the block's output does not tell, True.

    Example:
        >>> axes_fit((2, 4, 16, 8), (2, 16, 32)), axes_fit((8, 4, 4, 8), (2, 16, 32))
        (True, False)
        >>> axes_fit((2, 4, 16, 8), (2, 4, 4, 32)), axes_fit((8, 4, 4, 8), (2, 4, 4, 32))
        (True, False)
    """
    order = value_order(equation)
    shape = tuple(values[axis] for axis in order) if order else values
    if len(shape) not in {3, 4} or len(block) < 3:
        return len(shape) in {3, 4}
    lead, count = shape[:-2], block[0]
    if len(block) == 3:
        readings = {(count, block[1]), (block[1], count)}
    else:  # positions before or after the features, or several residual streams beside the tokens
        readings = {(count, math.prod(block[1:-1])), (count, math.prod(block[2:])), (count, block[1])}
        readings |= {(block[1], block[2])}
    if len(lead) == 2 and shape[-2] == block[1] and count % lead[0] == 0:
        return True  # also several residual streams among the sequences
    return any(
        shape[-2] == tokens and (lead[0] == batch or (len(lead) == 1 and lead[0] % batch == 0))
        for batch, tokens in readings
    )
