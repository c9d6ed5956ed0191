"""Write docs/architectures.md and its figures: what each architecture of the zoo is, and what a probe of it says.

python docs/architectures.py            measure all anew, and write the page
python docs/architectures.py --check    measure all anew, say what is no longer so, and exit 1

In docs/architectures/ lie what is written by hand (texts.toml), what was measured (measured.json) and the figures.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rankscope
from rankscope.renderers._axis import Axis
from rankscope.renderers._sentence import EVEN
from rankscope.renderers._svg import Chart, Line, defs, draw, sample
from rankscope.zoo import list_zoo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rankscope.zoo import ZooEntry

DOCS = Path(__file__).resolve().parent
DEPTH, RANDOM = 24, "ids=4x128:int64:0..255"
SIZES = f"depth={DEPTH},width=64"
MEASURES = ("mu_bar", "rank_one_residual_unit")
SHOWN = (0, 6, 12, 24)  # layers of the tables
AGREE = 1e-3  # of another processor's rounding, which float64 leaves far below this
SMALL = 1e-9  # a share of the tokens that is nothing but rounding

HEAD = f"""<!-- Made by docs/architectures.py from rankscope/zoo/, docs/architectures/texts.toml and probes: change it
there, then run `make docs`. -->

# Architectures

What `rankscope zoo` lists: the architectures of the literature on collapse, one paper a file, each with its equation,
the numbers of a probe, and what of its paper's claims was found to hold here. The options are those of
`zoo:NAME,option=value,…`.

The figures show `mu_bar` over depth: the distance of the tokens from their mean, over the size of all tokens; 0 when
all tokens are equal. The models have random weights, {DEPTH} blocks of width 64, and read random ids in float64; what
is not named is at its default. None is trained: the figures show what an architecture does to tokens at its start, and
nothing that a training would bring about. `mu_bar` does not see tokens that are parallel but for their sign;
`rank_one_residual_unit`, the residual of the tables, does, and the verdict and the decay are taken on it: *collapsed,
blocks.8* is collapsed from that block on. A line of a table is what this prints:

```
rankscope probe zoo:NAME,{SIZES} --dtype float64 --random {RANDOM} \\
  --measures {",".join(MEASURES)}
```

