"""Broken and hostile model files, made when the tests run; none of them is kept as a binary.

Each maker writes what a MODEL may point at into a folder and returns its path. What wants to run code would make the
directory `canary` beside it.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from hostile_archives import two_directories as two_in_one
from hostile_pickles import PICKLES, RECORD, whole_pickle
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CANARY = "canary"


@dataclass
class Call:
    """Pickles as a call of `function`."""

    function: Any
    args: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.args


class UserNet(nn.Module):
    """A class that is not torch's own."""


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


def attack(folder: Path) -> Call:
    return Call(os.mkdir, (str(folder / CANARY),))


def torch_file(path: Path, content: Any, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, path, **options)
    return path


def archive(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip in the manner of torch: every entry in one folder."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in entries.items():
            file.writestr(f"archive/{name}", data)
    return path


def torch_archive(path: Path, pickled: bytes, **more: bytes) -> Path:
    return archive(path, {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n", **more})


def state_of(module: nn.Module, **changes: Any) -> bytes:
    """The operations that push the state of a module, with changes, onto the stack of a pickle."""
    return pickle.dumps({**module.__getstate__(), **changes}, protocol=2)[2:-1]


def blank(cls: type) -> bytes:
    """The operations that push a module of a class that was never initialised."""
    return f"c{cls.__module__}\n{cls.__qualname__}\n)\x81".encode("latin1")


def by_hand(body: bytes) -> Callable[[Path], Path]:
    return lambda folder: torch_archive(folder / "model.pt", whole_pickle(body), **{"data/0": RECORD})


def raw(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def saved(module: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(module, buffer, **options)
    return buffer.getvalue()


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


WEIGHT = {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}


def headed(folder: Path, spec: str) -> Path:
    """Four numbers, of which the header says that they are an architecture of the zoo."""
    header = {"__metadata__": {"rankscope.spec": f"zoo:{spec}"}, **WEIGHT}
    return raw(folder / "model.safetensors", safetensors(header, bytes(16)))


def hf_directory(folder: Path, config: dict[str, Any], files: dict[str, bytes] | None = None) -> Path:
    directory = folder / "hf"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    for name, data in (files or {}).items():
        (directory / name).write_bytes(data)
    return directory


def hooked(folder: Path) -> Path:
    model = net()
    model[0].register_forward_hook(nn.functional.relu)
    return torch_file(folder / "model.pt", model)


def replaced(folder: Path) -> Path:
    model = net()
    model[1].__dict__["forward"] = nn.functional.gelu
    return torch_file(folder / "model.pt", model)


def compiled(folder: Path) -> Path:
    state = state_of(nn.Identity(), _compiled_call_impl=nn.functional.relu)
    return torch_archive(folder / "model.pt", b"\x80\x02" + blank(nn.Identity) + state + b"b.")


def odd_parts(folder: Path) -> Path:
    state = state_of(nn.Identity(), _modules=OrderedDict({"0": "no module"}))
    return torch_archive(folder / "model.pt", b"\x80\x02" + blank(nn.Identity) + state + b"b.")


def unfilled(folder: Path) -> Path:
    return torch_archive(folder / "model.pt", b"\x80\x02" + blank(nn.Linear) + b".")


def tensor_hook(folder: Path) -> Path:
    hooks = OrderedDict({0: nn.functional.relu})
    weight = Call(torch._utils._rebuild_parameter, (torch.ones(2), True, hooks))
    state = net()
    state.__dict__["extra"] = weight
    return torch_file(folder / "model.pt", state)


def constructor(folder: Path) -> Path:
    """1.6 GB of random numbers, asked for in 200 bytes."""
    return torch_file(folder / "model.pt", Call(nn.Linear, (20_000, 20_000)))


def hidden_constructor(folder: Path) -> Path:
    call = Call(torch._tensor._rebuild_from_type_v2, (nn.Linear, nn.Linear, (20_000, 20_000), {}))
    return torch_file(folder / "model.pt", call)


def zip_bomb(folder: Path) -> Path:
    entries = {"data.pkl": saved_pickle(), "data/0": bytes(20_000_000)}
    return archive(folder / "model.pt", entries, zipfile.ZIP_DEFLATED)


def two_directories(folder: Path) -> Path:
    """A zip bomb for torch's reader, and a small archive for zipfile."""
    small = {"archive/data.pkl": saved_pickle(), "archive/version": b"3", "archive/data/0": b""}
    return raw(folder / "model.pt", two_in_one({**small, "archive/data/0": bytes(20_000_000)}, small))


def tuple_bomb(folder: Path) -> Path:
    """Sixty tuples, each twice in the next: to hash the last takes 2^60 steps."""
    key: tuple = ()
    for _ in range(60):
        key = (key, key)
    # built by hand, since Python would hash the key of a dict while it is written
    pickled = pickle.dumps(key, protocol=2)[:-1]
    return torch_archive(folder / "model.pt", pickled[:2] + b"}" + pickled[2:] + b"K\x01s.")


def deep_tuple(folder: Path) -> Path:
    """A key whose hash recurses in C until the stack is used up."""
    return torch_archive(folder / "model.pt", b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s.")


def codec_bomb(folder: Path) -> Path:
    """Each `encode(…, "hex")` doubles the bytes."""
    start = b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00latin1\x86R"
    step = b"X\x03\x00\x00\x00hex\x86R"
    return torch_archive(folder / "model.pt", b"\x80\x02" + b"c_codecs\nencode\n" * 40 + start + step * 40 + b".")


def hooked_user_class(folder: Path) -> Path:
    """A class of the user's own, harmless, with a hook that is a function of torch."""
    model = UserNet()
    model.register_forward_hook(nn.functional.relu)
    return torch_file(folder / "model.pt", model)


def hostile_lightning(folder: Path) -> Path:
    content = {"pytorch-lightning_version": "2.6", "hyper_parameters": {"lr": attack(folder)}}
    return torch_file(folder / "m.ckpt", {**content, "state_dict": net().state_dict()})


def packaged(folder: Path) -> Path:
    """A torch.package archive whose pickle runs code."""
    more = {".data/extern_modules": b"os\nposix\n", ".data/version": b"6\n"}
    return archive(folder / "m.pt", {**more, "model/model.pkl": pickle.dumps(attack(folder), protocol=2)})


def odd_names(folder: Path) -> Path:
    names = ["[/foo]", "<script>alert(1)</script>", "a\x1b[31m", "b\nc", "::error::x", "=cmd|calc", "n" * 999]
    return torch_file(folder / "m.pt", {name: torch.ones(2) for name in names})


def odd_class(folder: Path) -> Path:
    return torch_archive(folder / "model.pt", b"\x80\x02c[/foo]\x1b[31m\nNet::error::\n)\x81}b.")


def two_pickles(folder: Path) -> Path:
    """Two entries of one name, of which readers of zip archives may take either."""
    with warnings.catch_warnings(), zipfile.ZipFile(folder / "m.pt", "w") as file:
        warnings.simplefilter("ignore")
        file.writestr("archive/data.pkl", saved_content(attack(folder)))
        file.writestr("archive/data.pkl", saved_content([1]))
        file.writestr("archive/version", b"3\n")
    return folder / "m.pt"


def old_with_hostile_keys(folder: Path) -> Path:
    """The old format, with the attack in the list of storages that follows the content."""
    data = saved({}, _use_new_zipfile_serialization=False)
    keys = pickle.dumps([], protocol=2)
    assert data.endswith(keys)
    return raw(folder / "m.pt", data[: -len(keys)] + pickle.dumps(attack(folder), protocol=2))


def flipped(folder: Path) -> Path:
    """One bit of a tensor is another; torch reads it without complaint."""
    data = bytearray(saved(net().state_dict()))
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entry = file.getinfo("archive/data/0")
    name, extra = struct.unpack("<HH", data[entry.header_offset + 26 : entry.header_offset + 30])
    data[entry.header_offset + 30 + name + extra] ^= 1
    return raw(folder / "m.pt", bytes(data))


def saved_content(content: Any) -> bytes:
    with zipfile.ZipFile(io.BytesIO(saved(content))) as file:
        return file.read("archive/data.pkl")


def saved_pickle() -> bytes:
    return saved_content(net().state_dict())


def stride_bomb(folder: Path) -> Path:
    return torch_file(folder / "model.pt", {"w": torch.zeros(1).expand(10**12)})


def deep(folder: Path) -> Path:
    """Six hundred containers, each in the next."""
    opened = blank(nn.Sequential) + state_of(nn.Sequential(), _modules=OrderedDict()) + b"X\x08\x00\x00\x00_modules"
    # {"0": inner} is set last in the state, so that the repeated memo entries of the levels do not meet
    level = opened + b"}X\x01\x00\x00\x000"
    depth = 600
    data = b"\x80\x02" + level * depth + blank(nn.Identity) + state_of(nn.Identity()) + b"b" + b"ssb" * depth + b"."
    return torch_archive(folder / "model.pt", data)


def cyclic(folder: Path) -> Path:
    model = nn.Sequential()
    model._modules["0"] = model
    return torch_file(folder / "model.pt", model)


def diamonds(folder: Path) -> Path:
    """Sixty modules, and 2^40 paths through them."""
    model: nn.Module = nn.Identity()
    for _ in range(40):
        model = nn.Sequential(nn.Sequential(model), nn.Sequential(model))
    return torch_file(folder / "model.pt", model)


def deep_list(folder: Path) -> Path:
    return torch_archive(folder / "model.pt", b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".")


def user_class(folder: Path) -> Path:
    return torch_file(folder / "model.pt", UserNet())


def vanished_class(folder: Path) -> Path:
    return torch_archive(folder / "model.pt", b"\x80\x02c__main__\nNet\n)\x81}b.")


def exported(folder: Path) -> Path:
    """A .pt2 whose sample inputs are a pickle that torch.export.load would run."""
    entries = {"archive_format": b"pt2", "models/model.json": b"{}"}
    return archive(folder / "model.pt2", {**entries, "data/sample_inputs/model.pt": saved(attack(folder))})


def dcp(folder: Path) -> Path:
    directory = folder / "dcp"
    directory.mkdir()
    raw(directory / ".metadata", pickle.dumps(attack(folder)))
    return directory


def scripted(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(net()), folder / "model.pt")
    return folder / "model.pt"


def meta(folder: Path) -> Path:
    with torch.device("meta"):
        return torch_file(folder / "model.pt", net())


def array(folder: Path) -> Path:
    np.save(folder / "x.npy", np.ones(3))
    return folder / "x.npy"


def arrays(folder: Path) -> Path:
    np.savez(folder / "x.npz", ids=np.ones(3))
    return folder / "x.npz"


def folder_only(folder: Path) -> Path:
    (folder / "runs").mkdir()
    return folder / "runs"


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "model.pt")
    return folder / "model.pt"


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 48000000\n"
BERT = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 9}
INDEX = json.dumps({"metadata": {}, "weight_map": {"a": "../other/model.safetensors"}}).encode()
ABSOLUTE = json.dumps({"metadata": {}, "weight_map": {"a": "/etc/model.safetensors"}}).encode()

# name: (maker, code, what the error says)
CASES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "empty": (lambda f: raw(f / "model.pt", b""), "RS312", "empty file"),
    "text": (lambda f: raw(f / "model.pt", b"hello\n" * 99), "RS303", "text file"),
    "python": (lambda f: raw(f / "net.py", b"import torch\n"), "RS303", "net.py:Net"),
    "html": (lambda f: raw(f / "model.pt", b"\n<!DOCTYPE html><html>404"), "RS305", "web page"),
    "lfs pointer": (lambda f: raw(f / "model.safetensors", LFS), "RS305", "git lfs pull"),
    "zip cut in half": (lambda f: raw(f / "model.pt", saved(net())[:1500]), "RS312", "is truncated.*zip directory"),
    "zip cut at the end": (lambda f: raw(f / "model.pt", saved(net())[:-10]), "RS312", "is truncated"),
    "zip with a bad directory": (
        lambda f: raw(f / "model.pt", saved(net()).replace(b"PK\x01\x02", b"PK\x09\x09")),
        "RS313",
        "damaged zip archive",
    ),
    "zip of something else": (lambda f: archive(f / "model.pt", {"a.txt": b"x"}), "RS303", "no data.pkl"),
    "gzip": (lambda f: raw(f / "model.pt", gzip.compress(b"x" * 999)), "RS303", "packed archive"),
    "noise": (lambda f: raw(f / "model.pt", bytes(range(255, 0, -1)) * 4), "RS303", "no known kind"),
    "gguf": (lambda f: raw(f / "model.pt", b"GGUF\x03\x00\x00\x00"), "RS303", "GGUF"),
    "onnx": (lambda f: raw(f / "model.pt", b"\x08\x08\x12\x07pytorch\x1a\x03"), "RS303", "ONNX"),
    "hdf5": (lambda f: raw(f / "model.h5", b"\x89HDF\r\n\x1a\n" + bytes(9)), "RS303", "HDF5"),
    "npy": (array, "RS303", "--input"),
    "npz": (arrays, "RS303", "--input"),
    "pipe": (fifo, "RS311", "no regular file"),
    "bare directory": (folder_only, "RS306", "without config.json"),
    "safetensors cut": (lambda f: raw(f / "m.safetensors", safetensors(WEIGHT, bytes(9))), "RS312", "is truncated"),
    "safetensors cut in the header": (
        lambda f: raw(f / "m.safetensors", safetensors(WEIGHT)[:30]),
        "RS312",
        "is truncated",
    ),
    "safetensors with bad JSON": (lambda f: raw(f / "m.safetensors", safetensors(b"{zzz", bytes(9))), "RS313", "JSON"),
    "safetensors with a hole": (
        lambda f: raw(f / "m.safetensors", safetensors({"w": {**WEIGHT["w"], "data_offsets": [4, 20]}}, bytes(20))),
        "RS313",
        "damaged",
    ),
    "safetensors that ask for more": (
        lambda f: raw(f / "m.safetensors", safetensors({"w": {**WEIGHT["w"], "shape": [10**12]}}, bytes(16))),
        "RS313",
        "damaged",
    ),
    "text named safetensors": (lambda f: raw(f / "m.safetensors", b"oops"), "RS313", "header is damaged"),
    "unknown zoo in the header": (
        lambda f: raw(
            f / "m.safetensors", safetensors({"__metadata__": {"rankscope.spec": "zoo:none"}, **WEIGHT}, bytes(16))
        ),
        "RS313",
        "unknown architecture 'none'",
    ),
    "endless depth in the header": (
        lambda f: headed(f, "transformer,depth=1_000_000_000"),
        "RS313",
        "larger than the file",
    ),
    "endless width in the header": (lambda f: headed(f, "transformer,width=100_000"), "RS313", "larger than the file"),
    "larger by a little": (lambda f: headed(f, "transformer,width=4096,depth=4096"), "RS313", "larger than the file"),
    "hostile pickle": (lambda f: raw(f / "model.pkl", pickle.dumps(attack(f))), "RS302", "plain pickle"),
    "hostile archive": (lambda f: torch_file(f / "model.pt", attack(f)), "RS301", r"wants  (posix|nt)\.mkdir"),
    "hostile old format": (
        lambda f: torch_file(f / "model.pt", attack(f), _use_new_zipfile_serialization=False),
        "RS301",
        r"wants  (posix|nt)\.mkdir",
    ),
    "hostile beside weights": (
        lambda f: torch_file(f / "model.pt", {**net().state_dict(), "z": attack(f)}),
        "RS301",
        "asks to import code",
    ),
    "user's class": (user_class, "RS301", "rankscope probe hostile:UserNet --weights"),
    "class of a script": (vanished_class, "RS301", "yourscript.py:Net"),
    "getattr": (
        lambda f: torch_file(f / "model.pt", Call(getattr, (nn.Linear, "mro"))),
        "RS301",
        r"__builtin__\.getattr|builtins\.getattr",
    ),
    "stock module of the old format": (
        lambda f: torch_file(f / "model.pt", net(), _use_new_zipfile_serialization=False),
        "RS301",
        "state dicts alone",
    ),
    "torchscript": (scripted, "RS302", "TorchScript"),
    "torch.export": (exported, "RS302", "torch.export"),
    "AOTInductor": (
        lambda f: archive(f / "m.pt2", {"archive_format": b"pt2", "data/aotinductor/model/m.so": b"x"}),
        "RS303",
        "native code",
    ),
    "torch.package": (packaged, "RS302", "torch.package"),
    "hostile lightning": (hostile_lightning, "RS301", r"no model needs (posix|nt)\.mkdir"),
    "hostile old format, after the content": (old_with_hostile_keys, "RS301", r"wants  (posix|nt)\.mkdir"),
    "hooks on a user's class": (hooked_user_class, "RS301", r"--allow 'hostile\.\*'"),
    "lightning": (
        lambda f: torch_file(f / "m.ckpt", {"pytorch-lightning_version": "2.6", "state_dict": net().state_dict()}),
        "RS320",
        "--arch yourmodule:Net",
    ),
    "dcp": (dcp, "RS302", "distributed checkpoint"),
    "pickle protocol 4": (lambda f: torch_file(f / "m.pt", net(), pickle_protocol=4), "RS313", "pickle_protocol"),
    "old format, protocol 4": (
        lambda f: torch_file(f / "m.pt", net().state_dict(), pickle_protocol=4, _use_new_zipfile_serialization=False),
        "RS313",
        "pickle_protocol",
    ),
    "old format, cut": (
        lambda f: raw(f / "m.pt", saved(net().state_dict(), _use_new_zipfile_serialization=False)[:-20]),
        "RS312",
        "is truncated",
    ),
    "a record is missing": (lambda f: torch_archive(f / "m.pt", saved_pickle()), "RS313", "damaged"),
    "hooks": (hooked, "RS315", r"carries hooks \(Linear\._forward_hooks\)"),
    "hook on a tensor": (tensor_hook, "RS315", "carries hooks"),
    "forward replaced": (replaced, "RS315", r"replaces ReLU\.forward"),
    "compiled call": (compiled, "RS315", "replaces Identity"),
    "parts that are no modules": (odd_parts, "RS315", "_modules"),
    "module never filled": (unfilled, "RS315", "_parameters"),
    "constructor called": (constructor, "RS315", r"calls torch\.nn\.modules\.linear\.Linear"),
    "constructor called by another": (hidden_constructor, "RS315", r"calls torch\.nn\.modules\.linear\.Linear"),
    "zip bomb": (zip_bomb, "RS314", "unpacks to"),
    "two directories": (two_directories, "RS313", "do not agree"),
    "tuple bomb": (tuple_bomb, "RS315", "would never end"),
    "tuples nested deep": (deep_tuple, "RS315", "break Python"),
    "codec bomb": (codec_bomb, "RS315", "fill the memory"),
    "memory asked for": (
        lambda f: torch_archive(f / "m.pt", b"\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x00\x70\x85R."),
        "RS315",
        "memory that it does not fill",
    ),
    "tensor made by its class": (
        lambda f: torch_archive(f / "m.pt", b"\x80\x02ctorch\nFloatTensor\nJ\x00\x00\x00\x70\x85R."),
        "RS315",
        r"calls torch\.FloatTensor",
    ),
    "odd names": (odd_names, "RS320", "7 tensors: "),
    "odd class": (odd_class, "RS301", "Net::error::"),
    "several weights": (
        lambda f: torch_file(f / "m.pt", {"model": net().state_dict(), "ema": net().state_dict()}),
        "RS364",
        r"\['ema'\], 'weights.pt'\)",
    ),
    "stride bomb": (stride_bomb, "RS314", "4.0 TB"),
    "nested deep": (deep, "RS315", "contain each other"),
    "contains itself": (cyclic, "RS315", "contain each other"),
    "diamonds": (diamonds, "RS315", "contain each other"),
    "list nested deep": (deep_list, "RS316", "a list"),
    "a tensor": (lambda f: torch_file(f / "m.pt", torch.ones(2)), "RS316", "a Tensor"),
    "wrapped weights": (
        lambda f: torch_file(f / "m.pt", {"model_state_dict": net().state_dict(), "epoch": 3}),
        "RS320",
        "--arch yourmodule:Net",
    ),
    "weights alone": (lambda f: torch_file(f / "m.pt", net().state_dict()), "RS320", "--arch yourmodule:Net"),
    "no numbers": (meta, "RS323", "meta device"),
    **{name: (by_hand(body), code, says) for name, (body, code, says) in PICKLES.items()},
}

# Nothing is wrong with these: they want an architecture, and load into one.
SOUND = ("weights alone", "wrapped weights", "lightning")


def code_inside(folder: Path) -> Path:
    """A config that names code for its decoder, of which transformers would ask on the terminal whether to run it."""
    code = f"import os; os.mkdir({str(folder / CANARY)!r})".encode()
    decoder = {"model_type": "vit", "auto_map": {"AutoModelForCausalLM": f"{folder / 'hf'}--evil.Evil"}}
    config = {"model_type": "encoder-decoder", "architectures": ["EncoderDecoderModel"], "encoder": BERT}
    files = {"evil.py": code, "model.safetensors": safetensors(WEIGHT, bytes(16))}
    return hf_directory(folder, {**config, "decoder": decoder}, files)


def index_pipe(folder: Path) -> Path:
    directory = hf_directory(folder, BERT)
    os.mkfifo(directory / "model.safetensors.index.json")
    return directory


# Hugging Face directories, which need transformers
HF_CASES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "own code": (
        lambda f: hf_directory(
            f,
            {"model_type": "mine", "auto_map": {"AutoModel": "modeling_mine.Mine"}},
            {"modeling_mine.py": f"import os; os.mkdir({str(f / CANARY)!r})".encode()},
        ),
        "RS301",
        r"modeling_mine\.Mine",
    ),
    "own code of a part": (code_inside, "RS336", "transformers"),
    "file for timm": (
        lambda f: hf_directory(f, {**BERT, "model_args": {"checkpoint_path": "hf/evil.pth"}}),
        "RS301",
        r"hf/evil\.pth",
    ),
    "backbone of the network": (
        lambda f: hf_directory(
            f,
            {"model_type": "detr", "backbone": "org/name", "use_timm_backbone": False, "backbone_config": None},
            {"model.safetensors": safetensors(WEIGHT, bytes(16))},
        ),
        "RS336",
        "offline",
    ),
    "index is a pipe": (index_pipe, "RS306", "no weights"),
    "kernel": (lambda f: hf_directory(f, {**BERT, "attn_implementation": "org/kernel"}), "RS301", "org/kernel"),
    "index leads out": (
        lambda f: hf_directory(f, BERT, {"model.safetensors.index.json": INDEX}),
        "RS337",
        r"\.\./other/model\.safetensors",
    ),
    "index is absolute": (
        lambda f: hf_directory(f, BERT, {"model.safetensors.index.json": ABSOLUTE}),
        "RS337",
        "/etc/model.safetensors",
    ),
    "weights named elsewhere": (
        lambda f: hf_directory(f, {**BERT, "transformers_weights": "../x.safetensors"}),
        "RS337",
        r"\.\./x\.safetensors",
    ),
    "adapter": (lambda f: hf_directory(f, BERT, {"adapter_config.json": b"{}"}), "RS370", "adapter"),
    "no weights": (lambda f: hf_directory(f, BERT), "RS306", "--init-only"),
    "pointer for weights": (lambda f: hf_directory(f, BERT, {"model.safetensors": LFS}), "RS305", "git lfs pull"),
    "pickle named safetensors": (
        lambda f: hf_directory(f, BERT, {"model.safetensors": pickle.dumps(attack(f))}),
        "RS302",
        "plain pickle",
    ),
    "hostile bin": (lambda f: hf_directory(f, BERT, {"pytorch_model.bin": saved(attack(f))}), "RS301", "mkdir"),
    "unknown type": (lambda f: hf_directory(f, {"model_type": "nope"}), "RS336", "nope"),
    "no type": (lambda f: hf_directory(f, {"hidden": 3}), "RS336", "no model_type"),
    "config is no JSON": (lambda f: hf_directory(f, {}, {"config.json": b"{"}), "RS313", "config.json"),
    "config is deep": (lambda f: hf_directory(f, {}, {"config.json": b"[" * 10**5}), "RS313", "config.json"),
    "config is a list": (lambda f: hf_directory(f, {}, {"config.json": b"[]"}), "RS313", "no JSON object"),
    "absurd config": (
        lambda f: hf_directory(f, {**BERT, "hidden_size": 7}, {"model.safetensors": safetensors(WEIGHT, bytes(16))}),
        "RS336",
        "transformers",
    ),
    "missing keys": (
        lambda f: hf_directory(f, BERT, {"model.safetensors": safetensors(WEIGHT, bytes(16))}),
        "RS321",
        "missing",
    ),
}

# name: maker; every file that no one should have to trust, over all forms
FILES: dict[str, Callable[[Path], Path]] = {
    **{name: maker for name, (maker, _, _) in {**CASES, **HF_CASES}.items()},
    "flipped bit": flipped,
    "two pickles of one name": two_pickles,
}
