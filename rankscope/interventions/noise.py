"""Noise: Gaussian noise on the output of a block, in proportion to each token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rankscope.capture.flow import tensors
from rankscope.interventions._actions import at_output, replaced
from rankscope.interventions._registry import Number, intervention
from rankscope.interventions._scene import Scene  # noqa: TC001 - its name is read by the registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rankscope.interventions._actions import AtModule


@intervention(formula="y_i  ->  y_i + σ (‖y_i‖/√d) g_i,  g_i ~ N(0, I)", neutral=0.0, least={"sigma": 0.0})
def noise(scene: Scene, *, sigma: Number, seed: int = 0) -> Iterator[AtModule]:
    """Add noise to what a block gives: to each token Gaussian noise of σ times its own root mean square.

    The noise is the same in every forward pass on inputs of one shape, and another one in every layer; the random
    numbers of the caller go on as if none had been drawn. σ = 0 leaves the model as it is, bit for bit.

    Args:
        scene: the traced model, and the layers that are meant.
        sigma: size of the noise over that of the token, 0 and above, such as 0.01.
        seed: of the noise.

    Yields:
        One action a block.
    """
    for place in scene.blocks:
        yield at_output(place, "block output", _noisy(sigma, seed, place.layer.index))


def _noisy(sigma: Number, seed: int, index: int) -> Callable[[Any, Any, Any], Any]:
    def after(args: Any, kwargs: Any, output: Any) -> Any:
        del args, kwargs
        if isinstance(sigma, int | float) and sigma == 0:
            return output
        y = next(tensors(output))
        return replaced(output, 0, y + (sigma * _size(y) * _drawn(y, seed, index)).to(y.dtype))

    return after


def _size(y: Tensor) -> Tensor:
    """The root mean square of each token, (..., tokens, 1)."""
    return y.detach().float().square().mean(-1, keepdim=True).sqrt()


def _drawn(y: Tensor, seed: int, index: int) -> Tensor:
    """Standard normal numbers on the processor, whatever the device, so that every device gets the same."""
    generator = torch.Generator().manual_seed(seed * 100_003 + index)
    return torch.randn(y.shape, generator=generator).to(y.device)
