"""Build the site of docs/ into build/site, with every warning an error: a dead link, an unknown name, a lost page.

python docs/build.py           into build/site
python docs/build.py --out DIR into another folder
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sphinx.cmd.build import main as sphinx

DOCS = Path(__file__).resolve().parent
STRICT = ("--fail-on-warning", "--nitpicky", "--keep-going", "--fresh-env", "--quiet")


def main() -> int:
    """Build the site, and say where to open it.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=DOCS.parent / "build" / "site", help="the folder of the site")
    out = parser.parse_args().out.resolve()
    code = sphinx([*STRICT, "--doctree-dir", str(out.with_name(f"{out.name}-doctrees")), str(DOCS), str(out)])
    if code == 0:
        print(f"open {(out / 'index.html').as_uri()}")
    return code


if __name__ == "__main__":
    sys.exit(main())
