"""``timm:NAME``: the image models of timm (extra `timm`), with weights of the local cache or random ones on request.

timm downloads weights by itself; here they are looked up in the caches, read by rankscope and handed to it.
"""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch

from rankscope.errors import LoadError
from rankscope.formats import Kind, format_of, refuse, sha256
from rankscope.records import Note, Source, display_name
from rankscope.registry import unknown_name
from rankscope.sources import FORMS, Form, LoadOptions
from rankscope.sources._against_file import compare, remember
from rankscope.sources._arch import random_weights
from rankscope.sources._finish import load_weights, refuse_meta, seeded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from torch import nn

    from rankscope.sources._state import State

_PREFIX = "timm:"
# What timm itself looks for in a repository, in this order.
_FILES = ("model.safetensors", "pytorch_model.bin")


def open_timm(spec: str, options: LoadOptions) -> Source:
    """Open a model of timm.

    Args:
        spec: ``timm:NAME``, with or without the tag of its weights, as in ``timm:vit_tiny_patch16_224.augreg_in21k``.
        options: `weights`, `strip_prefix`, `init_only` and `seed` are used.

    Returns:
        The model in evaluation mode.
    """
    name = spec.removeprefix(_PREFIX)
    timm = _timm(spec)
    if not timm.is_model(name):
        error = unknown_name("timm model", name, timm.list_models(), ["those of timm.list_models()"])
        raise error
    if options.weights or options.init_only:
        model = _create(timm, spec, name, options.seed)
        digest, notes = load_weights(model, options) if options.weights else (None, _random(options))
    else:
        file = _cached(timm, spec, name)
        model, notes = _loaded(timm, spec, name, file)
        digest = sha256(file)
    return Source(refuse_meta(model, spec), spec, "timm", sha256=digest, notes=notes)


def _timm(spec: str) -> ModuleType:
    """The package, or how to install it: it needs a torchvision that was built for the very torch that is here."""
    try:
        return importlib.import_module("timm")
    except Exception as error:  # a torchvision of another build raises RuntimeError
        missing = isinstance(error, ModuleNotFoundError) and error.name == "timm"
        what = "needs the package timm" if missing else "needs timm, which cannot be imported"
        reason = display_name(" ".join(f"{type(error).__name__}: {error}".split()))
        wheels = f"cu{torch.version.cuda.replace('.', '')}" if torch.version.cuda else "cpu"
        index = f"--index-url https://download.pytorch.org/whl/{wheels}"
        vision = ("A torchvision built for this torch", f"pip install torchvision {index}")
        install = ("Install it", f"pip install 'rankscope[timm]' 'torch=={torch.__version__.partition('+')[0]}'")
        raise LoadError(
            "RS378",
            f"{spec} was not loaded: it {what}",
            details=[("import said", reason)],
            remedies=[install, vision] if missing else [vision, install],
        ) from error


def _create(timm: ModuleType, spec: str, name: str, seed: int, **options: Any) -> nn.Module:
    """A model, made under a seed."""
    with _told(spec), seeded(seed):
        model: nn.Module = timm.create_model(name, **{"pretrained": False, **options})
    return model.eval()


@contextlib.contextmanager
def _told(spec: str) -> Iterator[None]:
    """Say in one line what timm raised."""
    try:
        yield
    except Exception as error:  # what the package raises is its own
        reason = display_name(" ".join(f"{type(error).__name__}: {error}".split()))
        raise LoadError(
            "RS380", f"{spec} was not loaded: timm could not make it", details=[("timm says", reason)]
        ) from error


def _random(options: LoadOptions) -> tuple[Note, ...]:
    return (random_weights(f"--init-only, seed {options.seed}; no weights were read"),)


def _cached(timm: ModuleType, spec: str, name: str) -> Path:
    """The weights of a model in the cache of the Hugging Face hub or of torch.hub."""
    with _told(spec):
        config = timm.get_pretrained_cfg(name)
    repository = getattr(config, "hf_hub_id", None)
    if repository and repository.endswith("/"):
        repository += name
    named = getattr(config, "hf_hub_filename", None)
    url = getattr(config, "url", None)
    looked_for = []
    if repository:
        from huggingface_hub import try_to_load_from_cache

        for file in (named,) if named else _FILES:
            found = try_to_load_from_cache(repository, file)
            looked_for.append(f"{repository}/{file}")
            if isinstance(found, str):
                return Path(found)
    if isinstance(url, str) and url:
        file = PurePosixPath(url).name
        looked_for.append(file)
        if (path := Path(torch.hub.get_dir()) / "checkpoints" / file).is_file():
            return path
    what = "the local caches do not hold its weights" if looked_for else "timm has no weights for it"
    remedies = [("Random weights, for a study of them", f"rankscope probe {spec} --init-only")]
    if repository:
        remedies.insert(0, ("Fetch them first", f"hf download {repository}"))
    details = [("looked for", ", ".join(looked_for))] if looked_for else []
    raise LoadError("RS379", f"{spec} was not loaded: {what}", details=details, remedies=remedies)


def _loaded(timm: ModuleType, spec: str, name: str, file: Path) -> tuple[nn.Module, tuple[Note, ...]]:
    """The model with the weights of a file, which timm brings into the form that this model has."""
    state, notes = _read(file)
    remembered = remember(state)
    model = _create(timm, spec, name, 0, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(state)})
    found = compare(model, (), remembered)
    if found.differing or not found.checked:
        raise LoadError(
            "RS344",
            f"{spec} was not loaded: {len(found.differing)} of {found.total} tensors differ from the file",
            details=[("checked", f"{found.checked} tensors are those of {file.name}")],
            remedies=[("Load the file strictly", f"rankscope probe {spec} --weights {file}")],
        )
    return model, (found.note(), *notes)


def _read(file: Path) -> tuple[State, tuple[Note, ...]]:
    """The tensors of a file, by the form that reads its kind, without trust."""
    kind = format_of(file)
    reader = next((form.state for form in FORMS.values() if form.state and kind in form.kinds), None)
    if reader is None or kind in {Kind.EXPORTED, Kind.DCP_DIRECTORY}:
        error = refuse(file, file.name, kind)
        raise error
    return reader(file, file.name, LoadOptions())


FORMS.add("timm", Form(open_timm, prefix=_PREFIX, weights=True))
