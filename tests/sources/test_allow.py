"""--allow: the user's own classes are built by the restricted unpickler, and nothing else is."""

from __future__ import annotations

import io
import sys
import types
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hostile
import pytest
import torch

from rankscope.errors import LoadError, UsageError
from rankscope.sources import LoadOptions, open_model
from rankscope.sources._allow import covered
from rankscope.specs import patterns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


NET = """
import dataclasses, enum, functools, pathlib
from torch import nn

pathlib.Path(__file__).with_name("imported").touch()

class Mode(enum.Enum):
    FAST = 1

@dataclasses.dataclass
class Config:
    width: int = 4
    mode: Mode = Mode.FAST

class Tokenizer:
    pass

def helper(x):
    return x

class Block(nn.Linear):
    drop = nn.Dropout

class Net(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        self.config = Config()
        self.body = nn.Sequential(Block(4, 4), nn.GELU(), Block(4, 2))
        self.drop = nn.Identity
        del self.drop
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.body(x)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the package `allowpkg`, which is not imported yet."""
    (tmp_path / "allowpkg").mkdir()
    (tmp_path / "allowpkg" / "__init__.py").touch()
    (tmp_path / "allowpkg" / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("allowpkg", "_rankscope_file_"))]:
        del sys.modules[name]


@pytest.fixture
def save(here: Path) -> Callable[..., tuple[Path, Any]]:
    """`save(make)` writes what `make(module)` gives, and forgets that the package was ever imported."""

    def write(make: Callable[[types.ModuleType], Any], **options: Any) -> tuple[Path, Any]:
        sys.path.append(str(here))
        import allowpkg.net

        content = make(allowpkg.net)
        path = hostile.torch_file(here / "model.pt", content, **options)
        sys.path.remove(str(here))
        for name in ("allowpkg.net", "allowpkg"):
            del sys.modules[name]
        (here / "allowpkg" / "imported").unlink()
        return path, content

    return write


def error_of(path: Path, **options: Any) -> LoadError:
    with pytest.raises(LoadError) as caught:
        open_model(path, LoadOptions(**options))
    return caught.value


def test_without_the_flag_the_way_is_shown_and_nothing_is_imported(here: Path, save: Any) -> None:
    path, _ = save(lambda m: m.Net())
    error = error_of(path)
    assert error.code == "RS301"
    labels = [label for label, _ in error.remedies]
    assert labels[0] == "If these are your classes"
    assert labels[-1] == "Runs any code in the file"
    texts = [text for _, text in error.remedies]
    assert texts[0] == f"rankscope probe {path} --allow 'allowpkg.*'"
    assert "rankscope probe allowpkg.net:Net --weights weights.pt" in texts, "the outermost class, not the first"
    assert texts[-1] == f"rankscope probe {path} --trust"
    assert (
        dict(error.details)["wants"] == "allowpkg.net.Block, allowpkg.net.Config, allowpkg.net.Mode, allowpkg.net.Net"
    )
    assert "sha256" in dict(error.details)["kind"]
    assert not (here / "allowpkg" / "imported").exists()


def test_allowed_module_gives_what_it_gave(save: Any) -> None:
    path, model = save(lambda m: m.Net())
    source = open_model(path, LoadOptions(allow=("allowpkg.*",)))
    assert source.format == "pickled module"
    assert [note.code for note in source.notes] == ["RS368"]
    assert "allowpkg.net.Net" in source.notes[0].text
    x = torch.randn(3, 4)
    assert torch.equal(source.model(x), model(x))
    assert type(source.model).__module__ == "allowpkg.net"
    assert source.model.config.mode is type(source.model.config.mode).FAST
    left = torch.serialization.get_safe_globals()
    assert not [entry for entry in left if "allowpkg" in str(entry)], "the list is widened for the load alone"


