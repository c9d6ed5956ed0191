"""Declarations: what the files of a registry folder declare, read off their source, without importing them.

Measures and architectures import torch, which takes a second or two; their names, formulas and options do not need it.
So `explain`, `zoo` and the completion of the shell answer at once.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PACKAGE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a declared function: its annotation as text, and its default (None where there is none)."""

    kind: str
    default: Any


@dataclass(frozen=True, slots=True)
class Declaration:
    """A decorated function: its name, the keywords of its decorator, its parameters and its docstring."""

    name: str
    keywords: Mapping[str, Any]
    parameters: Mapping[str, Parameter]
    docstring: str

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.docstring.partition("\n")[0]

    @property
    def description(self) -> str:
        """The docstring up to its first section."""
        return self.docstring.partition("\n\nArgs:")[0].partition("\n\nReturns:")[0]

    @property
    def meanings(self) -> dict[str, str]:
        """What the docstring says of each parameter, on one line."""
        section = self.docstring.partition("\n\nArgs:\n")[2].partition("\n\n")[0]
        found: dict[str, str] = {}
        for line in section.splitlines():
            name, colon, text = line.strip().partition(": ")
            if colon and name in self.parameters:
                found[name] = text
            elif found:
                found[list(found)[-1]] += f" {line.strip()}"
        return found


@cache
def declarations(folder: str, decorator: str) -> Mapping[str, Declaration]:
    """The functions of a folder's modules that carry a decorator.

    Args:
        folder: a folder of the package, such as ``"measures"``; modules with an underscore are no features.
        decorator: the name of the decorator, such as ``"measure"``.

    Returns:
        Name to declaration, in the order of the modules' names.

    Example:
        >>> declarations("measures", "measure")["mu_bar"].keywords["forms"]
        ('raw', 'unit')
    """
    found: dict[str, Declaration] = {}
    for path in sorted((_PACKAGE / folder).glob("*.py")):
        if not path.name.startswith("_"):
            found |= {entry.name: entry for entry in _declared(path, decorator)}
    return found


@cache
def declaration(folder: str, decorator: str, name: str) -> Declaration | None:
    """One function of a folder, read off its own file alone, which answers sooner than all of them.

    Args:
        folder: as `declarations` takes it; a file there is called as what it declares.
        decorator: the name of the decorator.
        name: of the function, also with further words after it, such as the suffix of a form.

    Returns:
        Its declaration, or None.

    Example:
        >>> declaration("measures", "measure", "mu_bar_unit").name
        'mu_bar'
    """
    words = name.split("_")
    for end in range(len(words), 0, -1):
        stem = "_".join(words[:end])
        path = _PACKAGE / folder / f"{stem}.py"
        if stem.isidentifier() and not stem.startswith("_") and path.is_file():
            return next((entry for entry in _declared(path, decorator) if entry.name == stem), None)
    return None


@cache
def constant(module: str, name: str) -> Any:
    """A constant of a module, read off its source.

    Args:
        module: the path of the file in the package, such as ``"measures/_registry.py"``.
        name: what is assigned there, a literal.

    Returns:
        Its value.

    Raises:
        KeyError: nothing of that name is assigned.

    Example:
        >>> constant("measures/_registry.py", "SITES")["spectrum"]
        'block'
    """
    assigned = _assigned(ast.parse((_PACKAGE / module).read_text(encoding="utf-8")))
    return _value(assigned[name], assigned)


def _declared(path: Path, decorator: str) -> Iterator[Declaration]:
    """The decorated functions of one file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assigned = _assigned(tree)
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == decorator:
                keywords = {word.arg: _value(word.value, assigned) for word in call.keywords if word.arg}
                text = inspect.cleandoc(ast.get_docstring(node) or "")
                yield Declaration(node.name, keywords, _parameters(node, assigned), text)


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """What the names of a module stand for, also those it takes from the files with an underscore of a folder."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and "._" in (node.module or ""):
            there = _shared(str(node.module))
            found |= {alias.name: there[alias.name] for alias in node.names if alias.name in there}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
    return found


@cache
def _shared(module: str) -> dict[str, ast.expr]:
    """What the names of a file stand for that the features of a folder share; none where it is no file of ours."""
    path = _PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    return _assigned(ast.parse(path.read_text(encoding="utf-8"))) if path.is_file() else {}


class _Names(ast.NodeTransformer):
    """Puts what a name stands for in its place; `*NAME` inside a tuple too."""

    def __init__(self, assigned: Mapping[str, ast.expr]) -> None:
        self.assigned = assigned

    def visit_Name(self, node: ast.Name) -> ast.expr:
        known = self.assigned.get(node.id)
        return node if known is None else self.visit(known)

    def visit_Tuple(self, node: ast.Tuple) -> ast.expr:
        items: list[ast.expr] = []
        for item in node.elts:
            found = self.visit(item.value if isinstance(item, ast.Starred) else item)
            items += found.elts if isinstance(item, ast.Starred) else [found]
        return ast.Tuple(items, ast.Load())


def _value(node: ast.expr, assigned: Mapping[str, ast.expr]) -> Any:
    """A literal, with what the names of its module stand for in their place; the source of anything else."""
    whole = _Names(assigned).visit(node)
    try:
        return ast.literal_eval(whole)
    except ValueError:
        return ast.unparse(whole)


def _parameters(node: ast.FunctionDef, assigned: Mapping[str, ast.expr]) -> dict[str, Parameter]:
    given = [*node.args.posonlyargs, *node.args.args]
    missing: list[ast.expr | None] = [None] * (len(given) - len(node.args.defaults))
    pairs = [*zip(given, [*missing, *node.args.defaults], strict=True)]
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    kinds = {name: found for name, found in assigned.items() if not _of_tensors(found)}
    return {
        argument.arg: Parameter(
            "" if argument.annotation is None else ast.unparse(_Names(kinds).visit(argument.annotation)),
            None if default is None else _value(default, assigned),
        )
        for argument, default in pairs
    }


def _of_tensors(kind: ast.expr) -> bool:
    """Whether a kind has tensors in it: it goes by its name, such as ``Numbers``, since no tensor can be typed."""
    return any(isinstance(node, ast.Name) and node.id == "Tensor" for node in ast.walk(kind))
