"""Inputs for models of the transformers package: tiny, with random weights."""

from __future__ import annotations

import pytest
import torch
from input_models import source

from rankscope.inputs import InputOptions, from_python, gather

pytestmark = pytest.mark.models
transformers = pytest.importorskip("transformers", reason="the transformers package is in the extra hf")

SIZE = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SEQ2SEQ = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
MODELS = {
    "GPT2": {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1}
    | {"eos_token_id": 2},
    "Bert": SIZE | {"max_position_embeddings": 40},
    "Roberta": SIZE | {"max_position_embeddings": 66, "pad_token_id": 1},
    "Llama": SIZE,
    "Mixtral": SIZE | {"num_local_experts": 2, "num_key_value_heads": 2},
    "Mamba": {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2},
    "T5": {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    "Bart": SEQ2SEQ | {"max_position_embeddings": 64},
    "ViT": {k: v for k, v in SIZE.items() if "token" not in k and k != "vocab_size"}
    | {"image_size": 30, "patch_size": 6},
    "Whisper": SEQ2SEQ | {"max_source_positions": 50, "num_mel_bins": 20},
    "Speech2Text": SEQ2SEQ | {"input_feat_per_channel": 20, "num_conv_layers": 2, "conv_channels": 16},
    "XLNet": {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
    "Longformer": SIZE | {"attention_window": 48},
    "Canine": {k: v for k, v in SIZE.items() if k != "vocab_size"} | {"num_hash_buckets": 128},
    "TimeSeriesTransformer": {"prediction_length": 8, "context_length": 16, "lags_sequence": [1, 5]}
    | {"num_time_features": 3, "input_size": 2, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1},
    "PatchTST": {"context_length": 64, "patch_length": 8, "num_input_channels": 3, "d_model": 32}
    | {"num_hidden_layers": 2, "ffn_dim": 32},
    "TimesFm": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    | {"head_dim": 8, "context_length": 128, "horizon_length": 8},
    "VideoMAE": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    | {"image_size": 16, "patch_size": 8, "num_frames": 4},
    "AST": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    | {"max_length": 64, "num_mel_bins": 32},
}
IDS = "input_ids=8x128:int64:0..98"
UNPADDED = "input_ids=8x128:int64:1..98"  # 0 is the pad id of these


def build(name: str, **changes: object) -> torch.nn.Module:
    config = getattr(transformers, f"{name}Config")(**(MODELS[name] | changes))
    torch.manual_seed(0)
    return getattr(transformers, f"{name}Model")(config).eval()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GPT2", "input_ids=8x64:int64:0..98"),
        ("Bert", "input_ids=8x40:int64:1..98"),
        ("Roberta", "input_ids=8x64:int64:2..98"),
        ("Llama", IDS),
        ("Mixtral", IDS),
        ("Mamba", UNPADDED),
        ("T5", f"{UNPADDED}, decoder_{UNPADDED}"),
        ("Bart", "input_ids=8x64:int64:1..98, decoder_input_ids=8x64:int64:1..98"),
        ("ViT", "pixel_values=8x3x30x30"),
        ("Whisper", f"input_features=8x20x100, decoder_{UNPADDED}"),
        ("Speech2Text", f"input_features=8x512x20, decoder_{UNPADDED}"),
        ("XLNet", IDS),  # transposed, before an embedding sees them
        ("Longformer", "input_ids=8x128:int64:2..98"),  # padded, before an embedding sees them
        ("Canine", "input_ids=8x128:int64:1..255"),  # characters, hashed
        (
            "TimeSeriesTransformer",
            (
                "past_values=8x21x2, past_time_features=8x21x3, past_observed_mask=8x21x2:float32:1..1, "
                "future_values=8x8x2, future_time_features=8x8x3"
            ),
        ),
        ("PatchTST", "past_values=8x64x3"),
        ("TimesFm", "past_values=8x128, past_values_padding=8x128:int64:0..0, freq=8x1:int64:0..0"),
        ("VideoMAE", "pixel_values=8x4x3x16x16"),
        ("AST", "input_values=8x64x32"),
    ],
)
def test_inferred(name: str, expected: str) -> None:
    model = build(name)
    inputs = gather(source(model))
    assert inputs.source == f"inferred: {expected}, seed 0"
    assert [note.code for note in inputs.notes] == ["RS210"]
    (batch,) = inputs.batches
    with torch.no_grad():
        model(*batch.args, **batch.kwargs)


def test_text_and_images_together() -> None:
    vision = MODELS["ViT"] | {"image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=SIZE | {"max_position_embeddings": 77}, vision_config=vision)
    inputs = gather(source(transformers.CLIPModel(config)))
    assert inputs.source == "inferred: pixel_values=8x3x32x32, input_ids=8x77:int64:2..98, seed 0"


def test_waves_of_sound_are_sequences_not_one_matrix() -> None:
    model = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**SIZE, conv_dim=(8,) * 7))
    inputs = gather(source(model))
    assert inputs.source == "inferred: input_values=8x16000, seed 0"
    assert inputs.layout == "btd"


def test_a_misspelt_mask_is_refused_although_forward_takes_any_name() -> None:
    from rankscope.errors import InputError

    ids = torch.ones(2, 6, dtype=torch.int64)
    with pytest.raises(InputError, match=r"(?s)no parameter 'attn_mask' \[RS213\].*did you mean  attention_mask"):
        from_python(source(build("Llama")), {"input_ids": ids, "attn_mask": ids})


def test_the_vocabulary_of_a_seq2seq_model_bounds_given_ids() -> None:
    from rankscope.errors import InputError

    with pytest.raises(InputError, match=r"input_ids holds the token id 120, .* has 99 rows \[RS216\]"):
        from_python(source(build("Bart")), torch.full((2, 6), 120))


@pytest.mark.parametrize("name", ["Bert", "T5"])
def test_text_is_padded_with_masks_the_model_takes(name: str, tmp_path: object) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\nthree and more\n")
    model = build(name, vocab_size=256)
    inputs = gather(source(model), InputOptions(text=path))
    (batch,) = inputs.batches
    assert batch.keep["attention_mask"].sum(dim=1).tolist() == [3, 14]
    with torch.no_grad():
        padded = model(*batch.args, **batch.kwargs).last_hidden_state[0, :3]
        alone = model(**{k: v[:1, :3] for k, v in batch.kwargs.items()}).last_hidden_state[0]
    assert torch.allclose(padded, alone, atol=1e-5)


def test_padding_without_its_mask_is_noted() -> None:
    ids = torch.full((2, 8), 5)
    ids[0, 5:] = 0
    inputs = from_python(source(build("Bert")), ids)
    assert [note.code for note in inputs.notes] == ["RS223"]


def test_the_pad_id_is_not_drawn() -> None:
    model = build("Bert", pad_token_id=3)
    (batch,) = gather(source(model)).batches
    assert int(batch.kwargs["input_ids"].min()) == 4
    far = build("Bert", pad_token_id=98)  # at the end of the vocabulary: nothing before it is left out
    (batch,) = gather(source(far)).batches
    assert int(batch.kwargs["input_ids"].min()) == 0
