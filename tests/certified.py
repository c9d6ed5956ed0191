"""What the tests of the certificate share: slow twins, random numbers, and small models with a λ-skip."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


def mu(tokens: Tensor) -> float:
    """As the formula has it."""
    return (tokens - tokens.mean(0, keepdim=True)).norm().item()


def unit(tokens: Tensor) -> Tensor:
    return tokens / tokens.norm(dim=-1, keepdim=True)


def normal(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=random, dtype=torch.float64)


class Shown(NamedTuple):
    """What ``mixing`` gives, made by hand: no class of the package's zoo is needed."""

    matrices: Tensor
    values: Tensor | None


class Mixer(nn.Module):
    """One head of uniform causal mixing with a value map; `shows` says whether it has ``mixing``."""

    def __init__(self, width: int, *, bias: bool = False, shows: bool = True) -> None:
        super().__init__()
        self.value = nn.Linear(width, width, bias=bias)
        nn.init.normal_(self.value.weight, std=width**-0.5)
        if bias:
            nn.init.normal_(self.value.bias)
        if shows:
            self.mixing = self._mixing

    def forward(self, x: Tensor) -> Tensor:
        return self._matrix(x) @ self.value(x)

    def _matrix(self, x: Tensor) -> Tensor:
        ones = torch.ones(x.shape[1], x.shape[1], dtype=x.dtype).tril()
        return ones / ones.sum(-1, keepdim=True)

    def _mixing(self, x: Tensor) -> Shown:
        return Shown(self._matrix(x).expand(len(x), 1, -1, -1), self.value.weight.T[None])


class Block(nn.Module):
    """``norm(lam * x + mixer(x))``, or what `join` makes of x and the branch."""

    def __init__(
        self, mixer: nn.Module, lam: float, norm: nn.Module, join: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.mixer, self.norm, self.lam, self.join = mixer, norm, lam, join

    def forward(self, x: Tensor) -> Tensor:
        y = self.lam * x + self.mixer(x) if self.join is None else self.join(x, self.mixer(x))
        return self.norm(y)


class Rows(nn.Module):
    """Rows scaled to unit norm."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x, dim=-1)


class Net(nn.Module):
    """Blocks after `first`."""

    def __init__(self, blocks: list[nn.Module], first: nn.Module) -> None:
        super().__init__()
        self.first, self.blocks = first, nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return x


def skip_net(
    lam: float = 8.0,
    *,
    depth: int = 3,
    norm: Callable[[], nn.Module] = Rows,
    first: nn.Module | None = None,
    join: Callable[[Tensor, Tensor], Tensor] | None = None,
    **mixer: bool,
) -> Net:
    """Layers Y' = D(M Y C_V + λY) of width 12."""
    torch.manual_seed(0)
    return Net([Block(Mixer(12, **mixer), lam, norm(), join) for _ in range(depth)], first or Rows())


def tokens(count: int = 2, length: int = 16) -> Tensor:
    return torch.randn(count, length, 12, generator=torch.Generator().manual_seed(1))
