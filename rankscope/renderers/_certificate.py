"""Parts of a certificate in words and columns, shared by its formats for people. Every text is one printable line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rankscope.certificate.words import certificates, formless, outcome
from rankscope.records import display_name
from rankscope.renderers._parts import inputs_line
from rankscope.renderers._screen import plain
from rankscope.table import numbers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence as Several

    from rankscope.certificate import Certificate, Measured, Sequence, Stack, Step, Theorem

_ADDITIVE, _SEMINORM, _MATRICES, _VALUES = "no_additive", "no_seminorm", "no_matrices", "no_values"
# Heading, field of a step, and the field that says why there is no number; the most telling first.
_COLUMNS = (
    ("λ", "lam", _SEMINORM),
    ("mu", "mu", _SEMINORM),
    ("certified", "bound", _ADDITIVE),
    ("λ add.", "lambda_additive", _ADDITIVE),
    ("λ semin.", "lambda_seminorm", _SEMINORM),
    ("λ theor.", "lambda_theorem", _VALUES),
    ("C_M", "mixing_norm", _MATRICES),
    ("S", "value_norm", _VALUES),
    ("kept", "kept", _SEMINORM),
    ("x", "x", _ADDITIVE),
    ("ρ", "rho", _SEMINORM),
    ("c", "cosine", _SEMINORM),
    ("condition", "condition", _VALUES),
    ("δ", "delta", _ADDITIVE),
    ("mu(λY+F) ≥", "mu_low", _SEMINORM),
    ("mu(λY+F) ≤", "mu_high", _SEMINORM),
    ("mu_bar", "mu_bar", _SEMINORM),
    ("mu_bar(λY+F) ≥", "mu_bar_low", _SEMINORM),
    ("mu_bar(λY+F) ≤", "mu_bar_high", _SEMINORM),
)
_LEGEND = (  # label, text, and the headings that it is about
    ("λ", "the factor of the skip, as measured", ("λ",)),
    ("mu", "how far the tokens are from all being equal, after the block", ("mu",)),
    ("certified", "the additive certificate: mu(Y(0)) − √N Σ ε(x), x = δ/|λ|, at most mu", ("certified",)),
    (
        "λ add., …",
        "the least |λ| that keeps the asked fraction in that block alone, by each certificate, F and M as measured",
        ("λ add.", "λ semin.", "λ theor."),
    ),
    ("C_M, S", "how large the mixing matrix and the value map are: ‖M‖_F and ‖C_V‖_2", ("C_M", "S")),
    ("kept", "mu(λY + F)/mu(Y)", ("kept",)),
)
_EMPTY = "the bound is not above 0, where mu is anyway: it says nothing"
EXPLAIN = ("words", "rankscope explain additive, theorem, seminorm or a heading")


@dataclass(frozen=True, slots=True)
class Column:
    """One number over the layers, as text, with the number of its footnote (0 for none)."""

    heading: str
    values: tuple[float | None, ...]
    cells: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class Grid:
    """A stack as a table: index and name of each line, its columns, and what the marks and the absent columns mean."""

    index: tuple[int, ...]
    names: tuple[str, ...]
    columns: list[Column] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    absent: dict[str, list[str]] = field(default_factory=dict)


def facts(certificate: Certificate) -> list[tuple[str, str]]:
    """What was certified, as pairs (label, text).

    Args:
        certificate: any.

    Returns:
        The model, its inputs, and what every block is to keep.
    """
    model, where = certificate.model, certificate.environment
    told = [model.get("class"), f"{model.get('parameters', 0):,} parameters", model.get("format")]
    lines = [("model", f"{plain(model.get('spec', 'model'))} ({', '.join(plain(part) for part in told if part)})")]
    if model.get("edits"):
        lines.append(("edits", ", ".join(plain(edit) for edit in model["edits"])))
    lines.append(("inputs", inputs_line(certificate.inputs)))
    lines.append(("run", plain(", ".join(str(where[name]) for name in ("device", "dtype") if name in where))))
    asked = f"every block is to keep {certificate.retain:.4g} of mu: a = {certificate.a:.4g}"
    return [*lines, ("asked", asked)]


def title(stack: Stack) -> str:
    """Which sequence of how many a table is about.

    Args:
        stack: any.

    Returns:
        Words that follow the name of the stack.
    """
    kinds = list(dict.fromkeys(display_name(block.type) for block in stack.blocks))
    return f": {len(stack.blocks)} × {', '.join(kinds[:3])}"


def about(sequence: Sequence, count: int) -> str:
    """Which sequence the numbers are of.

    Args:
        sequence: one of a stack.
        count: how many there are.

    Returns:
        Words.
    """
    which = f"sequence {sequence.sequence}" + (f" of {count}, counted from 0" if count > 1 else "")
    return f"{which}: {sequence.tokens:,} tokens of width {sequence.width:,}"


def grid(stack: Stack, sequence: Sequence) -> Grid:
    """The numbers of one sequence as columns.

    Args:
        stack: the stack.
        sequence: one of its sequences.

    Returns:
        The table; columns without any number are told as absent.
    """
    steps = sequence.steps
    names = [f"{display_name(steps[0].layer)}.input", *(display_name(step.layer) for step in steps)]
    found = Grid((steps[0].index - 1, *(step.index for step in steps)), tuple(names))
    for heading, name, why in _COLUMNS:
        first = sequence.mu_first if name in {"mu", "bound"} else None
        values = [first, *(_value(step, name) for step in steps)]
        reasons = [None, *(_reason(step, why, name) for step in steps)]
        if all(value is None for value in values[1:]):
            reason = next((reason for reason in reasons if reason), "not told")
            found.absent.setdefault(reason, []).append(heading)
        else:
            found.columns.append(_column(heading, values, reasons, found.reasons))
    learned = _learned(stack, steps)
    found.columns[1:1] = [_column(name, [None, *values], [], found.reasons) for name, values in learned.items()]
    return found


def _value(step: Step, name: str) -> float | None:
    """A number as far as it says something: the condition where the theorem applies, a bound above 0."""
    value: float | None = getattr(step, name)
    if name == "condition":
        return value if step.lambda_theorem is not None else None
    return None if name == "bound" and value is not None and value <= 0 else value


def _reason(step: Step, why: str, name: str) -> str | None:
    """Why a step has no number: of the theorem, what is wrong with its form as well."""
    told = _EMPTY if name == "bound" and step.bound is not None else getattr(step, why)
    if told is None and why == _VALUES:
        told = step.no_additive or formless(step)
    return plain(told) if told else None


def _column(heading: str, values: Several[float | None], why: Several[str | None], reasons: list[str]) -> Column:
    cells = []
    for i, text in enumerate(numbers(values)):
        told = why[i] if i < len(why) and values[i] is None else None
        if told is not None and told not in reasons:
            reasons.append(told)
        cells.append((text or ("—" if told else ""), reasons.index(told) + 1 if told else 0))
    return Column(heading, tuple(values), tuple(cells))


def _learned(stack: Stack, steps: Several[Step]) -> dict[str, list[float | None]]:
    """What the blocks say of their λ and value mixes, by name; what is the measured λ again is left out."""
    names = dict.fromkeys(name for block in stack.blocks for name in block.lambdas)
    told = {block.index: block.lambdas for block in stack.blocks}
    found = {display_name(name): [told.get(step.index, {}).get(name) for step in steps] for name in names}
    return {
        name: values
        for name, values in found.items()
        if not all(
            value is not None and step.lam is not None and abs(value - step.lam) <= 1e-6 * abs(value)
            for value, step in zip(values, steps, strict=True)
        )
    }


def legend(shown: Iterable[str]) -> list[tuple[str, str]]:
    """What the headings of a table mean.

    Args:
        shown: the headings.

    Returns:
        Pairs (label, text), and where more can be read.
    """
    known = set(shown)
    return [*((label, text) for label, text, headings in _LEGEND if known.intersection(headings)), EXPLAIN]


def outcomes(stack: Stack) -> list[tuple[str, ...]]:
    """The three certificates of the worst sequence: name, status, bound, of mu(Y(0)), least λ, in how many, and why.

    Args:
        stack: any.

    Returns:
        A line of texts for each.
    """
    held = [[each.status == "holds" for _, each in certificates(one)] for one in stack.sequences]
    lines = []
    for i, (name, found) in enumerate(certificates(stack.worst)):
        bound, kept = getattr(found, "bound", None), getattr(found, "retained", None)
        count = f"{sum(one[i] for one in held)} of {len(held)}"
        texts = ["" if value is None else f"{value:.4g}" for value in (bound, kept, found.smallest_lambda)]
        texts[:2] = ["—", "—"] if bound is not None and bound <= 0 else texts[:2]
        lines.append((name, outcome(found), *texts, count, plain(found.reason or "")))
    return lines


def headings(stack: Stack) -> tuple[str, ...]:
    """The headings of `outcomes`.

    Args:
        stack: any.

    Returns:
        As many texts.
    """
    depth = len(stack.worst.steps)
    return ("certificate", "worst", f"mu(Y({depth})) ≥", "of mu(Y(0))", "least λ", "holds in", "why")


def hypotheses(found: Theorem | Measured) -> str:
    """The numbers of the theorem, as far as they are known.

    Args:
        found: the theorem.

    Returns:
        One line, empty where nothing is known.
    """
    names = (
        ("C_M", "mixing_norm"),
        ("S", "value_norm"),
        ("λ", "lam"),
        ("λ² − a(S·C_M + |λ|)²", "condition"),
        ("b", "b"),
        ("mu(Y(0))²", "mu_squared"),
    )
    # Where the model has not its form, the arithmetic of the condition would read as a pass.
    formless = found.status == "not applicable" and getattr(found, "b", None) is None and found.smallest_lambda is None
    known = [(label, getattr(found, name, None)) for label, name in (names[:3] if formless else names)]
    told = ", ".join(f"{label} = {value:.4g}" for label, value in known if value is not None)
    return f"not applicable; measured: {told}" if formless and told else told
