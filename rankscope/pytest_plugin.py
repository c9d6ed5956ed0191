"""pytest: `assert_no_collapse` and the fixture `rankscope_probe`.

pytest loads this module in every run where rankscope is installed, so it imports neither torch nor the rest of
rankscope before a test asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from torch import nn

    from rankscope.records import Report
    from rankscope.requirements import Baseline, Requirement
    from rankscope.requirements.grammar import Limits

_DEFAULT = "verdict != collapsed"
_COLUMNS = 96  # pytest indents what an assertion says


def assert_no_collapse(
    model: Report | nn.Module | str | Path,
    inputs: Any = None,
    *,
    require: Iterable[str | Requirement] = (),
    min: Limits = None,  # noqa: A002 - the names of the flags
    max: Limits = None,  # noqa: A002
    max_drop: Limits = None,
    baseline: Baseline | str | Path | None = None,
    **options: Any,
) -> None:
    """Fail the test where a rule is not shown to hold; the evaluator is that of `rankscope.check`.

    Args:
        model: a module, anything that `rankscope.probe` takes, or a report.
        inputs: of a model, as `rankscope.probe` takes them.
        require: rules, such as ``"min(effective_rank) >= 4 @ blocks.*"``. Without any rule or limit the verdict must
            not be ``collapsed``.
        min: measures and the least value they may have, such as ``{"mu_bar": "0.05@last"}``.
        max: measures and the largest value they may have.
        max_drop: measures and how far they may be under the baseline, such as ``{"effective_rank": "10%"}``.
        baseline: what drops are counted from.
        **options: of a model, as `rankscope.probe` takes them.

    Raises:
        AssertionError: a rule does not hold, or is undefined; the text shows where, and the measure over depth.

    Example:
        >>> from rankscope.records import Report, Row
        >>> rows = [Row("h", k, f"h.{k}", "block", "sequence", None, None, "mu_bar", 1, 0.5**k) for k in range(3)]
        >>> assert_no_collapse(Report({}, tuple(rows)), min={"mu_bar": 0.2})
    """
    __tracebackhide__ = True
    from rankscope.renderers import FINDINGS, Style
    from rankscope.requirements import check

    rules = require if require or min or max or max_drop else _DEFAULT
    findings = check(model, inputs, require=rules, min=min, max=max, max_drop=max_drop, baseline=baseline, **options)
    if not findings.passed:
        *table, outcome = FINDINGS["table"].text(findings, Style(columns=_COLUMNS)).splitlines()
        raise AssertionError("\n".join([outcome, "", *table]))  # the summary of pytest shows the first line


@pytest.fixture(name="assert_no_collapse", scope="session")
def _assert_no_collapse() -> Callable[..., None]:
    """`rankscope.pytest_plugin.assert_no_collapse`, without an import."""
    return assert_no_collapse


@pytest.fixture(scope="session")
def rankscope_probe() -> Callable[..., Report]:
    """`rankscope.probe(model, inputs, …)`, which measures a model and gives its report."""
    import rankscope

    return rankscope.probe
