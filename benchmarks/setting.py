"""Setting: the model and the inputs that every contender is given; weights and ids are random, from one seed."""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from rankscope.sources import open_model

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Setting:
    """A transformer of the zoo and its batches; the model is of the size of GPT-2 small unless said otherwise."""

    sequences: int
    tokens: int
    batches: int = 1
    depth: int = 12
    width: int = 768
    heads: int = 12
    vocab: int = 50257

    @property
    def spec(self) -> str:
        """The model, as the command line takes it."""
        return f"zoo:transformer,depth={self.depth},width={self.width},heads={self.heads},vocab={self.vocab}"

    @property
    def words(self) -> str:
        """The inputs, as a reader is told."""
        size = f"{self.sequences}×{self.tokens}"
        return size if self.batches == 1 else f"{size}, {self.batches} batches"

    @property
    def spectra(self) -> int:
        """Matrices of tokens that a probe sees: one a sequence, for the input of the first block and every output."""
        return self.sequences * self.batches * (self.depth + 1)

    def activation(self) -> Tensor:
        """Tokens of the shape of a block's output."""
        return torch.randn(self.sequences, self.tokens, self.width, generator=torch.Generator().manual_seed(0))

    def smoke(self) -> Setting:
        """The same in so small that only its running is tested."""
        return replace(
            self,
            sequences=2,
            tokens=max(8, self.tokens // 32),
            batches=min(self.batches, 2),
            depth=2,
            width=24,
            heads=2,
            vocab=64,
        )

    def dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


class Job:
    """The model of a setting, built, and its batches of ids (sequences, tokens)."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.model: nn.Module = open_model(setting.spec).model.eval()
        generator = torch.Generator().manual_seed(0)
        shape = (setting.sequences, setting.tokens)
        self.batches: list[Tensor] = [
            torch.randint(setting.vocab, shape, generator=generator) for _ in range(setting.batches)
        ]
        self.activation = setting.activation()

    def forward(self) -> None:
        """Run the model alone on every batch, without gradients."""
        with torch.no_grad():
            for ids in self.batches:
                self.model(ids)

    def first(self) -> Job:
        """The same model with the first batch alone."""
        job = copy(self)
        job.batches = self.batches[:1]
        return job


TINY = Setting(1, 16, depth=2, width=24, heads=2, vocab=64)
"""What contenders are warmed up on: imports, pools of threads."""
