"""Factories: called under a seed, told apart from classes and modules, and their errors told with the cause."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from rankscope.errors import LoadError, RankscopeError
from rankscope.records import Batch
from rankscope.sources import LoadOptions, open_model
from rankscope.sources.python_path import as_batch
from rankscope.specs import is_target

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Linear(width, width)

    @classmethod
    def small(cls):
        return cls(2)

class Needy(nn.Module):
    def __init__(self, width, *, depth):
        super().__init__()

def make():
    return Net()

def with_tensor():
    return Net(), torch.ones(3, 4)

def with_call():
    return Net(), ((torch.ones(3, 4),), {"mask": None})

def with_words():
    return Net(), {"x": torch.ones(3, 4)}

def raises():
    try:
        {}["deep"]
    except KeyError as error:
        raise RuntimeError("no weights\\nfor you") from error

def leaves():
    raise SystemExit(3)

def chooses():
    return Net

def number():
    return 3

def prints():
    print("hello from the factory")
    return Net()

def scripted():
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Linear(2, 2))

live = Net()
CONSTANT = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mynets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    for name in ("mynets", "helper", "pkg", "pkg.mynets", "broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def code_of(spec: str) -> tuple[str, str]:
    with pytest.raises(RankscopeError) as caught:
        open_model(spec)
    assert isinstance(caught.value, LoadError)
    assert "\n" not in caught.value.headline
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("factory", ["make", "Net", "Net.small", "live", "with_tensor", "chooses"])
@pytest.mark.parametrize("left", ["mynets.py", "mynets", "./mynets.py"])
def test_forms_of_a_factory(left: str, factory: str, here: Path) -> None:
    source = open_model(f"{left}:{factory}")
    assert type(source.model).__name__ == "Net"
    assert source.spec == f"{left}:{factory}"
    assert source.format == "python"
    assert (source.sha256 is not None) == left.endswith(".py")
    assert [note.code for note in source.notes] == ["RS341"]
    assert "as the factory returned them" in source.notes[0].text
    sys.modules.pop("mynets", None)


def test_a_module_in_a_package(here: Path) -> None:
    (here / "pkg").mkdir()
    (here / "pkg" / "__init__.py").touch()
    (here / "pkg" / "mynets.py").write_text(CODE)
    assert open_model("pkg.mynets:make").spec == "pkg.mynets:make"


def test_spec_holds_no_absolute_path(here: Path) -> None:
    assert open_model(f"{here}/mynets.py:make").spec == "mynets.py:make"


def test_example_inputs(here: Path) -> None:
    assert open_model("mynets.py:make").example is None
    example = open_model("mynets.py:with_tensor").example
    assert example is not None
    assert example.args[0].shape == (3, 4)
    assert open_model("mynets.py:with_words").example.kwargs["x"].shape == (3, 4)
    example = open_model("mynets.py:with_call").example
    assert example.args[0].shape == (3, 4)
    assert example.kwargs == {"mask": None}


def test_forms_of_example_inputs() -> None:
    one, two = torch.ones(1), torch.zeros(1)
    assert as_batch(one).args == (one,)
    assert as_batch([one, two]).args == (one, two)
    assert as_batch((one, {"mask": two})) == Batch((one,), {"mask": two})
    assert as_batch(Batch((one,))).args == (one,)


def test_weights_repeat_under_a_seed_and_the_users_numbers_go_on(here: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = open_model("mynets.py:make").model.layer.weight
    assert torch.equal(torch.rand(3), expected), "the caller's random numbers are untouched"
    assert torch.equal(first, open_model("mynets.py:make").model.layer.weight)
    assert not torch.equal(first, open_model("mynets.py:make", LoadOptions(seed=1)).model.layer.weight)
    live = open_model("mynets.py:live").model.layer.weight
    assert torch.equal(live, open_model("mynets.py:live").model.layer.weight), "a model made on import is seeded too"


def test_random_numbers_go_on_after_a_factory_that_raised(here: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    code_of("mynets.py:raises")
    assert torch.equal(torch.rand(3), expected)


def test_init_only_says_that_weights_are_random(here: Path) -> None:
    assert [note.code for note in open_model("mynets.py:make", LoadOptions(init_only=True)).notes] == ["RS501"]


def test_prints_of_the_users_code_go_to_stderr(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_model("mynets.py:prints")
    out, err = capsys.readouterr()
    assert out == ""
    assert "hello from the factory" in err


def test_errors_of_the_factory_show_the_cause(here: Path) -> None:
    code, text = code_of("mynets.py:raises")
    assert code == "RS333"
    assert "raised  RuntimeError: no weights for you" in text
    line = CODE.splitlines().index('        raise RuntimeError("no weights\\nfor you") from error') + 1
    assert f"mynets.py, line {line}, in raises" in text
    assert "because  KeyError: 'deep'" in text
    assert code_of("mynets.py:leaves") == ("RS902", code_of("mynets.py:leaves")[1])
    assert "SystemExit: 3" in code_of("mynets.py:leaves")[1]


def test_errors_on_import_show_the_cause(here: Path) -> None:
    (here / "broken.py").write_text("import nonexistent_thing\n")
    for left in ("broken.py", "broken"):
        code, text = code_of(f"{left}:make")
        assert code == "RS330"
        assert "No module named 'nonexistent_thing'" in text
    (here / "broken.py").write_text("def make(:\n")
    assert "SyntaxError" in code_of("broken.py:make")[1]
    assert not [name for name in sys.modules if "file_broken" in name], "nothing half-imported stays"


@pytest.mark.parametrize(
    ("spec", "code", "text"),
    [
        ("mynets.py:mke", "RS331", "did you mean  make"),
        ("mynets.py:nothing_like_it", "RS331", "it has .*make"),
        ("mynets.py:CONSTANT", "RS334", "of type int"),
        ("mynets.py:number", "RS334", "expected nn.Module or .*, got int"),
        ("mynets.py:Needy", "RS332", r"needs width, depth.*Needy\(width=…, depth=…\)"),
        ("mynets.py:scripted", "RS302", "TorchScript"),
        ("none.py:make", "RS310", "no such file"),
        ("mynots.py:make", "RS310", "did you mean  mynets.py"),
        ("absent.module:make", "RS330", "there is no module absent"),
        ("torch.nn:Linear", "RS332", "in_features, out_features"),
    ],
)
def test_what_is_no_factory(spec: str, code: str, text: str, here: Path) -> None:
    import re

    found, said = code_of(spec)
    assert found == code
    assert re.search(text, said, re.DOTALL), said


def test_a_file_that_lacks_its_suffix(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "net.py").write_text(CODE)
    assert "rankscope probe sub/net.py:make" in code_of("sub/net:make")[1]


def test_a_file_imports_from_its_own_folder_and_hides_no_other(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "helper.py").write_text("from torch import nn\n")
    (here / "sub" / "html.py").write_text("import helper\ndef make(): return helper.nn.Identity()\n")
    open_model("sub/html.py:make")
    import html

    assert html.escape("<") == "&lt;"
    assert sys.path[-1] == str(here)
    assert str(here) not in sys.path[:2]


def test_the_last_colon_splits_and_drive_letters_survive(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_target("C:\\runs\\net.py:Net")
    assert not is_target("C:\\runs\\net.pt")
    assert not is_target("C:/runs/net.pt")
    (here / "odd:name.py").write_text(CODE)
    assert open_model("odd:name.py:make").spec == "odd:name.py:make"


def test_a_live_module_of_a_class_with_state_is_not_called(here: Path) -> None:
    source = open_model("torch.nn.modules.linear:Identity")
    assert isinstance(source.model, nn.Identity)


def test_offloaded_weights_are_let_through(here: Path) -> None:
    (here / "offloaded.py").write_text(
        "import torch\nfrom torch import nn\ndef make():\n"
        "    model = nn.Linear(2, 2, device='meta')\n    model._hf_hook = object()\n    return model\n"
    )
    assert open_model("offloaded.py:make").model.weight.is_meta


def test_no_argument_is_asked_of_a_factory_with_defaults(here: Path) -> None:
    (here / "more.py").write_text(
        "from torch import nn\ndef make(*args, width=2, **rest): return nn.Linear(width, 2)\n"
    )
    assert open_model("more.py:make").model.in_features == 2


def test_a_flag_that_has_nothing_to_act_on_is_told(here: Path) -> None:
    source = open_model("mynets.py:make", LoadOptions(arch="mynets.py:make", strip_prefix="module."))
    told = [note.text for note in source.notes if note.code == "RS345"]
    assert [text.partition(" ")[0] for text in told] == ["--arch", "--strip-prefix"]


def test_the_command_that_runs_a_factory_alone_finds_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "nets.py").write_text("def boom():\n    raise ValueError('mine')\n")
    with pytest.raises(LoadError) as caught:
        open_model("deep/nets.py:boom")
    ((_, step),) = caught.value.remedies
    assert step == 'PYTHONPATH=deep python -c "from nets import boom; boom()"'
    told = subprocess.run(step.replace("python", sys.executable), shell=True, capture_output=True, text=True)
    assert told.stderr.strip().endswith("ValueError: mine")
