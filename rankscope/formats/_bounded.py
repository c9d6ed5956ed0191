"""What a file states, read in a time that its author does not choose: the size of a tensor, names among other bytes."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# More axes than a tensor has, and more numbers than lie on one.
_AXES, _NUMBERS = 64, 2**63
_LONGEST = 200
# A name of a pickle of protocol 2 or older, on the line after that of its module.
_NAME = re.compile(rb"\n([A-Za-z_][\w.]{0,%d}+)(?=\n)" % _LONGEST)
_SEARCHED = 20_000


def count(shape: Any) -> int:
    """The numbers in a tensor of a shape that a file states.

    Args:
        shape: untrusted.

    Returns:
        Their product.

    Raises:
        ValueError: no tensor has such a shape.

    Example:
        >>> count((2, 3))
        6
    """
    if len(shape) > _AXES or not all(isinstance(n, int) and 0 <= n < _NUMBERS for n in shape):
        raise ValueError("no tensor has such a shape")
    return math.prod(shape)


def spelled(data: bytes) -> Iterator[str]:
    """The names that stand in the bytes of a pickle of protocol 2 or older; each line is looked at once.

    Args:
        data: bytes with a pickle among them.

    Yields:
        Dotted names.

    Example:
        >>> list(spelled(bytes([255]) + b"cos" + bytes([10]) + b"system" + bytes([10])))
        ['os.system']
    """
    for match in itertools.islice(_NAME.finditer(data), _SEARCHED):
        line = data[max(0, match.start() - _LONGEST) : match.start()].rpartition(b"\n")[2]
        word = re.match(rb"[\w.]*", line[::-1])
        module = re.search(rb"c([A-Za-z_].*)", word[0][::-1]) if word else None
        if module:
            yield f"{module[1].decode('ascii')}.{match[1].decode('ascii')}"
