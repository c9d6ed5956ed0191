"""How a file that holds no model rankscope can read is refused: what it is, and the way out that exists."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from rankscope.errors import LoadError
from rankscope.formats._kinds import Kind
from rankscope.records import display_name

Remedies = tuple[tuple[str, str], ...]

_REBUILD = ("Give the class and its weights", "rankscope probe yourmodule:Net --weights weights.pt")
AGAIN = ("Get the file again", "download or copy it once more")
SAVE_WEIGHTS = ("Where it was made, save the weights alone", "torch.save(model.state_dict(), 'weights.pt')")
_TRUSTED_WEIGHTS = ("Its weights, if you trust it", "rankscope probe yourmodule:Net --weights FILE --trust")
_TORCH_ONLY = ("Give the PyTorch model it was made from", "rankscope probe yourmodule:Net --weights weights.pt")


_SAVED = re.compile(rb'"rankscope\.(report|certificate|comparison|sweep)/')
_USES = {
    b"report": ("It is a report; to show it", "rankscope report FILE"),
    b"certificate": ("It is a certificate; to show it", "rankscope report FILE"),
    b"comparison": ("It is a comparison; to make it anew", "rankscope compare A.json vs B.json"),
    b"sweep": ("It is a sweep; to make it anew", "rankscope sweep MODEL"),
}
_WORDS = re.compile(r"\b(FILE|DIR|PARENT)\b")
# The suffixes that a file of a model has, the safest first; only the words of an error depend on them.
_MODELS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pt2", ".gguf", ".h5", ".onnx")
_UNPACK = {
    b"\x1f\x8b": ("gunzip", ".gz"),
    b"\xfd7zXZ\x00": ("unxz", ".xz"),
    b"BZh": ("bunzip2", ".bz2"),
    b"\x28\xb5\x2f\xfd": ("unzstd", ".zst"),
    b"7z\xbc\xaf\x27\x1c": ("7z x", ".7z"),
}
# A directory of checkpoints can be long; more than this is not looked at.
_SEARCHED = 2000


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The code of a kind, why it is refused, and what to do instead, the safest first."""

    code: str
    why: str
    remedies: Remedies


