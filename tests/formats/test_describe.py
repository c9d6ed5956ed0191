"""What a file is, is said without torch, in bounded time, and agrees with what opening it does."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hostile
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from rankscope.errors import LoadError, catalogue
from rankscope.formats import Kind, describe, sha256
from rankscope.records import display_name
from rankscope.sources import open_model

if TYPE_CHECKING:
    from rankscope.formats import Description

SECONDS = 3  # the promise is 0.3; the machines that run this are shared


def facts(path: Path) -> dict[str, str]:
    return dict(describe(path).facts)


def code_of(path: Path) -> str | None:
    """The code of the error that opening a file raises."""
    try:
        open_model(path)
    except LoadError as error:
        return error.code
    return None


def is_printable(found: Description) -> bool:
    texts = [text for pair in (*found.facts, *found.remedies) for text in pair]
    return all("\n" not in text and "\x1b" not in text for text in (*texts, *found.imports, found.problem or ""))


@pytest.mark.parametrize("name", hostile.CASES)
def test_broken_and_hostile_files_are_described_without_running_anything(name: str, tmp_path: Path) -> None:
    path = hostile.CASES[name][0](tmp_path)
    if path.is_fifo():
        with pytest.raises(LoadError, match="no regular file"):
            describe(path)
        return
    start = time.perf_counter()
    found = describe(path)
    assert time.perf_counter() - start < SECONDS
    assert not (tmp_path / hostile.CANARY).exists()
    assert is_printable(found)
    assert found.code is None or found.code in catalogue()
    assert bool(found.problem) == bool(found.code)
    opened = code_of(path)
    if opened is None:
        assert found.loads == "without a flag"
    if opened in {"RS302", "RS303", "RS305", "RS306", "RS312"} and "old format" not in name:
        assert (found.code, found.loads != "without a flag") == (opened, True)
    if opened == "RS301":
        assert found.loads not in {"without a flag", "with --arch"}
        assert found.imports or "old format" in name


@pytest.mark.parametrize("name", hostile.HF_CASES)
def test_directories_are_described_without_running_anything(name: str, tmp_path: Path) -> None:
    found = describe(hostile.HF_CASES[name][0](tmp_path))
    assert not (tmp_path / hostile.CANARY).exists()
    assert is_printable(found)
    assert found.kind is Kind.HF_DIRECTORY


def test_neither_torch_nor_numpy_is_imported(tmp_path: Path) -> None:
    paths = [hostile.torch_file(tmp_path / "m.pt", hostile.net()), tmp_path / "w.safetensors", hostile.dcp(tmp_path)]
    save_file(hostile.net().state_dict(), paths[1])
    script = (
        "import sys; from pathlib import Path; from rankscope.formats import describe, sha256\n"
        f"for path in {[str(path) for path in paths]}: describe(Path(path))\n"
        "sys.exit(bool({'torch', 'numpy', 'safetensors', 'pandas'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["safetensors", "torch", "legacy", "unknown"])
def test_several_gigabytes_take_no_longer(kind: str, tmp_path: Path) -> None:
    size = 4 * 2**30
    path = tmp_path / "large"
    if kind == "safetensors":
        shape = {"w": {"dtype": "F32", "shape": [2**15, 2**15], "data_offsets": [0, size]}}
        path.write_bytes(hostile.safetensors(shape))
    elif kind == "torch":
        hostile.torch_file(path, hostile.net())
    elif kind == "legacy":
        hostile.torch_file(path, hostile.net().state_dict(), _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(bytes(8))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)  # a hole takes no room on the disk
    start = time.perf_counter()
    found = describe(path)
    assert time.perf_counter() - start < SECONDS
    assert found.size > size
    if kind == "safetensors":
        assert found.problem is None
        assert dict(found.facts)["tensors"].startswith("1, of 1,073,741,824 numbers")


def test_a_pickle_without_end_is_cut(tmp_path: Path) -> None:
    """What lies behind the part that is followed is still looked at for names."""
    data = b"\x80\x02" + b"]0" * 200_000 + b"cos\nsystem\n0N."
    found = describe(hostile.torch_archive(tmp_path / "m.pt", data))
    assert found.imports == ("os.system",)
    assert "not read" in dict(found.facts)


def test_too_many_entries(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as file:
        for at in range(70_000):
            file.writestr(f"archive/data/{at}", b"")
    start = time.perf_counter()
    found = describe(tmp_path / "m.pt")
    assert time.perf_counter() - start < SECONDS
    assert (found.kind, found.code) == (Kind.HUGE_ZIP, "RS314")


def test_state_dicts(tmp_path: Path) -> None:
    path = hostile.torch_file(tmp_path / "m.pt", hostile.net().state_dict())
    found = describe(path)
    assert (found.kind, found.loads, found.problem) == (Kind.TORCH_ZIP, "with --arch", None)
    assert facts(path)["holds"] == "a state dict: 0.weight, 0.bias, 2.weight and 1 more"
    assert facts(path)["tensors"] == "4, of 30 numbers (float)"
    assert facts(path)["byte order"] == "little"
    old = hostile.torch_file(tmp_path / "old.pt", hostile.net().state_dict(), _use_new_zipfile_serialization=False)
    assert facts(old)["tensors"] == "4, of 30 numbers (float)"
    assert describe(old).loads == "with --arch"


def test_weights_inside_a_checkpoint(tmp_path: Path) -> None:
    content = {"epoch": 3, "model": {"net": hostile.net().state_dict()}, "optimizer": {}}
    path = hostile.torch_file(tmp_path / "m.pt", content)
    assert facts(path)["holds"] == "a dict of epoch, model, optimizer; the weights are under model.net"
    assert describe(path).loads == "with --arch"


def test_stock_modules(tmp_path: Path) -> None:
    path = hostile.torch_file(tmp_path / "m.pt", nn.TransformerEncoderLayer(8, 2))
    found = describe(path)
    assert (found.loads, found.imports, found.problem) == ("without a flag", (), None)
    assert facts(path)["holds"] == "a module, torch.nn.modules.transformer.TransformerEncoderLayer"
    assert "torch.nn.modules.activation.MultiheadAttention" in facts(path)["classes of torch"]
    assert open_model(path).format == "pickled module"


def test_the_users_own_classes(tmp_path: Path) -> None:
    found = describe(hostile.user_class(tmp_path))
    assert (found.loads, found.imports) == ("with --allow 'hostile.*'", ("hostile.UserNet",))
    assert found.remedies[0][1].endswith("--allow 'hostile.*'")
    assert found.remedies[-1][1].endswith("--trust"), "the risky way comes last"
    script = describe(hostile.vanished_class(tmp_path))
    assert script.loads == "with --allow '__main__.*=yourscript.py' and --arch"


def test_harm_is_named_and_no_way_to_it_is_shown(tmp_path: Path) -> None:
    found = describe(
        hostile.torch_file(tmp_path / "m.pt", {**hostile.net().state_dict(), "z": hostile.attack(tmp_path)})
    )
    assert found.loads == "not at all"
    assert "no model needs" in (found.problem or "")
    assert not any("--trust" in text or "--allow" in text for _, text in found.remedies)


def test_hooks(tmp_path: Path) -> None:
    found = describe(hostile.hooked(tmp_path))
    assert (found.code, found.loads) == ("RS315", "not at all")
    assert dict(found.facts)["hooks"] == "Linear._forward_hooks"


def test_bombs_and_twins(tmp_path: Path) -> None:
    assert describe(hostile.zip_bomb(tmp_path)).code == "RS314"
    path = hostile.torch_file(tmp_path / "twice.pt", hostile.net())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr("twice/data.pkl", b"\x80\x02N.")
    assert "two entries of one name" in (describe(path).problem or "")


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(
        {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}, path, {"rankscope.spec": "mlp,depth=2"}
    )
    assert facts(path)["tensors"] == "2, of 10 numbers: a, b"
    assert facts(path)["types"] in {"F32 (1), BF16 (1)", "BF16 (1), F32 (1)"}
    assert facts(path)["architecture"] == "mlp,depth=2"
    assert describe(path).loads == "without a flag"
    whole = path.read_bytes()
    assert describe(hostile.raw(path, whole[:-3])).code == "RS312"
    assert describe(hostile.raw(path, whole[:20])).code == "RS312"
    assert describe(hostile.raw(path, whole + b"x")).code == "RS313"
    assert describe(hostile.raw(path, whole.replace(b'"dtype"', b'"dtyp\xff"'))).code == "RS313"
    assert describe(hostile.raw(path, whole.replace(b"[2,3]", b"[2,4]"))).code == "RS313"


def test_lightning(tmp_path: Path) -> None:
    content = {"pytorch-lightning_version": "2.6.0", "state_dict": hostile.net().state_dict(), "epoch": 1}
    path = hostile.torch_file(tmp_path / "m.ckpt", content)
    found = describe(path)
    assert (found.kind, found.loads, found.problem) == (Kind.LIGHTNING, "with --arch", None)
    assert "the weights are under state_dict" in facts(path)["holds"]
    assert facts(path)["Lightning"] == "2.6.0"


def test_torchscript_names_its_root(tmp_path: Path) -> None:
    found = describe(hostile.scripted(tmp_path))
    assert "Sequential" in dict(found.facts)["root"]
    assert found.code == "RS302"


def test_exported(tmp_path: Path) -> None:
    found = describe(hostile.exported(tmp_path))
    assert found.loads == "with --trust"
    assert any(name.endswith(".mkdir") for name in found.imports), "its sample inputs are a pickle that would be run"


def hf(folder: Path, config: dict[str, Any], **files: bytes) -> Path:
    return hostile.hf_directory(folder, config, {name.replace("__", "."): data for name, data in files.items()})


def test_hugging_face_directories(tmp_path: Path) -> None:
    weights = hostile.safetensors(hostile.WEIGHT, bytes(16))
    path = hf(tmp_path, {"model_type": "bert", "architectures": ["BertModel"]}, model__safetensors=weights)
    found = describe(path)
    assert (found.loads, found.problem) == ("without a flag", None)
    assert facts(path) == {"model_type": "bert", "architectures": "BertModel", "weights": "model.safetensors"}
    (path / "config.json").write_text(json.dumps({"model_type": "x", "auto_map": {"AutoModel": "modeling.X"}}))
    assert describe(path).imports == ("modeling.X",)
    (path / "adapter_config.json").write_text("{}")
    assert describe(path).code == "RS370"


def test_shards_of_a_hugging_face_directory(tmp_path: Path) -> None:
    weights = hostile.safetensors(hostile.WEIGHT, bytes(16))
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    path = hostile.hf_directory(tmp_path, {"model_type": "bert"}, {"model-1.safetensors": weights})
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = describe(path)
    assert (found.code, dict(found.facts)["weights"]) == ("RS310", "2 tensors in 2 files, 1 of them here")
    (path / "model-2.safetensors").write_bytes(weights)
    assert describe(path).problem is None
    index["weight_map"]["b"] = "../model-2.safetensors"
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert describe(path).code == "RS337"


def test_distributed_checkpoints(tmp_path: Path) -> None:
    found = describe(hostile.dcp(tmp_path))
    assert found.loads == "with --trust and --arch"
    assert any(name.endswith(".mkdir") for name in found.imports)
    assert found.remedies[-1][1].endswith("--trust --arch yourmodule:Net")


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(tag: int, data: bytes) -> bytes:
    return bytes([tag]) + varint(len(data)) + data


GRAPH = field(0x0A, field(0x0A, b"x") + field(0x12, b"Placeholder"))
# name: (content, kind, code, a fact)
FLAT: dict[str, tuple[bytes, Kind, str, tuple[str, str] | None]] = {
    "gguf": (struct.pack("<4sIQQ", b"GGUF", 3, 291, 24), Kind.GGUF, "RS303", ("tensors", "291")),
    "onnx": (
        b"\x08\x08" + field(0x12, b"pytorch") + field(0x1A, b"2.9"),
        Kind.ONNX,
        "RS303",
        ("made by", "pytorch 2.9"),
    ),
    "lfs": (hostile.LFS, Kind.LFS_POINTER, "RS305", ("of size", "48000000")),
    "html": (b"<html><head><title>404 &amp; more</title>", Kind.HTML, "RS305", ("title", "404 & more")),
    "saved model": (b"\x08\x01\x12" + varint(900) + b"\x0a\x10" + bytes(64), Kind.TENSORFLOW, "RS303", None),
    "frozen graph": (GRAPH, Kind.TENSORFLOW, "RS303", None),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(40), Kind.TFLITE, "RS303", None),
    "flax": (b"\x81\xa6params\x81\xa5Dense" + bytes(30), Kind.FLAX, "RS303", None),
    "core ml": (b"\x08\x05\x12" + varint(40) + b"\x0a\x10\x0a\x05image", Kind.COREML, "RS303", None),
    "index": (
        b'{"metadata": {}, "weight_map": {"a": "b.safetensors"}}',
        Kind.SHARD_INDEX,
        "RS372",
        ("in files", "b.safetensors"),
    ),
    "numbers": (np.linspace(-1, 1, 400).astype("float32").tobytes(), Kind.UNKNOWN, "RS303", None),
}


@pytest.mark.parametrize("name", FLAT)
def test_other_kinds_are_named_with_the_way_out(name: str, tmp_path: Path) -> None:
    data, kind, code, fact = FLAT[name]
    path = hostile.raw(tmp_path / "model.bin", data)
    found = describe(path)
    assert (found.kind, found.code, found.loads) == (kind, code, "not at all")
    assert fact is None or fact in found.facts
    assert found.remedies
    assert code_of(path) == code


def test_arrays_and_raw_numbers_are_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 5), "float32"))
    assert facts(tmp_path / "x.npy") == {"type": "<f4", "shape": "(3, 5)"}
    np.savez(tmp_path / "x.npz", ids=np.zeros(3), mask=np.zeros(3))
    assert facts(tmp_path / "x.npz") == {"arrays": "ids, mask"}
    path = hostile.raw(tmp_path / "x.bin", FLAT["numbers"][0])
    assert "numpy.fromfile" in describe(path).remedies[-1][1]


def test_a_keras_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as file:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            file.writestr(name, "{}")
    assert describe(tmp_path / "m.keras").kind is Kind.KERAS


@pytest.mark.parametrize(
    ("names", "kind", "says"),
    [
        (["adapter_config.json", "adapter_model.safetensors"], Kind.PEFT_DIRECTORY, "merge_and_unload"),
        (["tokenizer.json"], Kind.TOKENIZER_DIRECTORY, "--tokenizer"),
        (["saved_model.pb"], Kind.TENSORFLOW_DIRECTORY, "yourmodule:Net"),
        (["Data/com.apple.CoreML/model.mlmodel"], Kind.COREML_DIRECTORY, "yourmodule:Net"),
        (["model.gguf"], Kind.DIRECTORY, "d/model.gguf"),
        (["b.pt", "a.safetensors"], Kind.DIRECTORY, "d/a.safetensors --arch"),
        (["unet/config.json", "a.safetensors"], Kind.DIRECTORY, "d/unet"),
    ],
)
def test_directories_without_a_model_name_the_way_out(names: list[str], kind: Kind, says: str, tmp_path: Path) -> None:
    for name in names:
        path = tmp_path / "d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    found = describe(tmp_path / "d")
    assert found.kind is kind
    assert says in " ".join(text for _, text in found.remedies)
    assert code_of(tmp_path / "d") == found.code


def test_names_from_files_are_made_safe(tmp_path: Path) -> None:
    evil = "a\x1b[31m\nb"
    found = describe(
        hostile.raw(tmp_path / "m.safetensors", hostile.safetensors({evil: hostile.WEIGHT["w"]}, bytes(16)))
    )
    assert display_name(evil) in dict(found.facts)["tensors"]
    assert is_printable(found)
    assert is_printable(describe(hostile.torch_file(tmp_path / "m.pt", {evil: torch.ones(2)})))


def test_the_checksum(tmp_path: Path) -> None:
    path = hostile.raw(tmp_path / "x", b"abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such file"):
        describe(tmp_path / "none")


@given(cut=st.integers(0, 2000), at=st.integers(0, 3000), value=st.integers(0, 255), which=st.integers(0, 3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spoiled_files_are_described(cut: int, at: int, value: int, which: int, tmp_path: Path) -> None:
    from safetensors.torch import save

    state = hostile.net().state_dict()
    content = (
        hostile.saved(hostile.net()),
        hostile.saved(state, _use_new_zipfile_serialization=False),
        save(state),
        pickle.dumps(["a", {"b": os.getcwd}], protocol=4),
    )[which]
    data = bytearray(content)
    data[at % len(data)] = value
    found = describe(hostile.raw(tmp_path / "x", bytes(data[: max(1, len(data) - cut)])))
    assert found.kind in Kind
    assert is_printable(found)
