from __future__ import annotations

from pathlib import Path

import pytest

from rankscope.config import Config, find, read
from rankscope.errors import UsageError


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_nearest_file_upwards_is_found(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    top = put(tmp_path / "rankscope.toml", "")
    assert find(deep) == top
    middle = put(tmp_path / "a" / "pyproject.toml", "[tool.rankscope]")
    assert find(deep) == middle
    beside = put(tmp_path / "a" / "rankscope.toml", "")
    assert find(deep) == beside


@pytest.mark.parametrize("text", ["[project]\nname='x'", "[tool.ruff]", "broken = ", "\udcff"])
def test_a_pyproject_about_other_things_is_passed_by(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pyproject.toml").write_bytes(text.encode(errors="surrogateescape"))
    top = put(tmp_path / "rankscope.toml", "")
    assert find(tmp_path / "a") == top


def test_a_broken_file_about_rankscope_is_an_error(tmp_path: Path) -> None:
    path = put(tmp_path / "pyproject.toml", "[tool.rankscope]\nmodels = {")
    assert find(tmp_path) == path
    with pytest.raises(UsageError, match="is no valid TOML") as caught:
        read(path)
    assert caught.value.code == "RS104"
    with pytest.raises(UsageError, match="was not read: No such file"):
        read(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="RS104"):
        read(tmp_path)


def test_aliases_are_read_from_both_files(tmp_path: Path) -> None:
    text = "models = { mine = 'pkg:build', demo = 'zoo:transformer,depth=2' }"
    expected = {"mine": "pkg:build", "demo": "zoo:transformer,depth=2"}
    assert read(put(tmp_path / "rankscope.toml", text)).models == expected
    assert read(put(tmp_path / "pyproject.toml", f"[tool.rankscope]\n{text}")).models == expected
    assert read(None) == Config()
    assert read(put(tmp_path / "empty.toml", "")).models == {}


def test_a_path_is_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "ckpt" / "model.pt", "")
    text = f"[models]\na = 'ckpt/model.pt'\nb = 'ckpt/none.pt'\nc = '{tmp_path}/ckpt/model.pt'\nd = \"x\\u0000y\""
    path = put(tmp_path / "rankscope.toml", text)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    models = read(path).models
    assert models["a"] == str(Path("..", "ckpt", "model.pt"))
    assert (models["b"], models["c"], models["d"]) == ("ckpt/none.pt", f"{tmp_path}/ckpt/model.pt", "x\0y")


@pytest.mark.parametrize(
    ("text", "match", "code"),
    [
        ("modles = {}", "unknown key 'modles'(.|\n)*did you mean.*models", "RS105"),
        ("zzzzzz = 1", "unknown key 'zzzzzz'(.|\n)*known.*baseline", "RS105"),
        ("models = 3", "models is no table", "RS105"),
        ("models = { a = 3 }", r"models\.a is no text", "RS105"),
        ("models = { a = '' }", r"models\.a is no text", "RS105"),
        ("trust = true", "trust is not read from a file", "RS106"),
        ("allow = ['x.*']", "allow is not read from a file", "RS106"),
        ("trust-sha256 = 'ab'", "--trust-sha256", "RS106"),
    ],
)
def test_wrong_entries_are_refused(tmp_path: Path, text: str, match: str, code: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        read(put(tmp_path / "rankscope.toml", text))
    assert caught.value.code == code
    assert caught.value.exit_code == 2


def test_tool_rankscope_must_be_a_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no table"):
        read(put(tmp_path / "pyproject.toml", "[tool]\nrankscope = 1"))


def test_keys_of_other_commands_and_both_spellings_are_known(tmp_path: Path) -> None:
    text = "baseline = 'b.json'\nskip-layers = ['x']\nmax_tokens = 4\n[[require]]\nrule = 'mu >= 0.05 @ last'"
    settings = read(put(tmp_path / "rankscope.toml", text)).settings
    assert set(settings) == {"baseline", "skip_layers", "max_tokens", "require"}
