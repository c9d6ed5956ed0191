"""The training text and the excerpts held out of it."""

from __future__ import annotations

import torch

from rankscope.studies.corpus import TOKENS, corpus, windows


def test_it_is_much_english_and_the_same_every_time() -> None:
    text = corpus()
    assert text == corpus()
    assert len(text.text) > 250_000
    assert text.text.count(b" the ") > 3000
    lines = text.text.decode().split("\n")
    assert len(set(lines)) == len(lines)
    assert not any("  " in line for line in lines)


def test_excerpts_are_held_out() -> None:
    text = corpus()
    assert len(set(text.sample)) == 8
    for excerpt in text.sample:
        assert (len(excerpt), excerpt.isascii(), excerpt.isprintable(), excerpt.strip()) == (
            TOKENS,
            True,
            True,
            excerpt,
        )
        assert not any(excerpt[i : i + 40].encode() in text.text for i in range(TOKENS - 39))


def test_windows_are_stretches_of_the_text_and_what_follows() -> None:
    text = bytes(range(200))
    ids, following = windows(text, 50)(torch.Generator().manual_seed(0))
    assert ids.shape == following.shape == (50, TOKENS)
    assert (ids.dtype, following.dtype) == (torch.int64, torch.int64)
    assert torch.equal(ids + 1, following)
    assert torch.equal(ids, ids[:, :1] + torch.arange(TOKENS))
    assert len(ids[:, 0].unique()) > 25


def test_the_last_window_is_reached() -> None:
    text = bytes(range(TOKENS + 2))
    ids, following = windows(text, 64)(torch.Generator().manual_seed(0))
    assert set(ids[:, 0].tolist()) == {0, 1}
    assert following.max() == TOKENS + 1
