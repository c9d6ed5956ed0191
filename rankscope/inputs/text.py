"""Inputs from text: one sequence a line, or one a record of a .jsonl file.

Where forward takes a mask of known sense, sequences are padded on the right to the longest of their batch; where it
takes none, a batch holds sequences of equal length, so that nothing is padded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor, nn

from rankscope.errors import InputError, UsageError
from rankscope.inputs.arguments import Parameters, parameters
from rankscope.inputs.batches import assemble
from rankscope.inputs.dry_run import dry_run
from rankscope.inputs.encoding import choose
from rankscope.inputs.lengths import shorter
from rankscope.inputs.masks import SENSE, unknown_sense
from rankscope.records import Inputs, Note
from rankscope.registry import unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rankscope.inputs.options import InputOptions
    from rankscope.records import Source


def read_lines(path: Path, field: str | None) -> list[str]:
    """The sequences of a file, empty ones left out.

    Args:
        path: UTF-8 text.
        field: the field of each record that holds the text; None: the file is plain text.

    Returns:
        The sequences, in the order of the file.

    Raises:
        InputError: the file cannot be read, is no UTF-8, or a record has no such text.
        UsageError: the file is .jsonl, but no field was named.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError("RS204", f"the text {path} was not read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            "RS208",
            f"the text {path.name} was not read: it is no UTF-8, byte {error.start} is {error.object[error.start]:#x}",
        ) from error
    lines = [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]
    if field is None and path.suffix == ".jsonl":
        raise UsageError(
            "RS201", f"--text {path.name} holds records: name the field that is the text with --text-field"
        )
    found = [line if field is None else _record(path, number, line, field) for number, line in lines]
    if not any(found):
        raise InputError("RS208", f"the text {path.name} holds no sequence: it is empty")
    return [text for text in found if text.strip()]


