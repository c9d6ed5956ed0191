"""The static reading of a pickle agrees with what unpickling does, for every protocol, and runs nothing."""

from __future__ import annotations

import collections
import os
import pickle
import pickletools
from typing import Any

import hostile
import pytest
import torch
from torch import nn
from torch._weights_only_unpickler import _get_allowed_globals

from rankscope.formats._pickles import Built, read
from rankscope.formats._stock_names import flags, foreign, harmful
from rankscope.sources._stock import stock

CONTENT: dict[str, Any] = {
    "names": [os.getcwd, collections.Counter, hostile.UserNet],
    "a call": hostile.Call(os.getcwd, ()),
    "one name twice": [os.getcwd, {"again": os.getcwd}],
    "a dataclass": {"x": hostile.Call(divmod, (7, 2))},
    "shared": [[1, 2]] * 3,
    "numbers": {1: 2.0, "big": 10**30, "set": {1}, "bytes": b"x", "none": None, "true": True},
}


def imported(data: bytes) -> list[str]:
    """What the unpickler of Python imports: the slow twin, which runs the pickle."""
    names: dict[str, None] = {}

    class Watching(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            names.setdefault(f"{module}.{name}")
            return super().find_class(module, name)

    import io

    Watching(io.BytesIO(data), fix_imports=False).load()
    return list(names)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", CONTENT)
def test_the_names_are_those_that_unpickling_imports(name: str, protocol: int) -> None:
    data = pickle.dumps(CONTENT[name], protocol=protocol, fix_imports=False)
    found = read(data)
    assert list(found.names) == imported(data)
    assert found.broken is None
    assert not found.cut
    assert found.length == len(data)


def test_names_through_the_memo_and_the_stack() -> None:
    """STACK_GLOBAL takes its texts from the memo, or from what was computed, which cannot be told."""
    memo = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93."
    assert list(read(memo).names) == ["os.system"]
    computed = b"\x80\x04)\x8c\x06system\x93."
    assert list(read(computed).names) == ["?"]
    assert list(read(b"(ios\nsystem\n.").names) == ["os.system"]
    assert list(read(b"\x80\x02\x82\x05.").names) == ["copyreg.extension_5"]


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x02", b"\x80\x02.", b"h\x05.", b"R.", b"\x80\x02cos\nsystem\n\xff", b"(((t"]
)
def test_broken_pickles_give_what_came_before(data: bytes) -> None:
    found = read(data)
    assert found.broken or not found.names
    assert ("os.system" in found.names) == (b"system" in data)


def test_the_part_that_is_not_followed_is_searched_for_names() -> None:
    data = pickle.dumps([[n] for n in range(500)] + [os.getcwd], protocol=2)
    found = read(data, steps=100)
    assert found.cut
    assert list(found.names) == [f"{os.getcwd.__module__}.getcwd"]


def test_what_torch_saves_is_counted() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hostile, "net", lambda: nn.LSTM(3, 4, 2))
        found = read(hostile.saved_pickle())
    model = nn.LSTM(3, 4, 2)
    assert found.tensors == len(model.state_dict())
    assert found.numbers == sum(tensor.numel() for tensor in model.parameters())
    assert list(found.sorts) == ["float"]
    assert isinstance(found.root, dict)
    assert isinstance(found.root["weight_ih_l0"], Built)


def test_torchs_own_names_are_told_by_their_spelling() -> None:
    assert foreign(_get_allowed_globals()) == []
    assert foreign(stock()) == []
    others = ["torch.load", "torch.nn.modules.module.register_module_forward_hook", "torch.hub.load", "builtins.eval"]
    assert foreign(others) == sorted(others)


def test_flags_are_proposed_for_classes_alone() -> None:
    assert flags(["a.b.Net", "__main__.Net"]) == "--allow '__main__.*=yourscript.py' --allow 'a.*'"
    for name in ("a.b.make", "numpy.core.multiarray.scalar", "argparse.Namespace", "a.b c.Net"):
        assert flags(["a.Net", name]) == ""
    assert harmful(["posix.system", "builtins.eval", "a.os.Net", "builtins.set"]) == ["builtins.eval", "posix.system"]


def test_as_many_instructions_as_pickletools_finds() -> None:
    """No instruction of any protocol is left without an effect on the stack."""
    for protocol in range(6):
        data = pickle.dumps(CONTENT, protocol=protocol)
        assert read(data).root is not None or protocol == 0, pickletools.optimize(data)


def test_modules_of_torch_keep_their_state() -> None:
    found = read(pickle.dumps(torch.nn.Identity(), protocol=2))
    assert isinstance(found.root, Built)
    assert found.root.by == "torch.nn.modules.linear.Identity"
    assert {"_modules", "_parameters"} <= found.root.state.keys()
