"""`rankscope check REPORT|MODEL`: hold rules against it; the exit code says whether all of them are shown to hold."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rankscope.cli import _options
from rankscope.cli._command import Command
from rankscope.cli._measuring import measured
from rankscope.cli._terminal import Terminal
from rankscope.config import baseline as configured_baseline
from rankscope.config import rules as configured_rules
from rankscope.errors import UsageError
from rankscope.saved import is_saved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankscope.config import Config
    from rankscope.records import Report
    from rankscope.requirements import Baseline, Findings, Requirement

_HELP = """Judge REPORT, or MODEL, by rules that must be shown to hold.

\b
rankscope check report.json --min mu_bar=0.05@last --max value_cosine=0.99
rankscope check report.json --max-drop effective_rank=10%
rankscope check report.json --require 'min(effective_rank) >= 4 @ blocks.*'
rankscope check model.pt --require 'verdict != collapsed' -o junit.xml

A rule is [AGG(]MEASURE[)] OP NUMBER[%] [@ LAYERS]: AGG is each (default), min, max, mean or median; OP is >=, >, <= or
<; LAYERS are an index, a..b, first, last, * or a glob over names. Rules of the configuration hold too; one given here
replaces that of the same measure, operator and layers. A number that is not there fails.

The exit code is 0 where all hold, 1 where one fails, 2 for a wrong rule, 3 where nothing could be measured.
"""
_REST = re.compile(r"=?\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?%?(\s*@.*)?|[=!<>]=?|@", re.IGNORECASE)
_SUMMARY = "GITHUB_STEP_SUMMARY"


class _Check(Command):
    """The value of --update-baseline may be left out; click would take the word after it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give the option its value."""
        return super().parse_args(ctx, [f"{a}=all" if a == "--update-baseline" else a for a in args])


@click.command(
    "check", cls=_Check, group="judge", place=1, help=_HELP, short_help="Hold rules against a report or a model."
)
@click.argument("subjects", metavar="REPORT|MODEL", nargs=-1)
@_options.rules
@_options.model
@_options.inputs
@_options.measuring
@_options.findings
@_options.config
@click.pass_context
def command(ctx: click.Context, /, subjects: tuple[str, ...], **_: Any) -> int:
    """Read the rules, read or measure, judge, write, and say by the exit code what came of it."""
    from rankscope.renderers import FINDINGS, check, save_all, screen_for
    from rankscope.requirements import judge

    terminal = ctx.ensure_object(Terminal)
    form, outputs = ctx.params["form"], [Path.cwd() / path for path in ctx.params["outputs"]]
    screen = screen_for(form, outputs, FINDINGS)
    check(outputs, form, FINDINGS)
    subject = _subject(ctx, subjects)
    config = _options.read_config(ctx)
    subject = config.subject(subject)
    rules = _rules(ctx, config)
    path, baseline = _baseline(ctx, config, rules, subject)
    report = _report(ctx, terminal, subject, config, rules)
    new = _recorded(report, baseline, ctx.params["update_baseline"])
    held = new if ctx.params["update_baseline"] == "all" else baseline
    findings = judge(report, rules, held, ctx.params["strict"]) if rules else _nothing(report)
    if ctx.params["update_baseline"] == "all":
        findings = _without_drops(terminal, findings)
    text = screen.text(findings, terminal.style(wide=False))
    save_all(findings, outputs, name=form, of=FINDINGS)
    if new is not None:
        _update(terminal, path, baseline, new, findings)
    terminal.result(text)
    _tell_github(terminal, findings, annotated=form == "github")
    return findings.exit_code


def _subject(ctx: click.Context, subjects: Sequence[str]) -> str:
    """The one thing to be checked; more words are often what a shell left of a rule."""
    if len(subjects) == 1:
        return subjects[0]
    if not subjects:
        remedies = [("A report", "rankscope check report.json --min mu_bar=0.05@last")]
        raise UsageError("RS102", "nothing was named to be checked", remedies=remedies)
    if ctx.params["update_baseline"] and "improved" in subjects and not Path("improved").exists():
        headline = "--update-baseline takes its value after =, and 'improved' stands alone"
        raise UsageError("RS102", headline, remedies=[("Without a space", "--update-baseline=improved")])
    rest = [word for word in subjects if _REST.fullmatch(word)]
    if rest and not any(Path(word).exists() for word in rest):
        headline = f"{' '.join(subjects[1:])!r} is what is left of a rule without quotes"
        error = _taken_apart(UsageError("RS116", headline, remedies=_whole(ctx, subjects[1:])))
        raise error
    headline = f"one report or model is checked at a time, and there are {len(subjects)}: {', '.join(subjects[:5])}"
    words = " ".join(map(shlex.quote, subjects))
    remedies = [
        ("One after the other", f'for each in {words}; do rankscope check "$each" …; done'),
        ("Against each other", f"rankscope compare {words}"),
    ]
    raise UsageError("RS102", headline, remedies=remedies)


def _whole(ctx: click.Context, rest: Sequence[str]) -> list[tuple[str, str]]:
    """The rules as they were meant: what an option was given, and what the shell has cut off."""
    begun = {name: [v for v in ctx.params[name] if not re.search("[=<>]", v)] for name in ("min", "max", "max_drop")}
    limits = [f"--{name.replace('_', '-')} {value}=" for name, values in begun.items() for value in values]
    told = [("As one word", f"{start}{word}") for start, word in zip(limits, rest, strict=False)]
    broken = [text for text in ctx.params["require"] if not re.search("[=<>]", text)]
    told += [("In quotes", f"--require {shlex.quote(' '.join([broken[0], *rest]))}")] if broken and not limits else []
    return told or [("By a flag", "--min mu_bar=0.05@last"), ("In quotes", "--require 'mu_bar >= 0.05 @ last'")]


def _rules(ctx: click.Context, config: Config) -> tuple[Requirement, ...]:
    """The rules of the command line and of the configuration."""
    from rankscope.requirements import combine, from_flags, insist_on_rules, parse

    try:
        limits = from_flags(**{name: ctx.params[name] for name in ("min", "max", "max_drop")})
        given = (*limits, *(parse(text) for text in ctx.params["require"]))
    except UsageError as error:
        raise _taken_apart(error) from error
    rules = combine(configured_rules(config), given)
    if not ctx.params["update_baseline"]:
        insist_on_rules(rules)
    return rules


def _taken_apart(error: UsageError) -> UsageError:
    """Where a shell took a rule apart, it may have written a file with the rest of it as its name."""
    if error.code != "RS116":
        return error
    left = [path.name for path in sorted(Path().iterdir()) if _REST.fullmatch(path.name) and path.is_file()]
    if not left:
        return error
    details = [*error.details, ("a file that the shell may have made", ", ".join(left[:3]))]
    return UsageError(error.code, error.headline, details=details, remedies=error.remedies)


def _baseline(
    ctx: click.Context, config: Config, rules: Sequence[Requirement], subject: str
) -> tuple[Path, Baseline | None]:
    """Where the baseline lies, and what it says where a rule counts from it or a new one takes its place."""
    from rankscope.requirements.baseline import NAME
    from rankscope.requirements.reading import read_baseline, replaced

    given: Path | None = ctx.params["baseline"]
    update = ctx.params["update_baseline"]
    path = Path.cwd() / (given or configured_baseline(config) or NAME)
    counted = any(rule.operator == "max_drop" for rule in rules)
    if given and not counted and not update:
        remedies = [("Count from it", "--max-drop effective_rank=10%")]
        raise UsageError("RS122", f"no rule counts from {given}: nothing would be compared", remedies=remedies)
    if not (counted or update):
        return path, None
    shown = Path(os.path.relpath(path))
    return path, replaced(shown) if update == "all" else read_baseline(shown, subject)


def _report(
    ctx: click.Context, terminal: Terminal, subject: str, config: Config, rules: Sequence[Requirement]
) -> Report:
    """The saved report, or that of a model, which is measured as far as the rules need it."""
    if not is_saved(subject):
        from rankscope.requirements import needed

        asked = ctx.params["measures"] or (("quick",) if ctx.params["update_baseline"] else ())
        return measured(ctx, terminal, subject, config.models, measures=needed(rules, asked))
    from rankscope.saved import load

    _options.refuse_idle(ctx, f"{subject} is")
    return load(subject)


def _recorded(report: Report, baseline: Baseline | None, update: str | None) -> Baseline | None:
    """The baseline that is to be written, where one is."""
    from rankscope.requirements import Baseline

    if update == "improved" and baseline is not None:
        return baseline.improved(report)
    return Baseline.of(report) if update else None


def _without_drops(terminal: Terminal, findings: Findings) -> Findings:
    """The findings without drops: counted from what is recorded now, they say nothing, unless a number is missing."""
    idle = [r for r in findings.requirements if r.operator == "max_drop" and findings.status(r) == "ok"]
    kept = tuple(rule for rule in findings.requirements if not any(rule is each for each in idle))
    found = replace(findings, requirements=kept, findings=tuple(f for rule in kept for f in findings.of(rule)))
    for rule in idle:
        terminal.say(f"{rule}: not judged: the baseline {'was' if found.passed else 'would be'} recorded anew")
    return found


def _nothing(report: Report) -> Findings:
    """The findings of no rule, where only a baseline is recorded."""
    from rankscope.requirements import Findings

    return Findings((), (), report.model, report.inputs, report=report)


def _update(terminal: Terminal, path: Path, old: Baseline | None, new: Baseline, findings: Findings) -> None:
    """Write the baseline where the rules hold, and say what that changes."""
    from rankscope.requirements.changes import changes

    shown = os.path.relpath(path)
    if not findings.passed:
        terminal.say(f"{shown} was not touched: a requirement failed")
        return
    new.save(path)
    terminal.say(f"{shown} was written" + (f": {changes(old, new)}" if old is not None else ""))


def _tell_github(terminal: Terminal, findings: Findings, annotated: bool) -> None:
    """Annotate the run and add to the summary of the step, where a workflow of GitHub runs this."""
    from rankscope.renderers import FINDINGS

    if os.environ.get("GITHUB_ACTIONS") == "true" and not annotated:
        terminal.say(FINDINGS["github"].text(findings).rstrip("\n"))
    if summary := os.environ.get(_SUMMARY):
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(FINDINGS["md"].text(findings) + "\n")
        except OSError as error:
            terminal.say(f"the summary of the step was not written: {error.strerror or error}", "warning")
