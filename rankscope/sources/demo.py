"""Demo checkpoints: small trained models that come with rankscope, by their bare name or as ``demo:NAME``."""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from rankscope.registry import unknown_name
from rankscope.sources import FORMS, Form, LoadOptions
from rankscope.sources.safetensors import open_safetensors
from rankscope.zoo import demos

if TYPE_CHECKING:
    from rankscope.records import Source


def directory() -> Path:
    """Where the demo checkpoints and their text sample lie.

    Returns:
        A directory inside the package.
    """
    return Path(str(resources.files("rankscope.zoo"))) / "demo"


def open_demo(spec: str, options: LoadOptions) -> Source:
    """Open a demo checkpoint; its header names its architecture.

    Args:
        spec: ``demo:NAME`` or ``NAME``.
        options: `init_only` and `seed` are used.

    Returns:
        The model, with the directory of its text sample.

    Raises:
        UsageError: there is no such demo.
    """
    name = spec.removeprefix("demo:")
    if name not in demos():
        error = unknown_name("demo checkpoint", name, demos())
        raise error
    own = dataclasses.replace(options, arch=None, strip_prefix=None)
    source = open_safetensors(str(directory() / f"{name}.safetensors"), own)
    return dataclasses.replace(source, spec=spec, format="demo", directory=directory())


FORMS.add("demo", Form(open_demo, prefix="demo:", names=demos))
