"""Directories of torch.distributed.checkpoint (DCP): sharded weights, gathered in one process, for ``--arch``.

Their index is a plain pickle, so the user trusts it first. The tensors beside it are read as tensors alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rankscope.errors import LoadError
from rankscope.formats import AGAIN, Kind
from rankscope.records import Note, Source, display_name
from rankscope.sources import FORMS, Form, LoadOptions
from rankscope.sources._arch import open_weights
from rankscope.sources._state import state_dict
from rankscope.sources._trust import trusted

if TYPE_CHECKING:
    from rankscope.sources._state import State


def open_distributed(spec: str, options: LoadOptions) -> Source:
    """Open a directory of a distributed checkpoint, whole or in shards of many processes.

    Args:
        spec: the directory.
        options: `trust` or `trust_sha256`, and `arch`, must be given.

    Returns:
        The architecture filled with the weights.

    Raises:
        LoadError: no architecture was named.
    """
    note = trusted(Path(spec), spec, Kind.DCP_DIRECTORY, options)
    if options.arch is None:
        raise LoadError(
            "RS320",
            f"{spec} was not loaded: it holds weights alone, without the architecture",
            remedies=[("Say which class takes them", f"rankscope probe {spec} --trust --arch yourmodule:Net")],
        )
    state, notes = _read(Path(spec), spec)
    return open_weights(spec, state, options, "distributed checkpoint", notes=(note, *notes))


def read_state(path: Path, name: str, options: LoadOptions) -> tuple[State, tuple[Note, ...]]:
    """The tensors of a distributed checkpoint, for ``--weights``.

    Args:
        path: the directory.
        name: the directory in the user's words.
        options: `trust` or `trust_sha256` must be given.

    Returns:
        Names to tensors, and what to know of how they were read.
    """
    note = trusted(path, name, Kind.DCP_DIRECTORY, options)
    state, notes = _read(path, name)
    return state, (note, *notes)


def _read(path: Path, name: str) -> tuple[State, tuple[Note, ...]]:
    """The weights of a directory that is trusted; what lies beside them, such as an optimizer's, is not read."""
    try:
        index = _index(path)
        _check_paths(index, name)
        content, entries = _outline(index)
        chosen, notes = state_dict(content, name)
        state = {entries[id(tensor)]: torch.empty_like(tensor, device="cpu") for tensor in chosen.values()}
        _fill(state, path)
    except LoadError:
        raise
    except BaseException as error:  # DCP wraps what its readers raise in a BaseException of its own
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise LoadError(
            "RS376",
            f"{name} was not loaded: torch.distributed.checkpoint cannot read it",
            details=[("torch says", _said(error))],
            remedies=[AGAIN, ("Gather it where it was made", f"{_GATHER} {name} weights.pt")],
        ) from error
    return {key: state[entries[id(tensor)]] for key, tensor in chosen.items()}, notes


_GATHER = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch"


def _index(path: Path) -> Any:
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    return FileSystemReader(path).read_metadata()


def _check_paths(index: Any, name: str) -> None:
    """Refuse an index that sends the reader out of its directory."""
    for stored in (index.storage_data or {}).values():
        part = str(getattr(stored, "relative_path", ""))
        if Path(part).is_absolute() or ".." in Path(part).parts or "\\" in part:
            raise LoadError(
                "RS337",
                f"{name} was not loaded: it names the file {display_name(part)!r}, which is not in its directory",
            )


def _outline(index: Any) -> tuple[dict[Any, Any], dict[int, str]]:
    """The nested dict that was saved, with tensors that have a shape and no numbers, and the entry of each."""
    paths: Mapping[str, tuple[Any, ...]] = index.planner_data if isinstance(index.planner_data, Mapping) else {}
    root: dict[Any, Any] = {}
    entries: dict[int, str] = {}
    for entry, stored in index.state_dict_metadata.items():
        *outer, last = paths.get(entry) or (entry,)
        inside = root
        for key in outer:
            inside = inside.setdefault(key, {})
        value = None
        if hasattr(stored, "properties"):
            value = torch.empty(stored.size, dtype=stored.properties.dtype, device="meta")
            entries[id(value)] = entry
        inside[last] = value
    return root, entries


def _fill(state: dict[str, torch.Tensor], path: Path) -> None:
    """Read the numbers of some entries; only tensors are asked for, since the others are pickles."""
    from torch.distributed.checkpoint.state_dict_loader import load

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no process group is set up is meant
        load(state, checkpoint_id=path, no_dist=True)


def _said(error: BaseException) -> str:
    """The innermost reason: DCP keeps those of the processes in a dict."""
    failures = getattr(error, "failures", None)
    if isinstance(failures, Mapping) and failures:
        inner = next(iter(failures.values()))
        error = inner[0] if isinstance(inner, tuple) else inner
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    return display_name(f"{type(error).__name__}: {text}".rstrip(": "))


FORMS.add(
    "distributed_checkpoint",
    Form(open_distributed, kinds=frozenset({Kind.DCP_DIRECTORY}), state=read_state),
)
