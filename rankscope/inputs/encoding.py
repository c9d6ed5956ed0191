"""Encoding: text to token ids, by a tokenizer or as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)
BYTES = 260  # 256 bytes and a few special ids: the largest vocabulary that is taken to be bytes


@dataclass(frozen=True, slots=True)
class Encoding:
    """A way from text to ids: `encode` (text, longest), its name, the id of padding, and the longest it is made for."""

    encode: Callable[[str, int], list[int]]
    name: str
    pad: int | None = None
    longest: int | None = None


def choose(wanted: Path | None, directory: Path | None, rows: int | None) -> Encoding:
    """Choose the encoding: the one asked for, else the model's own, else bytes where its vocabulary is that small.

    Args:
        wanted: a folder, a tokenizer.json, or ``bytes``; None chooses.
        directory: where the tokenizer of the model may lie.
        rows: of the embedding that takes the ids, where it is known.

    Returns:
        The encoding.

    Raises:
        InputError: there is none, or it cannot be loaded.

    Example:
        >>> choose(None, None, rows=256).encode("é", 8)
        [195, 169]
    """
    if wanted is not None and str(wanted) != "bytes":
        return _load(Path(wanted))
    if wanted is None and directory is not None and any((directory / name).is_file() for name in FILES):
        return _load(directory)
    if wanted is not None or (rows is not None and rows <= BYTES):
        return Encoding(lambda text, longest: list(text.encode()[:longest]), "bytes")
    size = "is not known" if rows is None else f"has {rows} ids"
    raise InputError(
        "RS209",
        f"the text cannot be made into ids: the vocabulary of the model {size}, and no tokenizer came with it",
        remedies=[("Give its tokenizer", "--tokenizer DIR"), ("If its ids are bytes", "--tokenizer bytes")],
    )


def _load(path: Path) -> Encoding:
    """The tokenizer of a folder, or one tokenizer.json."""
    single = path if path.is_file() else path / "tokenizer.json"
    plain = single.is_file() and (path.is_file() or not (path / "tokenizer_config.json").is_file())
    if not path.exists():
        raise InputError("RS209", f"the tokenizer {path} was not loaded: no such file or folder")
    if path.is_dir() and not any((path / name).is_file() for name in FILES):
        raise InputError(
            "RS209",
            f"the tokenizer {path} was not loaded: it holds none of the known files",
            details=[("known", ", ".join(FILES))],
        )
    try:
        return _plain(single) if plain else _transformers(path)
    except ImportError as error:
        raise InputError(
            "RS209",
            f"the tokenizer {path.name} was not loaded: {error.name or error} is not installed",
            remedies=[("Install it", "pip install 'rankscope[hf]'")],
        ) from error
    except Exception as error:  # tokenizers raises plain Exception
        line = str(error).partition("\n")[0][:300]
        raise InputError(
            "RS209",
            f"the tokenizer {path.name} was not loaded",
            details=[("reader", f"{type(error).__name__} {line}")],
        ) from error


def _plain(path: Path) -> Encoding:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()  # the file may ask to pad every text to 128

    def encode(text: str, longest: int) -> list[int]:
        tokenizer.enable_truncation(longest)
        ids: list[int] = tokenizer.encode(text).ids
        return ids

    pad = next((i for i in map(tokenizer.token_to_id, ("[PAD]", "<pad>", "<|pad|>")) if i is not None), None)
    return Encoding(encode, path.parent.name, pad)


def _transformers(path: Path) -> Encoding:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)

    def encode(text: str, longest: int) -> list[int]:
        ids: list[int] = tokenizer(text, truncation=True, max_length=longest)["input_ids"]
        return ids

    return Encoding(encode, path.name, tokenizer.pad_token_id, tokenizer.model_max_length)
