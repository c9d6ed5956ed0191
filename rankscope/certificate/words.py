"""Words: what a certificate says, in a sentence, and why a certificate does not say more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankscope.certificate.records import Measured, Sequence, Theorem

NAMES = {"theorem": "Theorem 4.1", "additive": "additive", "seminorm": "seminorm"}


def certificates(found: Sequence) -> list[tuple[str, Theorem | Measured]]:
    """The three certificates of a sequence, by name.

    Args:
        found: a sequence.

    Returns:
        Pairs in the order in which they are shown.
    """
    return [(NAMES["additive"], found.additive), (NAMES["theorem"], found.theorem), (NAMES["seminorm"], found.seminorm)]


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
    held = _held([name for name, each in certificates(found) if each.status == "holds"], asked)
    bound, kept = found.additive.bound, found.additive.retained
    if bound is None or kept is None or bound <= 0:
        return f"{who}{held}; mu went from {first:.4g} to {found.mu_last:.4g}"
    measured = f"{kept:.3g} of mu(Y(0)) = {first:.4g} (measured {found.mu_last:.4g})"
    return f"{who}mu(Y({depth})) is at least {bound:.4g}, {measured}; {held}"


def _held(held: list[str], asked: str) -> str:
    names = [name if name.startswith("Theorem") else f"the {name} certificate" for name in held]
    if not names:
        return f"no certificate holds for {asked}"
    return f"{' and '.join(names)} {'hold' if len(names) > 1 else 'holds'} ({asked})"
