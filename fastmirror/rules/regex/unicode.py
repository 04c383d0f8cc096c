"""Unicode's categories and scripts, of the version that Python knows.

Invariant: tables are made when a pattern first needs one; they are those of ``unicodedata``.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby

from fastmirror.rules.regex.classes import merged
from fastmirror.rules.regex.scripts import script
from fastmirror.rules.regex.syntax import Ranges

# Planes 4 to 13 are empty; the last two are for private use but for their two last code points.
_SCANNED = (range(0x40000), range(0xE0000, 0xE1000))
_PRIVATE = ((0xF0000, 0xFFFFD), (0x100000, 0x10FFFD))


@cache
def _categories() -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {"Co": list(_PRIVATE)}
    for scanned in _SCANNED:
        at = scanned.start
        for name, group in groupby(map(unicodedata.category, map(chr, scanned))):
            end = at + sum(1 for _ in group)
            found.setdefault(name, []).append((at, end - 1))
            at = end
    del found["Cn"]  # nothing, for RE2
    return found


@cache
def unicode_group(name: str) -> Ranges | None:
    """The code points of a category (``L``, ``Lu``) or a script (``Greek``); None where there is
    none of that name.
    """
    if len(name) > 2 or name == "Yi":
        return script(name)
    categories = _categories()
    parts = [found for key, found in categories.items() if name in (key, key[0])]
    return merged(each for part in parts for each in part) if parts else None