def test_what_is_left_is_refused_before_anything_is_imported(here: Path, save: Any) -> None:
    path, _ = save(lambda m: m.Net())
    error = error_of(path, allow=("allowpkg.net.Net", "allowpkg.*.Block"))
    assert error.code == "RS301"
    assert dict(error.details)["wants"] == "allowpkg.net.Config, allowpkg.net.Mode"
    assert dict(error.details)["allowed"] == "2 more by --allow"
    assert error.remedies[0][1].endswith("--allow 'allowpkg.*'"), "the wide pattern takes the place of the narrow ones"
    assert not (here / "allowpkg" / "imported").exists()


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("Tokenizer()", "class of another sort"),
        ("helper", "it is no class"),
        ("Tokenizer", "class of another sort"),
    ],
)
def test_functions_and_other_classes_are_refused_with_the_reason(part: str, why: str, save: Any) -> None:
    path, _ = save(lambda m: m.Net(part=eval(part, vars(m))))
    error = error_of(path, allow=("allowpkg.*",))
    assert error.code == "RS362"
    assert why in str(error)
    assert f"allowpkg.net.{part.removesuffix('()')}" in dict(error.details)


def test_a_function_of_another_package_is_left(save: Any) -> None:
    path, _ = save(lambda m: m.Net(part=hostile.Call(len, ("abc",))))
    assert dict(error_of(path, allow=("allowpkg.*",)).details)["wants"] == "builtins.len"


def test_an_attack_beside_allowed_classes(here: Path, save: Any) -> None:
    path, _ = save(lambda m: m.Net(part=hostile.attack(here)))
    for allow in (("allowpkg.*",), ("allowpkg.*", "posix.*", "nt.*")):
        assert error_of(path, allow=allow).code in {"RS301", "RS362"}
        assert not (here / hostile.CANARY).exists()


def test_an_allowed_class_is_not_called_by_the_file(save: Any) -> None:
    path, _ = save(lambda m: [m.Net(), hostile.Call(m.Block, (30_000, 30_000))])
    error = error_of(path, allow=("allowpkg.*",))
    assert error.code == "RS315"
    assert "calls allowpkg.net.Block" in str(error)


def test_a_member_of_an_enum_is_not_changed_by_the_file(here: Path, save: Any) -> None:
    save(lambda m: m.Net())
    member = b"callowpkg.net\nMode\nK\x01\x85R"
    path = hostile.torch_archive(here / "m.pt", b"\x80\x02" + member + b"}X\x01\x00\x00\x00aK\x01sb.")
    assert "changes allowpkg.net.Mode" in str(error_of(path, allow=("allowpkg.*",)))


def test_hooks_and_replaced_methods_in_allowed_classes(save: Any) -> None:
    def hooked(module: types.ModuleType) -> Any:
        model = module.Net()
        model.body[0].register_forward_hook(torch.nn.functional.relu)
        return model

    path, _ = save(hooked)
    assert "carries hooks (Block._forward_hooks)" in str(error_of(path, allow=("allowpkg.*",)))

    def replaced(module: types.ModuleType) -> Any:
        model = module.Net()
        model.__dict__["forward"] = torch.nn.functional.relu
        return model

    path, _ = save(replaced)
    assert "replaces Net.forward" in str(error_of(path, allow=("allowpkg.*",)))


def test_a_default_of_the_class_may_be_changed_and_a_name_may_say_hook(save: Any) -> None:
    def made(module: types.ModuleType) -> Any:
        model = module.Net(hook_name="resid", hooks=[1])
        model.body[0].__dict__["drop"] = 0.1
        return model

    path, _ = save(made)
    assert open_model(path, LoadOptions(allow=("allowpkg.*",))).model.body[0].drop == 0.1


def test_hooks_inside_a_dataclass_are_found(save: Any) -> None:
    def made(module: types.ModuleType) -> Any:
        inner = torch.nn.Linear(2, 2)
        inner.register_forward_hook(torch.nn.functional.relu)
        return module.Net(config=module.Config(width=inner))

    path, _ = save(made)
    assert "carries hooks" in str(error_of(path, allow=("allowpkg.*",)))


