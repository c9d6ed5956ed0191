from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
from input_models import (
    Attention,
    Dropping,
    Exchanged,
    FixedLength,
    Ids,
    Masked,
    Never,
    Positions,
    Residual,
    Series,
    TokensFirst,
    encoder,
    mlp,
    source,
)
from torch import nn

from rankscope.errors import InputError
from rankscope.inputs import InputOptions, gather
from rankscope.records import Batch, Source

if TYPE_CHECKING:
    from pathlib import Path


def transformer(*, batch_first: bool) -> nn.Transformer:
    encoder_layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first)
    own = nn.TransformerEncoder(encoder_layer, 1, enable_nested_tensor=False)
    return nn.Transformer(16, 2, 1, 1, 32, batch_first=batch_first, custom_encoder=own)


class Required(Ids):
    """A mask without a default."""

    def forward(self, ids, attention_mask):
        return self.out(self.embedding(ids) * attention_mask[..., None])


@pytest.mark.parametrize(
    ("model", "expected", "layout"),
    [
        (Ids(rows=50), "ids=8x128:int64:0..49", None),
        (Masked(rows=50), "input_ids=8x128:int64:0..49", None),
        (Dropping(rows=50), "ids=8x128:int64:0..49", None),
        (Required(), "ids=8x128:int64:0..49, attention_mask=8x128:int64:1..1", None),
        (Positions(longest=40, rows=70), "idx=8x40:int64:0..69", None),
        (TokensFirst(), "ids=128x8:int64:0..49", "tbd"),
        (encoder(batch_first=True, width=64), "src=8x128x64", None),
        (encoder(batch_first=False, width=64), "src=128x8x64", "tbd"),
        (Exchanged(), "x=8x128x16", None),
        (transformer(batch_first=True), "src=8x128x16, tgt=8x128x16", None),
        (transformer(batch_first=False), "src=128x8x16, tgt=128x8x16", "tbd"),
        (nn.TransformerDecoderLayer(16, 2, 32), "tgt=128x8x16, memory=128x8x16", "tbd"),
        (nn.MultiheadAttention(16, 2), "query=128x8x16, key=128x8x16, value=128x8x16", "tbd"),
        (nn.LSTM(5, 8, 2, batch_first=True), "input=8x128x5", None),
        (nn.GRU(5, 8), "input=128x8x5", "tbd"),
        (Attention(), "x=8x128x16", None),
        (FixedLength(), "x=8x197x16", None),
        (mlp(), "input=128x20", "bd"),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "input=128x784", "bd"),
        (Residual(), "image=8x3x64x64", None),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 26 * 26, 10)), "input=8x1x28x28", None),
        (nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3)), "input=8x4x128", None),
        (nn.Conv3d(2, 4, 3), "input=8x2x16x16x16", None),
        (Series(), "series=8x128", "btd"),
        (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 6)), "input=128x6", "bd"),
    ],
)
def test_what_a_model_shows(model: nn.Module, expected: str, layout: str | None) -> None:
    inputs = gather(source(model))
    assert inputs.source == f"inferred: {expected}, seed 0"
    assert inputs.layout == layout
    assert inputs.seed == 0
    (batch,) = inputs.batches
    assert not batch.keep
    model.eval()(*batch.args, **batch.kwargs)


def test_what_was_inferred_is_announced_in_words_that_can_be_typed() -> None:
    model = encoder(batch_first=False)
    inputs = gather(source(model))
    (note,) = inputs.notes
    assert note.code == "RS210"
    assert note.text == "no inputs were given; inferred from the model: --random 'src=128x8x16' --seed 0 --layout tbd"
    again = gather(source(model), InputOptions(random=("src=128x8x16",), seed=0, layout="tbd"))
    (one,), (two,) = inputs.batches, again.batches
    assert torch.equal(one.kwargs["src"], two.kwargs["src"])


def test_ids_cover_the_embedding() -> None:
    (batch,) = gather(source(Ids(rows=50))).batches
    assert (int(batch.kwargs["ids"].min()), int(batch.kwargs["ids"].max())) == (0, 49)


@pytest.mark.parametrize(
    ("options", "model", "shapes"),
    [
        ({"batch_size": 3}, Ids(), [(3, 128)]),
        ({"batch_size": 3, "batches": 2}, Ids(), [(3, 128), (3, 128)]),
        ({"max_tokens": 20}, Ids(), [(8, 20)]),
        ({"batches": 2}, encoder(batch_first=False), [(128, 8, 16), (128, 8, 16)]),
        ({"batches": 2, "batch_size": 4}, mlp(), [(128, 20), (128, 20)]),
        ({"max_tokens": 50}, mlp(), [(50, 20)]),
        ({"layout": "btd"}, mlp(), [(8, 128, 20)]),
        ({"layout": "bd"}, Attention(), [(128, 16)]),
        ({"layout": "tbd"}, Attention(), [(128, 8, 16)]),
        ({"layout": "btd"}, encoder(batch_first=False), [(8, 128, 16)]),
    ],
)
def test_the_options_that_shape_them(options: dict, model: nn.Module, shapes: list[tuple[int, ...]]) -> None:
    inputs = gather(source(model), InputOptions(**options))
    found = [tuple(next(iter(batch.kwargs.values())).shape) for batch in inputs.batches]
    assert found == shapes
    assert inputs.layout == options.get("layout", inputs.layout)


