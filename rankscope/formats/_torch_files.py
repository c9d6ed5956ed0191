"""What the files of torch hold: archives of torch.save, torch.export, TorchScript and the rest, and plain pickles."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections import Counter
from typing import TYPE_CHECKING, Any

from rankscope.errors import LoadError
from rankscope.formats._description import Description, listed, many
from rankscope.formats._kinds import Kind
from rankscope.formats._pickles import Built, Name, Pickle, read
from rankscope.formats._refusals import AGAIN, SAVE_WEIGHTS
from rankscope.formats._stock_names import flags, foreign, harmful
from rankscope.records import display_name

if TYPE_CHECKING:
    from pathlib import Path

# A pickle of a model is a hundred bytes a tensor; more of it is not read.
_PICKLE = 2**24
# torch.save stores its records as they are; more than this is an archive made to fill the memory.
_UNPACKED = 4
_LIGHTNING = "pytorch-lightning_version"
_TENSOR = re.compile(r"torch\._(utils|tensor)\._rebuild_\w*(tensor|parameter)\w*|torch\._tensor\._rebuild_from_type_v2")
# Where training loops keep the weights beside the state of the optimizer.
_WEIGHTS = ("state_dict", "model", "model_state_dict", "model_state", "net", "module", "params", "weights", "ema")


def torch_zip(path: Path, base: Description) -> Description:
    """Describe an archive of torch.save, or a Lightning checkpoint.

    Args:
        path: the file.
        base: its kind and size.

    Returns:
        The description.
    """
    with zipfile.ZipFile(path) as archive:
        names = [entry.filename for entry in archive.infolist()]
        unpacked = sum(entry.file_size for entry in archive.infolist())
        main = next(name for name in names if name.partition("/")[2] == "data.pkl")
        folder = main.removesuffix("data.pkl")
        data = _record(archive, main, _PICKLE)
        found = read(data)
        facts = _written_by(archive, folder, names)
    described = _pickled(path, dataclasses.replace(base, facts=tuple(facts)), found)
    twice = [name for name, count in Counter(names).items() if count > 1]
    absent = [key for key in found.storages if f"{folder}data/{key}" not in set(names)]
    if unpacked > _UNPACKED * max(base.size, 1):
        what = f"it unpacks to {unpacked // max(base.size, 1)} times its size"
        return described.blocked(_refused(path, "RS314", what))
    if twice:
        return described.blocked(
            _refused(path, "RS313", f"it holds two entries of one name: {listed(twice, 3)}", AGAIN)
        )
    if data[:1] == b"\x80" and data[1:2] > b"\x03" and not described.imports:
        what = f"its pickle is of protocol {data[1]}, which torch's restricted reader does not know"
        again = ("Where it was made, save it without pickle_protocol", "torch.save(model, 'model.pt')")
        return described.blocked(_refused(path, "RS313", what, again))
    if absent and not found.broken:
        what = f"{len(absent)} of the {len(found.storages)} records that its tensors lie in are missing"
        return described.blocked(_refused(path, "RS313", what, AGAIN))
    return described


def torch_legacy(path: Path, base: Description) -> Description:
    """Describe a file of torch.save before 1.6: a mark, a number, the system, then the pickle.

    Args:
        path: the file.
        base: its kind and size.

    Returns:
        The description.
    """
    with path.open("rb") as file:
        data = file.read(_PICKLE)
    found = Pickle()
    facts = [("format", "of torch before 1.6")]
    for part in ("mark", "number", "system", "content"):
        found = read(data)
        data = data[found.length :]
        if part == "system" and isinstance(found.root, dict) and found.root.get("little_endian") is None:
            facts.append(("byte order", "big"))
    return _pickled(path, dataclasses.replace(base, facts=tuple(facts)), found)


def plain_pickle(path: Path, base: Description) -> Description:
    """Describe a pickle that torch.save did not write.

    Args:
        path: the file.
        base: its kind and size, and why it is refused.

    Returns:
        The description.
    """
    with path.open("rb") as file:
        found = read(file.read(_PICKLE))
    facts = [("holds", _content(found)), *_names(found)]
    strange = foreign(found.names)
    told = dataclasses.replace(base, facts=tuple(facts), imports=_shown(strange))
    if harmful(strange):
        return dataclasses.replace(told.blocked(*_asks_for_code(path, strange, "", legacy=False)), code=base.code)
    return (
        told
        if _is_module(found.root) or found.root is None
        else dataclasses.replace(told, loads=f"{base.loads} and --arch")
    )


def other_archive(path: Path, base: Description) -> Description:
    """Describe an archive of torch.export, TorchScript, AOTInductor or torch.package by its records.

    Args:
        path: the file.
        base: its kind and size, and why it is refused.

    Returns:
        The description.
    """
    facts: list[tuple[str, str]] = []
    imports: set[str] = set()
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        folder = names[0].partition("/")[0] + "/" if names else ""
        facts += _written_by(archive, folder, names)
        groups = Counter(
            re.sub(r"(^|/)[\d_]*\d$", "", "/".join(name.removeprefix(folder).split("/")[:2])) for name in names
        )
        facts.append(
            ("records", f"{len(names)}: {listed([f'{part} ({n})' if n > 1 else part for part, n in groups.items()])}")
        )
        for name in [name for name in names if name.endswith((".pkl", "sample_inputs/model.pt"))][:4]:
            data = _record(archive, name, _PICKLE)
            if name.endswith(".pt"):
                data = _inner_pickle(data)
            found = read(data)
            imports |= set(found.names)
            if name == f"{folder}data.pkl" and isinstance(found.root, Built):
                facts.append(("root", display_name(found.root.by.removeprefix("__torch__."))))
    strange = [name for name in foreign(imports) if not name.startswith("__torch__.")]
    return dataclasses.replace(base, facts=tuple(facts), imports=_shown(strange))


def _inner_pickle(data: bytes) -> bytes:
    """The pickle of a small archive of torch.save inside another."""
    import io

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            main = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            return _record(archive, main, _PICKLE)
    except (StopIteration, zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return b""


def _record(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    with archive.open(name) as file:
        return file.read(most)


def _written_by(archive: zipfile.ZipFile, folder: str, names: list[str]) -> list[tuple[str, str]]:
    """What the small records of an archive say of the torch that wrote it."""
    present = set(names)
    facts = []
    for label, record in (
        ("archive format", "archive_format"),
        ("archive version", "archive_version"),
        ("format version", "version"),
        ("byte order", "byteorder"),
    ):
        if folder + record in present:
            text = _record(archive, folder + record, 40).decode("utf-8", "replace").strip()
            facts.append((label, display_name(text)))
    return facts


def _pickled(path: Path, base: Description, found: Pickle) -> Description:
    """A description with what a pickle of torch.save would import and build."""
    facts = [*base.facts, ("holds", _content(found))]
    if isinstance(found.root, dict) and isinstance(version := found.root.get(_LIGHTNING), str):
        facts.append(("Lightning", display_name(version)))
    if found.tensors:
        atleast = "at least " if found.cut or found.broken else ""
        sorts = f" ({listed(list(found.sorts))})" if found.sorts else ""
        facts.append(("tensors", f"{atleast}{many(found.tensors)}, of {many(found.numbers)} numbers{sorts}"))
    facts += _names(found)
    strange = foreign(found.names)
    told = dataclasses.replace(base, facts=tuple(facts), imports=_shown(strange))
    if found.hooks:
        error = _refused(path, "RS315", f"it carries hooks ({listed(list(found.hooks), 3)})", SAVE_WEIGHTS)
        return told.blocked(error)
    if found.broken:
        return told.blocked(_refused(path, "RS313", f"its pickle is damaged ({display_name(found.broken)})", AGAIN))
    known = _is_module(found.root) or _weights(found.root) is not None
    if not strange and not known and not found.cut:
        return told.blocked(_refused(path, "RS316", f"it holds {_content(found)}, not a model", SAVE_WEIGHTS))
    needs = "" if _is_module(found.root) else " and --arch"
    legacy = base.kind is Kind.TORCH_LEGACY
    if strange or (legacy and not needs):
        return told.blocked(*_asks_for_code(path, strange or ["classes of torch.nn in the old format"], needs, legacy))
    return dataclasses.replace(told, loads="with --arch" if needs else "without a flag")


def _asks_for_code(path: Path, strange: list[str], needs: str, legacy: bool) -> tuple[LoadError, str]:
    """The error for names beyond torch's own, and how the file loads in spite of them."""
    what = f"it asks to import code: {listed(strange)}"
    if bad := harmful(strange):
        what = f"{what}; no model needs {listed(bad, 3)}, so it may be made to do harm"
        return _refused(path, "RS301", what, ("Ask who made it for the weights alone", SAVE_WEIGHTS[1])), "not at all"
    allow = "" if legacy else flags(strange)
    extra = " --arch yourmodule:Net" if needs else ""
    remedies = [SAVE_WEIGHTS, ("Runs any code in the file", f"rankscope probe {path} --trust{extra}")]
    if allow:
        remedies.insert(0, ("If these are your classes", f"rankscope probe {path} {allow}{extra}"))
    return _refused(path, "RS301", what, *remedies), f"with {allow or '--trust'}{needs}"