def _record(path: Path, number: int, line: str, field: str) -> str:
    """The text of one record."""
    where = f"the text {path.name} was not read: line {number}"
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError("RS208", f"{where} is no JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get(field), str):
        has = ", ".join(record) if isinstance(record, dict) else type(record).__name__
        raise InputError("RS208", f"{where} has no text in the field {field!r}", details=[("it has", has)])
    text: str = record[field]
    return text


@dataclass(frozen=True, slots=True)
class _Plan:
    """How sequences become arguments: names of ids and mask, the mask's sense, what pads, what starts a decoder's."""

    ids: str
    pad: int
    mask: str | None = None
    sense: str | None = None
    start: int | None = None
    decoder_mask: bool = False
    tokens_first: bool = False

    def arguments(self, sequences: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Sequences padded to the longest, and the masks where forward takes them."""
        longest = max(map(len, sequences))
        ids = torch.full((len(sequences), longest), self.pad)
        real = torch.zeros(ids.shape, dtype=torch.bool)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence)
            real[row, : len(sequence)] = True
        made = {self.ids: ids.T if self.tokens_first else ids}
        if self.mask:
            made[self.mask] = ~real if self.sense == "drop" else real.long() if self.mask in SENSE else real
        if self.start is not None:  # the decoder reads the same text, one place later
            made["decoder_input_ids"] = torch.cat([torch.full((len(ids), 1), self.start), ids[:, :-1]], dim=1)
        if self.decoder_mask:
            made["decoder_attention_mask"] = real.long()
        return made

    def groups(self, sequences: Sequence[Sequence[int]], size: int) -> Iterator[Sequence[Sequence[int]]]:
        """The sequences of each batch; of equal length where there is no mask."""
        lengths = dict.fromkeys(map(len, sequences)) if self.mask is None else {None: None}
        for length in lengths:
            group = [sequence for sequence in sequences if length in {None, len(sequence)}]
            yield from (group[start : start + size] for start in range(0, len(group), size))


def _plan(model: nn.Module, known: Parameters, options: InputOptions, pad: int | None) -> _Plan:
    """Find the parameters that take ids and masks."""
    if known.ids is None:
        raise InputError("RS214", "the text does not fit the model: its forward takes no argument")
    config = getattr(model, "config", None)
    fill = next((i for i in (pad, getattr(config, "pad_token_id", None)) if isinstance(i, int)), 0)
    plan = _Plan(known.ids, max(fill, 0))
    if options.mask is not None and options.mask not in {"none", *known.names}:
        _refuse_name(options.mask, known)
    names = [name for name in SENSE if not name.startswith(("decoder", "tgt"))]
    if options.mask is not None:
        names = [] if options.mask == "none" else [options.mask]
    for name in names:
        if name in known.names:
            sense = options.mask_sense or SENSE.get(name)
            if sense is None:
                unknown_sense(name)
            plan = replace(plan, mask=name, sense=sense)
            break
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in known.names:
        start = getattr(config, "decoder_start_token_id", None)
        masked = plan.mask is not None and "decoder_attention_mask" in known.names
        plan = replace(plan, start=start if isinstance(start, int) else plan.pad, decoder_mask=masked)
    return plan


def _refuse_name(mask: str, known: Parameters) -> NoReturn:
    raise unknown_name("mask", mask, list(known.names))


def _refuse_text(model: nn.Module, path: Path, known: Parameters) -> NoReturn:
    raise InputError(
        "RS218",
        f"the text {path.name} was not read: {type(model).__name__} takes numbers, not token ids",
        details=[("why", f"{known.ids} is looked up in no embedding")],
        remedies=[("Inferred numbers", "leave out --text"), ("Your data", "--input data.npz")],
    )


def read_text(source: Source, options: InputOptions, path: Path) -> Inputs:
    """The batches of a text file.

    Args:
        source: the model, and where its tokenizer may lie.
        options: `text_field`, `tokenizer`, `batches`, `batch_size`, `max_tokens`, `mask` and `layout` are used; with
            `batches`, the first `batches` × `batch_size` sequences are read.
        path: the file.

    Returns:
        The inputs.

    Raises:
        InputError: the file holds no token, or the model takes none.
    """
    model, size = source.model, options.batch_size
    texts = read_lines(path, options.text_field)[: None if options.batches is None else options.batches * size]
    known = parameters(model)
    trial = dry_run(model, (), _plan(model, known, options, None).arguments([[0] * 5, [0] * 5]))
    tables = any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in model.modules())
    if (trial.weighted is not None and trial.weighted.name == known.ids) or (trial.error and not tables):
        _refuse_text(model, path, known)
    lookup = trial.embeddings().get(known.ids or "")
    encoding = choose(options.tokenizer, source.directory, lookup.rows if lookup else None)
    plan = _plan(model, known, options, encoding.pad)
    plan = replace(plan, tokens_first=options.layout == "tbd" or (options.layout is None and bool(trial.tokens_first)))
    wanted = min(options.max_tokens, encoding.longest or options.max_tokens)
    encoded = [encoding.encode(text, wanted + 1) for text in texts]
    if not any(encoded):
        raise InputError("RS208", f"the text {path.name} holds no token")
    limit = _limit(model, plan, max(encoded, key=len)[:wanted])
    short = [s if len(s) <= limit else encoding.encode(t, limit) for t, s in zip(texts, encoded, strict=True)]
    short = [sequence for sequence in short if sequence]
    cut = sum(len(sequence) > limit for sequence in encoded)
    notes = (Note("RS224", f"{cut} of {len(short)} sequences were cut to {limit} tokens"),) if cut else ()
    return assemble(
        model,
        replace(options, batches=None),
        lambda: map(plan.arguments, plan.groups(short, size)),
        f"text: {path.name}, {encoding.name}",
        notes=notes,
    )


def _limit(model: nn.Module, plan: _Plan, sequence: Sequence[int]) -> int:
    """The longest length that the model was seen to take, up to that of a sequence."""
    for length in (len(sequence), *shorter(model, len(sequence))):
        seen = dry_run(model, (), plan.arguments([sequence[:length]] * 2), whole=True)
        if seen.runs:
            return length
        if any(use.name for use in seen.wrong):  # the ids are wrong, not their number
            break
    return len(sequence)
