"""Places: the words of a plan, which says where the later forward passes of a model are measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    import torch
    from torch import Tensor, nn

    from rankscope.capture.flow import Steps, Term
    from rankscope.capture.skips import Status
    from rankscope.records import Layer, Note


@dataclass(frozen=True, slots=True)
class Place:
    """A module call to hook: its output, or with `entering` its input number `stream`."""

    layer: Layer
    module: nn.Module
    module_name: str
    call: int
    entering: bool = False
    stream: int = 0


@dataclass(frozen=True, slots=True)
class ValuePlace:
    """An operation whose operand number `operand` is the values of a layer.

    `how` says in short how they are seen; `repeated` is their shape before heads were repeated; `order` the order of
    axes that brings them to (batch, heads, tokens, width); `own` the term V_n of the sum V'_n that attention gets,
    where the model mixes it with earlier values; `operation` the torch function, empty for a module.
    """

    layer: Layer
    repeated: torch.Size | None
    how: str
    operand: int = 0
    order: tuple[int, ...] | None = None
    own: Term | None = None
    operation: str = ""


@dataclass(frozen=True, slots=True)
class AttentionPlace:
    """An attention call of a layer, whose map can be seen; in `cross` attention the keys are not of its own stream."""

    layer: Layer
    kind: Literal["self", "cross"]
    how: str


@dataclass(frozen=True, slots=True)
class Add:
    """A sum that may be a residual add: where it runs, and what it is.

    `operation` is the torch function, `skip` the position of its skip operand; `kind`, `status` as in `skips`; `norm`
    says where its stack normalises, where that is known; `mixed` that its skip is itself a product of two activations,
    such as several streams that are mixed by a matrix.
    """

    layer: Layer | None
    module: str
    operation: str
    kind: str
    status: Status
    skip: int | None
    norm: Literal["pre", "post", "sandwich"] | None
    steps: Steps
    hit: int
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    `values` and `attention` are keyed by place in the user's code and how-manieth hit; `value_modules` are modules
    whose output, or input, is the values of a layer without attention call: their key is the name of the module and
    the number of its call. `no_values` and `no_attention` give a reason for each other layer, keyed by (stack, index);
    `skipped` the layers that are left out, with the reason; `adds` every sum that may be a residual add; `calls` how
    often each module ran when the model was traced, and `hits` how often each function did at each place.

    `mixed` is where edits that mix values tell of it while the model runs: V_n, as an attention call has it, to the
    V'_n that it gets instead; of a projection what it gives now, V'_n, to V_n.
    """

    places: tuple[Place, ...]
    values: Mapping[tuple[Steps, int], ValuePlace]
    no_values: Mapping[tuple[str, int], str]
    names: Mapping[int, str]
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    attention: Mapping[tuple[Steps, int], AttentionPlace] = field(default_factory=dict)
    no_attention: Mapping[tuple[str, int], str] = field(default_factory=dict)
    adds: tuple[Add, ...] = ()
    value_modules: tuple[Place, ...] = ()
    calls: Mapping[str, int] = field(default_factory=dict)
    hits: Mapping[tuple[Steps, str], int] = field(default_factory=dict)
    mixed: MutableMapping[Tensor, Tensor] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in order."""
        return tuple(place.layer for place in self.places)