Every claim is *reproduced*, *reproduced in part*, *not reproduced* or *not tried*, and says by which test. `make check`
measures all numbers of this page anew.
"""
STYLE = """
:root{color-scheme:light dark;--g:#fff;--t:#566072;--r:#e3e7ed;--s0:#0072b2;--s1:#d55e00;--s2:#00825f;--s3:#b0528a;
--s4:#8a6d00;--s5:#2a8fc7;--s6:#444c5a;--s7:#8b3d1f}
@media(prefers-color-scheme:dark){:root{--g:#12161d;--t:#a3adbc;--r:#262d38;--s0:#56b4e9;--s1:#ff8f4a;--s2:#3fd0a4;
--s3:#e79bc6;--s4:#e2c34b;--s5:#8fb7ff;--s6:#c3cad6;--s7:#d9906f}}
text{font:12px system-ui,sans-serif;fill:var(--t);text-anchor:end}.mid{text-anchor:middle}.from,.key{text-anchor:start}
.axes path{stroke:var(--r);fill:none}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}use{stroke-width:1.2}
.line.s1{stroke-dasharray:7 3}.line.s2{stroke-dasharray:2 2.5}.line.s3{stroke-dasharray:9 3 2 3}
.line.s4{stroke-dasharray:12 4}.line.s5{stroke-dasharray:4 2}.line.s6{stroke-dasharray:9 2 2 2 2 2}
.line.s7{stroke-dasharray:1 3}
"""
STYLE += "".join(f".s{i}{{stroke:var(--s{i})}}.s{i} use,use.s{i}{{fill:var(--s{i})}}" for i in range(8)) + "\n"
BARE = r'"[^"]*"| ([a-z-]+)=([^\s">]+)(?=[ />])'
WIDTH, HEIGHT, ROW = 440, 250, 20  # of a chart as `draw` makes it, and of a line of the legend


def texts() -> dict[str, Any]:
    """What is written by hand, by architecture."""
    return tomllib.loads((DOCS / "architectures" / "texts.toml").read_text(encoding="utf-8"))


def full(spec: str) -> str:
    """The MODEL of a line: its spec with the sizes, which all lines have in common."""
    name, _, options = spec.partition(",")
    return f"zoo:{name},{SIZES}" + (f",{options}" if options else "")


def rounded(value: float | None) -> float | None:
    """Four digits, which the figure and the table need."""
    return None if value is None else float(f"{value:.3e}")


def measure(spec: str) -> dict[str, Any]:
    """What the probe says of one line."""
    report = rankscope.probe(full(spec), random=RANDOM, dtype="float64", measures=MEASURES)
    values = {name: [rounded(row.value) for row in report.rows if row.measure == name] for name in MEASURES}
    verdict = next(depth for depth in report.depth if depth.measure == "rank_one_residual_unit")
    return {
        "mu_bar": values["mu_bar"],
        "rank_one_residual_unit": values["rank_one_residual_unit"][-1],
        "verdict": verdict.verdict + (f", {verdict.layer}" if verdict.layer else ""),
        "decay": verdict.decay,
        "rate": rounded(verdict.rate),
        "r2": rounded(verdict.r2),
    }


def alike(one: Any, other: Any) -> bool:
    """Whether two measurements say the same, but for rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=AGREE, abs_tol=SMALL)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    return bool(one == other)


def wanted(written: Mapping[str, Any]) -> list[str]:
    """The specs of all lines, each once."""
    return list(dict.fromkeys(spec for text in written.values() for spec in text["lines"]))


def label(name: str, spec: str) -> str:
    """What a line is called in the section of an architecture."""
    return spec.removeprefix(f"{name},")


def figure(name: str, specs: list[str], measured: Mapping[str, Any]) -> str:
    """The figure of one architecture, an SVG file with its legend that follows the reader's choice of light or dark."""
    lines = []
    for style, spec in enumerate(specs):
        values = tuple(measured[spec]["mu_bar"])
        lost = frozenset(i for i, value in enumerate(values) if value is None)
        lines.append(Line(label(name, spec), style, tuple(map(float, range(DEPTH + 1))), values, lost=lost))
    ends = "; ".join(f"{line.name}: {cell(line.y[-1])}" for line in lines)
    said = f"mu_bar over depth of {name}; at the last layer {ends}"
    chart = draw(Chart(said, "layer", "", Axis(0, DEPTH, whole=True), Axis(0, 1), tuple(lines)))
    height = HEIGHT + ROW * -(-len(lines) // 2) + 22
    size = f'width="{1.4 * WIDTH:g}" height="{1.4 * height:g}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {WIDTH} {height}"><style>{STYLE}</style>']
    parts += [
        f'<rect width="{WIDTH}" height="{height}" fill="var(--g)"/><text class="from" x="54" y="16">mu_bar</text>',
        str(defs()),
        f'<g class="chart">{chart}</g>',
    ]
    parts += [entry(line) for line in lines]
    text = "".join(parts).replace(
        '<svg class="chart"', f'<svg y="12" width="{WIDTH}" height="{HEIGHT}" overflow="visible"'
    )
    # A page may leave the quotes of an attribute out, XML may not; what is quoted stays.
    quoted = re.sub(BARE, lambda found: f' {found[1]}="{found[2]}"' if found[1] else found[0], text)
    return quoted.replace("><", ">\n<") + "</svg>\n"


def entry(line: Line) -> str:
    """A line of the legend, in one of two columns."""
    x, y = 14 + 208 * (line.style % 2), HEIGHT + 16 + ROW * (line.style // 2)
    key = str(sample(line.style)).replace("<svg ", f'<svg x="{x}" y="{y}" width="44" height="14" ')
    return f'{key}<text class="key" x="{x + 50}" y="{y + 11}">{line.name}</text>'


def cell(value: float | None) -> str:
    """A number of a table."""
    return "undefined" if value is None else f"{value:.3g}"


def decay(found: Mapping[str, Any]) -> str:
    """How the residual falls, in words."""
    if found["decay"] != "exponential":
        return str(found["decay"])
    word = "exponential" if found["r2"] >= EVEN else "uneven"
    return f"{word}, ×{math.exp(found['rate']):.2g} a layer"


def numbers(name: str, specs: list[str], measured: Mapping[str, Any]) -> Iterator[str]:
    """The table of what was measured."""
    layers = " | ".join(str(layer) for layer in SHOWN)
    yield f"| `mu_bar` at layer | {layers} | residual at {DEPTH} | verdict | decay |"
    yield "|---|" + "---:|" * (len(SHOWN) + 1) + "---|---|"
    for spec in specs:
        found = measured[spec]
        values = " | ".join(cell(found["mu_bar"][layer]) for layer in SHOWN)
        residual = cell(found["rank_one_residual_unit"])
        yield f"| `{label(name, spec)}` | {values} | {residual} | {found['verdict']} | {decay(found)} |"


def claims(text: Mapping[str, Any]) -> Iterator[str]:
    """What is claimed, and what of it holds here."""
    for claim in text["claims"]:
        shown = ", ".join(f"`{test.partition('::')[2]}` ({test.partition('::')[0]})" for test in claim.get("tests", ()))
        yield f"- {claim['says']} **{claim['here'].capitalize()}.** {claim['how']}" + (
            f" Tests: {shown}." if shown else ""
        )


def section(entry: ZooEntry, text: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    """The section of one architecture."""
    name, specs = entry.name, text["lines"]
    rows = [f"| `{each.name}` | `{each.default}` | {each.meaning} |" for each in entry.options]
    parts = [
        f"## {name}\n",
        f"{text['what'].strip()}\n",
        f"*Paper:* {entry.paper}\n",
        f"```text\n{text['equation'].strip()}\n```\n",
        f"![mu_bar over depth of {name}](architectures/{name}.svg)\n",
        *numbers(name, specs, measured),
        f"\n{text['seen'].strip()}\n",
        "**What is claimed, and what of it holds here**\n",
        *claims(text),
        "\n| option | default | |",
        "|---|---|---|",
        *(row.replace("\n", " ") for row in rows),
        "",
    ]
    return "\n".join(parts)


def architectures() -> list[ZooEntry]:
    """The architectures of the zoo."""
    return [entry for entry in list_zoo() if entry.kind == "architecture"]


def files(measured: Mapping[str, Any]) -> dict[str, str]:
    """The page and its figures of what was measured, by name in docs/."""
    written = texts()
    entries = architectures()
    made = {
        f"architectures/{each.name}.svg": figure(each.name, written[each.name]["lines"], measured) for each in entries
    }
    sections = [section(entry, written[entry.name], measured) for entry in entries]
    stored = json.dumps(measured, ensure_ascii=False).replace('}, "', '},\n"')
    return {"architectures.md": "\n".join([HEAD, *sections]), "architectures/measured.json": stored + "\n", **made}


def stored() -> dict[str, Any]:
    """What was measured when the page was made."""
    path = DOCS / "architectures" / "measured.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def main() -> int:
    """Write or check the page.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where something is out of date")
    check = parser.parse_args().check
    before, now = stored(), {spec: measure(spec) for spec in wanted(texts())}
    changed = [spec for spec in now if not alike(before.get(spec), now[spec])]
    # Another processor rounds otherwise: what says the same stays as it is.
    kept = {spec: now[spec] if spec in changed else before[spec] for spec in now}
    made = files(kept)
    stale = [name for name, text in made.items() if not _is(DOCS / name, text)]
    for name in () if check else stale:
        (DOCS / name).write_text(made[name], encoding="utf-8")
    for spec in changed:
        print(f"{full(spec)}: " + ("a probe now says something else" if check else "measured anew"))
    for name in stale:
        print(f"docs/{name} is out of date: run `make docs`" if check else f"docs/{name} written")
    return 1 if check and (stale or changed) else 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
