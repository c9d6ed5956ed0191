"""Pickled modules of stock classes load without a flag, and compute what they did before."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import hostile
import pytest
import torch
from torch import nn

from rankscope.errors import LoadError, UsageError
from rankscope.sources import LoadOptions, open_model
from rankscope.sources._opcodes import scan
from rankscope.sources._stock import stock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def encoder(activation: object) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation=activation)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def decoder() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on nested tensors
        return nn.Transformer(16, 2, 1, 1, 32)


STOCK: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "Sequential": (lambda: nn.Sequential(nn.Linear(16, 8), nn.GELU(), nn.LayerNorm(8)), ((2, 5, 16),)),
    "TransformerEncoder relu": (lambda: encoder("relu"), ((2, 5, 16),)),
    "TransformerEncoder gelu": (lambda: encoder("gelu"), ((2, 5, 16),)),
    "TransformerEncoder silu": (lambda: encoder(nn.functional.silu), ((2, 5, 16),)),
    "TransformerEncoder tanh module": (lambda: encoder(nn.Tanh()), ((2, 5, 16),)),
    "Transformer": (decoder, ((5, 2, 16), (4, 2, 16))),
    "LSTM": (lambda: nn.LSTM(16, 8, 2, batch_first=True, bidirectional=True), ((2, 5, 16),)),
    "GRU": (lambda: nn.GRU(16, 8), ((5, 2, 16),)),
    "conv and batch norm": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)),
        ((2, 3, 9, 9),),
    ),
    "frozen": (lambda: nn.Sequential(nn.Linear(16, 4).requires_grad_(False)), ((2, 16),)),
}


@pytest.mark.parametrize("name", STOCK)
def test_stock_module_gives_the_same_output(name: str, tmp_path: Path) -> None:
    make, shapes = STOCK[name]
    model = make().eval()
    inputs = [torch.randn(shape) for shape in shapes]
    path = hostile.torch_file(tmp_path / "model.pt", model)
    source = open_model(path)
    assert source.format == "pickled module"
    assert source.spec == "model.pt"
    assert len(source.sha256 or "") == 64
    assert source.notes == ()
    torch.testing.assert_close(source.model(*inputs), model(*inputs), rtol=0, atol=0)


def test_every_stock_class_and_activation_is_named_as_pickle_names_it() -> None:
    names = stock()
    assert names["torch.nn.functional.relu"] is nn.functional.relu
    assert names["torch._C._nn.gelu"] is nn.functional.gelu
    assert names["torch.nn.modules.linear.NonDynamicallyQuantizableLinear"]
    public = {getattr(nn, name) for name in nn.modules.__all__ if isinstance(getattr(nn, name), type)}
    assert {cls for cls in public if issubclass(cls, nn.Module)} <= set(names.values())
    assert not any("init" in name.split(".")[2:3] for name in names), "torch.nn.init writes into tensors"


def test_stock_classes_do_not_shadow_their_own_methods() -> None:
    """The rule that refuses a replaced method must not meet an honest module."""
    for make, _ in STOCK.values():
        for module in make().modules():
            assert not [key for key in vars(module) if callable(getattr(type(module), key, None))]


def test_calls_of_a_pickle_are_followed_through_its_stack(tmp_path: Path) -> None:
    import pickle

    content = [{1}, {"a": hostile.Call(len, ("abc",))}, hostile.Call(len, ("d",))]
    assert scan(pickle.dumps(content, protocol=2)).called == {"builtins.set", "builtins.len"}


def test_a_torch_file_under_another_suffix(tmp_path: Path) -> None:
    path = hostile.torch_file(tmp_path / "model.safetensors", hostile.net())
    assert open_model(path).format == "pickled module"


def test_small_expanded_tensor_is_honest(tmp_path: Path) -> None:
    model = hostile.net()
    model.register_buffer("mask", torch.ones(1, 8).expand(8, 8))
    model.add_module("extra", nn.Identity())
    assert open_model(hostile.torch_file(tmp_path / "m.pt", model)).model.mask.shape == (8, 8)


def test_shared_modules_and_shared_weights_are_honest(tmp_path: Path) -> None:
    block = nn.Linear(4, 4)
    model = nn.Sequential(*[nn.Sequential(block, nn.ReLU()) for _ in range(12)])
    model[3][0] = nn.Linear(4, 4)
    model[3][0].weight = block.weight
    loaded = open_model(hostile.torch_file(tmp_path / "m.pt", model)).model
    assert loaded[0][0] is loaded[1][0]
    assert loaded[3][0].weight is loaded[0][0].weight


def test_init_only_cannot_make_a_pickled_module_anew(tmp_path: Path) -> None:
    path = hostile.torch_file(tmp_path / "m.pt", hostile.net())
    with pytest.raises(UsageError, match="--init-only needs a factory"):
        open_model(path, LoadOptions(init_only=True))


def test_arch_is_not_used_for_a_whole_module(tmp_path: Path) -> None:
    path = hostile.torch_file(tmp_path / "m.pt", hostile.net())
    assert open_model(path, LoadOptions(arch="no.such:Net")).format == "pickled module"


@pytest.mark.models
def test_sapiens_is_refused_for_its_namespace(packaged: Callable[[str, str], Path]) -> None:
    path = packaged("sapiens", "checkpoint_vh.pt")
    with pytest.raises(LoadError, match=r"(?s)asks to import code.*wants  argparse\.Namespace") as caught:
        open_model(path)
    assert caught.value.code == "RS301"
