r"""Escapes, and the sets of characters that an expression writes: ``\d``, ``\pL``, ``[a-z]``.

Invariant: with ``fold``, what comes out holds every case of what it holds; a set that is negated
is negated after that.
"""

from __future__ import annotations

from fastmirror.rules.regex.classes import ALL, PERL, POSIX, merged, negated
from fastmirror.rules.regex.folding import folded
from fastmirror.rules.regex.reader import Reader
from fastmirror.rules.regex.syntax import LAST, Ranges
from fastmirror.rules.regex.unicode import unicode_group

_CONTROLS = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_HEX = "0123456789abcdefABCDEF"
_OCTAL = "01234567"


def escape(reader: Reader, start: int) -> int:
    """The code point that a backslash and what follows it mean.

    Raises ValueError.
    """
    reader.skip("\\")
    if not reader.more():
        reader.refuse("a \\ at the end", start)
    char = reader.take()
    if char == "x":
        return _hexadecimal(reader, start)
    if char in _OCTAL:
        if char != "0" and (not reader.peek() or reader.peek() not in _OCTAL):
            reader.refuse("back-references are not in RE2's syntax", start)
        digits = char
        while len(digits) < 3 and reader.peek() and reader.peek() in _OCTAL:
            digits += reader.take()
        return int(digits, 8)
    if char in _CONTROLS:
        return _CONTROLS[char]
    if ord(char) >= 0x80 or char.isalnum():
        reader.refuse("an escape that is not in RE2's syntax", start)
    return ord(char)


def _hexadecimal(reader: Reader, start: int) -> int:
    digits = reader.until("}") if reader.skip("{") else reader.take(2)
    braced = reader.text[start + 2 : start + 3] == "{"
    if not digits or (not braced and len(digits) < 2) or any(c not in _HEX for c in digits):
        reader.refuse("expected \\x and two hexadecimal digits, or any number in braces", start)
    code = int(digits.lstrip("0")[:7] or "0", 16)
    if code > LAST:
        reader.refuse("a code point beyond 10FFFF", start)
    return code


def named_set(reader: Reader, fold: bool) -> Ranges | None:
    r"""The set of a class such as ``\d`` or ``\pL`` that is next; None where there is none.

    Raises ValueError.
    """
    if reader.peek() != "\\":
        return None
    letter = reader.peek(1)
    if letter and letter in "dswDSW":
        reader.take(2)
        return _signed(PERL[letter.lower()], letter.isupper(), fold)
    if letter and letter in "pP":
        return _unicode(reader, fold)
    return None


def _signed(ranges: Ranges, negative: bool, fold: bool) -> Ranges:
    found = folded(ranges) if fold else ranges
    return negated(found) if negative else found


def _unicode(reader: Reader, fold: bool) -> Ranges:
    start = reader.at
    negative = reader.take(2) == "\\P"
    name = reader.until("}") if reader.skip("{") else reader.take()
    if name is None:
        reader.refuse("missing }", start)
    if name.startswith("^"):
        negative = not negative
        name = name[1:]
    found = ALL if name == "Any" else unicode_group(name)
    if found is None:
        reader.refuse(f"no Unicode category or script is named {name!r}", start)
    return _signed(found, negative, fold)


def bracketed(reader: Reader, fold: bool) -> Ranges:
    """The set of a class in brackets, whose first is read.

    Raises ValueError.
    """
    start = reader.at - 1
    negative = reader.skip("^")
    found: list[tuple[int, int]] = []
    first = True
    while first or reader.peek() != "]":
        if not reader.more():
            reader.refuse("missing ]", start)
        first = False
        named = _posix(reader, fold)
        if named is None:
            named = named_set(reader, fold)
        if named is not None:
            found += named
        else:
            one = (_range(reader, start),)
            found += folded(one) if fold else one
    reader.take()
    ranges = merged(found)
    return negated(ranges) if negative else ranges


def _posix(reader: Reader, fold: bool) -> Ranges | None:
    start = reader.at
    if not reader.skip("[:"):
        return None
    name = reader.until(":]")
    if name is None:
        reader.at = start
        return None
    negative = name.startswith("^")
    ranges = POSIX.get(name[1:] if negative else name)
    if ranges is None:
        reader.refuse("no such class", start)
    return _signed(ranges, negative, fold)


def _range(reader: Reader, start: int) -> tuple[int, int]:
    at = reader.at
    low = high = _point(reader, start)
    if reader.peek() == "-" and reader.peek(1) not in ("]", ""):
        reader.take()
        high = _point(reader, start)
    elif reader.peek() == "-" and reader.peek(1) == "":
        reader.refuse("missing ]", start)
    if high < low:
        reader.refuse("a range that ends before it begins", at)
    return low, high


def _point(reader: Reader, start: int) -> int:
    if not reader.more():
        reader.refuse("missing ]", start)
    return escape(reader, reader.at) if reader.peek() == "\\" else ord(reader.take())
