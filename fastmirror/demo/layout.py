"""How text is laid out on a terminal: widths only, no colour and no output.

Invariant: no line of what is returned is wider than the width that was asked for, save where one
word alone is wider than that.
"""

from collections.abc import Sequence
from itertools import zip_longest

GAP = " | "
NARROWEST_COLUMN = 35  # a log line; with less room, one column goes below the other


def clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "~"


def shorten(lines: Sequence[str], limit: int) -> list[str]:
    """The first and last of many lines, and between them how many were left out."""
    if len(lines) <= limit:
        return list(lines)
    head = limit // 2
    tail = limit - head - 1
    left_out = len(lines) - head - tail
    return [*lines[:head], f"... {left_out} more ...", *lines[len(lines) - tail :]]


def side_by_side(left: Sequence[str], right: Sequence[str], width: int) -> list[str]:
    """Two columns of equal width, or the right one below the left where that is too narrow."""
    column = (width - len(GAP)) // 2
    if column < NARROWEST_COLUMN:
        return [clip(line, width) for line in [*left, *right]]
    return [
        f"{clip(a, column):<{column}}{GAP}{clip(b, column)}".rstrip()
        for a, b in zip_longest(left, right, fillvalue="")
    ]
