"""Write the pages of docs/ that are made from the code: measures, edits, options, error codes, and the schemas.

python docs/generate.py            write them
python docs/generate.py --check    say which one is out of date, and exit 1
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import rankscope
from rankscope.cli._command import Command, Commands
from rankscope.edits import known_edits, options_of
from rankscope.errors import catalogue
from rankscope.measures import MEASURES, PRESETS, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from rankscope.declarations import Declaration, Parameter
    from rankscope.measures import Measure

DOCS = Path(__file__).resolve().parent
MADE = "<!-- Made by docs/generate.py from {source}: change it there, then run `make docs`. -->\n"

CODES = {
    "1": "Usage and configuration",
    "2": "Inputs",
    "3": "Model files",
    "4": "Capture",
    "5": "Notes about the numbers",
    "6": "Output",
    "9": "Internal",
}
ERRORS = """# Error codes

Every error and every note carries a stable code. An error says what was attempted and what is wrong, then the next
steps, the safest first. Exit codes: 0 measured; 1 a requirement failed; 2 usage or configuration; 3 could not measure;
70 a bug in rankscope; 130 interrupted; 141 closed pipe.
"""

SITES = {
    "block": "The input of the first block and the output of every block",
    "value": "The values that enter attention",
    "attention": "The attention maps",
    "gradient": "The gradient of the loss with respect to the output of a block",
    "weight_gradient": "The gradient of the loss with respect to a weight",
}
OVER_A_BLOCK = "The output of every block, beside that of the one before"
FORMS = {
    "raw": "",
    "centered": "_centered",
    "unit": "_unit",
    "unit_centered": "_unit_centered",
}
MEASURES_PAGE = """# Measures

One sequence is a matrix Y of N real tokens (rows y_i) and d features; padding is left out. γ is the mean token, P
subtracts it, σ_1 ≥ σ_2 ≥ … are the singular values of Y, ‖·‖_F is the Frobenius norm. Layer 0 is the input of the first
block, layers 1 to K are the outputs of the blocks. Every measure is taken for each sequence, then averaged; the report
keeps the values of the sequences beside the mean.

A measure is asked for by its name: `rankscope probe MODEL --measures mu_bar,effective_rank_unit`. A suffix names a form
of the tokens, where the measure has it: `_unit` scales every token to norm 1 first, so that no single huge token
decides; `_centered` subtracts the mean token first; `_unit_centered` does the one, then the other. The prefix `pooled:`
takes the tokens of all sequences as one matrix. Beside a rank stand its ceiling min(N, d), the value of Gaussian data
of the same shape, and the floor under which rounding of the data's dtype hides it.

The prefix `head:` takes a measure of values or attention of every head by itself: `head:value_cosine` gives one row a
head, numbered from 0. Values have the heads that the model keeps for keys and values, which may be fewer than those of
the queries. Rows of cross-attention carry the parameter `cross`. Heads are measured on request only: `full` has none.

A measure that gives several numbers, such as all singular values, is kept in the JSON report under `spectra`, one list
for each sequence or for the pool; tables and CSV leave it out.

