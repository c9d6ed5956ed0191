"""The template of the page: HTML with its own style and script inside, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from rankscope.renderers._svg import defs

if TYPE_CHECKING:
    from jinja2 import Template

    from rankscope.renderers._page.model import Page

_HERE = Path(__file__).parent


def render(page: Page) -> str:
    """The page as one file that asks for nothing else.

    Args:
        page: what it shows; every text in it is escaped.

    Returns:
        HTML.
    """
    style, script = _text("page.css"), _text("page.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    text = _template().render(
        page=page,
        policy=Markup(policy),  # noqa: S704 - no text of a model in it
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        defs=defs(),
        data=_json(page),
    )
    return text + "\n"


def _json(page: Page) -> Markup:
    """The data as JSON that no name can end: ``<``, ``>`` and ``&`` are written as escapes of JSON."""
    text = json.dumps(page.data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - made safe above


@cache
def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["breaks"] = _breaks
    return environment.from_string(_text("page.html.j2"))


def _breaks(name: str) -> Markup:
    """A name that may be broken after its underscores."""
    return escape(name).replace("_", Markup("_<wbr>")).replace(Markup("mu_<wbr>bar"), Markup("mu_bar"))


def _hash(text: str) -> str:
    """How the policy names a style or a script that it lets in."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
