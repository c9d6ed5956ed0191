from __future__ import annotations

from pathlib import Path

import pytest

from rankscope.config import Config, baseline, find, read, rules
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
        ("arch = 'net.py:Net'", "arch is not read from a file", "RS106"),
        ("inputs = 'pkg:batches'", "inputs is not read from a file", "RS106"),
        ("loss = 'pkg:loss'", "loss names code(.|\n)*--loss pkg:loss", "RS106"),
        ("model = 'x.pt'", "unknown key 'model'(.|\n)*models", "RS105"),
        ("[tool.rankscope]\nmin = 3", "header away(.|\n)*keys stand at top level", "RS105"),
    ],
)
def test_wrong_entries_are_refused(tmp_path: Path, text: str, match: str, code: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        read(put(tmp_path / "rankscope.toml", text))
    assert caught.value.code == code
    assert caught.value.exit_code == 2
    assert caught.value.remedies or caught.value.details


def test_tool_rankscope_must_be_a_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no table"):
        read(put(tmp_path / "pyproject.toml", "[tool]\nrankscope = 1"))


def test_keys_of_other_commands_and_both_spellings_are_known(tmp_path: Path) -> None:
    text = "baseline = 'b.json'\nskip-layers = ['x']\nmax_tokens = 4\n[[require]]\nrule = 'mu >= 0.05 @ last'"
    settings = read(put(tmp_path / "rankscope.toml", text)).settings
    assert set(settings) == {"baseline", "skip_layers", "max_tokens", "require"}


RULES = """
baseline = "sub/b.json"
severity = "warn"
require = [
  "mu_bar >= 0.05 @ last",
  { rule = "verdict != collapsed", severity = "error", reason = "see docs/collapse.md" },
  { max-drop = "effective_rank=10%", reason = "a ratchet" },
]
max = ["value_cosine=0.99"]
max-drop = "mu_bar=5%"

[min]
effective_rank = 2
"min(mu_bar)" = "0.1@blocks.*"
"""


def test_rules_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = read(put(tmp_path / "conf" / "rankscope.toml", RULES))
    assert [(str(rule), rule.severity, rule.reason) for rule in rules(config)] == [
        ("mu_bar >= 0.05 @ last", "warn", None),
        ("verdict != collapsed", "error", "see docs/collapse.md"),
        ("max-drop effective_rank=10%", "warn", "a ratchet"),
        ("effective_rank >= 2", "warn", None),
        ("min(mu_bar) >= 0.1 @ blocks.*", "warn", None),
        ("value_cosine <= 0.99", "warn", None),
        ("max-drop mu_bar=5%", "warn", None),
    ]
    assert baseline(config) == Path("conf", "sub", "b.json")
    assert (rules(Config()), baseline(Config())) == ((), None)


def test_the_tables_of_pyproject_are_rules(tmp_path: Path) -> None:
    text = "[[tool.rankscope.require]]\nrule = 'mu >= 1'\n[[tool.rankscope.require]]\nrule = 'mu >= 2'\nseverity='warn'"
    found = rules(read(put(tmp_path / "pyproject.toml", text)))
    assert [(str(rule), rule.severity) for rule in found] == [("mu >= 1", "error"), ("mu >= 2", "warn")]


@pytest.mark.parametrize(
    ("text", "match", "code"),
    [
        ("require = 'mu >= 1'", "require: is no list of rules", "RS105"),
        ("require = [3]", "require 1: is no rule and no table", "RS105"),
        (
            "require = ['mu >= 1', { rul = 'mu >= 1' }]",
            "require 2: unknown key 'rul'(.|\n)*did you mean.*rule",
            "RS105",
        ),
        ("require = [{ severity = 'warn' }]", "require 1: needs one rule", "RS105"),
        ("require = [{ rule = 'mu >= 1', min = 'mu=1' }]", "require 1: needs one rule", "RS105"),
        ("require = [{ rule = 3 }]", "require 1: needs one rule", "RS105"),
        ("require = [{ rule = 'mu >= 1', severity = 'warning' }]", "neither error nor warn, but 'warning'", "RS105"),
        ("require = [{ rule = 'mu >= 1', reason = 3 }]", "reason is no text", "RS105"),
        ("require = ['mu >=']", "require 1: 'mu >=' is no rule", "RS116"),
        ("require = [{ max_drop = 'mu=x' }]", "require 1: '--max-drop mu=x' is no rule", "RS115"),
        ("severity = 'fatal'", "severity: severity is neither", "RS105"),
        ("min = 3", "min: is no table of measures", "RS105"),
        ("min = { mu = 'x' }", "min: '--min mu=x' is no rule", "RS115"),
        ("min = [3]", "min: is no table", "RS105"),
        ("min = { mu = [1, 2] }", r"min of mu is no number and no text(.|\n)*min = \[", "RS115"),
        ("require = ['verdict >= healthy']", "require 1(.|\n)*verdict != collapsed", "RS115"),
        ("max = { mu = true }", "max: .*is no", "RS115"),
        ("aggregate = 'median'", "unknown key 'aggregate'", "RS105"),
    ],
)
def test_wrong_rules_are_refused_with_their_place(tmp_path: Path, text: str, match: str, code: str) -> None:
    path = put(tmp_path / "rankscope.toml", text)
    with pytest.raises(UsageError, match=match) as caught:
        rules(read(path))
    assert caught.value.code == code
    assert str(path) in caught.value.headline
    assert caught.value.remedies or caught.value.details
    assert "--" not in "".join(text for _, text in caught.value.remedies)  # a flag is no entry of the file


@pytest.mark.parametrize("value", ["3", "''", "['b.json']"])
def test_a_baseline_that_is_no_path_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match="baseline: is no path"):
        baseline(read(put(tmp_path / "rankscope.toml", f"baseline = {value}")))
