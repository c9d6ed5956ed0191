"""The catalogue of architectures: tiny models with random weights, and what is known of each beforehand.

`adds` is the number of residual adds in a block, read off the code of the model; `blocks` how many blocks each stack
has, as configured. Configurations follow one rule (`small.py`), so that most architectures are a name in a list.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import handwritten as nets
import torch
from small import of_transformers

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """One model: `adds` and `blocks` hold one entry a stack; an entry of `adds` all the numbers that its blocks have.

    `inputs` gives what the model runs on, where that cannot be inferred.
    """

    name: str
    family: str
    package: str
    build: Callable[[], nn.Module]
    adds: tuple[frozenset[int], ...]
    blocks: tuple[int, ...]
    inputs: Callable[[], Any] | None = None


CATALOGUE: dict[str, Architecture] = {}


def add(
    name: str,
    family: str,
    package: str,
    build: Callable[[], nn.Module],
    adds: Any,
    blocks: Any = 3,
    inputs: Callable[[], Any] | None = None,
) -> None:
    """Put an architecture into the catalogue; a number stands for one stack, or for each of them."""
    stacks = () if blocks is None else blocks if isinstance(blocks, tuple) else (blocks,)
    each = adds if isinstance(adds, tuple) else (adds,) * len(stacks)
    numbers = tuple(frozenset(entry if isinstance(entry, set) else {entry}) for entry in each)
    CATALOGUE[name] = Architecture(name, family, package, build, numbers, stacks, inputs)


def hf(
    kind: str, family: str, adds: Any, blocks: Any = 3, *, inputs: Any = None, variant: str = "", **given: Any
) -> None:
    """An architecture of transformers."""
    name = f"{kind} {variant}".strip()
    add(name, family, "transformers", functools.partial(of_transformers, kind, given), adds, blocks, inputs)


def each(names: str, family: str, adds: Any, blocks: Any = 3, **given: Any) -> None:
    """Architectures of transformers that the rule alone makes small."""
    for kind in names.split():
        hf(kind, family, adds, blocks, **given)


TEXT = "text, decoder"
each("GPT2 OPT Bloom Mpt Llama Mistral Qwen2 Qwen3 Gemma Gemma2 Gemma3Text Olmo Olmo2 Phi3 StableLm", TEXT, 2)
each("Starcoder2 Granite Nemotron SmolLM3 NanoChat DiffLlama Doge Glm4 OpenAIGPT CTRL BioGpt XGLM", TEXT, 2)
each("GPTBigCode Persimmon Helium Arcee Apertus Exaone4 Olmo3", TEXT, 2)
each(
    "GPTNeoX GPTJ Phi Falcon Cohere Cohere2 CodeGen", TEXT, 1
)  # attention and MLP side by side: x + a + m has one skip
hf("GPTNeoX", TEXT, 2, variant="sequential", use_parallel_residual=False)
hf("GPTNeo", TEXT, 2, attention_types=[[["global", "local"], 1], [["global"], 1]])
hf("Reformer", TEXT, 2, axial_pos_embds_dim=[16, 16], axial_pos_shape=[8, 8], attn_layers=["local", "lsh", "local"])
hf("GPT2", TEXT, 2, variant="eager", attn_implementation="eager")
hf("Llama", TEXT, 2, variant="eager", attn_implementation="eager")
hf("OPT", TEXT, 2, variant="post-norm", do_layer_norm_before=False)
hf("Gemma3nText", TEXT, 6, num_kv_shared_layers=0, vocab_size_per_layer_input=99)
hf("Gemma4Text", TEXT, 3, vocab_size_per_layer_input=99)
hf("Falcon", TEXT, 2, variant="sequential", parallel_attn=False, new_decoder_architecture=False)

MIXED = "mixture of experts, hybrid"
each(
    "Mixtral Qwen2Moe Qwen3Moe GptOss Llama4Text OlmoHybrid RecurrentGemma MiniMax Lfm2 GraniteMoe Olmoe JetMoe",
    MIXED,
    2,
)
each("Glm4Moe FlexOlmo", MIXED, 2)
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
each("DeepseekV2 DeepseekV3", MIXED, 2, **LATENT, n_group=1, topk_group=1, num_key_value_heads=4)
SSM = {"mamba_d_state": 8, "mamba_d_head": 16, "mamba_n_heads": 4, "mamba_n_groups": 1}
hf("Jamba", MIXED, 2, attn_layer_period=2, attn_layer_offset=1, use_mamba_kernels=False, mamba_d_state=8)
hf("Bamba", MIXED, 2, **SSM, attn_layer_indices=[1])
hf("GraniteMoeHybrid", MIXED, 2, **SSM, layer_types=["mamba", "attention", "mamba"])
hf("FalconH1", MIXED, 2, **SSM, mamba_d_ssm=64)
hf("Qwen3Next", MIXED, 2, layer_types=["linear_attention", "full_attention", "linear_attention"])
hf("Zamba2", MIXED, 1, layers_block_type=["mamba", "hybrid", "mamba"], mamba_d_state=8, n_mamba_heads=4)
hf("NemotronH", MIXED, 1, layers_block_type=["mamba", "attention", "moe"], mamba_num_heads=4, mamba_head_dim=16)
hf("DeepseekV4", MIXED, 0)

ENCODER = "text, encoder"
each(
    "Bert Roberta DistilBert Albert Electra Deberta DebertaV2 MPNet XLNet FNet ConvBert BigBird Nystromformer",
    ENCODER,
    2,
)
each("ModernBert Esm RoFormer LayoutLM MegatronBert RemBert Yoso EuroBert Splinter Tapas", ENCODER, 2)
each("Longformer", ENCODER, 2, attention_window=8)
hf("IBert", ENCODER, 2)
hf("Funnel", ENCODER, 2, (2, 2), block_sizes=[1, 1], num_decoder_layers=2)
hf("Canine", ENCODER, 2)
hf("MobileBert", ENCODER, 1)
hf("SqueezeBert", ENCODER, 0, None)  # calls `layer.forward`: hooks see no block
hf("XLM", ENCODER, 1, (3, 3))  # attention and MLP lie in two lists

STATE = "state space, recurrent"
each("Mamba FalconMamba", STATE, 1)
hf("Mamba2", STATE, 1, num_heads=4, head_dim=16)
hf("Rwkv", STATE, 2)
hf("xLSTM", STATE, 2, hidden_size=128, embedding_dim=128)


def mambapy() -> nn.Module:
    from mambapy.mamba import Mamba, MambaConfig

    torch.manual_seed(0)
    return Mamba(MambaConfig(d_model=32, n_layers=3)).eval()


add("mambapy", STATE, "mambapy", mambapy, 1)

PAIR = "encoder and decoder"
BOTH = {"family": PAIR, "adds": (2, 3), "blocks": (3, 3)}
each(
    "T5 MT5 UMT5 SwitchTransformers T5Gemma Bart MBart Pegasus Marian Blenderbot M2M100 PLBart BigBirdPegasus",
    **BOTH,
)
each("FSMT NllbMoe", **BOTH)
hf("LongT5", **BOTH, encoder_attention_type="local")
hf("LED", **BOTH, attention_window=8)
hf("ProphetNet", **BOTH, num_encoder_layers=3)
hf("TimeSeriesTransformer", **BOTH, prediction_length=8, context_length=16)
hf("Informer", **BOTH, prediction_length=8, context_length=16)

VISION = "vision"
each("ViT DeiT Beit Dinov2 DINOv3ViT DPT ViTMAE ViTMSN VitDet CLIPVision SiglipVision VideoMAE", VISION, 2)
each("Dinov2WithRegisters IJepa", VISION, 2)
each("Pvt PvtV2", VISION, 2, 8, image_size=64, depths=[2, 2, 2, 2])
hf("FocalNet", VISION, 2, 4, image_size=128, depths=[1, 1, 1, 1])
each("CLIP Siglip Aimv2 Blip", VISION, 2, (3, 3))
STAGES = {"depths": [2, 2], "num_heads": [2, 2], "embed_dim": 16, "window_size": 4, "patch_size": 2}
each("Swin Swinv2", VISION, 2, 4, **STAGES)
hf("Hiera", VISION, 2, 4, image_size=[64, 64], embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])
FOUR = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 16]}
hf("Segformer", VISION, 2, 4, **FOUR, num_attention_heads=[1, 1, 2, 2])
hf("PoolFormer", VISION, 2, 4, **FOUR)
each("ConvNext ConvNextV2", VISION, 1, 4, depths=[2, 2], hidden_sizes=[8, 16], num_stages=2)
hf("ResNet", VISION, 1, 4, depths=[2, 2], hidden_sizes=[16, 32], embedding_size=16, layer_type="basic")
hf("ResNet", VISION, 1, 4, variant="bottleneck", depths=[2, 2], hidden_sizes=[16, 32], embedding_size=16)
hf("RegNet", VISION, 1, 4, depths=[2, 2], hidden_sizes=[16, 32], embedding_size=16, groups_width=8)
hf("MobileNetV2", VISION, {0, 1}, 16, image_size=96, depth_multiplier=0.25, min_depth=4)
hf("Timesformer", VISION, 2)  # and a third, over time, that a concatenation follows
hf("Vivit", VISION, 2, tubelet_size=[2, 8, 8])
hf("Perceiver", VISION, 2, 2, d_latents=32, num_latents=8, num_blocks=1, num_self_attends_per_block=2)

SOUND = "sound"
CONV = {"conv_dim": [16, 16], "conv_stride": [8, 8], "conv_kernel": [16, 8], "num_feat_extract_layers": 2}
WAVE = {**CONV, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
each("Wav2Vec2 WavLM Hubert UniSpeech", SOUND, 2, **WAVE)
hf("Wav2Vec2Conformer", SOUND, 4, **WAVE)
hf("Wav2Vec2Bert", SOUND, 4)
hf("AST", SOUND, 2, max_length=64)
hf("Whisper", SOUND, (2, 3), (3, 3))
hf("Speech2Text", SOUND, (2, 3), (3, 3))
hf("Moonshine", SOUND, (2, 3), (3, 3))

SERIES = "time series"
hf("TimesFm", SERIES, 2, context_length=128)
hf("PatchTST", SERIES, 2, context_length=64, patch_length=8, patch_stride=8, num_input_channels=2)
hf("PatchTSMixer", SERIES, 2, context_length=64, patch_length=8, patch_stride=8)


def x_encoder(kind: str, **given: Any) -> nn.Module:
    """A model of x-transformers; its units are residual modules, two a layer."""
    import x_transformers

    torch.manual_seed(0)
    layers = getattr(x_transformers, kind)(dim=32, depth=3, heads=4, attn_dim_head=8, **given)
    return x_transformers.TransformerWrapper(num_tokens=99, max_seq_len=64, attn_layers=layers).eval()


def xt(name: str, adds: Any = 1, blocks: Any = 6, kind: str = "Decoder", **given: Any) -> None:
    """An architecture of x-transformers."""
    add(name, "x-transformers", "x-transformers", functools.partial(x_encoder, kind, **given), adds, blocks)


xt("plain")
xt("encoder", kind="Encoder")
xt("post-norm", pre_norm=False)
xt("sandwich norm", sandwich_norm=True)
xt("scaled residual", scale_residual=True)
xt("skip scaled by zero", scale_residual_constant=0)
xt("attention only", blocks=3, only_attn=True)
xt("value residual", add_value_residual=True)
xt("rotary", rotary_pos_emb=True)
xt("flash", attn_flash=True)
xt("kv heads", attn_kv_heads=2)
xt("residual attention", residual_attn=True)
xt("macaron", blocks=9, macaron=True)
xt("layer scale", use_layerscale=True)
xt("qk norm", attn_qk_norm=True)
xt("shifted tokens", shift_tokens=1)
xt("relative position bias", rel_pos_bias=True)
xt("gated values", attn_gate_values=True)
xt("hyper-connections", num_residual_streams=2)
xt("gated by a recurrent cell", 0, 12, gate_residual=True)  # the sum is inside the cell: gates and branches are told


def encoder(**given: Any) -> nn.Module:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, **given)
    return torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()


def decoder(**given: Any) -> nn.Module:
    torch.manual_seed(0)
    return torch.nn.TransformerDecoder(torch.nn.TransformerDecoderLayer(32, 4, 64, **given), 3).eval()


def whole(**given: Any) -> nn.Module:
    torch.manual_seed(0)
    return torch.nn.Transformer(32, 4, 3, 3, 64, **given).eval()


def plain(name: str, build: Callable[[], nn.Module], adds: Any, blocks: Any = 3) -> None:
    """An architecture made of torch.nn."""
    add(name, "torch.nn", "torch", build, adds, blocks)


plain("TransformerEncoder, post-norm", functools.partial(encoder, batch_first=True), 2)
plain("TransformerEncoder, pre-norm", functools.partial(encoder, batch_first=True, norm_first=True), 2)
plain("TransformerEncoder, tokens first", encoder, 2)
plain("TransformerDecoder, post-norm", functools.partial(decoder, batch_first=True), 3)
plain("TransformerDecoder, pre-norm", functools.partial(decoder, batch_first=True, norm_first=True), 3)
plain("Transformer", functools.partial(whole, batch_first=True), (2, 3), (3, 3))
plain("LSTM", lambda: torch.nn.LSTM(32, 32, 3, batch_first=True), 0, None)
plain(
    "MLP",
    lambda: torch.nn.Sequential(*(m for _ in range(3) for m in (torch.nn.Linear(32, 32), torch.nn.GELU()))),
    0,
    None,
)


def own(name: str, adds: Any, block: Any, *args: Any) -> None:
    """A net written by hand."""
    add(name, "written by hand", "tests/handwritten.py", functools.partial(nets.stack, block, *args), adds)


own("one after the other", 2, nets.Block)
own("side by side", 1, nets.Parallel)
own("in place", 2, nets.InPlace)
own("without a skip", 0, nets.Bare)
own("highway", 1, nets.Highway)
own("reversible", 2, nets.Reversible)
own("low-rank adapters", 2, nets.LowRank)
own("linear attention", 2, nets.Block, True)
own("MLP-Mixer", 2, nets.Mixer)
own("MultiheadAttention with weights", 2, nets.Weighted)
add("DenseNet", "written by hand", "tests/handwritten.py", nets.densenet, 0)
