"""Corpus: the English of the standard library's help topics, and excerpts held out of it."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

TOKENS = 128
EXCERPTS = 8
APART = 40  # bytes: no stretch this long of an excerpt occurs in the training text


@dataclass(frozen=True, slots=True)
class Corpus:
    """Paragraphs of English, one a line, and excerpts of others that were left out."""

    text: bytes
    sample: tuple[str, ...]


def corpus() -> Corpus:
    """The text of this Python's help topics, every paragraph once and with single spaces.

    Returns:
        The training text, and 8 excerpts of 128 ASCII characters from paragraphs held out of it.

    Example:
        >>> [len(excerpt) for excerpt in corpus().sample]
        [128, 128, 128, 128, 128, 128, 128, 128]
    """
    from pydoc_data.topics import topics

    split = (re.split(r"\n\s*\n", topic) for _, topic in sorted(topics.items()))
    paragraphs = list(dict.fromkeys(" ".join(text.split()) for texts in split for text in texts))
    candidates = [text for text in paragraphs if re.match(r"[A-Z][ -~]{126}[!-~]", text)]
    random.Random(0).shuffle(candidates)  # noqa: S311 - no secret
    held: list[str] = []
    whole = "\n".join(paragraphs)
    for text in candidates:
        if len(held) < EXCERPTS and _occurs_once(text[:TOKENS], whole):
            held.append(text)
    rest = "\n".join(text for text in paragraphs if text not in held)
    return Corpus(rest.encode(), tuple(text[:TOKENS] for text in held))


def _occurs_once(excerpt: str, text: str) -> bool:
    """Whether no stretch of the excerpt occurs in the text a second time."""
    return all(text.count(excerpt[i : i + APART]) == 1 for i in range(len(excerpt) - APART + 1))


def windows(text: bytes, batch: int) -> Callable[[Generator], tuple[Tensor, Tensor]]:
    """Draws of random windows of a text.

    Args:
        text: the bytes.
        batch: windows a draw.

    Returns:
        A function of a generator: ids (batch, 128) and, for each, the id that follows.
    """
    data = torch.tensor(list(text), dtype=torch.uint8)

    def draw(generator: Generator) -> tuple[Tensor, Tensor]:
        start = torch.randint(len(data) - TOKENS, (batch, 1), generator=generator)
        ids = data[start + torch.arange(TOKENS + 1)].long()  # (batch, tokens + 1)
        return ids[:, :-1], ids[:, 1:]

    return draw
