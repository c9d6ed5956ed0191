"""Configured inputs: what the configuration of a model says of the arguments of its forward.

The names are those that transformers gives to settings and arguments, and that others follow: `main_input_name` says
which argument counts; `image_size`, `num_frames`, `num_mel_bins`, `context_length` and their like say its shape. Models
of timm say the shape of an image as `input_size` of their `pretrained_cfg`.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

from rankscope.inputs.random import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from rankscope.inputs.arguments import Parameters

Trial = tuple[tuple[Spec, ...], str | None]  # arguments, and their layout where the shapes alone would mislead
Shape = tuple[int, ...]

SIDES = (64, 32, 28, 224, 96, 48, 128, 256, 299, 384, 512)  # of an image; 64 leaves tokens after four halvings
SECOND = 16_000  # samples of speech
GRIDS = ("pixel_values", "pixel_values_videos", "input_values", "input_features")
SPECIAL = 4  # ids at the start of a vocabulary that may stand for something else than text
LARGEST = 2**24  # numbers of an image; what a file says of its size may be anything
BYTES = 256  # ids that are drawn where a model names no vocabulary


def configured(model: nn.Module, known: Parameters, sequences: int, lengths: Sequence[int]) -> Iterator[Trial]:
    """What the configuration of a model of transformers or timm, or of one like it, says of its inputs.

    Args:
        model: any module.
        known: the parameters of its forward.
        sequences: how many.
        lengths: of a sequence of ids, the likeliest first.

    Yields:
        Arguments to try, ids without a range.
    """
    config, main = getattr(model, "config", None), getattr(model, "main_input_name", None)
    if main not in known.names:
        yield from _trained_on(model, known, sequences)
        return
    decoder = ["decoder_input_ids"] if setting(config, "is_encoder_decoder") else []
    grids = {name: list(_grids(name, config, lengths)) for name in GRIDS if name in known.names}

    def both(texts: list[str], length: int, shapes: dict[str, Shape]) -> Trial:
        numbers = tuple(Spec(name, (sequences, *shape)) for name, shape in shapes.items())
        ids = tuple(Spec(name, (sequences, length), "int64") for name in texts)
        return (*numbers, *ids), "btd" if numbers and len(numbers[0].shape) == 2 else None  # a wave is no matrix

    if main == "input_ids":
        texts = [name for name in (main, *decoder) if name in known.names]
        yield from (both(texts, length, {}) for length in lengths)
        if grids:
            firsts = {name: shapes[0] for name, shapes in grids.items() if shapes}
            yield from (both(texts, length, firsts) for length in lengths)
    elif main in grids:
        texts = [name for name in decoder if name in known.names]
        for shape, length in product(grids[main], lengths if texts else [0]):
            yield both(texts, length, {main: shape})
    elif main == "past_values":
        yield from _series(config, known, sequences)


def vocabulary(model: nn.Module, name: str) -> int | None:
    """How many ids there are, where no embedding was seen to look them up.

    Args:
        model: any module.
        name: the argument.

    Returns:
        The vocabulary that the configuration names, else as many as there are bytes; None where the argument is not the
        one that `main_input_name` declares to be ids.

    Example:
        >>> from torch import nn
        >>> vocabulary(nn.Linear(2, 2), "input_ids") is None
        True
    """
    if name != "input_ids" or getattr(model, "main_input_name", None) != name:
        return None
    size = setting(getattr(model, "config", None), "vocab_size")
    return size if isinstance(size, int) else BYTES


def first_id(model: nn.Module) -> int:
    """The first id to draw: those up to the pad id are left out, where it is one of the first few.

    Args:
        model: any module.

    Returns:
        The number after the pad id that the configuration names; 0 without one. Padding among real tokens would move
        the positions of some models, and others warn of it.

    Example:
        >>> from torch import nn
        >>> first_id(nn.Linear(2, 2))
        0
    """
    pad = setting(getattr(model, "config", None), "pad_token_id")
    return pad + 1 if isinstance(pad, int) and 0 <= pad < SPECIAL else 0


def setting(config: Any, *names: str) -> Any:
    """A setting of a configuration, or of the first part of it that has one.

    Args:
        config: any object, or None.
        *names: what it may be called; the first that is set counts.

    Returns:
        Its value, None where there is none.

    Example:
        >>> from types import SimpleNamespace
        >>> setting(SimpleNamespace(vision=SimpleNamespace(image_size=32)), "image_size")
        32
    """
    parts = [value for value in getattr(config, "__dict__", {}).values() if hasattr(value, "__dict__")]
    found = (getattr(part, name, None) for name in names for part in (config, *parts))
    return next((value for value in found if value is not None), None)


def _trained_on(model: nn.Module, known: Parameters, sequences: int) -> Iterator[Trial]:
    """Images of the size that the weights were trained with, as timm says it, for the first argument."""
    config: Any = getattr(model, "pretrained_cfg", None)
    size = config.get("input_size") if isinstance(config, dict) else getattr(config, "input_size", None)
    if not isinstance(size, list | tuple) or not size or not all(isinstance(n, int) and n > 0 for n in size):
        return
    if known.names and math.prod(size) <= LARGEST:
        yield (Spec(known.names[0], (sequences, *size)),), None


def _grids(name: str, config: Any, lengths: Sequence[int]) -> Iterator[Shape]:
    """Shapes of one image, film, wave or spectrogram."""
    bins = setting(config, "num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim", "feature_size")
    if name.startswith("pixel_values"):
        yield from _images(config)
    elif name == "input_values":
        frames = setting(config, "max_length")
        if isinstance(frames, int) and isinstance(bins, int):
            yield (frames, bins)
        yield (SECOND,)
    elif isinstance(bins, int):
        frames = 4 * lengths[0]  # convolutions halve them once or twice
        positions = setting(config, "max_source_positions")  # as many, where the model takes one length alone
        yield from ((bins, 2 * positions if isinstance(positions, int) else frames), (frames, bins))


def _images(config: Any) -> Iterator[Shape]:
    """Shapes of one image; of one film first where the configuration counts frames."""
    size = setting(config, "image_size", "crop_size")
    sides = tuple(size.values()) if isinstance(size, dict) else size if isinstance(size, list | tuple) else None
    channels = setting(config, "num_channels", "in_channels", "in_chans")
    channels = channels if isinstance(channels, int) else 3
    known = [sides[-2:] if len(sides) > 1 else sides * 2] if sides else [(size, size)] if isinstance(size, int) else []
    frames = setting(config, "num_frames", "frames_per_clip")
    if isinstance(frames, int):
        yield from ((frames, channels, *pair) for pair in known)
    yield from ((channels, *pair) for pair in (*known, *((side, side) for side in SIDES)))


def _series(config: Any, known: Parameters, sequences: int) -> Iterator[Trial]:
    """A time series: as many steps as the model looks back over, and the steps to come where it asks for them."""
    context, lags = setting(config, "context_length"), setting(config, "lags_sequence") or [0]
    if not isinstance(context, int):
        return
    channels = setting(config, "num_input_channels")
    width = setting(config, "input_size")
    last = (channels,) if isinstance(channels, int) else (width,) if isinstance(width, int) and width > 1 else ()
    features = (setting(config, "num_time_features") or 0,)
    specs = []
    for when, steps in (("past", context + max(lags)), ("future", setting(config, "prediction_length") or 0)):
        shape = (sequences, steps, *last)
        specs += [
            Spec(f"{when}_values", shape),
            Spec(f"{when}_time_features", (*shape[:2], *features)),
            Spec(f"{when}_observed_mask", shape, "float32", 1, 1),
        ]
    kept = {spec.name: spec for spec in specs if spec.name == "past_values" or "past_time_features" in known.required}
    for name in known.required:  # what is left: that nothing is padded, or one choice a series
        shape = specs[0].shape if "pad" in name else (sequences, 1)
        kept.setdefault(name, Spec(name, shape, "int64", 0, 0))
    ordered = tuple(kept[name] for name in known.names if name in kept)
    yield ordered, "btd" if len(specs[0].shape) == 2 else None
