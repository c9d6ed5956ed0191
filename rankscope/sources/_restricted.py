"""Reading torch.save files through torch's restricted unpickler, with its messages put into the user's words.

Every load is `weights_only=True`. There is no second, less safe attempt: the author of a file decides how the first
one fails.
"""

from __future__ import annotations

import hashlib
import re
import sys
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from rankscope.errors import LoadError
from rankscope.formats import AGAIN, SAVE_WEIGHTS, Kind, size
from rankscope.records import display_name
from rankscope.sources import _contents
from rankscope.sources._stock import CALLS, called, stock

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from io import BufferedReader
    from pathlib import Path

# torch.save stores its records as they are; more than this is an archive made to fill the memory.
_UNPACKED = 4


def load(path: Path, name: str, kind: Kind) -> Any:
    """What a torch.save file holds, on the CPU.

    Args:
        path: the file.
        name: the file in the user's words.
        kind: `Kind.TORCH_ZIP` or `Kind.TORCH_LEGACY`. A file of the old format may hold tensors only.

    Returns:
        The content: often a dict of tensors or an `nn.Module` of stock classes.

    Raises:
        LoadError: the file asks for code, is cut or damaged, or holds what no honest file does.
    """
    # torch warns about pickle protocols that it may not read; what it cannot read is refused below.
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if kind is Kind.TORCH_ZIP:
                _check_archive(file, name)
            with _allowed(kind):
                content = torch.load(file, map_location="cpu", weights_only=True)
        except LoadError:
            raise
        except Exception as error:  # the file chooses the exception, so all of them end here
            told = _translated(error, file, name, kind)
            raise told from error
    _contents.check(content, name)
    return content


def _allowed(kind: Kind) -> AbstractContextManager[None]:
    """Torch's allow-list widened for one load by the stock classes that the user has not put there for good."""
    known = torch.serialization.get_safe_globals()
    entries: list[Any] = [(value, key) for key, value in stock().items()]
    fresh = [entry for entry in entries if entry not in known]
    return torch.serialization.safe_globals(fresh if kind is Kind.TORCH_ZIP else [])


def _check_archive(file: BufferedReader, name: str) -> None:
    """Refuse, before anything is built, an archive that unpacks to far more, asks for code or calls classes."""
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    packed = file.seek(0, 2)
    if unpacked > _UNPACKED * packed:
        what = f"it unpacks to {unpacked // packed} times its size"
        raise LoadError(
            "RS314",
            f"{name} was not loaded: {what}",
            details=[("size", f"{size(packed)}, unpacked {size(unpacked)}")],
        )
    file.seek(0)
    wanted = set(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    if wanted - stock().keys():
        raise _asks_for_code(wanted - stock().keys(), file, name, Kind.TORCH_ZIP)
    file.seek(0)
    if wanted:
        # by torch's own reader, since another one may see another archive in the same bytes
        calls = called(torch._C.PyTorchFileReader(file).get_record("data.pkl")) - CALLS
        if calls:
            what = f"it calls {_listed(calls)} while it is read, which torch.save never writes"
            raise LoadError("RS315", f"{name} was not loaded: {what}")
    file.seek(0)


def _translated(error: Exception, file: BufferedReader, name: str, kind: Kind) -> LoadError:
    """What a failed load means, in the user's words."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    wanted = re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", text)
    if wanted:
        return _asks_for_code({wanted[1]}, file, name, kind)
    operand = re.search(r"Unsupported operand (\d+)", text)
    if operand:
        why = f"it uses a pickle instruction ({operand[1]}) that torch's restricted reader does not know"
        return LoadError(
            "RS313",
            f"{name} was not loaded: {why}",
            remedies=[("Where it was made, save it without pickle_protocol", "torch.save(model, 'model.pt')")],
        )
    if isinstance(error, EOFError) or re.search(r"unexpected EOF|unexpected pos|wrong byte size|truncated", text):
        facts = [("size", size(file.seek(0, 2)))]
        return LoadError("RS312", f"{name} is truncated: its end is missing", details=facts, remedies=[AGAIN])
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return LoadError("RS314", f"{name} was not loaded: it does not fit into the memory of this machine")
    cause = display_name(f"{type(error).__name__}: {text.strip().partition(chr(10))[0]}")
    return LoadError(
        "RS313",
        f"{name} was not loaded: it is damaged",
        details=[("torch says", cause)],
        remedies=[AGAIN, SAVE_WEIGHTS],
    )


def _asks_for_code(wanted: set[str], file: BufferedReader, name: str, kind: Kind) -> LoadError:
    """The refusal of a file that names classes or functions beyond those of torch itself."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    users = sorted(filter(_is_users, wanted)) or ["yourmodule.Net"]
    module, _, factory = users[0].rpartition(".")
    factory = factory if len(users) == 1 else "YourModel"  # which of several holds the others cannot be told
    target = f"yourfile.py:{factory}" if module == "__main__" else f"{module}:{factory}"
    details = [
        ("kind", f"{kind} holding pickled objects (sha256 {digest[:8]}…); nothing in it was run"),
        ("wants", _listed(wanted)),
    ]
    if kind is Kind.TORCH_LEGACY:
        details.append(("why", "of the old format, state dicts alone are read"))
    return LoadError(
        "RS301",
        f"{name} was not loaded: it asks to import code",
        details=details,
        remedies=[SAVE_WEIGHTS, ("Then, with no pickled code", f"rankscope probe {target} --weights weights.pt")],
    )


def _is_users(name: str) -> bool:
    """Whether a name may be a class of the user's own, going by its module and its spelling."""
    module, _, last = name.rpartition(".")
    top = module.partition(".")[0]
    foreign = {*sys.stdlib_module_names, *sys.builtin_module_names, "numpy", "torch"} - {"__main__"}
    parts = [*module.split("."), last]
    return top not in foreign and last[:1].isupper() and all(part.isidentifier() for part in parts)


def _listed(names: set[str]) -> str:
    """Up to eight names from a file, made safe to print."""
    shown = ", ".join(display_name(n) for n in sorted(names)[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
