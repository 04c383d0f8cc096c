"""Sets of characters: how they are put together, and those that have names in RE2's syntax.

Invariant: ranges that leave here are sorted, and do not touch each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastmirror.rules.regex.syntax import LAST, Ranges

ALL: Ranges = ((0, LAST),)
NOT_NEWLINE: Ranges = ((0, 9), (11, LAST))


def _ranges(text: str) -> Ranges:
    """``AZaz``: two ends of each range."""
    return tuple((ord(a), ord(b)) for a, b in zip(text[::2], text[1::2], strict=True))


_WORD = _ranges("09AZ__az")
PERL: dict[str, Ranges] = {
    "d": _ranges("09"),
    "s": _ranges("\t\n\f\r  "),
    "w": _WORD,
}
POSIX: dict[str, Ranges] = {
    "alnum": _ranges("09AZaz"),
    "alpha": _ranges("AZaz"),
    "ascii": ((0, 0x7F),),
    "blank": _ranges("\t\t  "),
    "cntrl": ((0, 0x1F), (0x7F, 0x7F)),
    "digit": _ranges("09"),
    "graph": _ranges("!~"),
    "lower": _ranges("az"),
    "print": _ranges(" ~"),
    "punct": _ranges("!/:@[`{~"),
    "space": _ranges("\t\r  "),
    "upper": _ranges("AZ"),
    "word": _WORD,
    "xdigit": _ranges("09AFaf"),
}


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All of them, in order and apart."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            if high > found[-1][1]:
                found[-1] = (found[-1][0], high)
        else:
            found.append((low, high))
    return tuple(found)


def negated(ranges: Ranges) -> Ranges:
    """Every code point that is not in them."""
    found = []
    at = 0
    for low, high in ranges:
        if at < low:
            found.append((at, low - 1))
        at = high + 1
    if at <= LAST:
        found.append((at, LAST))
    return tuple(found)
