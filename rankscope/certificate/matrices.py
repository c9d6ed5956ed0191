"""Matrices: M and C_V of a block, as far as the model shows them, and whether its branch is made of them.

A module with a method ``mixing(x)``, which gives `matrices` (batch, groups, tokens, tokens) and `values` (groups,
width, width) or None, shows both. Any attention that capture can see shows its maps, M of each head, and its C_V where
`projections` finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rankscope.capture.layout import Unmeasurable
from rankscope.certificate.theorem import norms

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rankscope.capture.maps import AttentionMaps
    from rankscope.certificate.projections import Projections

_FITS = 1e-4  # of ‖F‖, and so much of what float32 leaves of F beside λY
_HIDDEN = 0.1  # of ‖F‖ that rounding may be, where F is to be told from another

NO_MATRICES = "no mixing matrix is exposed: no module has mixing(x), and no attention map was seen"


@dataclass(frozen=True, slots=True)
class Mixed:
    """‖M‖_F and ‖C_V‖_2 of one sequence, `branch` = Σ_g M_g Y C_g where both are known, and why one of them is not."""

    mixing_norm: float | None = None
    value_norm: float | None = None
    branch: Tensor | None = None
    no_matrices: str | None = None
    no_values: str | None = None


def mixers(block: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules of a block that have a method ``mixing``, those inside another left out.

    Args:
        block: any module.

    Returns:
        Name and module.
    """
    found: list[tuple[str, nn.Module]] = []
    for name, module in block.named_modules():
        inside = any(name.startswith(f"{other}.") or not other for other, _ in found)
        if callable(getattr(module, "mixing", None)) and not inside:
            found.append((name, module))
    return found


def of_mixer(mixer: Any, tokens: Tensor, real: Tensor | None, stream: Tensor) -> Mixed:
    """What a mixer shows of one sequence.

    Args:
        mixer: a module with ``mixing(x)``.
        tokens: x of this sequence, (1, tokens, width), as the mixer got it.
        real: (tokens,), true at real tokens; None where all are.
        stream: Y, the real tokens that enter the block, (tokens, width) float64.

    Returns:
        The numbers.
    """
    try:
        shown = mixer.mixing(tokens)
        matrices, values = shown.matrices.detach()[0].double(), shown.values
        if real is not None:
            matrices = matrices[:, real][:, :, real]
        values = None if values is None else values.detach().double()
        if matrices.ndim != 3 or matrices.shape[-2:] != (len(stream), len(stream)):
            shape = tuple(matrices.shape)
            return Mixed(no_matrices=f"mixing(x) gave matrices of shape {shape} for {len(stream)} tokens")
        branch = _apply(matrices, values, stream)
    except Exception as error:  # the user's own code, inside a hook
        return Mixed(no_matrices=f"its mixing(x) failed: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
    size, spread = norms(matrices, values)
    return Mixed(size.item(), spread, branch)


def _apply(matrices: Tensor, values: Tensor | None, stream: Tensor) -> Tensor:
    """Σ_g M_g Y C_g, group by group."""
    if values is None:
        parts = stream.reshape(len(stream), len(matrices), -1)  # (tokens, groups, width / groups)
        return torch.einsum("gij,jgc->igc", matrices, parts).flatten(-2)
    total = torch.zeros_like(stream)
    for mix, value in zip(matrices, values, strict=True):
        total += mix @ stream @ value
    return total


def of_maps(
    maps: AttentionMaps, index: int, real: Tensor | None, stream: Tensor, projected: Projections | str
) -> Mixed:
    """What the attention maps of a block show of one sequence.

    Args:
        maps: of its one self-attention call, by sequence.
        index: of the sequence in the batch.
        real: (tokens,), true at real tokens; None where all are.
        stream: Y, the real tokens that enter the block, (tokens, width) float64.
        projected: its value and output maps, or why they are not known.

    Returns:
        ‖[M_1 … M_H]‖_F over the heads, and of C_V what is known.
    """
    try:
        weights = maps[index][0].double()
    except Unmeasurable as reason:
        return Mixed(no_matrices=str(reason))
    except Exception as error:  # the maps are computed anew here
        return Mixed(no_matrices=f"its attention maps were not had: {type(error).__name__}: {str(error)[:200]}")
    if real is not None:
        weights = weights[:, real][:, :, real]
    size = torch.linalg.vector_norm(weights).item()
    if isinstance(projected, str):
        return Mixed(size, no_values=projected)
    return Mixed(size, projected.size, projected.branch(weights, stream))


def fits(branch: Tensor, shown: Tensor, skip: float, eps: float) -> bool | None:
    """Whether a branch is what the matrices of a mixer make of the stream.

    Args:
        branch: F = Y' − λY, (tokens, width) float64.
        shown: Σ_g M_g Y C_g.
        skip: ‖λY‖_F, beside which F was rounded.
        eps: of the dtype that the model ran in.

    Returns:
        Whether they agree; None where F could be anything, since rounding beside λY hides it.
    """
    rounding = 2 * eps * skip
    apart, allowed = (branch - shown).norm(), max(_FITS, 8 * eps) * branch.norm() + rounding
    if not apart <= allowed:
        return False
    return None if rounding > _HIDDEN * shown.norm() else True
