"""What the directories of models hold: those of Hugging Face, of distributed checkpoints, of adapters."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rankscope.errors import LoadError
from rankscope.formats._description import Description, listed, many
from rankscope.formats._flat_files import safetensors
from rankscope.formats._kinds import Kind
from rankscope.formats._pickles import read
from rankscope.formats._refusals import AGAIN, refusal
from rankscope.formats._sniff import format_of
from rankscope.formats._stock_names import foreign
from rankscope.formats._torch_files import torch_legacy, torch_zip
from rankscope.records import display_name

# The index of a model of a hundred thousand tensors takes 10 MB.
_JSON = 2**24
_PICKLE = 2**23
# In the order in which transformers looks for them.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_LOOKED_AT = 16
_READERS = {Kind.TORCH_ZIP: torch_zip, Kind.TORCH_LEGACY: torch_legacy, Kind.SAFETENSORS: safetensors}
_READABLE = ({Kind.TORCH_ZIP, Kind.TORCH_LEGACY}, {Kind.SAFETENSORS})
_NO_WEIGHTS = {
    "tf_model.h5": "TensorFlow",
    "flax_model.msgpack": "Flax",
    "model.gguf": "GGUF",
    "rust_model.ot": "Rust",
}


def huggingface(path: Path, base: Description) -> Description:
    """Describe a directory with a config.json.

    Args:
        path: the directory.
        base: its kind and size.

    Returns:
        The description.
    """
    try:
        config = _json(path / "config.json")
    except (OSError, ValueError, RecursionError) as error:
        return base.blocked(_refused(path, "RS313", f"config.json cannot be read ({display_name(str(error))})", AGAIN))
    code = sorted({str(value) for value in _leaves(config.get("auto_map"))})
    facts = [(label, text) for label, text in _config_facts(config) if text]
    described = dataclasses.replace(base, facts=tuple(facts), imports=tuple(map(display_name, code)))
    described, problem = _weights(path, described)
    explicit = str(config.get("transformers_weights") or "model.safetensors")
    if not is_plain(explicit):
        what = f"it names the weights file {display_name(explicit)!r}, which is not in its directory"
        problem = _refused(path, "RS337", what)
    if (path / "adapter_config.json").exists():
        problem = _refused(path, "RS370", "it holds an adapter (PEFT) for another model", _MERGE)
    return described.blocked(problem) if problem else described


_MERGE = ("Merge it where it was made", "model.merge_and_unload().save_pretrained('merged')")


def _config_facts(config: dict[str, Any]) -> list[tuple[str, str]]:
    architectures = config.get("architectures")
    sort = config.get("dtype") or config.get("torch_dtype")
    code = [str(value) for value in _leaves(config.get("auto_map"))]
    return [
        ("model_type", display_name(str(config.get("model_type") or "none in config.json"))),
        ("architectures", listed([str(name) for name in architectures]) if isinstance(architectures, list) else ""),
        ("dtype", display_name(str(sort)) if sort else ""),
        (
            "written by",
            display_name(f"transformers {config['transformers_version']}") if "transformers_version" in config else "",
        ),
        ("own code", f"{listed(sorted(set(code)))} (auto_map): never run" if code else ""),
    ]


def _weights(path: Path, base: Description) -> tuple[Description, LoadError | None]:
    """The facts on the weights of a directory, and what is wrong with them."""
    chosen = next((name for name in WEIGHTS if (path / name).is_file()), None)
    if chosen is None:
        other = [f"{name} ({what})" for name, what in _NO_WEIGHTS.items() if (path / name).exists()]
        other += [entry.name for entry in path.glob("*.gguf") if entry.name not in _NO_WEIGHTS][:3]
        what = f"its directory holds no weights that torch reads{f', but {listed(other)}' if other else ''}"
        remedy = ("Random weights, for a study of them", f"rankscope probe {path} --init-only")
        return base, _refused(path, "RS306", what, remedy)
    if not chosen.endswith(".index.json"):
        base = _more(base, ("weights", chosen))
        return _files(path, base, [chosen])
    try:
        parts = _json(path / chosen)["weight_map"]
        files = sorted({str(part) for part in parts.values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        return base, _refused(path, "RS313", f"{chosen} cannot be read ({display_name(str(error))})", AGAIN)
    present = [file for file in files if is_plain(file) and (path / file).is_file()]
    base = _more(base, ("weights", f"{many(len(parts))} tensors in {len(files)} files, {len(present)} of them here"))
    outside = [file for file in files if not is_plain(file)]
    missing = [file for file in files if is_plain(file) and file not in present]
    if outside:
        return base, _refused(path, "RS337", f"{chosen} names {listed(outside, 3)}, which is not in its directory")
    if missing:
        return base, _refused(path, "RS310", f"parts of its weights are missing: {listed(missing, 3)}", AGAIN)
    return _files(path, base, files)


def _files(path: Path, base: Description, names: list[str]) -> tuple[Description, LoadError | None]:
    """What is wrong with the files of the weights themselves; a few of many are looked at."""
    for name in names[:_LOOKED_AT]:
        file = path / name
        kind = format_of(file)
        if kind not in _READABLE[file.suffix == ".safetensors"]:
            return base, refusal(file, str(file), kind) or _refused(path, "RS313", f"{name} is a {kind}", AGAIN)
        found = _READERS[kind](file, Description(kind, file.stat().st_size))
        if found.problem and found.code:
            base = dataclasses.replace(base, imports=(*base.imports, *found.imports))
            return base, LoadError(found.code, f"{file} was not loaded: {found.problem}", remedies=found.remedies)
    return base, None


def is_plain(name: str) -> bool:
    """Whether a file name found in a file stays in its directory.

    Args:
        name: the name; untrusted.

    Returns:
        False for a path, in the manner of any system, and for ``..``.

    Example:
        >>> [is_plain(name) for name in ("model.safetensors", "../model.safetensors", "C:model")]
        [True, False, False]
    """
    return name == PurePosixPath(name).name == PureWindowsPath(name).name and name not in {"", ".", ".."}


def distributed(path: Path, base: Description) -> Description:
    """Describe a directory of a distributed checkpoint by its index, a pickle that is not run.

    Args:
        path: the directory.
        base: its kind and size, and why it is refused.

    Returns:
        The description.
    """
    with (path / ".metadata").open("rb") as file:
        found = read(file.read(_PICKLE))
    parts = sorted(entry.name for entry in path.glob("*.distcp"))
    facts = [("parts", f"{len(parts)}: {listed(parts, 3)}")] if parts else []
    stated = getattr(found.root, "state", None)
    entries = stated.get("state_dict_metadata") if isinstance(stated, dict) else None
    if isinstance(entries, dict):
        facts.append(("entries", f"{many(len(entries))}: {listed([str(name) for name in entries], 3)}"))
    strange = [name for name in foreign(found.names) if not name.startswith("torch.distributed.checkpoint.")]
    return _more(dataclasses.replace(base, imports=tuple(map(display_name, strange))), *facts)


def adapter(path: Path, base: Description) -> Description:
    """Describe an adapter by its configuration.

    Args:
        path: the directory.
        base: its kind and size, and why it is refused.

    Returns:
        The description.
    """
    try:
        config = _json(path / "adapter_config.json")
    except (OSError, ValueError, RecursionError):
        return base
    pairs = (("sort", "peft_type"), ("of the model", "base_model_name_or_path"), ("rank", "r"))
    return _more(base, *((label, display_name(str(config[key]))) for label, key in pairs if config.get(key)))


def _json(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = json.loads(file.read(_JSON))
    if not isinstance(data, dict):
        raise ValueError("it holds no JSON object")  # noqa: TRY004 - one kind of error for unreadable content
    return data


def _leaves(data: Any) -> list[str]:
    """The texts in a configuration, at any depth."""
    stack, found = [data], []
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict | list):
            stack += item.values() if isinstance(item, dict) else item
    return found


def _more(base: Description, *facts: tuple[str, str]) -> Description:
    return dataclasses.replace(base, facts=(*base.facts, *facts))


def _refused(path: Path, code: str, what: str, *remedies: tuple[str, str]) -> LoadError:
    return LoadError(code, f"{path} was not loaded: {what}", remedies=remedies)