@pytest.mark.parametrize(
    "name", ["allowpkg.x.py\nNet", "allowpkg\nx.py.Net", "allowpkg\nx.py:Net", "allowpkg./x.py\nNet", "allowpkg.\nx/y"]
)
def test_a_name_that_would_lead_to_a_file_beside_the_model(name: str, here: Path) -> None:
    for stem in ("allowpkg.x.py", "x.py"):
        (here / stem).write_text(
            f"import os\nfrom torch import nn\nos.mkdir({str(here / hostile.CANARY)!r})\nNet = nn.ReLU"
        )
    path = hostile.torch_archive(here / "m.pt", f"\x80\x02c{name}\n)\x81}}b.".encode("latin1"))
    assert error_of(path, allow=("allowpkg.*",)).code == "RS301"
    assert not (here / hostile.CANARY).exists()


def test_a_class_that_moved(here: Path, save: Any) -> None:
    path, _ = save(lambda m: m.Net())
    (here / "allowpkg" / "net.py").write_text("from torch import nn\nclass Nett(nn.Module): pass\n")
    error = error_of(path, allow=("allowpkg.*",))
    assert error.code == "RS363"
    assert error.remedies
    (here / "allowpkg" / "net.py").unlink()
    sys.modules.pop("allowpkg.net")
    assert "there is no module allowpkg.net" in str(error_of(path, allow=("allowpkg.*",)))


def test_a_module_that_raises(here: Path, save: Any) -> None:
    path, _ = save(lambda m: m.Net())
    (here / "allowpkg" / "net.py").write_text("1 / 0")
    assert "ZeroDivisionError" in str(error_of(path, allow=("allowpkg.*",)))


SCRIPT = """
import pathlib
from torch import nn
class Block(nn.Linear):
    pass
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = Block(3, 3)
if __name__ == "__main__":
    pathlib.Path(__file__).with_name("trained").touch()
"""


def from_a_script(here: Path) -> Path:
    """A module as a script saves it: its classes are those of ``__main__``."""
    (here / "runs").mkdir()
    (here / "runs" / "train.py").write_text(SCRIPT)
    main: dict[str, Any] = {"__name__": "made_for_the_pickle"}
    exec(SCRIPT, main)
    module = types.ModuleType("made_for_the_pickle")
    vars(module).update(main)
    sys.modules["made_for_the_pickle"] = module
    try:
        data = hostile.saved_content(main["Net"]())
        archive = hostile.saved(main["Net"]())
    finally:
        del sys.modules["made_for_the_pickle"]
    assert data in archive
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        entries = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
    entries["data.pkl"] = data.replace(b"cmade_for_the_pickle\n", b"c__main__\n")
    return hostile.archive(here / "main.pt", entries)


def test_classes_that_were_saved_from_a_script(here: Path) -> None:
    path = from_a_script(here)
    assert "--allow '__main__.*=yourscript.py'" in str(error_of(path))
    assert "rankscope probe yourscript.py:Net --weights" in str(error_of(path))
    source = open_model(path, LoadOptions(allow=("__main__.*=runs/train.py",)))
    assert type(source.model).__name__ == "Net"
    assert type(source.model.body).__mro__[1] is torch.nn.Linear
    assert not (here / "runs" / "trained").exists(), "the part under __main__ is not run"
    error = error_of(path, allow=("__main__.*=runs/gone.py",))
    assert error.code == "RS363"


def test_a_script_with_trust(here: Path) -> None:
    path = from_a_script(here)
    error = error_of(path, trust=True)
    assert error.code == "RS367"
    assert "--trust --allow '__main__.*=yourscript.py'" in str(error)
    source = open_model(path, LoadOptions(trust=True, allow=("__main__.*=runs/train.py",)))
    assert [note.code for note in source.notes] == ["RS346"]


