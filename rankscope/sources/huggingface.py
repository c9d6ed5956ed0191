"""Hugging Face directories and the local cache, through transformers (extra `hf`): local files only, no remote code.

Only the architecture named in the config is loaded, and only if every one of its tensors is in the file: transformers
fills what is missing with random numbers, and a random layer looks healthy.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rankscope.errors import LoadError
from rankscope.formats import Kind, format_of, refuse
from rankscope.records import Note, Source, display_name
from rankscope.sources import FORMS, Form, LoadOptions
from rankscope.sources._against_file import Comparison, compare, remember
from rankscope.sources._arch import random_weights
from rankscope.sources._finish import refuse_meta, seeded
from rankscope.sources._hf_files import check_config, sha256_of, weight_files
from rankscope.sources._state import read
from rankscope.sources._weights import listed
from rankscope.specs import no_such_file, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from torch import nn

# An import that fails inside an import that fails …; the last reason is the one that helps.
_REASONS = 5
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def open_huggingface(spec: str, options: LoadOptions) -> Source:
    """Open a directory that `save_pretrained` wrote, or a model of the local cache.

    Args:
        spec: ``hf:DIR``, ``hf:org/name`` or ``DIR``.
        options: `init_only` and `seed` are used.

    Returns:
        The model in evaluation mode, with the directory as that of its tokenizer.
    """
    prefix = "hf:" if spec.startswith("hf:") else ""
    typed = spec.removeprefix(prefix)
    transformers = _transformers(spec)
    directory = _local(typed, spec)
    if (kind := format_of(directory)) is not Kind.HF_DIRECTORY:
        refused = refuse(directory, typed if Path(typed).is_dir() else spec, kind)
        raise refused
    with _told(transformers, spec):
        kinds = transformers.CONFIG_MAPPING.keys()
    check_config(directory, spec, kinds)
    if options.init_only:
        model = _build(transformers, directory, spec, options.seed)
        notes = [random_weights(f"--init-only took the config alone, seed {options.seed}; no weights were read")]
        digest = None
    else:
        files = weight_files(directory, spec)
        model, notes = _load(transformers, directory, files, spec)
        digest = sha256_of(files)
    return Source(
        refuse_meta(model, spec),
        prefix + shown(typed),
        "huggingface",
        sha256=digest,
        directory=directory,
        notes=tuple(notes),
    )


def _transformers(spec: str) -> ModuleType:
    try:
        import transformers
    except Exception as error:  # a package that transformers imports may be broken in ways of its own
        missing = isinstance(error, ImportError) and error.name in {"transformers", None}
        what = "needs the package transformers" if missing else "needs transformers, which cannot be imported"
        raise LoadError(
            "RS335",
            f"{spec} was not loaded: a Hugging Face model {what}",
            details=[("import said", said) for _, said in _said(error)],
            remedies=[("Install it", "pip install 'rankscope[hf]'")],
        ) from error
    return transformers


def _local(typed: str, spec: str) -> Path:
    """The directory of a model: the one typed, or its snapshot in the local cache."""
    if not typed:
        raise LoadError(
            "RS339",
            f"{spec} was not loaded: it names no directory and no cached model",
            remedies=[("A directory, or a name of the cache", "rankscope probe hf:DIR")],
        )
    if Path(typed).is_dir():
        return Path(typed)
    if Path(typed).is_file():
        raise LoadError(
            "RS339",
            f"{spec} was not loaded: it is a file, and hf: takes a directory or a cached name",
            remedies=[("A file is named as it is", f"rankscope probe {typed}")],
        )
    if not _HUB_NAME.fullmatch(typed):
        raise no_such_file(typed, [])
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(typed, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise LoadError(
            "RS339",
            f"{spec} was not loaded: there is no such directory, and the local Hugging Face cache does not hold it",
            remedies=[("Fetch it first", f"hf download {typed}")],
        ) from error


def _class(transformers: ModuleType, config: Any) -> Any:
    """The architecture that the config names, if it is of transformers and takes this config; else its base."""
    for name in config.architectures or ():
        found: Any = getattr(transformers, str(name), None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            kind = getattr(found, "config_class", None)
            if isinstance(kind, type) and isinstance(config, kind):
                return found
    with torch.device("meta"):  # without memory: only its class is wanted
        return type(transformers.AutoModel.from_config(config, trust_remote_code=False))


def _config(transformers: ModuleType, directory: Path) -> Any:
    return transformers.AutoConfig.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)


def _build(transformers: ModuleType, directory: Path, spec: str, seed: int) -> nn.Module:
    """The architecture with random weights."""
    with _told(transformers, spec), seeded(seed):
        config = _config(transformers, directory)
        model: nn.Module = _class(transformers, config)(config)
        return model.eval()


def _load(transformers: ModuleType, directory: Path, files: list[Path], spec: str) -> tuple[nn.Module, list[Note]]:
    """The architecture with its weights, all of them from the files."""
    pickled = [file for file in files if file.suffix != ".safetensors"]
    # pickles go through rankscope's own reader, with its checks and its messages
    state = {key: value for file in pickled for key, value in read(file, str(file)).items()} if pickled else None
    remembered = remember(state) if state is not None else None
    with _told(transformers, spec), seeded(0):
        config = _config(transformers, directory)
        model, info = _class(transformers, config).from_pretrained(
            None if pickled else str(directory),
            config=config,
            state_dict=state,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=None if pickled else True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, with their shapes
        )
    _check_loaded(info, spec, type(model).__name__)
    notes = [_checked(compare(model, files, remembered), spec)]
    unused = sorted(info["unexpected_keys"])
    if unused:
        text = f"{len(unused)} tensors of the file have no place in {type(model).__name__}: {listed(unused)}"
        notes.append(Note("RS342", text))
    return model.eval(), notes


def _checked(found: Comparison, spec: str) -> Note:
    """The note on how many tensors were compared with the file; one that differs is an error."""
    if found.differing:
        raise LoadError(
            "RS344",
            f"{spec} was not loaded: {len(found.differing)} of {found.total} tensors differ from the file",
            details=[("tensors", listed(found.differing))],
            remedies=[
                ("Take the transformers that wrote it", "config.json names it as transformers_version"),
                ("Or give the class and its weights", "rankscope probe yourmodule:Net --weights model.safetensors"),
            ],
        )
    return found.note()


def _check_loaded(info: dict[str, Any], spec: str, kind: str) -> None:
    """Refuse a model that transformers completed with random numbers."""
    texts = {
        "missing": sorted(info["missing_keys"]),
        "of another shape": sorted(_mismatch(key) for key in info["mismatched_keys"]),
        "errors": [str(error) for error in info.get("error_msgs") or ()],
    }
    details = [(f"{len(found)} {label}", listed(found)) for label, found in texts.items() if found]
    if details:
        raise LoadError(
            "RS321",
            f"{spec} was not loaded: its weights do not fit {kind}",
            details=[*details, ("unexpected", listed(sorted(info["unexpected_keys"])) or "none")],
            remedies=[("Random weights, for a study of them", f"rankscope probe {spec} --init-only")],
        )


def _mismatch(key: Any) -> str:
    """A name with both shapes, where transformers gives them."""
    if not isinstance(key, tuple):
        return str(key)
    name, given, expected = (*key, None, None)[:3]
    return f"{name} (expected {list(expected or ())}, got {list(given or ())})"


def _said(error: BaseException) -> list[tuple[str, str]]:
    """What was raised and the reasons behind it: transformers hides a broken package behind an error of its own."""
    details: list[tuple[str, str]] = []
    reason: BaseException | None = error
    for _ in range(_REASONS):
        if reason is None:
            break
        text = display_name(f"{type(reason).__name__}: {' '.join(str(reason).split())}")
        if text not in {told for _, told in details}:
            details.append(("because" if details else "transformers says", text))
        reason = reason.__cause__ or reason.__context__
    return details


@contextlib.contextmanager
def _told(transformers: ModuleType, spec: str) -> Iterator[None]:
    """Keep transformers quiet and off the network, and say in one line what it raised; it is left as it was."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    # it looks up a backbone on the network, and asks on the terminal whether to run the code of a config in a config
    hub: Any = importlib.import_module("huggingface_hub.constants")
    code: Any = importlib.import_module("transformers.dynamic_module_utils")
    offline, patience = hub.HF_HUB_OFFLINE, code.TIME_OUT_REMOTE_CODE
    hub.HF_HUB_OFFLINE, code.TIME_OUT_REMOTE_CODE = True, 0
    try:
        yield
    except Exception as error:
        details = _said(error)
        directory = spec.removeprefix("hf:")
        alone = f"python -c \"import transformers; transformers.AutoModel.from_pretrained('{directory}')\""
        raise LoadError(
            "RS336",
            f"{spec} was not loaded: transformers could not make it",
            details=details,
            remedies=[("See whether transformers does by itself", alone)],
        ) from error
    finally:
        hub.HF_HUB_OFFLINE, code.TIME_OUT_REMOTE_CODE = offline, patience
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


FORMS.add("huggingface", Form(open_huggingface, prefix="hf:", kinds=frozenset({Kind.HF_DIRECTORY})))
