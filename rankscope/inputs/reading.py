"""Reading: what the first batch teaches about the inputs of a run, and every batch made ready by it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rankscope.errors import InputError
from rankscope.inputs.arguments import Call, Parameters, as_call, bind, parameters
from rankscope.inputs.dry_run import DryRun, Lookup, Use, dry_run
from rankscope.inputs.masks import EITHER, SENSE, Found, find_keep, pad_ids
from rankscope.inputs.values import cast, model_dtype
from rankscope.records import Batch, Note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from rankscope.inputs.options import InputOptions

SAMPLE = 3  # sequences of the first batch that are enough to see where the arguments go


@dataclass(frozen=True, slots=True)
class Reading:
    """How the batches of one run are read.

    `rows` maps an argument to the embedding it is looked up in and its number of rows; `tokens_first` says that the
    inputs are (tokens, batch, …), None that this could not be seen; `layout` is what the user said or the model showed;
    `senses` are those of the padding masks.
    """

    known: Parameters
    options: InputOptions
    dtype: torch.dtype
    rows: Mapping[str, tuple[str, int]]
    tokens_first: bool | None
    layout: str | None
    senses: Mapping[str, str]
    pad: int | None
    end: int | None

    def call(self, item: Any) -> tuple[Call, tuple[Note, ...]]:
        """Bind a batch to the parameters of forward, floats in the model's dtype.

        Args:
            item: a batch in any form that `as_call` reads.

        Returns:
            The arguments, and notes on them.
        """
        return bind(self.known, *cast(as_call(item), self.dtype))

    def batch(self, call: Call, keep: Mapping[str, Tensor] | None = None) -> tuple[Batch, tuple[Note, ...]]:
        """Check the ids of a call and find its padding.

        Args:
            call: arguments that are bound.
            keep: the real tokens, where they are known.

        Returns:
            The batch, and notes on its masks.
        """
        named = self.known.named(*call)
        for name, (where, rows) in self.rows.items():
            if isinstance(named.get(name), Tensor):
                _check_ids(name, named[name], where, rows)
        if keep:
            return Batch(*call, keep=keep), ()
        found = self.find(named)
        return Batch(*call, keep=found.keep), (*found.notes, *self._unmasked(named, found.keep))

    def _used(self, named: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments without the masks that forward ignores: not of a name it has, while it names another."""
        masks = (*SENSE, *EITHER)
        if not any(name in masks for name in self.known.names):
            return named
        spare = {name for name in masks if name not in self.known.names and name != self.options.mask}
        return {name: value for name, value in named.items() if name not in spare}

    def main(self, call: Call) -> Tensor | None:
        """The data of a call.

        Args:
            call: arguments that are bound.

        Returns:
            Its first tensor that is no mask.
        """
        named = self.known.named(*call)
        return next((value for name, value in named.items() if isinstance(value, Tensor) and "mask" not in name), None)

    def find(self, named: Mapping[str, Any]) -> Found:
        """Find the padding masks of a batch.

        Args:
            named: its arguments by the names of their parameters.

        Returns:
            What was found.
        """
        return find_keep(
            self._used(named),
            mask=self.options.mask,
            sense=self.options.mask_sense,
            senses=self.senses,
            tokens_first=bool(self.tokens_first),
            pad=self.pad,
        )

    def _unmasked(self, named: Mapping[str, Any], keep: Mapping[str, Tensor]) -> list[Note]:
        """Notes on ids that look like padding where no mask is among the arguments."""
        if self.pad is None or keep or self.options.mask is not None or any("mask" in n for n in self._used(named)):
            return []
        notes = (pad_ids(named, name, self.pad, self.end) for name in self.rows if isinstance(named.get(name), Tensor))
        return [note for note in notes if note]


def learn(model: nn.Module, options: InputOptions, item: Any, *, drawn: bool = False) -> Reading:
    """Run the start of a forward on a few sequences of the first batch, and keep what it shows.

    Args:
        model: the model.
        options: what the user said.
        item: the first batch, in any form that `as_call` reads.
        drawn: the ids are random, so that one equal to the pad id is no padding.

    Returns:
        How to read this and every later batch.

    Raises:
        InputError: the batch does not fit the model: names, dtypes, or ids outside the embedding.
    """
    known, dtype = parameters(model), model_dtype(model)
    call, _ = bind(known, *cast(as_call(item), dtype))
    seen = dry_run(model, *_sample(call))
    check_kinds(seen, dtype, known.named(*call))
    layout = options.layout or ("tbd" if seen.tokens_first else None)
    config = getattr(model, "config", None)
    pad, end = (_whole(getattr(config, name, None)) for name in ("pad_token_id", "eos_token_id"))
    rows = {name: (u.where, u.rows) for name, u in seen.embeddings().items() if u.complete}
    tokens_first = layout == "tbd" if layout else seen.tokens_first
    reading = Reading(known, options, dtype, rows, tokens_first, layout, SENSE, None if drawn else pad, end)
    return replace(reading, senses=reading.find(known.named(*call)).senses)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _sample(call: Call) -> Call:
    """The first few entries along the first axis, a number that is not that of the second axis too."""
    first = next((t for t in torch.utils._pytree.tree_leaves(call) if isinstance(t, Tensor) and t.ndim >= 2), None)
    if first is None or first.is_nested:
        return call
    total = first.shape[0]
    size = SAMPLE - 1 if first.shape[1] == SAMPLE else SAMPLE

    def shorten(tensor: Tensor) -> Tensor:
        return tensor[:size] if tensor.ndim >= 1 and tensor.shape[0] == total else tensor

    sample: Call = torch.utils._pytree.tree_map_only(Tensor, shorten, call)
    return sample


