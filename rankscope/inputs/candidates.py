"""Candidates: inputs that a model may take, judged by its configuration and the modules that it is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from torch import nn

from rankscope.inputs.lengths import longer, shorter
from rankscope.inputs.masks import SENSE
from rankscope.inputs.mlp import is_mlp
from rankscope.inputs.random import Spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rankscope.inputs.arguments import Parameters

SEQUENCES = 2  # of a dry run: one would be squeezed away by some models
TOKENS = 128  # of an inferred sequence
SIDES = (64, 32, 28, 224, 96, 48, 128, 256, 299, 384, 512)  # of an image; 64 leaves tokens after four halvings
SAMPLES = (128, 256, 512, 1024, 4096, 16_000)  # along a one-dimensional convolution; the last is a second of speech
DEPTHS = (16, 32, 8, 64)  # of a volume
WIDTHS = 4  # different widths of linear maps that are tried


@dataclass(frozen=True, slots=True)
class Candidate:
    """Arguments to try. `axis` counts the sequences; `layout` is said where the shapes alone would mislead."""

    specs: tuple[Spec, ...]
    axis: int = 0
    layout: str | None = None

    def sized(self, sequences: int) -> Candidate:
        """The same with another number of sequences; a matrix that is one sequence is as many times as long.

        Args:
            sequences: how many.

        Returns:
            The candidate.
        """

        def resize(spec: Spec) -> Spec:
            axis = 0 if "mask" in spec.name else self.axis
            return replace(spec, shape=(*spec.shape[:axis], sequences, *spec.shape[axis + 1 :]))

        return replace(self, specs=tuple(map(resize, self.specs)))

    def tokens_first(self) -> Candidate:
        """The same as (tokens, batch, …); masks stay (batch, tokens).

        Returns:
            The candidate.
        """

        def exchange(spec: Spec) -> Spec:
            first, second, *rest = spec.shape
            return spec if "mask" in spec.name else replace(spec, shape=(second, first, *rest))

        return replace(self, specs=tuple(map(exchange, self.specs)), axis=1, layout="tbd")


def candidates(model: nn.Module, known: Parameters, tokens: int) -> Iterator[Candidate]:
    """What to try, the likeliest first; ids are left without a range.

    Args:
        model: any module.
        known: the parameters of its forward.
        tokens: of a sequence, where the model leaves the choice.

    Yields:
        Candidates of `SEQUENCES` sequences, (batch, tokens, …).

    Example:
        >>> from rankscope.inputs.arguments import parameters
        >>> model = nn.Embedding(9, 2)
        >>> str(next(candidates(model, parameters(model), 128)).specs[0])
        'input=2x128:int64'
    """
    yield from _configured(model, known, tokens)
    widths: set[tuple[str, int]] = set()
    for module in model.modules():
        kind, width = _kind(module)
        if width < 1 or (kind, width) in widths or sum(seen == kind for seen, _ in widths) >= WIDTHS:
            continue
        if kind != "matrix" and any(seen == kind for seen, _ in widths):
            continue
        widths.add((kind, width))
        yield from _of(kind, width, model, known, tokens)


def _kind(module: nn.Module) -> tuple[str, int]:
    """What a module takes, and the width of it; a width of 0 where it tells nothing."""
    if isinstance(module, nn.Embedding):
        return "ids", module.num_embeddings
    if isinstance(module, nn.MultiheadAttention):
        return "sequence", module.embed_dim
    if isinstance(module, nn.RNNBase):
        return "sequence", module.input_size
    if isinstance(module, nn.modules.conv._ConvNd):
        return f"grid{len(module.kernel_size)}", module.in_channels
    return ("matrix", module.in_features) if isinstance(module, nn.Linear) else ("", 0)


def _of(kind: str, width: int, model: nn.Module, known: Parameters, tokens: int) -> Iterator[Candidate]:
    """The candidates of one module."""
    lengths = (tokens, *shorter(model, tokens), *longer(model, tokens))
    b = SEQUENCES
    if kind == "ids":
        yield from (_all(known, (b, length), "int64") for length in lengths)
    elif kind.startswith("grid"):
        axes = int(kind[-1])
        yield from (_all(known, (b, width, *[size] * axes)) for size in (SAMPLES, SIDES, DEPTHS)[axes - 1])
        if axes == 1:
            yield from (_all(known, (b, length, width)) for length in lengths)
    else:
        if kind == "matrix" and is_mlp(model):
            yield _all(known, (tokens, width), layout="bd")
        yield from (_all(known, (b, length, width)) for length in lengths)
        if kind == "matrix":
            yield _all(known, (tokens, width), layout="bd")
    if width == 1 and kind != "ids":  # one number a token, the axis of features left out
        yield from (_all(known, (b, length), layout="btd") for length in lengths)


def _all(known: Parameters, shape: tuple[int, ...], dtype: str = "float32", layout: str | None = None) -> Candidate:
    """One shape for every argument without a default, or for the first; masks keep every token."""
    names = known.required or known.positional[:1] or known.names[:1] or ("x",)
    return Candidate(tuple(_mask(name, shape[:2]) or Spec(name, shape, dtype) for name in names), layout=layout)


def _mask(name: str, shape: tuple[int, ...]) -> Spec | None:
    if name not in SENSE:
        return None
    return Spec(name, shape, "int64", 1, 1) if SENSE[name] == "keep" else Spec(name, shape, "bool", 0, 0)


def _configured(model: nn.Module, known: Parameters, tokens: int) -> Iterator[Candidate]:
    """What the configuration of a transformers model, or of one like it, says of its inputs."""
    config, main = getattr(model, "config", None), getattr(model, "main_input_name", None)
    if main not in known.names:
        return
    lengths = (tokens, *shorter(model, tokens), *longer(model, tokens))
    decoder = ["decoder_input_ids"] if getattr(config, "is_encoder_decoder", False) else []
    texts = [name for name in ("input_ids", *decoder) if name in known.names]
    grids = {name: list(_grids(name, config)) for name in ("pixel_values", "input_values", "input_features")}
    if main == "input_ids":
        yield from (Candidate(_ids(texts, length)) for length in lengths)
        others = [name for name in grids if name in known.names]
        shapes: Iterable[Any] = product(lengths, *(grids[name][:1] for name in others))
        yield from (_both(texts, length, dict(zip(others, rest, strict=True))) for length, *rest in shapes if others)
    elif main in grids:
        read = [name for name in decoder if name in known.names]
        pairs = product(grids[main], lengths if read else [0])
        yield from (_both(read, length, {main: shape}) for shape, length in pairs)


def _ids(names: Iterable[str], length: int) -> tuple[Spec, ...]:
    return tuple(Spec(name, (SEQUENCES, length), "int64") for name in names)


def _both(texts: list[str], length: int, grids: dict[str, tuple[int, ...]]) -> Candidate:
    """Numbers and ids together; waves of sound are (batch, samples), not one matrix."""
    specs = tuple(Spec(name, (SEQUENCES, *shape)) for name, shape in grids.items())
    return Candidate((*specs, *_ids(texts, length)), layout="btd" if len(specs[0].shape) == 2 else None)


def _grids(name: str, config: Any) -> Iterator[tuple[int, ...]]:
    """Shapes of one image, wave or spectrogram."""
    if name == "pixel_values":
        size = _setting(config, "image_size")
        sides = tuple(size.values()) if isinstance(size, dict) else size if isinstance(size, list | tuple) else None
        channels = _setting(config, "num_channels") or 3
        known = [sides[:2]] if sides else [(size, size)] if isinstance(size, int) else []
        yield from ((channels, *pair) for pair in (*known, *((side, side) for side in SIDES)))
    elif name == "input_values":
        yield (SAMPLES[-1],)
    elif bins := _setting(config, "num_mel_bins"):
        frames = 2 * (_setting(config, "max_source_positions") or TOKENS)  # halved by the second convolution
        yield from ((bins, frames), (frames, bins))


def _setting(config: Any, name: str) -> Any:
    """A setting of a configuration, or of the first part of it that has one."""
    parts = [value for value in getattr(config, "__dict__", {}).values() if hasattr(value, "__dict__")]
    return next((value for part in (config, *parts) if (value := getattr(part, name, None)) is not None), None)
