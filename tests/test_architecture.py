"""The layout that docs/design.md draws, read off the source: import direction, sizes, error codes, who may print."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rankscope
from rankscope.errors import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rankscope"

# A unit imports from the lines above it and from the names to its left.
LINES = (
    "errors memory registry declarations files plain sums records saved selectors user_code distributed formats",
    "zoo specs edit_values edits sources inputs",
    "capture interventions",
    "spectra",
    "measures",
    "groups cells collection moments deferred pooling attending reduction",
    "placing editing run backward beginning depth notes pipeline merging facts inspection connectivity",
    "table explanations certificate comparison requirements sweeps",
    "renderers",
    "monitor config cli studies pytest_plugin",
)
ORDER = [name for line in LINES for name in line.split()]
FREE = {"__init__", "_version"}
PUBLIC = {name: module.split(".")[1] for name, module in rankscope._PUBLIC.items()} | {"__version__": "_version"}
# A report and a comparison know how to save and to show themselves, findings, certificates and sweeps how to save:
# doors that are opened when used.
DOORS = {
    (unit, name, "renderers")
    for unit, name in (
        ("records", "save"),
        ("records", "_repr_html_"),
        ("certificate", "save"),
        ("comparison", "save"),
        ("comparison", "_repr_html_"),
        ("requirements", "save"),
        ("sweeps", "save"),
    )
}
PRINTERS = {"cli", "monitor", "__main__"}
VAGUE = {"utils", "util", "core", "common", "base", "helpers", "misc"}


@dataclass(frozen=True)
class Import:
    """One import of a rankscope module: by which file, inside which function, and whether it binds when it is run.

    One under TYPE_CHECKING does not, nor does `import_module`, by which a folder is walked.
    """

    module: str
    target: str
    function: str | None
    runs: bool


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit(module: str) -> str:
    """The folder or flat module of the package that a dotted name lies in."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    return "cli" if name == "__main__" else name


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def targets(node: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Dotted names that one statement or call imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        home = module.split(".")[: -(node.level - is_package) or None] if node.level else []
        origin = ".".join([*home, *([node.module] if node.module else [])])
        for alias in node.names:
            public = PUBLIC.get(alias.name) if origin == "rankscope" else None
            yield f"rankscope.{public}" if public else f"{origin}.{alias.name}"
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))


def imports(path: Path, package: Path) -> list[Import]:
    """Every import of the package's own modules in one file, also inside functions and under TYPE_CHECKING."""
    module, is_package = module_name(path, package), path.stem == "__init__"
    found: list[Import] = []

    def visit(node: ast.AST, function: str | None, runs: bool) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = function or node.name
        found.extend(
            Import(module, target, function, runs and not isinstance(node, ast.Call))
            for target in targets(node, module, is_package)
            if target.split(".")[0] == "rankscope"
        )
        for child in ast.iter_child_nodes(node):
            visit(child, function, runs and not (is_type_checking(node) and child in getattr(node, "body", ())))

    visit(ast.parse(path.read_text()), None, True)
    return found