def check_kinds(seen: DryRun, dtype: torch.dtype, given: Mapping[str, Any]) -> None:
    """Refuse what the modules of a dry run cannot take.

    Args:
        seen: the dry run.
        dtype: of the model's floats.
        given: the arguments in full, by the names of their parameters; a dry run may see part of them.

    Raises:
        InputError: floats where ids are wanted, ids where floats are wanted, ids outside an embedding, or sequences
            longer than a table of positions.
    """
    for use in seen.wrong:
        rows, got = use.rows, _kind(use, given)
        if use.trouble == "dtype":
            raise InputError(
                "RS217",
                f"{_said(use)} holds {got}, but {_place(use)} looks up token ids",
                details=[("expected", f"int64 in 0..{rows - 1}"), ("got", got)],
                remedies=[("Random ids", f"--random '{use.name or 'ids'}=8x128:int64:0..{rows - 1}'")],
            )
        _check_length(use, seen, given)
        _check_ids(_said(use), given.get(use.name or "", use.tensor), use.where, rows)
    first = seen.weighted
    if first is not None and first.name is not None and _is_whole(first.tensor):
        got = _kind(first, given)
        raise InputError(
            "RS218",
            f"{_said(first)} holds {got}, but {_place(first)} multiplies it by {dtype} weights",
            details=[("expected", str(dtype)), ("got", got)],
            remedies=[("Save as numbers", f"np.savez('inputs.npz', {first.name}=array.astype(np.float32))")],
        )


def _check_length(use: Lookup, seen: DryRun, given: Mapping[str, Any]) -> None:
    """Refuse sequences longer than a table that the model looks the positions up in, which it counts itself."""
    name, ids = next(((n, v) for n, v in given.items() if isinstance(v, Tensor) and v.ndim >= 2), ("", use.tensor))
    most = use.rows - max(0, int(use.tensor.min()))  # some tables begin with rows for padding
    axis = next((i for i in (1, 0) if use.tensor.shape[-1:] == ids.shape[i : i + 1] and ids.shape[i] > most), None)
    if use.name is not None or not name or axis is None or most < 1:
        return
    shape = "x".join(str(most if i == axis else size) for i, size in enumerate(ids.shape))
    tokens = seen.embeddings().get(name)
    ending = f":int64:0..{tokens.rows - 1}" if tokens else ":int64" if _is_whole(ids) else ""
    raise InputError(
        "RS216",
        f"{name} has {ids.shape[axis]} tokens a sequence, but {_place(use)} has positions for {most} at most",
        details=[("expected", f"at most {most} tokens"), ("got", str(ids.shape[axis]))],
        remedies=[("Shorter sequences", f"--random '{name}={shape}{ending}', or a file of at most {most} tokens each")],
    )


def _check_ids(name: str, ids: Tensor, where: str, rows: int) -> None:
    """Refuse ids outside an embedding, with the first offending value and its place."""
    outside = (ids < 0) | (ids >= rows)
    if not bool(outside.any()):
        return
    place = tuple(int(i) for i in outside.nonzero()[0])
    raise InputError(
        "RS216",
        f"{name} holds the token id {int(ids[place])}, but {where or 'the embedding'} has {rows} rows",
        details=[
            ("expected", f"0..{rows - 1}"),
            ("got", f"{int(ids.min())}..{int(ids.max())}, {int(outside.sum())} outside, the first at {list(place)}"),
        ],
        remedies=[
            ("Give ids in that range", f"--random '{name}=8x128:int64:0..{rows - 1}', or a file made for this model"),
            ("Make ids of text", "--text FILE --tokenizer DIR, with the model's own tokenizer"),
        ],
    )


def _is_whole(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex()


def _kind(use: Use, given: Mapping[str, Any]) -> str:
    """The dtype that reached a module, and the shape that was given, where it was."""
    dtype = str(use.tensor.dtype).removeprefix("torch.")
    whole = given.get(use.name or "")
    return dtype if whole is None else f"{dtype} of shape {tuple(whole.shape)}"


def _said(use: Use) -> str:
    return use.name or "what the model makes of the inputs"


def _place(use: Use) -> str:
    return f"{use.where or 'the model'} ({type(use.module).__name__})"
