"""Sums: what a report keeps of its pools, so that those of several runs become one; a file of safetensors holds both.

No torch is imported here, and numpy late: a report without sums is read back without them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rankscope.plain import Malformed, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

KEY = "rankscope.report"
START = b'{"__metadata__":{"' + KEY.encode()
"""What follows the eight bytes of length in a file that `packed` made."""
TEXT = "report"
MOST = 2**53
"""Tokens; so many float64 can count."""
ARRAYS = ("origin", "offset", "scatter")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tokens of a pool come from: whether each was scaled to unit norm first, and how many there are.

    `sequences` counts those that went into it, also where all of their tokens are zero; `dtype` is that of the model.
    """

    stack: str
    layer_index: int
    unit: bool
    count: int
    sequences: int
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """The sums of one pool, all float64; of one without tokens, which has no width either, all empty.

    `origin` (width,) is its first token, `offset` (width,) the mean of all of them less the first, and `scatter`
    (width, width) Σ(y − mean)(y − mean)ᵀ.
    """

    place: Place
    origin: NDArray[np.float64]
    offset: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @property
    def arrays(self) -> tuple[NDArray[np.float64], ...]:
        """The three of them."""
        return (self.origin, self.offset, self.scatter)


def packed(report: Mapping[str, Any], sums: Sequence[Sums]) -> bytes:
    """A report and its sums as a file of safetensors.

    Args:
        report: as plain data.
        sums: of its pools.

    Returns:
        The content of the file. The report is a tensor of bytes, JSON in UTF-8: a header holds 100 MB at most.
    """
    import numpy as np
    from safetensors.numpy import save

    text = json.dumps({**report, "sums": [asdict(each.place) for each in sums]}, allow_nan=False)
    arrays = {
        f"{number}.{name}": np.ascontiguousarray(array)
        for number, each in enumerate(sums)
        for name, array in zip(ARRAYS, each.arrays, strict=True)
    }
    content: bytes = save({TEXT: np.frombuffer(text.encode(), np.uint8), **arrays}, {KEY: "1"})
    return content


def is_packed(head: bytes) -> bool:
    """Whether a file is one that `packed` made.

    Args:
        head: its first 64 bytes.

    Returns:
        True where it says so.

    Example:
        >>> is_packed(packed({}, [])[:64]), is_packed(b"{}")
        (True, False)
    """
    return head[8:].startswith(START)


def unpacked(path: Path) -> tuple[str, tuple[Sums, ...]]:
    """Read a file of safetensors that `packed` made.

    Args:
        path: the file.

    Returns:
        The report as JSON text, and its sums.

    Raises:
        OSError: the file cannot be read.
        Malformed: it was cut short, or is none that `packed` makes.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            text = file.get_tensor(TEXT).tobytes().decode()
            places = listed(Place, json.loads(text), "sums")
            arrays = [[file.get_tensor(f"{number}.{name}") for name in ARRAYS] for number in range(len(places))]
    except SafetensorError as error:
        raise Malformed("it was cut short, or changed since it was written") from error
    if len({(place.stack, place.layer_index, place.unit) for place in places}) < len(places):
        raise Malformed("sums of one layer twice")
    return text, tuple(_sums(place, *found) for place, found in zip(places, arrays, strict=True))


def _sums(place: Place, origin: Any, offset: Any, scatter: Any) -> Sums:
    """Refuse sums that no version writes; what merges them later must not trip over them, or pass them."""
    import numpy as np

    kinds = {"stack": str, "layer_index": int, "unit": bool, "count": int, "sequences": int, "dtype": str}
    if not all(isinstance(getattr(place, name), kind) for name, kind in kinds.items()):
        raise Malformed("sums that do not say where they are from")
    arrays, width = (origin, offset, scatter), len(origin) if origin.ndim else 0
    fit = (origin.shape, offset.shape, scatter.shape) == ((width,), (width,), (width, width))
    counted = place.sequences > 0 and 0 <= place.count < MOST and (place.count > 0) == (width > 0)
    doubles = all(array.dtype == np.float64 and np.isfinite(array).all() for array in arrays)
    if not (fit and counted and doubles and _is_scatter(scatter)):
        raise Malformed(f"sums that are none, of layer {place.layer_index} of {place.stack!r}")
    return Sums(place, *arrays)


def _is_scatter(matrix: NDArray[np.float64]) -> bool:
    """Whether a matrix is symmetric, as far as rounding goes, and no entry larger than those of its diagonal allow."""
    sizes = matrix.diagonal()
    if not len(sizes):
        return True
    slack = 1e-9 * sizes.max()
    fits = bool((abs(matrix - matrix.T) <= slack).all() and (abs(matrix) <= sizes.max() + slack).all())
    return fits and bool((sizes >= 0).all())
