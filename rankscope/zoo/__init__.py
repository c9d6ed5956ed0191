"""Zoo: the reference architectures, one paper a file; every module of this folder registers one.

An architecture is a builder whose keyword parameters are its options: the annotation says how the text of a value is
read, the default what it is when it is not given, the docstring what it means.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, get_type_hints

from rankscope.errors import UsageError
from rankscope.registry import Registry
from rankscope.zoo._listing import ZooEntry, ZooOption, check_spec, demos, list_zoo
from rankscope.zoo._spec import check_kind, parse, split

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Option",
    "ZooEntry",
    "ZooOption",
    "architecture",
    "build",
    "check_spec",
    "demos",
    "list_zoo",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Architecture:
    """A reference architecture: its paper, what is claimed of it, its builder and the builder's options."""

    name: str
    paper: str
    claim: str
    builder: Callable[..., nn.Module]
    options: Mapping[str, Option]

    @property
    def description(self) -> str:
        """What the architecture is and what each option means: the docstring of the builder."""
        return inspect.getdoc(self.builder) or ""


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """An option of an architecture: its `kind` (what `check_kind` lets pass) and its default."""

    kind: Any
    default: Any


ARCHITECTURES: Registry[Architecture] = Registry("architecture", "rankscope.zoo")


def architecture(*, paper: str, claim: str) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Register a builder under its own name.

    Args:
        paper: where the architecture was published.
        claim: what is said there about the rank of its tokens, in one line.

    Returns:
        The decorator, which gives the builder back.
    """

    def register(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        kinds = get_type_hints(builder)
        options = {
            name: Option(check_kind(kinds[name]), parameter.default)
            for name, parameter in inspect.signature(builder).parameters.items()
        }
        ARCHITECTURES.add(builder.__name__, Architecture(builder.__name__, paper, claim, builder, options))
        return builder

    return register


def build(spec: str, *, seed: int = 0) -> nn.Module:
    """Build an architecture with random weights; the caller's random numbers go on as if nothing had been drawn.

    Args:
        spec: a name and options, such as ``"lambda_skip,depth=2,norm=layer,lam=1,2"``; an item without ``=`` continues
            the list before it. An item ``seed=…`` goes before the argument.
        seed: of the weights; the same spec and seed give the same weights.

    Returns:
        The model on the CPU, in training mode.

    Raises:
        UsageError: the architecture, an option or a value is unknown, or the sizes do not fit together.

    Example:
        >>> model = build("transformer,depth=2,width=16,norm=post")
        >>> len(model.blocks)
        2
    """
    import torch

    name, items = split(spec)
    entry = ARCHITECTURES[name]
    kinds = {key: option.kind for key, option in entry.options.items()}
    values = parse(items, {**kinds, "seed": int}, name)
    seed = values.pop("seed", seed)
    if not 0 <= seed < 2**63:
        raise UsageError(
            "RS352",
            f"{name} was not built: seed is {seed}, expected 0 to 2^63 - 1",
            remedies=[("A seed in the range", f"zoo:{name},seed=0")],
        )
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reseed the caller's GPUs
        return entry.builder(**values)
