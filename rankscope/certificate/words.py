"""Words: what a certificate says, in a sentence, and why a certificate does not say more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankscope.certificate.records import Measured, Sequence, Step, Theorem

AS_MEASURED = "holds as measured"
NAMES = {"theorem": "Theorem 4.1", "additive": "additive", "seminorm": "seminorm"}


def certificates(found: Sequence) -> list[tuple[str, Theorem | Measured]]:
    """The three certificates of a sequence, by name.

    Args:
        found: a sequence.

    Returns:
        Pairs in the order in which they are shown.
    """
    return [(NAMES["additive"], found.additive), (NAMES["theorem"], found.theorem), (NAMES["seminorm"], found.seminorm)]


def outcome(found: Theorem | Measured) -> str:
    """The status in words: what holds with a reason, holds for F as measured and is not guaranteed for another.

    Args:
        found: a certificate.

    Returns:
        The status, or ``holds as measured``.
    """
    return AS_MEASURED if found.status == "holds" and found.reason else found.status


def formless(step: Step) -> str | None:
    """Why the branch of a block with M and C_V is not known to be M·Y·C_V.

    Args:
        step: with `mixing_norm` and `value_norm`.

    Returns:
        The reason; None where it is known to be.
    """
    if step.form is None and step.adds > 1:
        return "it has several adds, and the theorem is about one"
    if step.form is None:
        return "rounding beside λY hides whether its branch is M·Y·C_V: --dtype float64 would show it"
    if step.form:
        return None
    return "its branch is not M·Y·C_V of what enters it: a bias, an MLP, a norm or an edit is in it"


def sentence(found: Sequence, count: int, retain: float) -> str:
    """What is certified of the worst sequence of a stack.

    Args:
        found: the worst sequence.
        count: how many sequences there are.
        retain: √a.

    Returns:
        One sentence.
    """
    depth, first = len(found.steps), found.mu_first
    who = f"sequence {found.sequence}, the worst of {count}: " if count > 1 else ""
    if first is None or found.mu_last is None:
        return f"{who}no certificate, {found.additive.reason or 'the numbers are missing'}"
    asked = f"{retain:.4g} of mu a block, {retain**depth:.3g} over {depth}"
    held = _held(found, asked)
    bound, kept = found.additive.bound, found.additive.retained
    if bound is None or kept is None or bound <= 0:
        empty = "" if bound is None else "; the additive bound is not above 0 and says nothing"
        return f"{who}{held}{empty}; mu went from {first:.4g} to {found.mu_last:.4g}"
    measured = f"{kept:.3g} of mu(Y(0)) = {first:.4g} (measured {found.mu_last:.4g})"
    return f"{who}mu(Y({depth})) is at least {bound:.4g}, {measured}; {held}"


def _held(found: Sequence, asked: str) -> str:
    """Which certificates hold; what the seminorm one guarantees stands apart from what F as measured keeps."""
    every = certificates(found)
    held = [name for name, each in every if outcome(each) == "holds"]
    names = [name if name.startswith("Theorem") else f"the {name} certificate" for name in held]
    told = [f"{' and '.join(names)} {'hold' if len(names) > 1 else 'holds'} ({asked})"] if names else []
    told += [f"the {name} certificate: {each.reason}" for name, each in every if outcome(each) == AS_MEASURED]
    if told:
        return "; ".join(told)
    if all(each.status == "not applicable" for _, each in every):
        return "no certificate applies"
    return f"no certificate holds for {asked}"
