"""What a pickle would call and import, found by following its stack: nothing is imported, called or built.

`rankscope.formats` describes a pickle for people and may stop early; this reading decides whether a file is loaded, so
it is complete or raises.
"""

from __future__ import annotations

import pickle
import pickletools
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from torch._utils import IMPORT_MAPPING, NAME_MAPPING

if TYPE_CHECKING:
    from collections.abc import Iterable

# A tuple whose walk is this many times longer than the pickle is made to keep the machine busy: hashing walks it all.
_SHARING = 1000
# Python hashes a tuple by recursion, without a limit of its own; a deep one ends the process.
_NESTING = 1000
_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_REBUILD = "torch._utils._rebuild_"
_STORAGE = "a storage"
# What each of torch's functions is honestly given first: the numbers of a file, or a tensor made of them. An object in
# their place would have methods of its own called, which a file can set to a class.
_OF_STORAGE = frozenset({f"{_REBUILD}{what}" for what in ("tensor", "tensor_v2", "tensor_v3", "qtensor")})
_OF_TENSOR = frozenset(
    {f"{_REBUILD}{what}" for what in ("parameter", "parameter_with_state", "device_tensor_from_cpu_tensor")}
)
_SET = "builtins.set"
_CONTAINERS = frozenset({_SET, "builtins.complex", "collections.Counter", "collections.OrderedDict", "torch.Size"})
# `nn.RNNBase.__setstate__` names the weights of every layer that a file speaks of.
_LAYERS = 10_000
_FILLS = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD"})
_LITERALS = frozenset({"BINUNICODE", "SHORT_BINSTRING", "BININT", "BININT1", "BININT2", "LONG1"})
# The rest of what torch's reader knows (torch._weights_only_unpickler); it takes protocol 2 alone.
_OTHERS = frozenset(
    {
        *("PROTO", "NONE", "NEWFALSE", "NEWTRUE", "BINFLOAT", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"),
        *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE", "NEWOBJ", "BINPERSID", *_FILLS),
    }
)
_MARK = object()


@dataclass(slots=True)
class Scan:
    """What a pickle asks for: dotted names, ``"?"`` standing for something other than a plain name.

    `imported` are all names; `called` those that are called, or that make an object of arguments from the file,
    `several` those with more than one argument; `filled` the classes whose objects get a state; `root` is the class of
    the outermost object, where it is one; `harm` says what the pickle does that no honest one does.
    """

    imported: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    several: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)
    root: str | None = None
    harm: str | None = None


@dataclass(frozen=True, slots=True)
class _Name:
    dotted: str


@dataclass(slots=True, eq=False)
class _Object:
    """What a call gives, and whether it has got its state."""

    of: str
    filled: bool = False


@dataclass(slots=True, eq=False)
class _Container:
    """A list or dict that the pickle writes out, and whether it holds what calls give."""

    mapping: bool
    objects: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Tuple:
    """A tuple: its first items, how many steps a walk over all of it takes, and how deep it nests."""

    items: tuple[Any, ...]
    walk: int
    depth: int


def scan(source: bytes | IO[bytes]) -> Scan:
    """Follow one pickle to its end, or to the first harm that it does.

    Args:
        source: the pickle, or a file that stands at its beginning and is left at its end.

    Returns:
        What it asks for.

    Raises:
        UnpicklingError: the pickle has an instruction that torch's reader does not take either.

    Example:
        >>> scan(pickle.dumps({1, 2}, protocol=2)).called
        {'builtins.set'}
    """
    found = Scan()
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for steps, (op, arg, _) in enumerate(pickletools.genops(source), 1):
        if op.name == "GLOBAL":
            stack.append(_Name(_name(str(arg))))
            found.imported.add(stack[-1].dotted)
        elif op.name in {"BINGET", "LONG_BINGET"}:
            stack.append(memo[arg])
        elif op.name in {"BINPUT", "LONG_BINPUT"}:
            memo[arg] = stack[-1]
        elif op.name == "MARK":
            stack.append(_MARK)
        elif op.name == "STOP":
            found.root = stack[-1].of if stack and isinstance(stack[-1], _Object) else None
        elif op.name in _LITERALS:
            stack.append(arg)
        elif op.name in _OTHERS:
            _step(op, stack, found, steps)
            if found.harm:
                break
        else:
            raise pickle.UnpicklingError(f"Unsupported operand {ord(op.code)}")
    return found


def _name(arg: str) -> str:
    """The dotted name, with those of Python 2 as torch's reader takes them."""
    module, _, name = arg.partition(" ")
    if (module, name) in NAME_MAPPING:
        module, name = NAME_MAPPING[module, name]
    return f"{IMPORT_MAPPING.get(module, module)}.{name}"


