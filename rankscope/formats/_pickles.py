"""What a pickle would import and build, found by following its instructions on a stack of stand-ins.

Nothing is imported, called or built. The reading is bounded, and a broken pickle gives what came before the break.
"""

from __future__ import annotations

import io
import itertools
import pickletools
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from rankscope.formats._bounded import count, spelled

# pickletools reads some 600 instructions a millisecond; a tensor of a state dict takes about 25.
_STEPS = 100_000
_TENSOR = re.compile(r"torch\._(utils|tensor)\._rebuild_\w*tensor\w*|torch\._tensor\._rebuild_from_type_v2")
_MAPPINGS = {"collections.OrderedDict", "collections.defaultdict", "collections.Counter"}
# The parts of module state that hold functions; torch.save writes them empty.
_HOOKS = re.compile(r"_(state_dict_|load_state_dict_)?(\w+_)?(pre_|post_)?hooks")
# Set on a module itself, these take the place of its class's own; torch.save leaves the second out.
_REPLACED = {"forward", "__call__", "_compiled_call_impl"}
_MARK = object()


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function, by its dotted name; ``"?"`` is one that the pickle computes."""

    dotted: str


@dataclass(slots=True)
class Built:
    """What a call would give: the name of the callable, and the state that is set on it."""

    by: str
    state: Any = None


@dataclass(slots=True)
class Pickle:
    """What was found: dotted `names` in order, the `root` as stand-ins, and how the reading ended.

    `tensors` are rebuilt, of `numbers` elements and the `sorts` that their storages name; `storages` are the records
    they lie in; `hooks` the parts of modules that hold functions to call. `cut` says that the pickle goes on after the
    part that was followed, `broken` why it cannot be followed; `length` is that of the part.
    """

    names: dict[str, None] = field(default_factory=dict)
    root: Any = None
    tensors: int = 0
    numbers: int = 0
    sorts: dict[str, None] = field(default_factory=dict)
    storages: dict[str, None] = field(default_factory=dict)
    hooks: dict[str, None] = field(default_factory=dict)
    cut: bool = False
    broken: str | None = None
    length: int = 0


def read(data: bytes, steps: int = _STEPS) -> Pickle:
    """Follow the first pickle in some bytes.

    Args:
        data: bytes that begin with a pickle.
        steps: instructions to follow at most.

    Returns:
        What the pickle would import and build; `length` is that of the pickle where its end was reached.

    Example:
        >>> import pickle
        >>> found = read(pickle.dumps({"a": itertools.count}))
        >>> list(found.names), found.root
        (['itertools.count'], {'a': Name(dotted='itertools.count')})
    """
    found = Pickle()
    machine = _Machine(found)
    stream = io.BytesIO(data)
    try:
        for op, arg, _ in itertools.islice(pickletools.genops(stream), steps):
            machine.step(op, arg)
    except Exception as error:  # the content chooses what goes wrong
        found.broken = f"{type(error).__name__}: {error}"
    else:
        found.cut = not machine.stopped
    found.length = stream.tell()
    found.root = machine.stack[0] if machine.stack else None
    if found.cut or found.broken:
        for name in spelled(data):
            found.names.setdefault(name)
    return found


class _Machine:
    """The stack and the memo of a pickle, holding stand-ins."""

    def __init__(self, found: Pickle) -> None:
        self.found = found
        self.stack: list[Any] = []
        self.memo: dict[Any, Any] = {}
        self.stopped = False

    def step(self, op: pickletools.OpcodeInfo, arg: Any) -> None:
        """Do one instruction."""
        rule = _RULES.get(op.name)
        if rule:
            rule(self, arg)
        elif op.name in _LITERALS:
            self.stack.append(arg)
        else:
            self._skip(op)

    def _skip(self, op: pickletools.OpcodeInfo) -> None:
        """Any other instruction: take what it takes, and leave nameless what it leaves."""
        takes = list(op.stack_before)
        if pickletools.markobject in takes:
            self.items()
            takes = takes[: takes.index(pickletools.markobject)]
        if takes:
            del self.stack[-len(takes) :]
        self.stack += [None] * len(op.stack_after)

    def items(self) -> list[Any]:
        """What lies above the last mark."""
        above: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            above.append(item)
        return above[::-1]

    def name(self, module: object, name: object) -> None:
        dotted = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "?"
        self.found.names.setdefault(dotted)
        self.stack.append(Name(dotted))

    def call(self, function: Any, arguments: Any = None) -> None:
        """Put what a call gives on the stack."""
        by = function.dotted if isinstance(function, Name) else "?"
        if by.startswith("torch._utils._rebuild_parameter") and isinstance(arguments, tuple) and any(arguments[2:3]):
            self.found.hooks.setdefault("Parameter._backward_hooks")
        if _TENSOR.fullmatch(by):
            self.tensor(arguments if isinstance(arguments, tuple) else ())
        self.stack.append({} if by in _MAPPINGS else Built(by))

    def tensor(self, arguments: tuple[Any, ...]) -> None:
        """Count a tensor by what `torch._utils._rebuild_tensor_v2` takes: the storage, the offset, the shape."""
        self.found.tensors += 1
        storage, shape = (*arguments, None, None, None)[:3:2]
        if isinstance(shape, tuple):
            self.found.numbers += count(shape)
        kinds = [part.dotted for part in storage if isinstance(part, Name)] if isinstance(storage, tuple) else []
        for kind in kinds:
            self.found.sorts.setdefault(kind.rpartition(".")[2].removesuffix("Storage").lower())

    def pair(self, target: Any, key: Any, value: Any) -> None:
        if isinstance(target, dict) and isinstance(key, Hashable):
            target[key if isinstance(key, str | int) else None] = value

    def build(self, state: Any) -> None:
        target = self.stack[-1]
        if isinstance(target, Built):
            target.state = state
        held = state.items() if isinstance(state, dict) else ()
        for key, value in held:
            hooks = isinstance(key, str) and isinstance(value, dict) and value and _HOOKS.fullmatch(key)
            if hooks or (key in _REPLACED and value is not None):
                self.found.hooks.setdefault(f"{getattr(target, 'by', '?').rpartition('.')[2]}.{key}")


def _global(machine: _Machine, arg: Any) -> None:
    machine.name(*str(arg).split(" ", 1))


def _stack_global(machine: _Machine, _: Any) -> None:
    name = machine.stack.pop()
    machine.name(machine.stack.pop(), name)


def _inst(machine: _Machine, arg: Any) -> None:
    machine.items()
    _global(machine, arg)
    machine.call(machine.stack.pop())


def _extension(machine: _Machine, arg: Any) -> None:
    machine.name("copyreg", f"extension_{arg}")


def _reduce(machine: _Machine, _: Any) -> None:
    arguments = machine.stack.pop()
    machine.call(machine.stack.pop(), arguments)


def _storage(machine: _Machine, _: Any) -> None:
    """A storage stays the tuple that names it: a mark, its sort, the name of its record, its device, its length."""
    named = machine.stack[-1]
    if isinstance(named, tuple) and len(named) > 2 and isinstance(named[2], str):
        machine.found.storages.setdefault(named[2])


def _tuple(count: int | None) -> Any:
    def rule(machine: _Machine, _: Any) -> None:
        items = machine.items() if count is None else [machine.stack.pop() for _ in range(count)][::-1]
        machine.stack.append(tuple(items))

    return rule


def _newobj_ex(machine: _Machine, _: Any) -> None:
    del machine.stack[-2:]
    machine.call(machine.stack.pop())


def _obj(machine: _Machine, _: Any) -> None:
    machine.call(machine.items()[0])


def _build(machine: _Machine, _: Any) -> None:
    machine.build(machine.stack.pop())


def _setitem(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.pair(machine.stack[-1], key, value)


def _setitems(machine: _Machine, _: Any) -> None:
    items = machine.items()
    for key, value in zip(items[::2], items[1::2], strict=False):
        machine.pair(machine.stack[-1], key, value)


def _append(machine: _Machine, _: Any) -> None:
    value = machine.stack.pop()
    if isinstance(machine.stack[-1], list):
        machine.stack[-1].append(value)


def _appends(machine: _Machine, _: Any) -> None:
    items = machine.items()
    if isinstance(machine.stack[-1], list):
        machine.stack[-1].extend(items)


def _stop(machine: _Machine, _: Any) -> None:
    machine.stopped = True


def _put(machine: _Machine, arg: Any) -> None:
    machine.memo[len(machine.memo) if arg is None else arg] = machine.stack[-1]


def _get(machine: _Machine, arg: Any) -> None:
    machine.stack.append(machine.memo[arg])


_LITERALS = {
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
}
_RULES: dict[str, Any] = {
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "INST": _inst,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _extension),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _reduce),
    "NEWOBJ_EX": _newobj_ex,
    "OBJ": _obj,
    "BUILD": _build,
    "SETITEM": _setitem,
    "SETITEMS": _setitems,
    "APPEND": _append,
    "APPENDS": _appends,
    **{name: _tuple(count) for name, count in (("TUPLE", None), ("TUPLE1", 1), ("TUPLE2", 2), ("TUPLE3", 3))},
    "EMPTY_TUPLE": _tuple(0),
    "BINPERSID": _storage,
    "STOP": _stop,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
}
