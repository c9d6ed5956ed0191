"""Reading torch.save files through torch's restricted unpickler, with its messages put into the user's words.

Every load is `weights_only=True`. There is no second, less safe attempt: the author of a file decides how the first
one fails.
"""

from __future__ import annotations

import enum
import re
import warnings
from typing import IO, TYPE_CHECKING, Any

import torch

from rankscope.errors import LoadError
from rankscope.formats import AGAIN, SAVE_WEIGHTS, Kind, size
from rankscope.records import Note, display_name
from rankscope.sources import _allow, _contents
from rankscope.sources._archive import check_size
from rankscope.sources._opcodes import Scan, scan
from rankscope.sources._stock import CALLS, stock
from rankscope.sources._wanted import Wants, asks_for_code, listed
from rankscope.specs import patterns

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

    from rankscope.sources import LoadOptions

# The tensors lie beside the pickle, so that of an honest model is small; following one takes a second a megabyte.
_PICKLE = 64 * 2**20
# A file of the old format begins with a magic number, a version and the system; the content is the fourth pickle.
_BEFORE = 3
_PLAIN = ("torch.", "collections.", "builtins.", "_codecs.")


def load(path: Path, name: str, kind: Kind, options: LoadOptions | None = None) -> tuple[Any, tuple[Note, ...]]:
    """What a torch.save file holds, on the CPU.

    Args:
        path: the file.
        name: the file in the user's words.
        kind: what it is. A file of the old format may hold tensors only.
        options: `allow` are the patterns of the user's own classes; without options there are none.

    Returns:
        The content, often a dict of tensors or an `nn.Module`, and a note of the classes that were allowed.

    Raises:
        LoadError: the file asks for code, is cut or damaged, or holds what no honest file does.
    """
    # torch warns about pickle protocols that it may not read; what it cannot read is refused below.
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            allowed = _check(file, name, kind, options)
            known: dict[str, Any] = {} if kind is Kind.TORCH_LEGACY else {**stock(), **allowed}
            with torch.serialization.safe_globals(_fresh(known)):
                content = torch.load(file, map_location="cpu", weights_only=True)
        except LoadError:
            raise
        except Exception as error:  # the file chooses the exception, so all of them end here
            told = _translated(error, file, name, kind, options)
            raise told from error
    _contents.check(content, name)
    note = Note("RS368", f"classes were imported from your own code (--allow): {listed(allowed)}")
    return content, (note,) if allowed else ()


def _fresh(known: dict[str, Any]) -> list[Any]:
    """The entries of torch's allow-list that the user has not put there for good: these alone are taken off again."""
    before = torch.serialization.get_safe_globals()
    entries: list[Any] = [(value, key) for key, value in known.items()]
    return [entry for entry in entries if entry not in before]


def _check(file: BufferedReader, name: str, kind: Kind, options: LoadOptions | None) -> dict[str, type]:
    """Refuse, before anything is built, what asks for code, calls classes or would fill the memory.

    Returns:
        The user's own classes by the names in the file.

    Raises:
        LoadError: it does.
    """
    if kind is Kind.TORCH_LEGACY:
        for found in _legacy(file):
            found.called = {each for each in found.called if each.startswith(_PLAIN)}  # torch refuses the others
            _check_calls(found, name, {})
        return {}
    check_size(file, name)
    file.seek(0)
    wanted = set(torch.serialization.get_unsafe_globals_in_checkpoint(file)) - stock().keys()
    file.seek(0)
    # by torch's own reader, since another one may see another archive in the same bytes
    pickled = torch._C.PyTorchFileReader(file).get_record("data.pkl")
    file.seek(0)
    if len(pickled) > _PICKLE:
        raise LoadError("RS314", f"{name} was not loaded: its pickle without the tensors has {size(len(pickled))}")
    found = scan(pickled)
    names = _allow.covered(wanted, patterns(options.allow if options else ()))
    if wanted - names.keys():
        wants = Wants(frozenset(wanted - names.keys()), found.root, len(names))
        error = asks_for_code(wants, file, name, kind, options)
        raise error
    _check_calls(found, name, allowed := _allow.resolve(names, name))
    file.seek(0)
    return allowed


def _legacy(file: IO[bytes]) -> list[Scan]:
    """The pickles of a file of the old format, the last of which lists its storages."""
    file.seek(0)
    found = [scan(file) for _ in range(_BEFORE + 2)]
    file.seek(0)
    return found


def _check_calls(found: Scan, name: str, allowed: dict[str, type]) -> None:
    """Refuse calls that torch.save never writes; only members of enums are honestly made by calling their class."""
    enums = {key for key, value in allowed.items() if issubclass(value, enum.Enum)}
    calls = found.called - CALLS - enums - _by_the_user()
    why = found.harm
    if calls:
        why = f"it calls {listed(calls)} while it is read, which torch.save never writes"
    elif found.filled & enums:
        why = f"it changes {listed(found.filled & enums)}, which torch.save never does"
    elif found.several & enums:
        why = f"it makes other enums of {listed(found.several & enums)}, which torch.save never does"
    if why:
        raise LoadError("RS315", f"{name} was not loaded: {display_name(why)}", remedies=[SAVE_WEIGHTS])


def _by_the_user() -> set[str]:
    """The names that the running program has put on torch's allow-list for good."""
    entries = torch.serialization.get_safe_globals()
    return {entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__qualname__}" for entry in entries}


def _translated(
    error: Exception, file: BufferedReader, name: str, kind: Kind, options: LoadOptions | None
) -> LoadError:
    """What a failed load means, in the user's words."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    wanted = re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", text)
    if wanted:
        return asks_for_code(_wants(wanted[1], file, kind), file, name, kind, options)
    operand = re.search(r"Unsupported operand (\d+)", text)
    if operand:
        why = f"it uses a pickle instruction ({operand[1]}) that torch's restricted reader does not know"
        return LoadError(
            "RS313",
            f"{name} was not loaded: {why}",
            remedies=[("Where it was made, save it without pickle_protocol", "torch.save(model, 'model.pt')")],
        )
    if isinstance(error, EOFError) or re.search(
        r"unexpected EOF|unexpected pos|exhausted before|wrong byte size|truncated", text
    ):
        facts = [("size", size(file.seek(0, 2)))]
        return LoadError("RS312", f"{name} is truncated: its end is missing", details=facts, remedies=[AGAIN])
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return LoadError(
            "RS314", f"{name} was not loaded: it does not fit into the memory of this machine", remedies=[SAVE_WEIGHTS]
        )
    cause = display_name(f"{type(error).__name__}: {text.strip().partition(chr(10))[0]}")
    return LoadError(
        "RS313",
        f"{name} was not loaded: it is damaged",
        details=[("torch says", cause)],
        remedies=[AGAIN, SAVE_WEIGHTS],
    )


def _wants(first: str, file: BufferedReader, kind: Kind) -> Wants:
    """What a file wants in which torch's reader met a name; one of the old format is searched for the others."""
    if kind is not Kind.TORCH_LEGACY:
        return Wants(frozenset({first}))
    content = _legacy(file)[_BEFORE]
    others = {each for each in content.imported if not each.startswith(_PLAIN)}
    return Wants(frozenset({first, *others}), content.root)