def _step(op: pickletools.OpcodeInfo, stack: list[Any], found: Scan, steps: int) -> None:
    """An operation that takes something from the stack."""
    takes = list(op.stack_before)
    items: list[Any] = []
    if pickletools.markobject in takes:
        while (item := stack.pop()) is not _MARK:
            items.append(item)
        items.reverse()
        takes = takes[: takes.index(pickletools.markobject)]
    kept = stack[-len(takes) :] if takes else []
    if op.name in _FILLS:
        del stack[len(stack) - len(takes) + 1 :]
        _fill(op.name, kept[0], items or kept[1:], found)
        return
    if takes:
        del stack[-len(takes) :]
    if op.name in {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}:
        stack.append(_tuple(items or kept, found, steps))
    elif op.name in {"REDUCE", "NEWOBJ"}:
        by = kept[0].dotted if isinstance(kept[0], _Name) else "?"
        given = kept[1].items if isinstance(kept[1], _Tuple) else None
        if given is None:
            found.harm = f"it calls {by} with what is no tuple"
        elif op.name == "REDUCE" or given:
            _call(by, given, found)
        stack.append(_Object(by))
    elif op.name == "BINPERSID":
        stack.append(_persistent(kept[0]))
    elif op.name in {"EMPTY_LIST", "EMPTY_DICT"}:
        stack.append(_Container(mapping=op.name == "EMPTY_DICT"))
    else:
        stack += [None] * len(op.stack_after)


def _fill(how: str, target: Any, items: list[Any], found: Scan) -> None:
    """Note what a list, a dict or an object gets."""
    if isinstance(target, _Container):
        target.objects |= any(isinstance(item, _Object) for item in items)
    if how in {"SETITEM", "SETITEMS"}:
        layers = [value for key, value in zip(items[::2], items[1::2], strict=False) if key == "num_layers"]
        if any(isinstance(value, _Object) or (isinstance(value, int) and value > _LAYERS) for value in layers):
            found.harm = f"it asks for more than {_LAYERS} layers in one module"
    if how == "BUILD" and isinstance(target, _Object):
        found.filled.add(target.of)
        plain = isinstance(items[0], _Container) and items[0].mapping
        if target.filled:  # the first state can set what the second one runs
            found.harm = f"it gives an object of {target.of} its state twice"
        elif target.of.startswith("torch.nn.modules.") and not plain:
            found.harm = f"it gives an object of {target.of} a state that is no dict"
        target.filled = True


def _persistent(key: Any) -> Any:
    """What a persistent name stands for: the old format names classes so, beside their source."""
    items = key.items if isinstance(key, _Tuple) else ()
    return items[1] if items[:1] == ("module",) and isinstance(items[1], _Name) else _Object(_STORAGE)


def _tuple(items: list[Any], found: Scan, steps: int) -> _Tuple:
    walk = 1 + sum(item.walk if isinstance(item, _Tuple) else 1 for item in items)
    depth = 1 + max((item.depth for item in items if isinstance(item, _Tuple)), default=0)
    if walk > _SHARING * max(steps, _SHARING) or depth > _NESTING:
        found.harm = "it nests tuples so that walking over them would never end, or break Python"
    return _Tuple(tuple(items[:4]), walk, depth)


def _call(by: str, given: tuple[Any, ...], found: Scan) -> None:
    """Note a call, and what it would do with its arguments where the function itself is honest."""
    found.called.add(by)
    if len(given) > 1:
        found.several.add(by)
    first = given[0] if given else None
    of = first.of if isinstance(first, _Object) else ""
    if by == _FROM_TYPE:
        _call_by_another(given, found)
    elif by in _OF_STORAGE and of != _STORAGE:
        found.harm = f"it calls {by} without a storage"
    elif by in _OF_TENSOR and not (of.startswith(_REBUILD) or of == _FROM_TYPE):
        found.harm = f"it calls {by} without a tensor"
    elif by == f"{_REBUILD}parameter_with_state" and _acts(given[3:4]):
        found.harm = f"it calls {by} with an object for attributes"
    elif by == "_codecs.encode" and list(given[1:]) != ["latin1"]:
        found.harm = "it encodes bytes over and over, which can fill the memory"
    elif by == "builtins.bytearray" and given and (len(given) > 1 or of != "_codecs.encode"):
        found.harm = "it asks for memory that it does not fill"
    elif by in _CONTAINERS and (_acts(given) or (isinstance(first, _Container) and first.objects and by != _SET)):
        found.harm = f"it calls {by} with an object, over which that would go number by number"


def _call_by_another(given: tuple[Any, ...], found: Scan) -> None:
    """Note what `_rebuild_from_type_v2` does: it calls the first argument with the third, and sets the last on that."""
    function, _, arguments, state = (*given, *[None] * 4)[:4]
    name = function.dotted if isinstance(function, _Name) else "?"
    if name.startswith(_REBUILD) and isinstance(arguments, _Tuple) and not _acts([state]):
        _call(name, arguments.items, found)
    else:
        found.called.add(name)
        found.harm = f"it calls {_FROM_TYPE} with something that makes no tensor"


def _acts(items: Iterable[Any]) -> bool:
    """Whether an object, which may have methods of its own, stands where plain data should."""
    return any(_acts(item.items) if isinstance(item, _Tuple) else isinstance(item, _Object | _Name) for item in items)
