"""Random inputs: ``--random 'x=8x128x64'``, ``--random 'ids=8x128:int64:0..50256'``.

```
SPEC   NAME=SHAPE[:DTYPE[:LOW..HIGH]]
SHAPE  sizes joined by x, such as 8x128x64
DTYPE  float32 (default), float64, float16, bfloat16, int64, int32, int16, int8, uint8, bool
LOW..HIGH  both ends included; floats without a range are standard normal
```
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

import torch

from rankscope.errors import UsageError
from rankscope.inputs.arguments import parameters
from rankscope.inputs.dry_run import dry_run
from rankscope.inputs.values import cast, model_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

FLOATS = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}
WHOLE = {
    "int64": torch.int64,
    "int32": torch.int32,
    "int16": torch.int16,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
}
DTYPES = FLOATS | WHOLE
MOST_BYTES = 2**40  # a terabyte: more is a slip of the finger, and some systems promise memory they do not have
_SPEC = re.compile(
    r"(?P<name>[^\W\d]\w*)=(?P<shape>[0-9]{1,9}(x[0-9]{1,9})*)(:(?P<dtype>\w+)(:(?P<low>[^:]+?)\.\.(?P<high>[^:]+))?)?"
)


@dataclass(frozen=True, slots=True)
class Spec:
    """One random argument: its name, shape, dtype and range; `low` None: the whole range is still to be found."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    low: float | None = None
    high: float | None = None

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers or truth values."""
        return self.dtype in WHOLE

    def __str__(self) -> str:
        text = f"{self.name}={'x'.join(map(str, self.shape))}"
        if self.low is not None and self.high is not None:
            return f"{text}:{self.dtype}:{self.low}..{self.high}"
        return text if self.dtype == "float32" else f"{text}:{self.dtype}"


def parse(text: str) -> Spec:
    """Read one spec.

    Args:
        text: such as ``ids=8x128:int64:0..50256``.

    Returns:
        The spec; `str` of it reads back to the same.

    Raises:
        UsageError: it is not of that form, or asks for something that cannot be drawn.

    Example:
        >>> parse("x=8x128x64").shape
        (8, 128, 64)
    """
    found = _SPEC.fullmatch(text.strip())
    if found is None:
        _refuse(text, "it is not of the form NAME=SHAPE[:DTYPE[:LOW..HIGH]]")
    shape = tuple(int(size) for size in found["shape"].split("x"))
    dtype = found["dtype"] or "float32"
    if min(shape) < 1:
        _refuse(text, "a size is zero")
    if dtype not in DTYPES:
        _refuse(text, f"the dtype {dtype!r} is none of {', '.join(DTYPES)}")
    if found["low"] is None:
        return Spec(found["name"], shape, dtype)
    low, high = _range(text, dtype, found["low"], found["high"])
    return Spec(found["name"], shape, dtype, low, high)


def _range(text: str, dtype: str, *ends: str) -> tuple[float, float]:
    """The two ends, checked against each other and the dtype."""
    try:
        low, high = (int(end) if dtype in WHOLE else float(end) for end in ends)
    except ValueError:
        _refuse(text, f"{'..'.join(ends)} is no range of {dtype}")
    limits = (0, 1) if dtype == "bool" else _limits(DTYPES[dtype])
    if not limits[0] <= low <= high <= limits[1] or not math.isfinite(high - low):  # the first is false for NaN
        _refuse(text, f"{'..'.join(ends)} is no range of {dtype}, low end first")
    return low, high


def _limits(dtype: torch.dtype) -> tuple[float, float]:
    if dtype.is_floating_point:
        return torch.finfo(dtype).min, torch.finfo(dtype).max
    return torch.iinfo(dtype).min, min(torch.iinfo(dtype).max, 2**63 - 2)  # both ends are drawn: high + 1 is counted


def _refuse(text: str, why: str) -> NoReturn:
    raise UsageError(
        "RS202",
        f"--random {text!r} cannot be read: {why}",
        remedies=[("Numbers", "--random 'x=8x128x64'"), ("Token ids", "--random 'ids=8x128:int64:0..255'")],
    )


def read_specs(texts: Iterable[str], model: nn.Module) -> list[Spec]:
    """Read the specs of a run; a range of whole numbers that was left out is that of the embedding they go to.

    Args:
        texts: the specs.
        model: whose forward takes the arguments, and whose embedding the ids.

    Returns:
        The specs under the names of forward's parameters, every range of whole numbers known.

    Raises:
        UsageError: a spec cannot be read, a name is given twice, or no embedding takes the whole numbers.
    """
    specs = [parse(text) for text in texts]
    own = parameters(model).own_names(spec.name for spec in specs)
    specs = [replace(spec, name=own[spec.name]) for spec in specs]
    for index, spec in enumerate(specs):
        if spec.name in {other.name for other in specs[:index]}:
            _refuse(str(spec), f"{spec.name} is given twice")
    specs = [replace(spec, low=0, high=1) if spec.dtype == "bool" and spec.low is None else spec for spec in specs]
    return _ranged(specs, model) if any(spec.whole and spec.low is None for spec in specs) else specs


def _ranged(specs: list[Spec], model: nn.Module) -> list[Spec]:
    """Fill in ranges from the embeddings that a small dry run sees the whole numbers go to."""
    trial = [replace(spec, low=0, high=0) if spec.whole and spec.low is None else spec for spec in specs]
    if len({spec.shape[0] for spec in specs}) == 1:
        trial = [replace(spec, shape=(min(2, spec.shape[0]), *spec.shape[1:])) for spec in trial]
    seen = dry_run(model, (), cast(draw(trial, seed=0), model_dtype(model)), whole=True)
    ranged: list[Spec] = []
    for spec in specs:
        if spec.whole and spec.low is None:
            lookup = seen.embeddings().get(spec.name)
            if lookup is None:
                raise UsageError(
                    "RS203",
                    f"--random {str(spec)!r} needs a range: {spec.name} was seen to go to no embedding of the model",
                    remedies=[("Give it", f"--random '{spec}:0..255'")],
                )
            spec = replace(spec, low=0, high=lookup.rows - 1)
        ranged.append(spec)
    return ranged


def draw(specs: Iterable[Spec], seed: int) -> dict[str, torch.Tensor]:
    """Draw the arguments, each spec in turn from one generator; torch's own random state is not touched.

    Args:
        specs: ranges of whole numbers known.
        seed: of the generator.

    Returns:
        Name to tensor.

    Raises:
        UsageError: a tensor would take more than a terabyte.

    Example:
        >>> draw([parse("ids=1x3:int64:7..7")], seed=0)
        {'ids': tensor([[7, 7, 7]])}
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[str, torch.Tensor] = {}
    for spec in specs:
        size = math.prod(spec.shape) * DTYPES[spec.dtype].itemsize
        if size > MOST_BYTES:
            _refuse(str(spec), f"it would take {size / 2**30:.3g} GiB")
        drawn[spec.name] = _draw(spec, generator)
    return drawn


def _draw(spec: Spec, generator: torch.Generator) -> torch.Tensor:
    dtype = DTYPES[spec.dtype]
    if spec.low is None or spec.high is None:
        return torch.randn(spec.shape, generator=generator).to(dtype)
    if spec.whole:
        return torch.randint(int(spec.low), int(spec.high) + 1, spec.shape, generator=generator).to(dtype)
    uniform = torch.rand(spec.shape, generator=generator, dtype=torch.float64)
    return (spec.low + (spec.high - spec.low) * uniform).to(dtype)
