"""Checking: rules from Python held against a report, a saved one or a model that is measured for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankscope.errors import UsageError
from rankscope.records import Report
from rankscope.requirements.grammar import Requirement, from_flags, parse
from rankscope.requirements.judging import insist_on_rules, judge
from rankscope.requirements.names import Name
from rankscope.requirements.reading import read_baseline
from rankscope.saved import is_saved, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from rankscope.requirements.baseline import Baseline
    from rankscope.requirements.findings import Findings
    from rankscope.requirements.grammar import Limits

_OF_DEPTH = ("rank_one_residual_unit", "mu_bar_unit", "effective_rank_unit")
"""The measures that the verdict of a stack is taken from."""


def check(
    subject: Report | nn.Module | str | Path,
    inputs: Any = None,
    *,
    require: Iterable[str | Requirement] = (),
    min: Limits = None,  # noqa: A002 - the names of the flags
    max: Limits = None,  # noqa: A002
    max_drop: Limits = None,
    baseline: Baseline | str | Path | None = None,
    strict: bool = False,
    **options: Any,
) -> Findings:
    """Hold rules against a report or a model; the twin of ``rankscope check``.

    Args:
        subject: a report, the path of a saved one, or a model as `rankscope.probe` takes it.
        inputs: of a model, as `rankscope.probe` takes them.
        require: rules, such as ``"min(effective_rank) >= 4 @ blocks.*"``.
        min: measures and the least value they may have, such as ``{"mu_bar": "0.05@last"}``.
        max: measures and the largest value they may have.
        max_drop: measures and how far they may be under the baseline, such as ``{"effective_rank": "10%"}``.
        baseline: what drops are counted from.
        strict: whether rules of severity ``"warn"`` count.
        **options: of a model, as `rankscope.probe` takes them. Only what the rules need is measured, unless
            ``measures`` asks for more.

    Returns:
        The findings; ``findings.passed`` says whether every rule was shown to hold.

    Raises:
        UsageError: a rule cannot be read, there is none, options of a model are given with a report, or a baseline
            that no rule counts from.

    Example:
        >>> from rankscope.records import Row
        >>> rows = [Row("h", k, f"h.{k}", "block", "sequence", None, None, "mu_bar", 1, 0.5**k) for k in range(3)]
        >>> check(Report({}, tuple(rows)), min={"mu_bar": 0.2}).passed
        True
    """
    texts = [require] if isinstance(require, str | Requirement) else require
    rules = [rule if isinstance(rule, Requirement) else parse(rule) for rule in texts]
    rules = list(dict.fromkeys([*rules, *from_flags(min, max, max_drop)]))  # a rule given twice is one
    insist_on_rules(rules)
    if baseline is not None and not any(rule.operator == "max_drop" for rule in rules):
        remedies = [("Count from it", 'max_drop={"effective_rank": "10%"}')]
        raise UsageError("RS122", "no rule counts from the baseline: nothing would be compared", remedies=remedies)
    saved = isinstance(subject, str | Path) and is_saved(subject)
    name = str(subject) if saved else None
    held = read_baseline(Path(baseline), name) if isinstance(baseline, str | Path) else baseline
    if (saved or isinstance(subject, Report)) and (inputs is not None or options):
        given = ", ".join([*(["inputs"] if inputs is not None else []), *options])
        remedies = [("Leave out", given), ("Or check the model", "rankscope.check(model, inputs, ...)")]
        raise UsageError("RS103", f"a report is measured already: {given} would do nothing", remedies=remedies)
    if isinstance(subject, Report):
        return judge(subject, rules, held, strict)
    if saved:
        assert isinstance(subject, str | Path)
        return judge(load(subject), rules, held, strict)
    from rankscope.pipeline import probe

    measures = options.pop("measures", ())
    asked = measures.split(",") if isinstance(measures, str) else measures
    return judge(probe(subject, inputs, **options, measures=needed(rules, asked)), rules, held, strict)


def needed(rules: Sequence[Requirement], asked: Iterable[str] = ()) -> tuple[str, ...]:
    """What has to be measured for rules to be judged.

    Args:
        rules: any rules.
        asked: measures that were asked for besides.

    Returns:
        Names for `--measures`, each once.

    Example:
        >>> needed([parse("value_cosine:head0 <= 0.9"), parse("mu_bar >= 0.1")], ["mu"])
        ('mu', 'head:value_cosine', 'mu_bar')
    """
    names = [name.strip() for name in asked]
    for rule in rules:
        names += _OF_DEPTH if rule.of_depth else [Name.of(rule.measure).request]
    return tuple(dict.fromkeys(names))