@pytest.mark.parametrize("granted", [{"allow": ("__main__.*=runs/train.py",)}, {}, {"trust": True}])
def test_a_whole_module_as_weights_of_its_script_is_one_step_from_its_probe(here: Path, granted: Any) -> None:
    from_a_script(here)
    with pytest.raises(LoadError) as caught:
        open_model("runs/train.py:Net", LoadOptions(weights=Path("main.pt"), **granted))
    steps = [text for _, text in caught.value.remedies]
    if granted == {"trust": True}:
        assert "probe runs/train.py:Net --weights main.pt --trust --allow '__main__.*=runs/train.py'" in steps[0]
        return
    assert steps[0] == "rankscope probe main.pt --allow '__main__.*=runs/train.py'"
    assert "yourmodule" not in str(caught.value)
    open_model("main.pt", LoadOptions(allow=("__main__.*=runs/train.py",)))


def test_trust_is_offered_with_the_script_that_it_takes(here: Path) -> None:
    step = error_of(from_a_script(here)).remedies[-1][1]
    assert step.endswith("main.pt --trust --allow '__main__.*=yourscript.py'")


def test_the_old_format_is_out_of_reach(save: Any) -> None:
    path, _ = save(lambda m: m.Net(), _use_new_zipfile_serialization=False)
    error = error_of(path, allow=("allowpkg.*",))
    assert error.code == "RS301"
    assert "--allow does not reach it" in str(error)
    assert not [text for label, text in error.remedies if "--allow" in text]
    assert "allowpkg.net.Block, allowpkg.net.Config" in str(error), "all names are listed, not the first alone"
    assert "rankscope probe allowpkg.net:Net --weights" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        *("*", "*.Net", "my*.Net", "mypkg", "mypkg.", ".Net", "", "a b.*", "mypkg.*;x", "__main__.*", "?.x", "[ab].x"),
        *("__main__.*=", "__main__.*=train", "mypkg.*=train.py", "9a.*", "mypkg.*\x1b[31m"),
    ],
)
def test_patterns_that_name_no_package(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        patterns([text])
    assert caught.value.code == "RS361"
    assert caught.value.exit_code == 2
    assert "\x1b" not in str(caught.value)


def test_a_pattern_covers_whole_names_with_their_case() -> None:
    names = ["mypkg.net.Net", "mypkg.Net", "mypkgs.Net", "other.mypkg.Net", "Mypkg.Net"]
    assert list(covered(names, patterns(["mypkg.*"]))) == ["mypkg.Net", "mypkg.net.Net"]
    assert covered(names, patterns(["mypkg.net.N?t"])).keys() == {"mypkg.net.Net"}
    assert covered(names, ()) == {}


def test_the_class_of_several_that_cannot_be_told(save: Any) -> None:
    path, _ = save(lambda m: {"a": m.Block(2, 2), "b": m.Config()})
    text = str(error_of(path))
    assert "with one of allowpkg.net:Block, allowpkg.net:Config, allowpkg.net:Mode" in text
    assert "YourModel" not in text


def test_weights_beside_a_config_of_the_users_own(here: Path, save: Any) -> None:
    path, _ = save(lambda m: {"model": hostile.net().state_dict(), "config": m.Config()})
    (here / "arch.py").write_text("import hostile\nNet = hostile.net\n")
    error = error_of(Path("arch.py:Net"), weights=path)
    assert "--weights" in error.remedies[0][1], "the flag is added to the command that was typed"
    source = open_model("arch.py:Net", LoadOptions(weights=path, allow=("allowpkg.*",)))
    assert [note.code for note in source.notes] == ["RS368", "RS349"]
    assert source.sha256


def test_a_pattern_that_was_not_needed_is_said(here: Path) -> None:
    path = hostile.torch_file(here / "m.pt", hostile.net())
    assert [note.code for note in open_model(path, LoadOptions(allow=("allowpkg.*",))).notes] == ["RS345"]
