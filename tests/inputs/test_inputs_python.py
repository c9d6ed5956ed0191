from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import torch
from input_models import Ids, Masked, mlp, source

from rankscope.errors import InputError, RankscopeError
from rankscope.inputs import InputOptions, gather

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
import torch
print("loading")
calls = 0
many = [torch.ones(2, 5, dtype=torch.int64)] * 3
one = torch.ones(20, 5, dtype=torch.int64)

def endless():
    while True:
        yield one

def batches():
    for rows in (1, 2, 3):
        yield torch.randint(50, (rows, 6))

def kinds():
    ids = torch.ones(2, 6, dtype=torch.int64)
    yield ids
    yield (ids, torch.ones(2, 6))
    yield {"input_ids": ids}
    yield (ids,), {"attention_mask": torch.ones(2, 6)}

def whole():
    return {"input_ids": torch.ones(20, 5, dtype=torch.int64)}

def fails():
    yield torch.ones(2, 6, dtype=torch.int64)
    raise KeyError("no such shard")

def at_once():
    raise KeyError("no such shard")

def nothing():
    return []

def number():
    return 3

def strings():
    yield "text"

def stops():
    import sys
    sys.exit(4)
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_data.py").write_text(CODE)
    yield "my_data.py"
    for name in ("my_data", "_rankscope_file_my_data"):
        sys.modules.pop(name, None)


def shapes(target: object, **options: object) -> list[tuple[int, ...]]:
    batches = gather(source(Masked()), InputOptions(inputs=target, **options)).batches
    return [tuple(next(iter((*batch.args, *batch.kwargs.values()))).shape) for batch in batches]


@pytest.mark.parametrize("left", ["my_data", "my_data.py", "./my_data.py"])
def test_a_callable_yields_batches(code: str, left: str) -> None:
    inputs = gather(source(Masked()), InputOptions(inputs=f"{left}:batches", seed=3))
    assert inputs.source == f"inputs: {left.removeprefix('./')}:batches"
    assert inputs.seed == 3
    first, second = list(inputs.batches), list(inputs.batches)
    assert [len(batch.args[0]) for batch in first] == [1, 2, 3]
    assert all(torch.equal(a.args[0], b.args[0]) for a, b in zip(first, second, strict=True))


def test_the_seed_decides(code: str) -> None:
    def first(seed: int) -> torch.Tensor:
        inputs = gather(source(Masked()), InputOptions(inputs="my_data:batches", seed=seed))
        return torch.cat([batch.args[0] for batch in inputs.batches])

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_every_kind_of_batch(code: str) -> None:
    batches = list(gather(source(Masked()), InputOptions(inputs="my_data:kinds")).batches)
    assert [(len(batch.args), list(batch.kwargs)) for batch in batches] == [
        (1, []),
        (2, []),
        (0, ["input_ids"]),
        (1, ["attention_mask"]),
    ]


@pytest.mark.parametrize(("name", "expected"), [("many", [(2, 5)] * 3), ("whole", [(20, 5)]), ("one", [(20, 5)])])
def test_batches_that_are_there_already(code: str, name: str, expected: list[tuple[int, ...]]) -> None:
    assert shapes(f"my_data:{name}") == expected


def test_batches_are_limited(code: str) -> None:
    assert shapes("my_data:batches", batches=2) == [(1, 6), (2, 6)]


def test_an_endless_callable_is_taken_as_it_comes(code: str) -> None:
    assert shapes("my_data:endless", batches=2) == [(20, 5), (20, 5)]
    inputs = gather(source(Masked()), InputOptions(inputs="my_data:endless"))
    assert next(iter(inputs.batches)).args[0].shape == (20, 5)


def test_prints_of_the_users_code_go_to_stderr(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    shapes("my_data.py:batches")
    out, err = capsys.readouterr()
    assert out == ""
    assert "loading" in err


def test_a_file_that_the_model_came_from_is_not_run_again(code: str, tmp_path: Path) -> None:
    from rankscope.user_code import locate

    first, second = (
        locate(target, InputError, "RS212") for target in ("my_data.py:many", f"{tmp_path}/my_data.py:many")
    )
    assert first is second


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ("my_data", r"my_data was not read: expected package.module:name or file.py:name \[RS212\]"),
        (":batches", "expected package.module:name"),
        ("missing_module:batches", r"there is no module missing_module \[RS212\]"),
        ("missing.py:batches", r"(?s)missing.py could not be imported \[RS212\].*FileNotFoundError"),
        ("my_data:batch", r"(?s)the module has no batch \[RS212\].*did you mean  batches"),
        ("my_data:at_once", r"(?s)it raised \[RS212\].*KeyError: 'no such shard'.*my_data.py, line \d+, in at_once"),
        ("my_data:stops", r"(?s)it raised \[RS902\].*SystemExit: 4"),
        ("my_data:nothing", r"no batch came from inputs: my_data:nothing \[RS219\]"),
        ("my_data:number", r"they are int \[RS207\]"),
        ("my_data:strings", r"a batch of inputs cannot be read: it is str \[RS207\]"),
    ],
)
def test_code_that_fails(code: str, target: str, match: str) -> None:
    with pytest.raises(RankscopeError, match=match):
        shapes(target)


def test_code_that_fails_half_way(code: str) -> None:
    inputs = gather(source(Masked()), InputOptions(inputs="my_data:fails"))
    with pytest.raises(InputError, match=r"(?s)gave no batch: it raised \[RS212\].*no such shard.*in fails"):
        list(inputs.batches)


def test_a_broken_file_is_told_with_its_line(code: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\nraise RuntimeError('boom')\n")
    with pytest.raises(InputError, match=r"(?s)raised  RuntimeError: boom.*broken.py, line 2"):
        shapes("broken.py:batches")
    assert "_rankscope_file_broken" not in sys.modules


def test_a_callable_from_python() -> None:
    def make():
        yield torch.ones(2, 3, dtype=torch.int64)
        yield torch.ones(3, 3, dtype=torch.int64)

    inputs = gather(source(Ids()), InputOptions(inputs=make))
    assert inputs.source == "python"
    assert len(list(inputs.batches)) == len(list(inputs.batches)) == 2


def test_errors_of_a_callable_from_python_are_the_callers_own() -> None:
    def make():
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        gather(source(mlp()), InputOptions(inputs=make))
