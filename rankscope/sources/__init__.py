"""Sources: what a MODEL names, opened as a torch module. Every file of this folder registers one form.

A prefix decides (``zoo:``, ``hf:``, ``demo:``), else a path that exists, recognised by content, else an alias, else a
bare name that a form knows, else ``module:factory``. Nothing in a file is run unless the user trusts it.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from rankscope.edits import read_edits, split_model
from rankscope.errors import LoadError, UsageError
from rankscope.formats import Kind, format_of, refuse
from rankscope.records import Note, Source
from rankscope.registry import Registry
from rankscope.sources._archive import verify
from rankscope.sources._trust import is_trusting
from rankscope.sources._usable import usable
from rankscope.specs import check_flags, exists, unknown_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rankscope.sources._state import State

__all__ = ["FORMS", "Form", "Kind", "LoadOptions", "edited", "format_of", "open_model"]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded; the names are those of the flags.

    `arch` (MOD:FACTORY or ``zoo:…``) gives the architecture of weights-only files; `weights` is a file for a factory;
    `strip_prefix` is taken off the names of tensors; `init_only` leaves random weights; `allow` are patterns of the
    user's own classes (``mypkg.*``, ``__main__.*=train.py``), which torch's restricted unpickler may build; `trust`
    lets a file run code while it is loaded, `trust_sha256` one content alone; `verify` reads all of a file for damage
    first; `aliases` come from ``[tool.rankscope.models]``; `seed` is that of random weights.
    """

    arch: str | None = None
    weights: Path | None = None
    strip_prefix: str | None = None
    init_only: bool = False
    allow: tuple[str, ...] = ()
    trust: bool = False
    trust_sha256: str | None = None
    verify: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Form:
    """One form of MODEL.

    `open` takes what the user typed; `prefix` names the form outright; `kinds` are the files it reads; `names` are bare
    names it knows; `claims` tells whether a text that is no path and no name is of this form; `weights` whether it
    takes ``--weights``; `state` reads the tensors of a file of its kinds for ``--weights``: path, name in the user's
    words and options go in, names to tensors and notes come out.
    """

    open: Callable[[str, LoadOptions], Source]
    prefix: str | None = None
    kinds: frozenset[Kind] = frozenset()
    names: Callable[[], list[str]] = list
    claims: Callable[[str], bool] = str.isspace
    weights: bool = False
    state: Callable[[Path, str, LoadOptions], tuple[State, tuple[Note, ...]]] | None = None


FORMS: Registry[Form] = Registry("model form", "rankscope.sources")
_DEFAULTS = LoadOptions()
# What a report calls the forms that need an architecture.
_WEIGHTS_ALONE = frozenset({"state dict", "safetensors", "Lightning checkpoint", "distributed checkpoint"})


def open_model(spec: str | Path | nn.Module, options: LoadOptions = _DEFAULTS) -> Source:
    """Open what a MODEL names.

    Args:
        spec: a file, a directory, a name, ``module:factory``, ``zoo:…``, ``hf:…``, ``demo:…``, each also with edits
            after it, such as ``model.pt+lambda_skip=2``; or a live module.
        options: how to load it. A live module is taken as it is.

    Returns:
        The model on the CPU (a live one where it is), with where it came from and what to know of it.

    Raises:
        LoadError: the model could not be had.
        UsageError: the spec or an option makes no sense.

    Example:
        >>> source = open_model(nn.Linear(2, 3))
        >>> source.spec, source.format
        ('Linear', 'module')
    """
    if isinstance(spec, nn.Module):
        return usable(Source(refuse_scripted(spec, type(spec).__name__), type(spec).__name__, "module"))
    if isinstance(spec, torch.export.ExportedProgram):
        raise LoadError(
            "RS302",
            "ExportedProgram was not opened: it is one flat graph, whose layers take no hooks",
            remedies=[("Bring its layers back", "rankscope.probe(torch.export.unflatten(program), inputs)")],
        )
    if not isinstance(spec, str | Path) or not str(spec):
        wrong = _no_model(spec)
        raise wrong
    if options.weights and options.init_only:
        raise UsageError(
            "RS338",
            f"{spec} was not opened: --weights and --init-only exclude each other",
            remedies=[("To measure the weights", "leave out --init-only")],
        )
    check_flags(options.allow, options.trust_sha256)
    text, edits = split_model(os.fspath(spec), options.aliases)
    read_edits(edits)
    return edited(usable(_unused(_open(text, options, ()), options)), edits)


def edited(source: Source, edits: tuple[str, ...]) -> Source:
    """The same model with edits, which are in force while it is measured.

    Args:
        source: an opened model without any.
        edits: each as typed.

    Returns:
        The source, its spec with the edits after it.

    Example:
        >>> edited(open_model(nn.Linear(2, 3)), ("no_skip",)).spec
        'Linear+no_skip'
    """
    return dataclasses.replace(source, spec="+".join((source.spec, *edits)), edits=edits)