def test_the_seed_decides() -> None:
    def drawn(seed: int) -> torch.Tensor:
        (batch,) = gather(source(mlp()), InputOptions(seed=seed)).batches
        return batch.kwargs["input"]

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_the_dtype_is_that_of_the_model() -> None:
    (batch,) = gather(source(encoder(batch_first=True).double())).batches
    assert batch.kwargs["src"].dtype == torch.float64


def test_nothing_is_left_behind() -> None:
    model = encoder(batch_first=True).train()
    model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    gather(source(model))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(state, torch.get_rng_state())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_where_nothing_runs_the_model_is_quoted() -> None:
    with pytest.raises(InputError, match=r"Never ran on nothing that was tried \[RS211\]") as caught:
        gather(source(Never()))
    text = str(caught.value)
    assert "the model said  ValueError: the graph has no edges" in text
    assert "tried  x=" in text
    assert "graph=" in text
    assert "forward needs  x, graph" in text
    assert "--random 'x=8x128x64'" in text
    assert "--input" in text


@pytest.mark.parametrize("model", [nn.ReLU(), nn.ParameterList([nn.Parameter(torch.ones(2))])])
def test_where_there_is_nothing_to_infer_from(model: nn.Module) -> None:
    with pytest.raises(InputError, match="RS211"):
        gather(source(model))


def test_a_model_whose_first_failure_is_its_length_is_not_given_up() -> None:
    class Short(Ids):
        def forward(self, ids):
            if ids.shape[1] > 16:
                raise ValueError("at most 16 tokens")
            return super().forward(ids)

    assert gather(source(Short())).source == "inferred: ids=8x16:int64:0..49, seed 0"


# what comes with the model


def test_the_example_that_came_with_the_model() -> None:
    example = Batch((torch.ones(2, 7, dtype=torch.int64),))
    inputs = gather(source(Ids(), example=example))
    assert inputs.source == "the model's own example"
    assert [note.code for note in inputs.notes] == ["RS210"]
    (batch,) = inputs.batches
    assert torch.equal(batch.args[0], example.args[0])


def test_an_example_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="RS216"):
        gather(source(Ids(rows=5), example=Batch((torch.full((2, 7), 6),))))


def test_given_inputs_come_before_the_example() -> None:
    model = source(Ids(), example=Batch((torch.ones(2, 7, dtype=torch.int64),)))
    assert gather(model, InputOptions(random=("ids=3x4:int64",))).source.startswith("random")


def test_the_text_that_came_with_a_demo(tmp_path: Path) -> None:
    (tmp_path / "sample.txt").write_text("one line\ntwo line\n")
    inputs = gather(Source(Ids(rows=256), "demo", "demo", directory=tmp_path))
    assert inputs.source == "text: sample.txt, bytes"
    assert inputs.notes[0].text == "no inputs were given; the text that came with the demo is read: sample.txt"
    (batch,) = inputs.batches
    assert [bytes(row.tolist()).decode() for row in batch.kwargs["ids"]] == ["one line", "two line"]


@pytest.mark.parametrize(
    ("module", "attribute"),
    [(nn.Linear(4, 4), "in_features"), (nn.Conv1d(4, 4, 3), "in_channels"), (nn.LSTM(4, 4), "input_size")],
)
def test_a_width_that_no_weights_bear_out_is_not_tried(module: nn.Module, attribute: str) -> None:
    """A file can say that a layer of sixteen weights takes 10^11 features."""
    setattr(module, attribute, 10**11)
    with pytest.raises(InputError, match="RS211"):
        gather(source(nn.Sequential(module, nn.Identity())))


@pytest.mark.parametrize("size", [(3, 12, 8), None, "a", (), (3, "x", 8), (0, -1), (3, 10**9, 10**9)])
@pytest.mark.parametrize("kind", [dict, SimpleNamespace])
def test_images_of_the_size_that_a_model_of_timm_names(size: object, kind: type) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), nn.Linear(6, 6) if size == (3, 12, 8) else nn.Identity()
    )
    model.pretrained_cfg = kind(input_size=size)
    told = gather(source(model)).source
    assert told == f"inferred: input=8x3x{'12x8' if size == (3, 12, 8) else '64x64'}, seed 0"
