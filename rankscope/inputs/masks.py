"""Padding masks: which tokens are real, whatever the mask is called and whichever sense it has.

Three forms are read, all of shape (batch, tokens):

- truth values or 0 and 1, of the sense that the name has (`SENSE`);
- the same under a name that is used in both senses in the wild (`EITHER`): the sense is taken from evidence, and asked
  for where there is none. Evidence is what the masked places hold (the pad id and nothing else, or zeros), else a row
  of one value throughout beside rows of two: padding to the longest leaves one row full, and an empty row is rare.
  That the first token is real is no evidence, since some pad on the left;
- floats that are added to scores: 0 keeps, minus infinity or a large negative number drops.

A mask with more axes, or a square one over pairs of tokens, says who may see whom and is no padding mask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from rankscope.errors import InputError, UsageError
from rankscope.records import Note
from rankscope.registry import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

SENSE = {
    "attention_mask": "keep",
    "decoder_attention_mask": "keep",
    "input_mask": "keep",
    "src_key_padding_mask": "drop",
    "tgt_key_padding_mask": "drop",
    "key_padding_mask": "drop",
    "encoder_padding_mask": "drop",
}
EITHER = ("mask", "padding_mask", "pad_mask", "token_mask", "src_mask")
OTHERS = (
    "memory_key_padding_mask",
    "encoder_attention_mask",
    "bool_masked_pos",
    "global_attention_mask",
    "past_observed_mask",
)
ADDED = -1e4  # the mildest number in use for "drop" in a mask that is added to scores: what float16 could hold


@dataclass(frozen=True, slots=True)
class Found:
    """Masks found in one batch: `keep` as in `Batch`, what was left aside, and the senses that evidence gave."""

    keep: Mapping[str, Tensor]
    notes: tuple[Note, ...] = ()
    senses: Mapping[str, str] = field(default_factory=dict)


def find_keep(
    named: Mapping[str, Any],
    *,
    mask: str | None = None,
    sense: str | None = None,
    senses: Mapping[str, str] = SENSE,
    tokens_first: bool = False,
    pad: int | None = None,
) -> Found:
    """Find the padding masks among the arguments of a batch.

    Args:
        named: the arguments by the names of their parameters.
        mask: the name of the mask, or ``none``; None looks for known names.
        sense: ``keep`` or ``drop``: what a true entry does; None takes it from the name or from evidence.
        senses: names whose sense is known, as of earlier batches.
        tokens_first: whether the inputs are (tokens, batch, …).
        pad: the id of padding, where it is known.

    Returns:
        Name to truth values (batch, tokens), true at real tokens; a mask that keeps every token is left out.

    Raises:
        UsageError: no argument has the given name, it is no mask, or a sense was given and there is no mask.
        InputError: nothing tells the sense of a mask.

    Example:
        >>> find_keep({"src_key_padding_mask": torch.tensor([[False, True]])}).keep["src_key_padding_mask"]
        tensor([[ True, False]])
    """
    if mask == "none":
        return Found({})
    if mask is not None and mask not in named:
        _refuse_name(mask, named)
    known = [name for name in named if name in SENSE or name in EITHER] if mask is None else [mask]
    candidates = {name: named[name] for name in known if isinstance(named[name], Tensor)}
    sequences = next((tensor.size(0) for tensor in _data(named, tokens_first)), None)
    keep: dict[str, Tensor] = {}
    learnt: dict[str, str] = dict(senses)
    notes = [] if mask else _strangers(named, tokens_first)
    for name, tensor in candidates.items():
        main = _main(named, name, tokens_first)
        if mask is not None and (why := _no_mask(tensor)):
            raise UsageError("RS221", f"--mask {mask} cannot be used: {why}")
        if mask is None and (why := _no_padding_mask(name, tensor, main, sequences)):
            notes.append(Note("RS222", f"{name} was not read as a padding mask: {why}"))
            continue
        values = tensor.detach().cpu()
        if sense is None and name not in learnt and (shown := _evidence(values.bool(), main, pad)):
            learnt[name] = shown
        keep[name] = _read(name, values, sense or learnt.get(name))
    if sense is not None and not keep:
        raise UsageError("RS221", f"--mask-sense {sense} was given, but no padding mask was found among the arguments")
    return Found({name: real for name, real in keep.items() if not bool(real.all())}, tuple(notes), learnt)


def _refuse_name(mask: str, named: Mapping[str, Any]) -> NoReturn:
    raise unknown_name("mask", mask, [name for name, value in named.items() if isinstance(value, Tensor)])


def _strangers(named: Mapping[str, Any], tokens_first: bool) -> list[Note]:
    """Notes on arguments that look like padding masks by name and shape, but are not known to be."""
    names = [name for name, value in named.items() if "mask" in name and isinstance(value, Tensor)]
    return [
        Note("RS222", f"{name} was not read as a padding mask; if it is one: --mask {name} --mask-sense keep (or drop)")
        for name in names
        if name not in (*SENSE, *EITHER, *OTHERS) and _main(named, name, tokens_first) is not None
    ]


def _main(named: Mapping[str, Any], name: str, tokens_first: bool) -> Tensor | None:
    """What the mask is about: the first tensor that has its sequences and tokens on the first two axes."""
    shape = tuple(named[name].shape)
    data = _data(named, tokens_first)
    return next((tensor.detach().cpu() for tensor in data if tuple(tensor.shape[:2]) == shape), None)


def _data(named: Mapping[str, Any], tokens_first: bool) -> list[Tensor]:
    """The tensors that are no masks, sequences on the first axis."""
    tensors = [value for name, value in named.items() if isinstance(value, Tensor) and "mask" not in name]
    return [tensor.transpose(0, 1) if tokens_first else tensor for tensor in tensors if tensor.ndim >= 2]


def _no_padding_mask(name: str, tensor: Tensor, main: Tensor | None, sequences: int | None) -> str | None:
    """Why a tensor that was not chosen by the user is no padding mask, or None where it is one."""
    shape = tuple(tensor.shape)
    if why := _no_mask(tensor):
        return why
    if main is None and (name in EITHER or sequences not in {None, shape[0]}):
        return f"no argument has its shape {shape} as batch and tokens"
    if shape[0] == shape[1] and _is_causal(tensor):
        return "it is triangular, a map of who may see whom"
    return None


def _no_mask(tensor: Tensor) -> str | None:
    """Why a tensor cannot be a padding mask, whatever it is called."""
    if tensor.ndim != 2:
        return f"its shape is {tuple(tensor.shape)}, expected (batch, tokens)"
    values = torch.unique(tensor.detach().float())
    binary = bool(((values == 0) | (values == 1)).all())
    added = tensor.is_floating_point() and bool(((values == 0) | (values <= ADDED)).all())
    return None if binary or added else "it holds other numbers than 0 and 1, or 0 and minus infinity"


def _is_causal(tensor: Tensor) -> bool:
    """Whether row i has one value up to the diagonal and another after it."""
    lower = torch.ones_like(tensor, dtype=torch.bool).tril()
    return tensor.shape[0] > 1 and all(len(torch.unique(tensor[part].float())) == 1 for part in (lower, ~lower))


def _read(name: str, tensor: Tensor, sense: str | None) -> Tensor:
    """Truth values, true at real tokens."""
    if tensor.is_floating_point() and not bool((tensor == 1).any()):  # added to scores; all zeros keep every token
        return tensor == 0
    true = tensor.bool()
    if sense is None and bool((true == true.reshape(-1)[:1]).all()):  # nobody drops every token
        return torch.ones_like(true)
    if sense is None:
        unknown_sense(name)
    return true if sense == "keep" else ~true


def unknown_sense(name: str) -> NoReturn:
    """Ask for the sense of a mask.

    Args:
        name: of the mask.

    Raises:
        InputError: always.
    """
    raise InputError(
        "RS220",
        f"the padding mask {name!r} was not read: some libraries keep a token where it is true, others drop it",
        remedies=[
            ("If true marks real tokens", "--mask-sense keep"),
            ("If true marks padding", "--mask-sense drop"),
            ("If it is no padding mask", "--mask none"),
        ],
    )


def _evidence(true: Tensor, main: Tensor | None, pad: int | None) -> str | None:
    """The sense that the data show; None where they show neither or both."""
    if bool(true.all()) or not bool(true.any()):
        return None
    senses = set()
    for sense, real in (("keep", true), ("drop", ~true)):
        if main is not None and _is_padding(main[~real], pad) and not _is_padding(main[real], pad):
            senses.add(sense)
    if not senses:
        full = {"keep": bool(true.all(dim=1).any()), "drop": bool((~true).all(dim=1).any())}
        senses = {sense for sense, row in full.items() if row}
    return senses.pop() if len(senses) == 1 else None


def _is_padding(values: Tensor, pad: int | None) -> bool:
    """Whether all values are the pad id, or zeros where the pad id is not known."""
    return bool((values == (0 if pad is None or values.is_floating_point() else pad)).all())


def pad_ids(named: Mapping[str, Any], ids: str, pad: int, end: int | None) -> Note | None:
    """A note where sequences of ids begin or end with the pad id although no mask was found.

    Args:
        named: the arguments by the names of their parameters.
        ids: the name of the ids, (batch, tokens).
        pad: the id of padding.
        end: the id that ends a sequence; where it is the pad id too, one of them is no padding.

    Returns:
        The note, or None.

    Example:
        >>> pad_ids({"ids": torch.tensor([[5, 6, 0, 0]])}, "ids", pad=0, end=None).code
        'RS223'
    """
    tensor = named[ids]
    if tensor.ndim != 2 or tensor.is_floating_point():
        return None
    is_pad = (tensor == pad).long()
    runs = is_pad.cumprod(dim=1).sum(dim=1), is_pad.flip(1).cumprod(dim=1).sum(dim=1)
    longest = torch.maximum(*runs)
    count = int(longest[longest > int(pad == end)].sum())
    if count == 0:
        return None
    return Note(
        "RS223",
        f"{count} of {tensor.numel()} tokens of {ids} look like padding (id {pad}); without a mask they are measured",
    )