def _refused(path: Path, code: str, what: str, *remedies: tuple[str, str]) -> LoadError:
    return LoadError(code, f"{path} was not loaded: {what}", remedies=remedies)


def _names(found: Pickle) -> list[tuple[str, str]]:
    """The facts on what a pickle names, torch's own apart from the rest."""
    strange = set(foreign(found.names))
    own = [name for name in found.names if name not in strange and name.startswith("torch.nn.")]
    facts = [("classes of torch", listed(own))] if own else []
    if strange:
        facts.append(("would import", listed(sorted(strange))))
    if found.cut:
        facts.append(("not read", "the pickle is long; its first 100,000 instructions were followed"))
    if found.hooks:
        facts.append(("hooks", listed(list(found.hooks))))
    return facts


def _shown(names: list[str]) -> tuple[str, ...]:
    return tuple(display_name(name) for name in names)


def _is_module(root: Any) -> bool:
    state = root.state if isinstance(root, Built) else None
    return isinstance(state, dict) and {"_modules", "_parameters"} <= state.keys()


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(v, Built) and _TENSOR.fullmatch(v.by) for v in value.values())


def _weights(root: Any, depth: int = 2) -> tuple[str, ...] | None:
    """The keys that lead to weights in what a pickle holds, or None."""
    if _is_state_dict(root):
        return ()
    for key in _WEIGHTS if isinstance(root, dict) and depth else ():
        inner = _weights(root.get(key), depth - 1)
        if inner is not None:
            return (key, *inner)
    inside = root.items() if isinstance(root, dict) else ()
    return next(((str(key),) for key, value in inside if _is_state_dict(value) or _is_module(value)), None)


def _content(found: Pickle) -> str:
    """What a pickle holds, in a few words."""
    root = found.root
    if _is_module(root):
        return f"a module, {display_name(root.by)}"
    path = _weights(root)
    if path == ():
        return f"a state dict: {listed([str(key) for key in root], 3)}"
    if isinstance(root, dict):
        inside = f"; the weights are under {display_name('.'.join(path))}" if path else ""
        return f"a dict of {listed([str(key) for key in root])}{inside}" if root else "an empty dict"
    if isinstance(root, Built):
        return "a tensor" if _TENSOR.fullmatch(root.by) else f"an object made by {display_name(root.by)}"
    if isinstance(root, Name):
        return f"the name {display_name(root.dotted)}"
    return f"a {type(root).__name__}" if root is not None else "something that cannot be told"
