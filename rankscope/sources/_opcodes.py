"""What a pickle would call and import, found by following its stack: nothing is imported, called or built.

`rankscope.formats` describes a pickle for people and may stop early; this reading decides whether a file is loaded, so
it is complete or raises.
"""

from __future__ import annotations

import pickle
import pickletools
from dataclasses import dataclass, field
from typing import IO, Any

from torch._utils import IMPORT_MAPPING, NAME_MAPPING

# A tuple whose walk is this many times longer than the pickle is made to keep the machine busy: hashing walks it all.
_SHARING = 1000
# Python hashes a tuple by recursion, without a limit of its own; a deep one ends the process.
_NESTING = 1000
_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
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

    `imported` are all names; `called` those that are called with arguments from the file; `filled` the classes whose
    objects get a state; `root` is the class of the outermost object, where it is one; `harm` says what the pickle does
    that no honest one does.
    """

    imported: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    filled: set[str] = field(default_factory=set)
    root: str | None = None
    harm: str | None = None


@dataclass(frozen=True, slots=True)
class _Name:
    dotted: str


@dataclass(frozen=True, slots=True)
class _Object:
    of: str


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
        if op.name == "BUILD" and isinstance(kept[0], _Object):
            found.filled.add(kept[0].of)
        return
    if takes:
        del stack[-len(takes) :]
    if op.name in {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}:
        stack.append(_tuple(items or kept, found, steps))
    elif op.name in {"REDUCE", "NEWOBJ"}:
        by = kept[0].dotted if isinstance(kept[0], _Name) else "?"
        if op.name == "REDUCE":
            _call(by, kept[1], found)
        stack.append(_Object(by))
    elif op.name == "BINPERSID":
        stack.append(_persistent(kept[0]))
    else:
        stack += [None] * len(op.stack_after)


def _persistent(key: Any) -> Any:
    """What a persistent name stands for: the old format names classes so, beside their source."""
    items = key.items if isinstance(key, _Tuple) else ()
    return items[1] if items[:1] == ("module",) and isinstance(items[1], _Name) else None


def _tuple(items: list[Any], found: Scan, steps: int) -> _Tuple:
    walk = 1 + sum(item.walk if isinstance(item, _Tuple) else 1 for item in items)
    depth = 1 + max((item.depth for item in items if isinstance(item, _Tuple)), default=0)
    if walk > _SHARING * max(steps, _SHARING) or depth > _NESTING:
        found.harm = "it nests tuples so that walking over them would never end, or break Python"
    return _Tuple(tuple(items[:4]), walk, depth)


def _call(by: str, arguments: Any, found: Scan) -> None:
    """Note a call, and what it would do with its arguments where the function itself is honest."""
    found.called.add(by)
    given = arguments.items if isinstance(arguments, _Tuple) else ()
    if by == _FROM_TYPE:  # it calls its first argument
        found.called.add(given[0].dotted if given and isinstance(given[0], _Name) else "?")
    elif by == "_codecs.encode" and list(given[1:]) != ["latin1"]:
        found.harm = "it encodes bytes over and over, which can fill the memory"
    elif by == "builtins.bytearray" and not all(isinstance(item, str | bytes | _Object) for item in given):
        found.harm = "it asks for memory that it does not fill"