A number that cannot be had is `undefined`, with the reason; it is never replaced by a zero. So it is for input that is
not finite, for fewer tokens than the measure needs, and where the table of a measure says so.
"""


def errors_page() -> str:
    """The page of the error codes."""
    lines = [MADE.format(source="rankscope/errors.toml"), ERRORS]
    for digit, title in CODES.items():
        codes = [code for code in catalogue() if code[2] == digit]
        lines += [f"## RS{digit}xx {title}\n"] if codes else []
        for code in codes:
            entry = catalogue()[code]
            title = entry.title[:1].upper() + entry.title[1:]
            lines.append(f"### {code}\n\n**{title}.** {entry.cause}\n\n*What to do:* {entry.remedy}\n")
    return "\n".join(lines)


def limits(measure: Measure) -> str:
    """The range of a measure in words."""
    low, high = (f"{bound:g}" if isinstance(bound, float) else bound for bound in measure.bounds)
    return f"{low} to {high}" if high is not None else f"{low} and above" if low is not None else "any number"


def cell(text: str) -> str:
    """Text that stays in one cell of a table."""
    return text.replace("|", "\\|")


def measure_section(measure: Measure) -> str:
    """One measure: what it says, and a table of the facts."""
    names = [f"`{measure.name}{FORMS[form]}`" for form in measure.forms]
    prefix = "pooled:" if measure.pooled else "head:" if measure.per_head else ""
    also = f", {'each ' if len(names) > 1 else ''}also `{prefix}`" if prefix else ""
    facts = {
        "Formula": measure.formula,
        "Range": limits(measure),
        "Rich representations": {"high": "high", "low": "low", None: "neither end"}[measure.healthy],
        "Taken on": OVER_A_BLOCK if "previous" in measure.needs else SITES[measure.site],
        "Names": ", ".join(names) + also,
        "Gives": "several numbers a sequence, in the JSON report under `spectra`" if measure.vector else "",
        "In `full`": "" if measure.in_full else "no, only by its name",
        "Undefined": f"{measure.undefined}; fewer than {measure.min_tokens} tokens"
        if measure.min_tokens > 1
        else measure.undefined,
        "Shown with": ", ".join(f"[`{name}`](#{name})" for name in measure.companions),
        "From": measure.paper,
        "Version": str(measure.version),
    }
    rows = [f"| {name} | {cell(text)} |" for name, text in facts.items() if text]
    return "\n".join([f"### {measure.name}\n", f"{measure.description}\n", "| | |", "|---|---|", *rows, ""])


def measures_page() -> str:
    """The page of the measures."""
    lines = [MADE.format(source="rankscope/measures/"), MEASURES_PAGE, "## Presets\n"]
    for preset in PRESETS:
        names = ", ".join(f"`{request.name}`" for request in resolve([preset]))
        every = (
            "every measure in every form, and pooled, but what is had only by its name"
            if PRESETS[preset] == ("*",)
            else names
        )
        lines.append(f"- `{preset}`: {every}")
    measures = sorted(MEASURES.values(), key=lambda measure: measure.name)
    lines += ["", "## All measures\n", "| measure | in one line |", "|---|---|"]
    lines += [f"| [`{measure.name}`](#{measure.name}) | {cell(measure.summary)} |" for measure in measures]
    for site, title in SITES.items():
        lines.append(f"\n## {title}\n")
        lines += [measure_section(measure) for measure in measures if measure.site == site]
    return "\n".join(lines)


OPTIONS = """# Options

Every command with all its options, as `rankscope COMMAND --help` lists them; what the commands do stands in
[Commands](cli.md). In Python the options are keyword arguments with underscores: `--grad-tokens 512` is
`grad_tokens=512`.
"""


def command_section(name: str, command: Command, context: click.Context) -> str:
    """One command: how it is called, and its options in the sections of its help page."""
    own = click.Context(command, info_name=f"rankscope {name}", help_option_names=context.help_option_names)
    usage = command.get_usage(own).partition(" ")[2]  # click keeps the help option that it makes here
    lines = [f"## {name}\n", f"{command.short_help}\n", f"```\n{' '.join(usage.split())}\n```\n"]
    sections: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            row = f"| `{cell(record[0])}` | {cell(record[1])} |"
            sections.setdefault(getattr(parameter, "section", "Output"), []).append(row)
    for section, rows in sections.items():
        lines += [f"**{section}**\n", "| option | |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def options_page() -> str:
    """The page of the options of every command."""
    commands = Commands("rankscope")
    context = click.Context(commands, help_option_names=["-h", "--help"])
    lines = [MADE.format(source="rankscope/cli/"), OPTIONS]
    for group in commands.grouped(context).values():
        lines += [command_section(str(command.name), command, context) for command in group]
    return "\n".join(lines)


REPORT = """# The report

{about}

Its JSON Schema is [rankscope/report.schema.json](../rankscope/report.schema.json), which comes with the package:
`importlib.resources.files("rankscope") / "report.schema.json"`. Every report that the tests make is held to it.

