"""The forms of MODEL: each is made of one small model in a folder of its own, to be opened and measured as that model.

A maker gives the form as the user types it, the flags it takes, and the live model whose numbers it must have.
"""

from __future__ import annotations

import pickle
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import handwritten
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ARCH = "handwritten:tiny"


@dataclass(frozen=True)
class Form:
    """A form: what the user types, the flags, the live model, and the inputs of both (None: as inferred)."""

    spec: str
    live: nn.Module
    flags: Mapping[str, Any] = field(default_factory=dict)
    inputs: Any = None


@dataclass(frozen=True)
class Maker:
    """How a form is made, the packages it needs, and the code of the refusal where the flags are left out."""

    make: Callable[[Path], Form]
    needs: tuple[str, ...] = ()
    refused: str | None = None


MAKERS: dict[str, Maker] = {}


def form(name: str, *needs: str, refused: str | None = None) -> Callable[[Callable[[Path], Form]], Any]:
    """Register a maker."""

    def register(make: Callable[[Path], Form]) -> Callable[[Path], Form]:
        MAKERS[name] = Maker(make, needs, refused)
        return make

    return register


def saved(folder: Path, content: Any, name: str = "model.pt", **options: Any) -> str:
    torch.save(content, folder / name, **options)
    return str(folder / name)


@form("live module")
def live(folder: Path) -> Form:
    model = handwritten.tiny()
    return Form("", model)


@form("pickled module of torch.nn")
def stock(folder: Path) -> Form:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model = nn.Sequential(nn.Embedding(99, 32), nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)).eval()
    return Form(saved(folder, model), model)


@form("pickled module of the user's own classes", refused="RS301")
def own(folder: Path) -> Form:
    model = handwritten.tiny()
    return Form(saved(folder, model), model, {"allow": ("handwritten.*",)})


@form("full pickle", refused="RS301")
def full(folder: Path) -> Form:
    model = handwritten.tiny()
    return Form(saved(folder, model), model, {"trust": True})


@form("plain pickle", refused="RS302")
def plain(folder: Path) -> Form:
    model = handwritten.tiny()
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    return Form(str(folder / "model.pkl"), model, {"trust": True})


@form("torch.package archive", refused="RS302")
def package(folder: Path) -> Form:
    model = handwritten.tiny()
    with torch.package.PackageExporter(folder / "model.pt") as archive:
        archive.intern("handwritten")
        archive.extern("torch.**")
        archive.save_pickle("model", "model.pkl", model)
    return Form(str(folder / "model.pt"), model, {"trust": True})


@form("state dict", refused="RS320")
def state(folder: Path) -> Form:
    model = handwritten.tiny()
    return Form(saved(folder, model.state_dict()), model, {"arch": ARCH})


@form("state dict, old format", refused="RS320")
def legacy(folder: Path) -> Form:
    model = handwritten.tiny()
    file = saved(folder, model.state_dict(), _use_new_zipfile_serialization=False)
    return Form(file, model, {"arch": ARCH})


@form("state dict inside a training checkpoint", refused="RS320")
def nested(folder: Path) -> Form:
    model = handwritten.tiny()
    optimizer = torch.optim.Adam(model.parameters()).state_dict()
    return Form(saved(folder, {"model": model.state_dict(), "optimizer": optimizer}), model, {"arch": ARCH})


