"""The files of a Hugging Face directory, looked at before transformers is: no path leads out, no code is asked for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from rankscope.errors import LoadError
from rankscope.formats import AGAIN, Kind, describe, format_of, refuse, sha256
from rankscope.records import display_name

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

# In the order in which transformers looks for them.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# The index of a model of a hundred thousand tensors takes 10 MB; what is longer is cut, and so is no JSON.
_JSON = 2**24
_READABLE = {".safetensors": {Kind.SAFETENSORS}, ".bin": {Kind.TORCH_ZIP, Kind.TORCH_LEGACY}}


def check_config(directory: Path, spec: str, known: Container[str]) -> None:
    """Refuse a directory whose configuration asks for code, leads out of it, or is not of transformers.

    Args:
        directory: the model.
        spec: the model in the user's words.
        known: the model types that transformers has code for.

    Raises:
        LoadError: the directory is refused.
    """
    config = _json(directory / "config.json", spec)
    if (directory / "adapter_config.json").exists():
        raise LoadError(
            "RS370",
            f"{spec} was not loaded: it holds an adapter (PEFT) for another model",
            remedies=[("Merge it where it was made", "model.merge_and_unload().save_pretrained('merged')")],
        )
    kind = config.get("model_type")
    if kind not in known:
        if config.get("auto_map"):
            wants = ", ".join(display_name(str(value)) for value in _leaves(config["auto_map"]))
            raise LoadError(
                "RS301",
                f"{spec} was not loaded: it asks to import code",
                details=[("kind", "Hugging Face directory with its own classes"), ("wants", wants)],
                remedies=[("If you have the class", "rankscope probe yourmodule:Net --weights model.safetensors")],
            )
        what = (
            f"the model_type {display_name(str(kind))!r} is unknown to transformers" if kind else "no model_type in it"
        )
        weights = next((name for name in _WEIGHTS if (directory / name).is_file()), "WEIGHTS")
        raise LoadError(
            "RS336",
            f"{spec} was not loaded: its config.json is not one of transformers; {what}",
            remedies=[
                ("Name the weights and the class", f"rankscope probe {directory / weights} --arch yourmodule:Net")
            ],
        )
    for key, value in _pairs(config):
        if key == "checkpoint_path":  # among the arguments that a config hands to timm.create_model
            raise LoadError(
                "RS301",
                f"{spec} was not loaded: it asks for a file that timm would unpickle",
                details=[("wants", display_name(str(value)))],
                remedies=[("Take the line out of config.json", f"it is called {key}")],
            )
        if key.endswith("attn_implementation") and "/" in str(value):
            raise LoadError(
                "RS301",
                f"{spec} was not loaded: it asks to import code",
                details=[("wants", f"the attention kernel {display_name(str(value))}")],
                remedies=[("Take the line out of config.json", f"it is called {key}")],
            )


def weight_files(directory: Path, spec: str) -> list[Path]:
    """The files that hold the weights, every one of them recognised and inside the directory.

    Args:
        directory: the model.
        spec: the model in the user's words.

    Returns:
        One file, or all parts of a split one.

    Raises:
        LoadError: there are none, or one is missing, refused or elsewhere.
    """
    explicit = _json(directory / "config.json", spec).get("transformers_weights")
    candidates = [_inside(str(explicit), spec)] if explicit else list(_WEIGHTS)
    chosen = next((name for name in candidates if (directory / name).is_file()), None)
    if chosen is None:
        raise LoadError(
            "RS306",
            f"{spec} was not loaded: its directory holds no weights",
            details=[("looked for", ", ".join(candidates))],
            remedies=[("Random weights, for a study of them", f"rankscope probe {spec} --init-only")],
        )
    names = [chosen]
    if chosen.endswith(".index.json"):
        parts = _json(directory / chosen, spec).get("weight_map")
        if not isinstance(parts, dict) or not parts:
            raise LoadError("RS313", f"{spec} was not loaded: {chosen} has no weight_map", remedies=[AGAIN])
        names = sorted({_inside(str(part), spec) for part in parts.values()})
    files = [directory / name for name in names]
    for file in files:
        kind = format_of(file)
        if kind not in _READABLE.get(file.suffix, set()):
            error = refuse(file, str(file), kind)
            raise error
        if kind is Kind.SAFETENSORS:
            _check_whole(file)
    return files


def _check_whole(file: Path) -> None:
    """Refuse a file that was cut or damaged, which transformers would not say so plainly."""
    found = describe(file)
    if found.problem and found.code:
        raise LoadError(found.code, f"{file} was not loaded: {found.problem}", remedies=[AGAIN])


def sha256_of(files: list[Path]) -> str:
    """The SHA-256 of one file, or of the list of the digests of several.

    Args:
        files: the weights, sorted by name.

    Returns:
        64 hexadecimal digits.
    """
    digests = [sha256(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _inside(name: str, spec: str) -> str:
    """A file name found in a file, refused where it leads out of the directory."""
    plain = name == PurePosixPath(name).name == PureWindowsPath(name).name and name not in {"", ".", ".."}
    if not plain:
        raise LoadError(
            "RS337",
            f"{spec} was not loaded: it names the weights file {display_name(name)!r}, which is not in its directory",
        )
    return name


def _json(path: Path, spec: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(_JSON))
    except (OSError, ValueError, RecursionError) as error:
        headline = f"{spec} was not loaded: {path.name} cannot be read ({error})"
        raise LoadError("RS313", headline, remedies=[AGAIN]) from error
    if not isinstance(data, dict):
        raise LoadError("RS313", f"{spec} was not loaded: {path.name} holds no JSON object", remedies=[AGAIN])
    return data


def _pairs(data: Any) -> Iterator[tuple[str, Any]]:
    """All keys with their values, at any depth."""
    stack = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield from item.items()
            stack += item.values()
        elif isinstance(item, list):
            stack += item


def _leaves(data: Any) -> list[Any]:
    return [value for _, value in _pairs({"": data}) if isinstance(value, str)]
