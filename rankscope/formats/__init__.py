"""Formats: what a file is, told without torch and without running anything from it.

`format_of` names the kind of a file by its content, `describe` says what is in it, and `refuse` why one that holds no
model cannot be read, and what to do instead. What a file of a known kind holds is opened by `rankscope.sources`.
"""

from __future__ import annotations

from rankscope.formats._describe import describe, sha256
from rankscope.formats._description import Description
from rankscope.formats._kinds import Kind
from rankscope.formats._refusals import AGAIN, SAVE_WEIGHTS, refuse, risky, size
from rankscope.formats._sniff import format_of

__all__ = ["AGAIN", "SAVE_WEIGHTS", "Description", "Kind", "describe", "format_of", "refuse", "risky", "sha256", "size"]