def _no_model(given: object) -> UsageError:
    """The error for what is neither a module nor a name; a class and a state dict are the usual ones."""
    got, step = f"{given!r:.80}", "rankscope.probe(Net()), an instance rather than its class"
    if isinstance(given, type):
        got, step = f"the class {given.__name__}", f"call it: rankscope.probe({given.__name__}())"
    elif isinstance(given, dict):
        got, step = f"a dict of {len(given)} entries", "load it into one first: model.load_state_dict(state)"
    text = f"no model was opened: expected a module or its name, got {got}"
    return UsageError("RS343", text, remedies=[("Give a module", step)])


def _unused(source: Source, options: LoadOptions) -> Source:
    """The source with a note on flags that had nothing to act on."""
    codes = {note.code for note in source.notes}
    alone = source.format in _WEIGHTS_ALONE
    own, trust = "brings its own architecture and weights", "is no file that runs code while it is loaded"
    scripts = "RS346" in codes and any("=" in pattern for pattern in options.allow)
    flags = [
        ("--arch", options.arch is not None, alone, own),
        ("--strip-prefix", options.strip_prefix is not None, alone or options.weights is not None, own),
        ("--trust", is_trusting(options), "RS346" in codes, trust),
        ("--allow", bool(options.allow), "RS368" in codes or scripts, "asks for no classes of yours at this level"),
        ("--verify", options.verify, "RS348" in codes, "is no file"),
    ]
    notes = [
        Note("RS345", f"{flag} was not used: {source.spec} {why}")
        for flag, given, used, why in flags
        if given and not used
    ]
    return dataclasses.replace(source, notes=(*source.notes, *notes))


def _open(text: str, options: LoadOptions, via: tuple[str, ...]) -> Source:
    """Open a text; `via` are the aliases that led to it."""
    for form in FORMS.values():
        if form.prefix and text.startswith(form.prefix):
            return _opened(form, text, options)
    named = [form for form in FORMS.values() if text in form.names()]
    if exists(text):
        kind = format_of(Path(text))
        readers = [form for form in FORMS.values() if kind in form.kinds]
        if not readers:
            raise refuse(Path(text), text, kind)
        checked = (verify(Path(text), text),) if options.verify else ()
        source = _opened(readers[0], text, options)
        source = dataclasses.replace(source, notes=(*checked, *source.notes))
        bare = Path(text).name == text and (not Path(text).suffix or text in options.aliases or named)
        return _announced(source, text, f"the {kind} of that name in this directory") if bare else source
    if text in via:
        raise UsageError("RS343", f"no model was opened: the aliases {' -> '.join((*via, text))} go in a circle")
    if text in options.aliases:
        target = options.aliases[text]
        source = _open(target, options, (*via, text))
        return _announced(source, text, f"the alias that the configuration gives, {source.spec}")
    if named:
        return _announced(_opened(named[0], text, options), text, "the demo checkpoint that comes with rankscope")
    for form in FORMS.values():
        if form.claims(text):
            if via and any(via[0] in each.names() for each in FORMS.values()):
                raise _hijacked(via[0], text)
            return _opened(form, text, options)
    raise unknown_model(text, options.aliases)


def _hijacked(name: str, code: str) -> UsageError:
    """The error for a configuration that gives the name of a model that comes with rankscope to code of its own."""
    headline = f"{name} was not opened: the configuration lets it stand for {code}, and {name} comes with rankscope"
    remedies = [("The model of that name", f"demo:{name}"), ("Runs that code", f"rankscope probe {code}")]
    return UsageError("RS106", headline, remedies=remedies)


def _opened(form: Form, text: str, options: LoadOptions) -> Source:
    if options.weights and not form.weights:
        raise UsageError(
            "RS338",
            f"{text} was not opened: --weights goes with a factory, and {text} has weights of its own",
            remedies=[
                ("Give the architecture beside the file", f"rankscope probe {options.weights} --arch yourmodule:Net")
            ],
        )
    return form.open(text, options)


def _announced(source: Source, name: str, meaning: str) -> Source:
    """The source under the name that was typed, with a note of what the name was taken for."""
    note = Note("RS340", f"{name!r} was taken as {meaning}")
    return dataclasses.replace(source, spec=name, notes=(note, *source.notes))


def refuse_scripted(model: nn.Module, name: str) -> nn.Module:
    """Refuse a TorchScript module, whose layers run outside Python and call no hook.

    Args:
        model: any module.
        name: the model in the user's words.

    Returns:
        The module.

    Raises:
        LoadError: the module is scripted or traced.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise LoadError(
            "RS302",
            f"{name} was not opened: it is a TorchScript module, whose layers take no hooks",
            remedies=[("Give the module it was made from", "rankscope probe yourmodule:Net --weights weights.pt")],
        )
    return model