@form("Lightning checkpoint", refused="RS320")
def lightning(folder: Path) -> Form:
    model = handwritten.tiny()
    weights = {f"net.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {"epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.5.0", "state_dict": weights}
    content |= {"loops": {}, "callbacks": {}, "optimizer_states": [], "lr_schedulers": []}
    return Form(saved(folder, content, "last.ckpt"), model, {"arch": ARCH, "strip_prefix": "net."})


@form("safetensors", refused="RS320")
def safetensors(folder: Path) -> Form:
    from safetensors.torch import save_model

    model = handwritten.tiny()
    save_model(model, str(folder / "model.safetensors"))
    return Form(str(folder / "model.safetensors"), model, {"arch": ARCH})


@form("safetensors with a header of the zoo")
def header(folder: Path) -> Form:
    from safetensors.torch import save_file

    from rankscope import zoo

    spec = "transformer,depth=3,width=32"
    model = zoo.build(spec, seed=1).eval()
    save_file(model.state_dict(), folder / "zoo.safetensors", metadata={"rankscope.spec": spec})
    return Form(str(folder / "zoo.safetensors"), model)


@form("torch.export archive (.pt2)", refused="RS302")
def exported(folder: Path) -> Form:
    model, ids = handwritten.tiny(), torch.arange(32).reshape(2, 16)
    torch.export.save(torch.export.export(model, (ids,)), folder / "model.pt2")
    return Form(str(folder / "model.pt2"), model, {"trust": True}, ids)


@form("distributed checkpoint (DCP)", refused="RS302")
def dcp(folder: Path) -> Form:
    from torch.distributed import checkpoint

    model = handwritten.tiny()
    checkpoint.save(model.state_dict(), checkpoint_id=folder / "dcp", no_dist=True)
    return Form(str(folder / "dcp"), model, {"trust": True, "arch": ARCH})


@form("module:factory")
def factory(folder: Path) -> Form:
    return Form(ARCH, handwritten.tiny())


def own_file(folder: Path) -> str:
    """The nets as a file of the user's."""
    shutil.copy(handwritten.__file__, folder / "net.py")
    return f"{folder / 'net.py'}:tiny"


@form("file.py:factory")
def file(folder: Path) -> Form:
    return Form(own_file(folder), handwritten.tiny())


@form("file.py:factory with weights")
def weights(folder: Path) -> Form:
    model = handwritten.tiny(seed=1)
    return Form(own_file(folder), model, {"weights": Path(saved(folder, model.state_dict()))})


@form("zoo")
def zoo_form(folder: Path) -> Form:
    from rankscope import zoo

    return Form("zoo:transformer,depth=3,width=32", zoo.build("transformer,depth=3,width=32").eval())


@form("demo checkpoint")
def demo(folder: Path) -> Form:
    from safetensors.torch import load_file

    from rankscope import zoo

    model = zoo.build("lambda_skip,depth=24,width=64,lam=1").eval()
    model.load_state_dict(load_file(Path(zoo.__file__).parent / "demo" / "baseline.safetensors"))
    return Form("baseline", model, {}, torch.arange(32).reshape(2, 16))


@form("alias", refused="RS310")
def alias(folder: Path) -> Form:
    return Form("mine", handwritten.tiny(), {"aliases": {"mine": ARCH}})


@form("timm name", "timm", refused="RS379")
def timm_name(folder: Path) -> Form:
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_vit").eval()
    images = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    return Form("timm:test_vit", model, {"init_only": True}, images)


def bert() -> nn.Module:
    from small import of_transformers

    return of_transformers("Bert", {})


@form("Hugging Face directory", "transformers")
def directory(folder: Path) -> Form:
    model = bert()
    model.save_pretrained(folder / "bert")
    return Form(str(folder / "bert"), model)


@form("Hugging Face directory, sharded", "transformers")
def sharded(folder: Path) -> Form:
    model = bert()
    model.save_pretrained(folder / "bert", max_shard_size="30KB")
    return Form(f"hf:{folder / 'bert'}", model)


@form("Hugging Face directory, .bin", "transformers")
def pickled(folder: Path) -> Form:
    model = bert()
    model.config.architectures = ["BertModel"]
    model.config.save_pretrained(folder / "bert")
    torch.save(model.state_dict(), folder / "bert" / "pytorch_model.bin")
    return Form(str(folder / "bert"), model)


@form("Hugging Face name, from the local cache", "transformers")
def cached(folder: Path) -> Form:
    import huggingface_hub

    model, revision = bert(), "0" * 40
    repository = Path(huggingface_hub.constants.HF_HUB_CACHE) / "models--org--tiny"
    model.save_pretrained(repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    return Form("hf:org/tiny", model)
