"""How Sphinx makes the site of these pages; `make docs` runs it through docs/build.py.

The pages are plain Markdown that reads as well on a code forge. Nothing is fetched, neither here nor by the site.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # autodoc reads the docstrings of this checkout, installed or not
if TYPE_CHECKING:
    from sphinx.application import Sphinx

from rankscope import __version__ as release  # noqa: E402 - it is found through the line above

project = "rankscope"
author = "the authors of rankscope"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# A link to a heading is `page.md#its-words`, as on a code forge.
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # an included page may begin at any level

napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
default_role = "code"  # what stands in backticks in a docstring
smartquotes = False  # what stands here is typed: -- is no dash
maximum_signature_line_length = 80

# Without a network there is nothing to link the types of other libraries to.
nitpick_ignore_regex = [(r"py:.*", r"(?!rankscope\.).*")]

highlight_language = "none"  # blocks without a name are sessions and outputs
html_theme = "furo"
html_title = f"rankscope {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
pygments_style = "default"


def signature(_: Sphinx, what: str, name: str, *__: Any) -> tuple[str, str] | None:
    """No constructor for what comes out of a function; the fields of options are their arguments."""
    return None if what != "class" or name.endswith("Options") else ("", "")


def setup(app: Sphinx) -> None:
    """Where Sphinx asks for the signatures."""
    app.connect("autodoc-process-signature", signature)
