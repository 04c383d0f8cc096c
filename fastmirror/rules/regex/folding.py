"""Letters that are the same but for their case: Unicode's simple case folding.

Invariant: a pattern of ASCII costs no look at Unicode's tables; these are made of what ``str``
knows, once, when a pattern needs them.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache

from fastmirror.rules.regex.classes import merged
from fastmirror.rules.regex.syntax import Ranges

# Everything that has case lies below.
_END = 0x20000
_BEYOND_ASCII = {"k": 0x212A, "s": 0x17F}  # the Kelvin sign, and the long s


def folded(ranges: Ranges) -> Ranges:
    """The ranges, and all that differs from something in them by case alone."""
    found = list(ranges)
    if ranges and ranges[-1][1] < 0x80:
        for small in map(chr, range(0x61, 0x7B)):
            if _within(ord(small), ranges) or _within(ord(small) - 32, ranges):
                found += [(ord(small), ord(small)), (ord(small) - 32, ord(small) - 32)]
                if small in _BEYOND_ASCII:
                    found.append((_BEYOND_ASCII[small], _BEYOND_ASCII[small]))
        return merged(found)
    for orbit in _orbits():
        if any(_within(each, ranges) for each in orbit):
            found += [(each, each) for each in orbit]
    return merged(found)


def _within(point: int, ranges: Ranges) -> bool:
    at = bisect_left(ranges, (point + 1,)) - 1
    return at >= 0 and point <= ranges[at][1]


@cache
def _orbits() -> list[list[int]]:
    """The sets of code points that fold to one."""
    found: dict[str, list[int]] = {}
    for point in range(_END):
        char = chr(point)
        fold = _fold(char)
        if fold != char:
            found.setdefault(fold, [ord(fold)]).append(point)
    return list(found.values())


def _fold(char: str) -> str:
    """Simple folding: to one character, where full folding has more."""
    for fold in (char.casefold(), char.lower()):
        if len(fold) == 1:
            return fold
    return char
