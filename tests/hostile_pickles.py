"""Pickles written by hand, whose names are all torch's own: what they do with them is the harm.

Each is what torch.save would have called `data.pkl`, without the records of tensors, of which there is one: four
numbers under the key 0.
"""

from __future__ import annotations

import pickle
import struct

RECORD = bytes(16)
_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_TRUE, _FALSE, _EMPTY, _CALL, _NEW, _BUILD = b"\x88", b"\x89", b")", b"R", b"\x81", b"b"


def name(dotted: str) -> bytes:
    module, _, last = dotted.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def whole(value: int) -> bytes:
    digits = pickle.encode_long(value)
    return b"\x8a" + bytes([len(digits)]) + digits


def items(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def listed(*parts: bytes) -> bytes:
    return b"](" + b"".join(parts) + b"e"


def mapped(**parts: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in parts.items()) + b"u"


def call(dotted: str, *arguments: bytes) -> bytes:
    return name(dotted) + items(*arguments) + _CALL


def blank(dotted: str) -> bytes:
    return name(dotted) + _EMPTY + _NEW


def whole_pickle(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


_IDENTITY = "torch.nn.modules.linear.Identity"
_SEQUENTIAL = "torch.nn.modules.container.Sequential"
_ORDERED = call("collections.OrderedDict")
_STORAGE = items(text("storage"), name("torch.FloatStorage"), text("0"), text("cpu"), whole(4)) + b"Q"
# 10^12 times the first number
_ENDLESS = call(
    "torch._utils._rebuild_tensor_v2", _STORAGE, whole(0), items(whole(10**12)), items(whole(0)), _FALSE, _ORDERED
)
_HIDING = mapped(values=name("collections.OrderedDict"), items=name("collections.OrderedDict"))
_CHILD = text("0") + blank(_IDENTITY) + mapped(forward=name("torch.nn.functional.relu")) + _BUILD + b"s"


def made(dotted: str, *arguments: bytes) -> bytes:
    """An object made of arguments."""
    return name(dotted) + items(*arguments) + _NEW


def from_type(function: bytes, kind: bytes, arguments: bytes, state: bytes = b"}") -> bytes:
    """What torch writes for a tensor of a class of its own."""
    return call(_FROM_TYPE, function, kind, arguments, state)


def called_by_two(dotted: str, *arguments: bytes) -> bytes:
    """A call of a class by torch's own function, which is called by itself."""
    inner = items(name(dotted), name(dotted), items(*arguments), b"}")
    return from_type(name(_FROM_TYPE), name(dotted), inner)


def called_by_build(dotted: str, argument: bytes) -> bytes:
    """A call of a class as the `__setstate__` that an object was given before."""
    return blank(_IDENTITY) + mapped(__setstate__=name(dotted)) + _BUILD + argument + _BUILD


def called_by_method(function: str, method: str, dotted: str) -> bytes:
    """A call of a class as a method of the object that a function of torch takes for a tensor."""
    stand_in = blank(_IDENTITY) + mapped(**{method: name(dotted)}) + _BUILD
    return call(function, stand_in, name("torch.float32"), text("cpu"), _TRUE)


# name: (pickle, code, what the error says)
PICKLES: dict[str, tuple[bytes, str, str]] = {
    "tensor made by new": (
        made("torch.FloatTensor", whole(2 * 10**9)),
        "RS315",
        r"calls torch\.FloatTensor",
    ),
    "storage made by new": (
        made("torch.storage.UntypedStorage", whole(8 * 10**9)),
        "RS315",
        r"calls torch\.storage\.UntypedStorage",
    ),
    "memory asked for by a list": (
        name("builtins.bytearray") + listed(whole(8 * 10**9)) + _CALL,
        "RS315",
        "what is no tuple",
    ),
    "memory asked for by another": (
        from_type(name("builtins.bytearray"), name("builtins.bytearray"), items(whole(8 * 10**9))),
        "RS315",
        "makes no tensor",
    ),
    "slow codec": (call("builtins.bytearray", text("\u4e00" * 99), text("punycode")), "RS315", "does not fill"),
    "constructor called by two": (
        called_by_two("torch.nn.modules.linear.Linear", whole(20_000), whole(20_000)),
        "RS315",
        "makes no tensor",
    ),
    "constructor called by a state": (
        called_by_build("torch.nn.modules.transformer.Transformer", whole(8192)),
        "RS315",
        "its state twice",
    ),
    "constructor called as a method": (
        called_by_method(
            "torch._utils._rebuild_device_tensor_from_cpu_tensor", "to", "torch.nn.modules.activation.PReLU"
        ),
        "RS315",
        "without a tensor",
    ),
    "constructor called by a parameter": (
        called_by_method("torch._utils._rebuild_parameter", "detach", "torch.nn.modules.transformer.Transformer"),
        "RS315",
        "without a tensor",
    ),
    "set of an endless tensor": (call("builtins.set", _ENDLESS), "RS315", "number by number"),
    "count of an endless tensor": (name("collections.Counter") + _ENDLESS + _CALL, "RS315", "what is no tuple"),
    "dict of an endless tensor": (call("collections.OrderedDict", listed(_ENDLESS)), "RS315", "number by number"),
    "layers without end": (
        blank("torch.nn.modules.rnn.LSTM") + mapped(num_layers=whole(10**9), _all_weights=listed(listed(_TRUE))),
        "RS315",
        "10000 layers",
    ),
    "state that is no dict": (blank(_IDENTITY) + _ORDERED + _BUILD, "RS315", "a state that is no dict"),
    "parts hidden by a dict": (
        blank(_SEQUENTIAL)
        + mapped(_parameters=b"}", _buffers=b"}", _modules=_ORDERED + _CHILD + _HIDING + _BUILD)
        + _BUILD,
        "RS315",
        r"replaces OrderedDict\.values",
    ),
    "method of a tensor": (
        call(
            "torch._utils._rebuild_parameter_with_state",
            call("torch._utils._rebuild_tensor", _STORAGE, whole(0), items(whole(4)), items(whole(1))),
            _TRUE,
            _ORDERED,
            mapped(size=name("torch.nn.functional.relu")),
        ),
        "RS315",
        r"replaces Parameter\.size",
    ),
}