`rankscope.load("report.json")` reads a report back, equal to the one that was saved, from JSON or from
`.safetensors`, which also holds the sums of pools: [Merging](cli.md#report). JSON Lines, Parquet and CSV
hold the rows alone: [Commands](cli.md#formats).
"""
COMPARISON = """# The comparison

{about}

Its JSON Schema is [rankscope/comparison.schema.json](../rankscope/comparison.schema.json), which comes with the
package. It is not read back: comparing the saved reports again gives the same. How layers are matched and noise is
told: [Commands](cli.md#compare).
"""
CERTIFICATE = """# The certificate

{about}

Its JSON Schema is [rankscope/certificate.schema.json](../rankscope/certificate.schema.json), which comes with the
package. What each certificate says, and of which models: [Commands](cli.md#certify).

## The theorem

Theorem 4.1 of arXiv 2410.10609 is about layers Y(k+1) = D(k)(M(k) Y(k) C_V(k) + λ Y(k)), whose rows D(k) scales to unit
norm, and which begin with unit rows. C_M is the largest ‖M(k)‖_F, S the largest ‖C_V(k)‖_2, N the tokens, d their
width, K the layers, and 0 < a < 1 what each layer is to keep of mu². With

- the condition λ² − a(S·C_M + |λ|)² > 0, the same as |λ| > √a·S·C_M/(1 − √a), and
- mu(Y(0))² ≥ b, where b = a^(−K) · 2|λ|·N·d·S·C_M / (λ² − a(S·C_M + |λ|)²),

it holds that mu(Y(K))² ≥ a^K · mu(Y(0))². With unit rows mu² is at most N: a larger b is out of reach.

Why it is so, for several groups (heads) and a λ of each layer's own as well, in short [derived]. Of the branch F only
‖F‖_F ≤ S·C_M·√N is needed. A row of Y(k+1) is then at most 2‖F_i‖/|λ| away from the row of sign(λ)·Y(k), so mu falls
by at most 2·S·C_M·√N/|λ| in a layer. The second hypothesis makes that at most (1 − √a)·mu for d ≥ 2, so each layer
keeps √a of mu; and b falls as |λ| grows and by a with each layer, so the hypothesis holds again for the next layer.
Without unit rows at the start the theorem is false: a counterexample is among the tests.
"""
FINDINGS = """# The findings of a check

{about}

Its JSON Schema is [rankscope/check.schema.json](../rankscope/check.schema.json), which comes with the package. What
a rule covers, and when it is undefined: [Commands](cli.md#check).
"""
SWEEP = """# The sweep

{about}

```
rankscope sweep lambda-skip --edit 'lambda_skip=-20:20:9' -o sweep.html -o sweep.json
rankscope sweep model.pt --edit 'lambda_skip=1:20:5' --until 'mu_bar >= 0.3 @ last'
rankscope sweep model.pt --edit 'drop@*'
rankscope sweep zoo:transformer --over depth=2:24:4 --over seed=0:2
rankscope sweep a.pt b.pt c.pt
```

A range is `START:STOP:COUNT` with both ends included, or `START:STOP` of whole numbers; a list has commas. Two things
that are swept give every combination. Every point sees the same inputs, which are gathered once, and one forward pass
(and the backward pass of the first tokens, where a measure of gradients is asked for). Where an edit alone changes, the
model is opened and traced once.

**Layers.** An edit with a selector and without a range is made at one of these layers after the other; the layers are
ranked by what that does to the loss, else to `rank_one_residual_unit` at the last layer.

**The smallest edit.** `--until RULE` takes a rule of [`check`](cli.md#check). The range is a scan; on each side of the
value that changes nothing (λ = 1), the first point of the scan that keeps the rule and the last before it that does not
are halved until they lie within 1 % of the size of the edit. Nothing says that a rule which holds for one value holds
for every larger one: where the scan shows that it does not, this is said. `--per-layer` then begins at a value of
the scan that keeps the rule with something to spare, and goes once through the layers, the one that is needed least
first: each is brought back as near to the value that changes nothing as the rule allows while the others stay. The exit
code is 1 where no value that was tried keeps the rule.

**The loss.** Of a causal language model it is the cross-entropy of the next token on its own input ids, in nats, over
all batches; that it is causal is tried once, by changing the last token. A model that returns a loss has that one.
`--loss` names another. It is taken from the forward passes that are measured anyway. A loss that rises by more than
10 % is called ruined: an edit that keeps the tokens apart and ruins the loss is not a remedy.

**Interrupted.** The first `.json` or folder among the outputs takes the points as they come, whole files only. The same
command goes on from there where the model, the edit, the inputs and the options are the same; else it stops and names
what differs. Another range of the same edit adds its points to those that are there. `--fresh` measures all anew, and
it alone loses points.

`rankscope.sweep("model.pt", edit="lambda_skip=-20:20:9", output="sweep.json")` does the same in Python. The CSV is the
long table of the reports with the swept columns in front.

The JSON Schema is [rankscope/sweep.schema.json](../rankscope/sweep.schema.json), which comes with the package; every
report in it is one under the [schema of reports](report.md).
"""


def kind(part: dict[str, Any]) -> str:
    """What a property holds, in words."""
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join("null" if word is None else f"`{word}`" for word in part["enum"])
    if "anyOf" in part:
        return " or ".join(kind(each) for each in part["anyOf"])
    kinds = [part["type"]] if isinstance(part["type"], str) else part["type"]
    words = {"string": "text", "array": f"list of {kind(part['items'])}" if "items" in part else "list"}
    return " or ".join(words.get(each, each) for each in kinds)


def properties(part: dict[str, Any]) -> list[str]:
    """The properties of an object as a table."""
    lines = ["| property | holds | |", "|---|---|---|"]
    for name, each in part["properties"].items():
        lines.append(f"| `{name}` | {cell(kind(each))} | {cell(each['description'])} |")
    return [*lines, ""]


def schema_page(name: str, text: str) -> str:
    """The page of a published schema."""
    path = Path(rankscope.__file__).with_name(name)
    schema = json.loads(path.read_text(encoding="utf-8"))
    lines = [MADE.format(source=f"rankscope/{name}"), text.format(about=schema["description"])]
    lines += ["## All of it\n", *properties(schema)]
    objects = {key: part for key, part in schema["properties"].items() if part.get("type") == "object"}
    parts = {key: part for key, part in objects.items() if "properties" in part}
    notes = schema["properties"].get("notes", {}).get("items", {})
    parts |= {"note": notes} if "properties" in notes else {}
    for key, part in {**parts, **schema["$defs"]}.items():
        lines += [f"## {key}\n", part["description"], "", *properties(part)]
    return "\n".join(lines)


EDIT_KINDS = {"Number": "a number", "Numbers": "numbers, one or one a block", "int": "a whole number"}


def argument(name: str, option: Parameter, meaning: str) -> str:
    """An argument of an edit as a row: its name, what it takes, and what it means."""
    default = "" if option.default is None else f", {option.default:g} where nothing is said"
    return f"| `{name}` | {EDIT_KINDS[option.kind]}{default} | {cell(meaning)} |"


def edit_section(declared: Declaration) -> str:
    """One edit: what it does, and its arguments."""
    words, options = declared.keywords, options_of(declared)
    typed = f"`{declared.name}{'=' if options else ''}{','.join(name.upper() for name in options)}`"
    facts = [f"- Typed: {typed}", f"- Formula: `{words['formula']}`"]
    facts += [f"- From: {words['paper']}"] if words.get("paper") else []
    facts += [f"- Changes nothing at {words['neutral']:g}, bit for bit"] if words.get("neutral") is not None else []
    rows = [argument(name, option, declared.meanings[name]) for name, option in options.items()]
    table = ["", "| argument | takes | |", "|---|---|---|", *rows] if rows else []
    return "\n".join([f"### {declared.name}\n", f"{declared.description}\n", *facts, *table, ""])


def edits_page() -> str:
    """The page of the edits: what lies between its two marks is made here, the rest is written by hand."""
    mark, end = MADE.format(source="rankscope/interventions/"), "<!-- to here -->\n"
    head, _, rest = Path(__file__).with_name("edits.md").read_text(encoding="utf-8").partition(mark)
    edits = known_edits().values()
    lines = ["| edit | in one line |", "|---|---|"]
    lines += [f"| [`{edit.name}`](#{edit.name}) | {cell(edit.summary)} |" for edit in edits]
    made = "\n".join([*lines, "", *map(edit_section, edits)])
    return f"{head}{mark}\n{made}{end}{rest.partition(end)[2]}"


PAGES: dict[str, Callable[[], str]] = {
    "edits.md": edits_page,
    "errors.md": errors_page,
    "measures.md": measures_page,
    "options.md": options_page,
    "report.md": partial(schema_page, "report.schema.json", REPORT),
    "comparison.md": partial(schema_page, "comparison.schema.json", COMPARISON),
    "certificate.md": partial(schema_page, "certificate.schema.json", CERTIFICATE),
    "findings.md": partial(schema_page, "check.schema.json", FINDINGS),
    "sweep.md": partial(schema_page, "sweep.schema.json", SWEEP),
}


def main() -> int:
    """Write or check the pages.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        path, page = DOCS / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != page:
            stale.append(name)
            if not check:
                path.write_text(page, encoding="utf-8")
    for name in stale:
        print(f"docs/{name} is out of date: run `make docs`" if check else f"docs/{name} written")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