def sources(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def wrong_direction(package: Path) -> list[str]:
    """Imports that go up, or sideways to the right."""
    wrong = []
    for path in sources(package):
        for found in imports(path, package):
            here, there = unit(found.module), unit(found.target)
            if FREE & {here, there} or here == there or (here, found.function, there) in DOORS:
                continue
            if here not in ORDER or there not in ORDER or ORDER.index(there) > ORDER.index(here):
                wrong.append(f"{found.module} imports {found.target}")
    return wrong


def cycles(package: Path) -> list[list[str]]:
    """Rings of modules that import each other when they are loaded or run."""
    names = {module_name(path, package) for path in sources(package)}

    def known(target: str) -> str:
        while target not in names:
            target = target.rpartition(".")[0]
        return target

    graph: dict[str, set[str]] = {name: set() for name in names}
    for path in sources(package):
        for found in imports(path, package):
            door = (unit(found.module), found.function, unit(found.target)) in DOORS
            if found.runs and not door and (target := known(found.target)) not in (found.module, package.name):
                graph[found.module].add(target)
    rings: list[list[str]] = []
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> None:
        if name in trail:
            rings.append([*trail[trail.index(name) :], name])
        elif name not in done:
            for target in sorted(graph[name]):
                walk(target, [*trail, name])
            done.add(name)

    for name in sorted(names):
        walk(name, [])
    return rings


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def printing(path: Path) -> list[str]:
    """Calls that print or exit."""
    forbidden = {"print", "exit", "quit", "sys.exit", "os._exit", "SystemExit", "sys.stdout.write", "sys.stderr.write"}
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return [
        f"{path.name}:{call.lineno} {ast.unparse(call.func)}" for call in calls if ast.unparse(call.func) in forbidden
    ]


def test_imports_go_down() -> None:
    assert wrong_direction(PACKAGE) == []


def test_no_import_cycles() -> None:
    assert cycles(PACKAGE) == []


@pytest.mark.parametrize(
    "line",
    [
        "from rankscope.pipeline import probe",
        "from rankscope import probe",
        "from rankscope import pipeline",
        "import rankscope.pipeline",
        "from ..pipeline import probe",
        "def late():\n    from rankscope.pipeline import probe",
        "import importlib\nimportlib.import_module('rankscope.pipeline')",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rankscope.pipeline import probe",
    ],
)
def test_an_import_that_goes_up_is_caught(tmp_path: Path, line: str) -> None:
    package = tmp_path / "rankscope"
    (package / "capture").mkdir(parents=True)
    (package / "capture" / "blocks.py").write_text(line)
    (package / "pipeline.py").write_text("from rankscope.capture import blocks\nimport torch")
    assert len(wrong_direction(package)) == 1
    assert wrong_direction(package)[0].startswith("rankscope.capture.blocks imports rankscope.pipeline")


def test_an_import_to_the_right_is_caught_and_one_door_is_not_two(tmp_path: Path) -> None:
    package = tmp_path / "rankscope"
    package.mkdir()
    (package / "records.py").write_text("class R:\n    def save(self):\n        from rankscope.renderers import save")
    assert wrong_direction(package) == []
    (package / "records.py").write_text("class R:\n    def load(self):\n        from rankscope.renderers import load")
    (package / "table.py").write_text("import rankscope.sweeps\nimport rankscope.utils")
    assert wrong_direction(package) == [
        "rankscope.records imports rankscope.renderers.load",
        "rankscope.table imports rankscope.sweeps",
        "rankscope.table imports rankscope.utils",
    ]


def test_a_cycle_is_caught(tmp_path: Path) -> None:
    package = tmp_path / "rankscope"
    (package / "capture").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "capture" / "__init__.py").write_text("")
    (package / "capture" / "blocks.py").write_text("from rankscope.capture.session import run")
    (package / "capture" / "session.py").write_text("def run():\n    from rankscope.capture import blocks")
    assert cycles(package) == [["rankscope.capture.blocks", "rankscope.capture.session", "rankscope.capture.blocks"]]
    (package / "capture" / "session.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rankscope.capture import blocks"
    )
    assert cycles(package) == []


def test_every_unit_has_its_place() -> None:
    units = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert units - FREE - {"__main__"} <= set(ORDER)


@pytest.mark.parametrize("path", sources(PACKAGE), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_sizes_and_names(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 300
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(tree) if f.end_lineno}
    assert {name: lines for name, lines in long.items() if lines > 80} == {}
    assert not VAGUE & {part.strip("_") for part in path.relative_to(PACKAGE).with_suffix("").parts}


def test_only_the_doors_print_or_exit() -> None:
    found = [
        call for path in sources(PACKAGE) if unit(module_name(path, PACKAGE)) not in PRINTERS for call in printing(path)
    ]
    assert found == []


def test_a_print_is_caught(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("import sys\nprint(1)\nsys.exit(1)\nraise SystemExit(2)")
    assert printing(tmp_path / "loud.py") == ["loud.py:2 print", "loud.py:3 sys.exit", "loud.py:4 SystemExit"]


def codes_raised() -> dict[str, str]:
    """Error codes that stand as a string of their own in the source."""
    found = {}
    for path in sources(PACKAGE):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and re.fullmatch(r"RS\d{3}", str(node.value)):
                found[str(node.value)] = str(path.relative_to(ROOT))
    return found


def test_every_code_raised_is_in_the_catalogue() -> None:
    raised = codes_raised()
    assert raised, "no code found: the search is broken"
    assert {code: path for code, path in raised.items() if code not in catalogue()} == {}


def test_every_code_of_the_catalogue_is_used() -> None:
    tested = {code for path in (ROOT / "tests").rglob("*.py") for code in re.findall(r"\bRS\d{3}\b", path.read_text())}
    assert set(catalogue()) - set(codes_raised()) - tested == set()


def test_the_catalogue_is_sorted_and_says_what_to_do() -> None:
    assert list(catalogue()) == sorted(catalogue())
    for code, entry in catalogue().items():
        assert re.fullmatch(r"RS[1-69]\d\d", code)
        assert entry.title, code
        assert all(len(text.split()) >= 2 for text in (entry.cause, entry.remedy)), code
        assert entry.cause.endswith("."), code
        assert entry.remedy.endswith((".", "`")), code
