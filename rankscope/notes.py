"""Notes: what a reader of the numbers should know, found beside them in the hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankscope.depth import RESIDUAL, Limits
from rankscope.records import Note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rankscope.deferred import Common, Dominant
    from rankscope.records import Depth, Layer, Row, Vector

DOMINANT = 10.0  # a token this many times the median norm is named where raw and unit form disagree
FEATURES = 3  # how many features are named


def kept_apart(vectors: Sequence[Vector]) -> Iterator[Note]:
    """A note where measures of several numbers were asked for, which no table shows.

    Args:
        vectors: what was found of them.

    Yields:
        The note.
    """
    if vectors:
        names = ", ".join(dict.fromkeys(vector.measure for vector in vectors))
        yield Note("RS513", f"{names}: several numbers a sequence, kept under `spectra` in the report saved as .json")


def partial_gradients(rows: Sequence[Row]) -> Iterator[Note]:
    """A note for each measure of gradients of weights that some weights have and others do not.

    Args:
        rows: the rows of the report; a table shows the worst of those of a layer that have a number.

    Yields:
        The notes.
    """
    weights = [row for row in rows if row.site == "weight_gradient"]
    for name in dict.fromkeys(row.measure for row in weights):
        every = [row for row in weights if row.measure == name]
        without = [row for row in every if row.status != "ok"]
        if 0 < len(without) < len(every):
            why = "; ".join(list(dict.fromkeys(row.reason or row.status for row in without))[:2])
            text = f"{name} is over {len(every) - len(without)} of {len(every)} weights; the others have none: {why}"
            yield Note("RS534", text)


def dominance(dominant: Mapping[Layer, Dominant], rows: Sequence[Row]) -> Iterator[Note]:
    """One note a stack where one token of huge norm makes the raw tokens look collapsed and the unit rows are not.

    Args:
        dominant: the largest token of each layer.
        rows: the rows of the report.

    Yields:
        The notes.
    """
    found = _values(rows)
    told: set[str] = set()
    for layer, token in dominant.items():
        stable = found.get((layer.stack, layer.index, "stable_rank"))
        unit = found.get((layer.stack, layer.index, RESIDUAL))
        if layer.stack in told or stable is None or unit is None or token.ratio < DOMINANT:
            continue
        if 1 - 1 / stable < Limits().thinning ** 2 <= unit**2:
            told.add(layer.stack)
            yield Note(
                "RS530",
                f"{layer.name}: token {token.token} of sequence {token.sequence} has {token.ratio:.0f} times "
                f"the median norm and draws the raw ranks down (stable_rank {stable:.2f}); the directions of the "
                f"tokens are apart ({RESIDUAL} {unit:.2f}): one huge token, not collapse",
            )


def common_direction(common: Mapping[Layer, Common], depth: Sequence[Depth], rows: Sequence[Row]) -> Iterator[Note]:
    """One note a stack that thins or collapses because its tokens share a direction: the features that carry it.

    The direction is γ, the mean of the tokens at unit norm; a feature carries γ_j²/‖γ‖² of it, averaged over the
    sequences. Nothing is said where the tokens are parallel only up to sign (γ is small), nor at the noise floor.

    Args:
        common: the direction of each layer.
        depth: the verdicts.
        rows: the rows of the report.

    Yields:
        The notes.
    """
    layers = {(layer.stack, layer.name): layer for layer in common}
    floors = {(row.stack, row.layer_index): row.floor or 0.0 for row in rows if row.measure == RESIDUAL}
    values = _values(rows)
    for entry in depth:
        layer = layers.get((entry.stack, entry.layer or ""))
        if entry.measure != RESIDUAL or entry.verdict not in {"collapsed", "thinning"} or layer is None:
            continue
        value, found = values.get((layer.stack, layer.index, RESIDUAL)), common[layer]
        above = value is not None and value > floors.get((layer.stack, layer.index), 0.0)
        # ‖γ‖² = 1 − mu_bar² of unit rows: the limit of thinning on mu_bar_unit.
        shared = found.sequences and found.size / found.sequences > 1 - Limits().thinning ** 2
        if above and shared and len(found.shares) > FEATURES:
            yield Note(
                "RS512", f"{entry.stack}: at {layer.name}, {_carriers(found)} of the direction that tokens share"
            )


def _carriers(common: Common) -> str:
    """The features with the largest shares, in the order of their numbers, and how much they carry together."""
    top = (common.shares / common.sequences).topk(FEATURES)
    *others, last = (str(feature) for feature in sorted(top.indices.tolist()))
    share = 100 * float(top.values.sum())
    return f"features {', '.join(others)} and {last} carry {share:.0f} %"


def _values(rows: Sequence[Row]) -> dict[tuple[str, int, str], float | None]:
    """The values of the blocks' own rows, by stack, layer and measure."""
    return {
        (row.stack, row.layer_index, row.measure): row.value
        for row in rows
        if row.site == "block" and row.scope == "sequence"
    }
