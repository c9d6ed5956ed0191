"""The place of the certificate: what the λ-skip theory guarantees for a point of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rankscope.records import Report


def certified(report: Report) -> Mapping[str, Any] | None:  # noqa: ARG001 - what a certificate will be made from
    """What is guaranteed for the model of a report.

    Args:
        report: of the answer of a search.

    Returns:
        None: this version makes no certificate, and a sweep shows none. The one that `rankscope certify` makes goes
        here.
    """
    return None