_REFUSALS: dict[Kind, _Refusal] = {
    Kind.TORCHSCRIPT: _Refusal(
        "RS302",
        "loading it runs code, and its layers take no hooks",
        (
            _REBUILD,
            ("Its weights, if you trust the file", "rankscope probe yourmodule:Net --weights FILE --trust"),
        ),
    ),
    Kind.EXPORTED: _Refusal(
        "RS302",
        "loading it may run code",
        (
            _REBUILD,
            _TRUSTED_WEIGHTS,
        ),
    ),
    Kind.TORCH_PACKAGE: _Refusal("RS302", "loading it runs the code it carries", (_REBUILD,)),
    Kind.PICKLE: _Refusal(
        "RS302",
        "unpickling runs whatever the file asks for",
        (SAVE_WEIGHTS, _REBUILD),
    ),
    Kind.DCP_DIRECTORY: _Refusal(
        "RS302", "its index is a pickle, so loading it may run code", (_REBUILD, _TRUSTED_WEIGHTS)
    ),
    Kind.AOTINDUCTOR: _Refusal("RS303", "it is native code without layers to look into", (_REBUILD,)),
    Kind.GGUF: _Refusal(
        "RS303",
        "rankscope reads PyTorch models",
        (("Give the model it was made from", "rankscope probe hf:ORG/NAME"),),
    ),
    Kind.ONNX: _Refusal("RS303", "rankscope reads PyTorch models", (_TORCH_ONLY,)),
    Kind.HDF5: _Refusal("RS303", "rankscope reads PyTorch models", (_TORCH_ONLY,)),
    Kind.KERAS: _Refusal("RS303", "rankscope reads PyTorch models", (_TORCH_ONLY,)),
    Kind.TENSORFLOW: _Refusal("RS303", "rankscope reads PyTorch models", (_TORCH_ONLY,)),
    Kind.TENSORFLOW_DIRECTORY: _Refusal("RS303", "rankscope reads PyTorch models", (_TORCH_ONLY,)),
    Kind.TFLITE: _Refusal("RS303", "rankscope reads PyTorch models", (_TORCH_ONLY,)),
    Kind.COREML: _Refusal("RS303", "rankscope reads PyTorch models", (_TORCH_ONLY,)),
    Kind.COREML_DIRECTORY: _Refusal("RS303", "rankscope reads PyTorch models", (_TORCH_ONLY,)),
    Kind.FLAX: _Refusal(
        "RS303",
        "its names and shapes are those of Flax, not of a torch module",
        (
            _TORCH_ONLY,
            (
                "Convert it where transformers 4 and Flax are",
                "AutoModel.from_pretrained('.', from_flax=True).save_pretrained('converted')",
            ),
        ),
    ),
    Kind.PEFT_DIRECTORY: _Refusal(
        "RS370",
        "it holds small changes to another model, which are nothing without it",
        (
            (
                "Merge them where they were made",
                "AutoPeftModel.from_pretrained('FILE').merge_and_unload().save_pretrained('merged')",
            ),
            ("Then", "rankscope probe merged"),
        ),
    ),
    Kind.TOKENIZER_DIRECTORY: _Refusal(
        "RS371",
        "it holds no config.json and no weights",
        (("A tokenizer goes with a text", "rankscope probe MODEL --text sample.txt --tokenizer DIR"),),
    ),
    Kind.SHARD_INDEX: _Refusal(
        "RS372",
        "it lists which file holds which tensor",
        (
            ("Name its directory", "rankscope probe PARENT"),
            ("If that has no config.json, name a part", "rankscope probe PARENT/model-00001-of-0000N.safetensors"),
        ),
    ),
    Kind.HUGE_ZIP: _Refusal("RS314", "its directory alone takes more than 4 MB", (_REBUILD,)),
    Kind.NUMPY: _Refusal(
        "RS303", "it holds arrays, not a model", (("Arrays are inputs", "rankscope probe MODEL --input FILE"),)
    ),
    Kind.REPORT: _Refusal("RS303", "it holds no model", (("Show it", "rankscope report FILE"),)),
    Kind.TEXT: _Refusal("RS303", "it holds no model", (("Check the path", "a model is named by its own file"),)),
    Kind.ZIP: _Refusal("RS303", "it holds no data.pkl, so torch.save did not write it", (("Unpack it", "unzip FILE"),)),
    Kind.COMPRESSED: _Refusal("RS303", "a model inside it is out of reach", (("Unpack it", "tar xf FILE"),)),
    Kind.UNKNOWN: _Refusal("RS303", "neither torch.save nor safetensors wrote it", (AGAIN,)),
    Kind.LFS_POINTER: _Refusal("RS305", "git has not fetched the file", (("Fetch it", "git lfs pull"),)),
    Kind.HTML: _Refusal(
        "RS305",
        "the download brought a page, such as a log-in or an error",
        (("Get the file again", "download it from the address of the file itself"),),
    ),
    Kind.EMPTY: _Refusal("RS312", "it has 0 bytes", (AGAIN,)),
    Kind.TRUNCATED_ZIP: _Refusal(
        "RS312",
        "the zip directory at its end is missing",
        (("Get the file again", "download or copy it once more; `git lfs pull` if git-lfs tracks it"),),
    ),
    Kind.DAMAGED_ZIP: _Refusal("RS313", "its directory and its content do not agree", (AGAIN,)),
    Kind.DIRECTORY: _Refusal(
        "RS306",
        "it holds no model that rankscope knows by itself",
        (("Check the path", "a model is a file, or a directory with a config.json"),),
    ),
}


def refuse(path: Path, name: str, kind: Kind) -> LoadError:
    """The error for a file of a kind that is not read.

    Args:
        path: where the file is.
        name: the file in the user's words.
        kind: what it is.

    Returns:
        The error, to be raised by the caller.
    """
    facts = [("size", size(path.stat().st_size))] if path.is_file() else []
    if path.suffix == ".safetensors" and kind in {Kind.TEXT, Kind.UNKNOWN}:
        why = "it does not start with the length of a header and '{'"
        headline = f"{name} was not loaded: its safetensors header is damaged; {why}"
        return LoadError("RS313", headline, details=facts, remedies=[AGAIN])
    refusal = _REFUSALS[kind]
    remedies = _by_path(path, kind) or refusal.remedies
    if kind is Kind.TRUNCATED_ZIP:
        return LoadError(refusal.code, f"{name} is truncated: {refusal.why}", details=facts, remedies=refusal.remedies)
    if kind is Kind.DIRECTORY:
        facts = _held(path)
    article = "an" if kind[0] in "AEIOUaeiou" else "a"
    words = {"FILE": name, "DIR": name, "PARENT": str(Path(name).parent)}
    return LoadError(
        refusal.code,
        f"{name} was not loaded: it is {article} {kind}; {refusal.why}",
        details=facts,
        remedies=[(label, _WORDS.sub(lambda found: words[found[0]], text)) for label, text in remedies],
    )


