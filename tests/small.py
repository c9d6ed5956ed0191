"""Small configurations of transformers by one rule: sizes by the names that configurations give them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

# One that a configuration wants as a list is left to the architecture.
SIZES = {
    32: "hidden_size d_model n_embd dim embed_dim embedding_dim emb_dim lru_width word_embed_proj_dim embedding_size",
    3: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers "
    "encoder_num_hidden_layers decoder_num_hidden_layers",
    4: "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads num_local_experts "
    "num_experts n_routed_experts num_frames",
    64: "intermediate_size n_inner ffn_dim d_ff d_inner encoder_ffn_dim decoder_ffn_dim hidden_dim ffn_hidden_size dff "
    "max_position_embeddings n_positions n_ctx",
    2: "num_experts_per_tok num_key_value_heads eos_token_id",
    8: "head_dim d_kv d_head rotary_dim patch_size state_size",
    16: "num_mel_bins conv_channels moe_intermediate_size shared_expert_intermediate_size intermediate_size_mlp",
    1: "bos_token_id decoder_start_token_id n_groups",
    99: "vocab_size n_words",
    20: "max_source_positions max_target_positions",
    0: "pad_token_id",
}
SMALL = {name: size for size, names in SIZES.items() for name in names.split()} | {"image_size": 32}


def config(kind: Any, given: Mapping[str, Any]) -> Any:
    """A small configuration of a class of transformers; its parts are small too."""
    sizes = {field.name: SMALL[field.name] for field in dataclasses.fields(kind) if _takes_number(field)}
    known = {field.name for field in dataclasses.fields(kind)}
    parts = {
        name: config(part, {}).to_dict()
        for name, part in kind.sub_configs.items()
        if name in known and part.__name__ != "AutoConfig"
    }
    return kind(**sizes | parts | dict(given))


def _takes_number(field: Any) -> bool:
    made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return field.name in SMALL and not isinstance(made, list | tuple)


def of_transformers(kind: str, given: Mapping[str, Any]) -> nn.Module:
    """A model of transformers by the name of its configuration, small."""
    import transformers

    settings = config(getattr(transformers, f"{kind}Config"), given)
    torch.manual_seed(0)
    return getattr(transformers, f"{kind}Model")(settings).eval()
