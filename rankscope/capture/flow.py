"""Data flow: the words in which a traced forward pass is described.

An *origin* is a model input, or the output of a mixing operation (matrix product, convolution, attention, fft,
pooling, recurrent cell) or of a sum of two tensors. A tensor is *near* an origin when only views and pointwise
operations lie between, *deep* when at least one mixing operation does. `trace` keeps these books over one forward
pass; from them `skips` tells which sums are residual adds, `blocks` which modules form the stacks, and `attention`
where values enter.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import itertools
import operator
import re
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import multi_head_attention_forward

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

MIXING = re.compile(
    r"(bi)?linear|_*r?matmul_*|(add)?[bm]?m[mv]_?|(add|badd)bmm_?|_?(scaled|grouped)_mm|einsum|tensordot"
    r"|scaled_dot_product_attention|flex_attention|conv(_transpose)?[123]d"
    r"|(lstm|gru|rnn_tanh|rnn_relu)(_cell)?|fft_.*|.*avg_pool.*"
)
UNLEARNED = re.compile(r"fft_|.*pool")  # mixing, but no learned map
CREATES = re.compile(r"(zeros|ones|empty|full|rand|randn|randint)_like|new_.*")
INPLACE = re.compile(r".*[a-z]_|__(setitem|i[a-z]+)__")
RESIZES = {"__getitem__", "__setitem__", "chunk", "split", "split_with_sizes", "narrow", "select", "unbind"}
RESIZES |= {"tensor_split", "pad"}  # near, although the size changes

EITHER = {"add", "add_", "__add__", "__radd__", "__iadd__"}  # the skip may be either operand, elsewhere it is the first
FUSED = {"addmm", "addmm_", "baddbmm", "baddbmm_"}
SUMS: dict[str, tuple[int, ...]] = {  # name of a sum -> positions of its branch
    **dict.fromkeys(EITHER | {"sub", "sub_", "__sub__", "__isub__", "lerp", "lerp_"}, (1,)),
    **dict.fromkeys(FUSED | {"addcmul", "addcmul_"}, (1, 2)),
    **dict.fromkeys(("index_add", "index_add_"), (3,)),
}
SCALES = {"mul", "__mul__", "__rmul__", "mul_", "__imul__", "multiply"}  # a scaling, where it is constant over features
NORMS = re.compile(r"(layer|rms|group|batch|instance)_norm|normalize|(linalg_)?(vector_)?norm|r?sqrt|std")
POWERS = {"pow", "pow_", "__pow__", "float_power"}
SCORES = {"matmul", "__matmul__", "bmm", "einsum", "baddbmm"}  # scores = queries @ keys
WHOLE_ATTENTION = {"scaled_dot_product_attention": 2, "flex_attention": 2}  # name -> position of the values
PRODUCTS = {"matmul": 1, "__matmul__": 1, "bmm": 1, "einsum": 2}  # softmax(scores) @ values
VALUES = WHOLE_ATTENTION | PRODUCTS
WATCHED = set(VALUES) | set(SUMS) | SCALES  # the operations whose place in the user's code is asked for
BRANCH_KEYWORDS = ("other", "end", "tensor1", "tensor2", "source", "mat1", "mat2", "batch1", "batch2")


def opened(function: Any) -> Callable[..., Any]:
    """A copy of a function that torch hands to a mode whole; run under the mode, the copy shows the calls inside."""
    names = function.__globals__ | dict.fromkeys(("has_torch_function", "has_torch_function_unary"), lambda *_: False)
    copy = types.FunctionType(function.__code__, names, None, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


OPENED: dict[Callable[..., Any], Callable[..., Any]] = {
    multi_head_attention_forward: opened(multi_head_attention_forward)
}


def tensors(data: Any) -> Iterator[Tensor]:
    """The floating tensors of nested arguments, parameters left out.

    Args:
        data: tensors in dicts, lists, tuples and dataclasses.

    Yields:
        Each tensor, in order.

    Example:
        >>> [t.shape[0] for t in tensors(({"ids": torch.zeros(2, dtype=torch.long)}, [torch.zeros(3)]))]
        [3]
    """
    if isinstance(data, Tensor):
        if (data.is_floating_point() or data.is_complex()) and not isinstance(data, nn.Parameter):
            yield data
    elif isinstance(data, (list, tuple, dict)):
        for item in data.values() if isinstance(data, dict) else data:
            yield from tensors(item)
    elif dataclasses.is_dataclass(data):
        for field in dataclasses.fields(data):
            yield from tensors(getattr(data, field.name, None))


def union(sets: Iterable[int]) -> int:
    """The union of bit sets.

    Args:
        sets: bit sets.

    Returns:
        Their union.

    Example:
        >>> union([1, 2, 2])
        3
    """
    return functools.reduce(operator.or_, sets, 0)


def function_name(function: Callable[..., Any]) -> str:
    """The name of a torch function; that of an operator overload is cut at its dot."""
    return getattr(function, "__name__", "").partition(".")[0]


Steps = tuple[Any, ...]
_WATCHING = ("rankscope.capture.", "rankscope.interventions.")  # modes call on what they watch; models lie elsewhere
_PRECALL = dis.opmap.get("PRECALL")
_CALLS: dict[int, tuple[types.CodeType, dict[int, int]]] = {}


def _calls(code: types.CodeType) -> dict[int, int]:
    """For each instruction just before a call, the call: from the tenth run or so, Python 3.11 calls from there."""
    known = _CALLS.get(id(code))
    if known is None:
        listed = [] if _PRECALL is None else list(dis.get_instructions(code))
        pairs = itertools.pairwise(listed)
        known = code, {first.offset: then.offset for first, then in pairs if first.opcode == _PRECALL}
        _CALLS[id(code)] = known
    return known[1]


def place(names: Mapping[int, str], frame: types.FrameType | None) -> Steps | None:
    """Where in the user's code an operation runs, equal in every run of the model.

    Args:
        names: id of each module of the model to its name.
        frame: the frame that called the operation.

    Returns:
        The name of the innermost module whose ``forward`` is on the stack and the instruction of every frame from the
        operation up to it; None outside every forward.
    """
    steps: list[int] = []
    while frame is not None:
        code = frame.f_code
        if code.co_name != "__torch_function__" and not frame.f_globals.get("__name__", "").startswith(_WATCHING):
            steps.append(_calls(code).get(frame.f_lasti, frame.f_lasti))
        if code.co_name == "forward" and code.co_argcount:
            owner = id(frame.f_locals.get(code.co_varnames[0]))
            if owner in names:
                return (names[owner], *steps)
        frame = frame.f_back
    return None


@dataclass(frozen=True, slots=True)
class Term:
    """One floating operand, by its number, of one operation."""

    steps: Steps
    hit: int
    operand: int


@dataclass(slots=True)
class Flow:
    """What one tensor was made of: bit sets of origins, and of the sums it carries.

    `near`, `deep` and `every` as in the module's docstring; `once` and `twice`: reached by at least one, two learned
    maps; `sums`: sums whose result is near; `scores`: of a product of two activations, the origins near the second,
    the keys; `weights`: the same of a softmax of scores; `repeated` and `single`: the shape, and the origins near,
    before heads were repeated; `scaled`: what was multiplied by a number for each token, by `learned` ones with
    `gained`; `own`: of a sum of values with those of earlier layers, the layer's own term; `normed`: went through a
    norm since its origin; `learned`: made of parameters only.
    """

    near: int = 0
    every: int = 0
    deep: int = 0
    once: int = 0
    twice: int = 0
    sums: int = 0
    scores: int = 0
    weights: int = 0
    repeated: torch.Size | None = None
    single: int = 0
    scaled: Term | None = None
    gained: bool = False
    own: Term | None = None
    normed: bool = False
    learned: bool = False

    def add(self, other: Flow, *, near: bool = True) -> None:
        """Take in what an operand was made of; without `near` only by way of a mixing operation."""
        self.near |= other.near if near else 0
        self.every |= other.every
        self.deep |= other.deep
        self.once |= other.once
        self.twice |= other.twice
        self.sums |= other.sums
        self.scores |= other.scores
        self.weights |= other.weights
        self.normed |= other.normed
        if near and self.scaled is None:
            self.scaled, self.gained = other.scaled, other.gained


@dataclass(eq=False, slots=True)
class Call:
    """One call of a module: origins it read (`entry`), near its inputs (`streams`), near its first output (`exit`).

    `sums`: the sums that reach that output; `shape`: its shape; `number`: how many calls began before; `last`: the
    number after its own calls; `index`: how many calls of the same module came before.
    """

    module: nn.Module
    name: str
    index: int
    parent: Call | None
    number: int
    born: int
    entry: int = 0
    streams: tuple[int, ...] = ()
    exit: int = 0
    sums: int = 0
    last: int = 0
    shape: tuple[int, ...] = ()

    @property
    def stream(self) -> int:
        """The origins near the first input that has any."""
        return next((near for near in self.streams if near), 0)

    def inside(self, calls: Container[Call]) -> Call | None:
        """The innermost of these calls that this one is, or runs in."""
        call: Call | None = self
        while call is not None and call not in calls:
            call = call.parent
        return call


@dataclass(eq=False, slots=True)
class Site:
    """A sum that may be a residual add, and where it runs.

    `skip` is the position of its skip operand, `kind` identity or projection, `bit` its bit in `Flow.sums`,
    `origin_call` the call in which its branch was made, `carried` the sums that its skip carries; `gain`: its skip,
    before it was multiplied by a parameter, and the shape of that; `norms`: whether skip and branch were normed.
    """

    steps: Steps
    hit: int
    call: Call
    operation: str
    kind: str = "identity"
    origins: int = 0
    skip: int | None = None
    bit: int = 0
    origin_call: Call | None = None
    carried: int = 0
    gain: Term | None = None
    shape: tuple[int, ...] = ()
    norms: tuple[bool, bool] = (False, False)


@dataclass(eq=False, slots=True)
class Attending:
    """An attention call, and where it runs.

    `near` are the origins near its values, `keys` those near its keys; `shape` that of its values, `operand` their
    number, `equation` that of an einsum; `own` and `repeated` as in `Flow`.
    """

    steps: Steps
    hit: int
    call: Call
    operation: str
    near: int
    keys: int
    shape: tuple[int, ...]
    operand: int
    equation: str | None = None
    own: Term | None = None
    repeated: torch.Size | None = None