def _by_path(path: Path, kind: Kind) -> Remedies:
    """What to do instead, where the name of the file or its neighbours tell more than its kind."""
    if kind is Kind.TEXT and path.suffix == ".py":
        return (("Name the factory or class in it", "rankscope probe FILE:Net"),)
    if kind is Kind.TEXT and path.suffix == ".json" and (saved := _SAVED.search(_head(path))):
        return (_USES[saved[1]],)
    if kind is Kind.TEXT and path.name == "config.json":
        return (("Name its directory", "rankscope probe PARENT"),)
    if kind is Kind.UNKNOWN and path.suffix in {".bin", ".dat", ".raw"}:
        convert = "numpy.save('x.npy', numpy.fromfile('FILE', dtype='float32').reshape(SHAPE))"
        return (AGAIN, ("If it holds plain numbers, they are inputs", f"{convert}; then --input x.npy"))
    if kind is Kind.DIRECTORY:
        return _inside(path)
    return (("Unpack it", _unpacking(path)),) if kind is Kind.COMPRESSED else ()


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(200)


def _unpacking(path: Path) -> str:
    """The command that unpacks a file, by its first bytes; what was packed twice is told by its name."""
    head = _head(path)
    tool, suffix = next((way for magic, way in _UNPACK.items() if head.startswith(magic)), ("tar xf", ""))
    if tool == "7z x":
        return "7z x FILE"
    if not suffix or ".tar" in path.suffixes or path.suffix in {".tgz", ".txz", ".tbz2", ".tzst"}:
        return "tar xf FILE"
    return f"{tool} < FILE > {shlex.quote(path.stem if path.suffix == suffix else f'{path.name}.unpacked')}"


def _inside(path: Path) -> Remedies:
    """The ways to name what lies in a directory: a model's directory, else a file of a suffix that models have."""
    entries = [entry for entry in _entries(path) if display_name(entry.name) == entry.name]
    for entry in entries:
        if (entry / "config.json").is_file():
            return (("Name the directory inside it", f"rankscope probe {shlex.quote(f'DIR/{entry.name}')}"),)
    models = [entry for entry in entries if entry.suffix in _MODELS and entry.is_file()]
    if not models:
        scripts = [entry.name for entry in entries if entry.suffix == ".py" and entry.name != "__init__.py"]
        made = [f"rankscope probe {shlex.quote(f'DIR/{script}:NAME')}" for script in scripts[:1]]
        return tuple(("Name the function or class in a file of it", step) for step in made)
    first = min(models, key=lambda entry: (_MODELS.index(entry.suffix), entry.name))
    weights = f"rankscope probe {shlex.quote(f'DIR/{first.name}')}"
    return (("Name the file inside it", weights if first.suffix == ".pt2" else f"{weights} --arch yourmodule:Net"),)


def _held(path: Path) -> list[tuple[str, str]]:
    names = sorted(entry.name for entry in _entries(path))
    shown = ", ".join(display_name(name) for name in names[:6])
    return [("holds", f"{shown} …" if len(names) > 6 else shown or "nothing")]


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(itertools.islice(path.iterdir(), _SEARCHED))
    except OSError:
        return []


def refusal(path: Path, name: str, kind: Kind) -> LoadError | None:
    """The error for a file, or None where its kind is read.

    Args:
        path: where the file is.
        name: the file in the user's words.
        kind: what it is.

    Returns:
        The error, which is not raised.
    """
    return refuse(path, name, kind) if kind in _REFUSALS else None


def risky(path: Path, name: str) -> tuple[str, str]:
    """The last remedy of a form that runs code while it is loaded.

    Args:
        path: where the file is.
        name: the file in the user's words.

    Returns:
        The label and the command with ``--trust``.
    """
    arch = " --arch yourmodule:Net" if path.is_dir() else ""
    return f"Runs any code in the {'directory' if path.is_dir() else 'file'}", f"rankscope probe {name} --trust{arch}"


def size(count: int) -> str:
    """A number of bytes for people, in powers of 1000.

    Args:
        count: bytes.

    Returns:
        Such as ``"48.0 MB"``.

    Example:
        >>> size(48_000_000)
        '48.0 MB'
    """
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
