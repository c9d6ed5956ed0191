"""Candidates: inputs that a model may take, judged by its configuration and the modules that it is made of."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn

from rankscope.inputs.configured import SECOND, SIDES, configured
from rankscope.inputs.lengths import longer, shorter
from rankscope.inputs.masks import SENSE
from rankscope.inputs.mlp import is_mlp
from rankscope.inputs.random import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankscope.inputs.arguments import Parameters

SEQUENCES = 2  # of a dry run: one would be squeezed away by some models
TOKENS = 128  # of an inferred sequence
SAMPLES = (128, 256, 512, 1024, 4096, SECOND)  # along a one-dimensional convolution
DEPTHS = (16, 32, 8, 64)  # of a volume
WIDTHS = 4  # different widths of linear maps that are tried
SMALL = 2**16  # a width that costs little, whatever holds it


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
    lengths = (tokens, *shorter(model, tokens), *longer(model, tokens))
    for specs, layout in configured(model, known, SEQUENCES, lengths):
        yield Candidate(specs, layout=layout)
    widths: set[tuple[str, int]] = set()
    for module in model.modules():
        kind, width = _kind(module)
        if (
            not 1 <= width <= _most(module)
            or (kind, width) in widths
            or sum(seen == kind for seen, _ in widths) >= WIDTHS
        ):
            continue
        if kind != "matrix" and any(seen == kind for seen, _ in widths):
            continue
        widths.add((kind, width))
        yield from _of(kind, width, model, known, lengths)


def _most(module: nn.Module) -> int:
    """The largest width that a module of so many weights can have; what a file says of it may be anything."""
    held = itertools.chain(module.parameters(), module.buffers())
    return max(SMALL, sum(tensor.numel() for tensor in held))


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
    return ("matrix", int(module.in_features)) if isinstance(module, nn.Linear) else ("", 0)  # some give a tensor


def _of(kind: str, width: int, model: nn.Module, known: Parameters, lengths: tuple[int, ...]) -> Iterator[Candidate]:
    """The candidates of one module."""
    b, tokens = SEQUENCES, lengths[0]
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
