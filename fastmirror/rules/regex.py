"""Regular expressions in rules. Invariant: what is accepted has RE2's syntax and meaning as far as
it goes, and no value, whatever a client sends, takes a time exponential in its length.
"""

from __future__ import annotations

import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as sre_parser  # type: ignore[import-not-found]
from typing import Any

from fastmirror.rules.model import RegexRewrite

_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)
_REFUSED = {
    sre.GROUPREF: "back-references are",
    sre.GROUPREF_EXISTS: "conditionals are",
    sre.ASSERT: "look-around is",
    sre.ASSERT_NOT: "look-around is",
    sre.ATOMIC_GROUP: "atomic groups are",
    sre.POSSESSIVE_REPEAT: "possessive repeats are",
}
# Octets that mean themselves, and are not repeated.
_LITERAL = re.compile(rb"\^?((?:[A-Za-z0-9/_~%=:,;@!'&-](?![*+?{]))*)")
_MOST_REPEATS = 3
_MOST_CHOICES = 16
# Backtracking through k repeats takes up to n^k steps: longer values do not match.
_LONGEST = (1 << 20, 1 << 20, 4096, 512)
# A search begins at each place anew, which is one power more: longer values stay as they are.
_LONGEST_REPLACED = (1 << 20, 1024, 128, 64)


class Pattern:
    """A pattern for the whole of a value, or for parts of it (``replace``)."""

    def __init__(self, pattern: re.Pattern[bytes], repeats: int) -> None:
        self.prefix = literal_prefix(pattern.pattern)
        self.fullmatch = pattern.fullmatch
        self.longest = _LONGEST[repeats]
        self.replace = pattern.sub
        self.longest_replaced = _LONGEST_REPLACED[repeats]
        self.groups = pattern.groups


class _Shape:
    """Counts what a matcher that backtracks may try in more than one way."""

    def __init__(self) -> None:
        self.repeats = 0
        self.choices = 0

    def walk(self, parsed: Any, within: bool) -> None:
        for op, argument in parsed:
            if op in _REFUSED:
                raise ValueError(f"{_REFUSED[op]} not in RE2's syntax")
            if op in _REPEATS:
                least, most, inner = argument
                self._repeat(least, most, inner, within)
            elif op == sre.SUBPATTERN:
                self.walk(argument[-1], within)
            elif op == sre.BRANCH:
                if within:
                    raise ValueError("alternatives within a repeat are not supported")
                self.choices += 1
                for branch in argument[1]:
                    self.walk(branch, within)

    def _repeat(self, least: int, most: int, inner: Any, within: bool) -> None:
        if within:
            raise ValueError("a repeat within a repeat is not supported: write it flat")
        if most == 1:
            self.choices += 1
            self.walk(inner, within)
            return
        if least != most:
            self.repeats += 1
        self.walk(inner, True)


def compile_regex(text: str) -> Pattern:
    """A pattern for the whole of a value.

    Raises ValueError, also for what could take a time that is exponential in the value's length.
    """
    try:
        pattern = re.compile(text.encode())
        shape = _Shape()
        shape.walk(sre_parser.parse(text.encode()), False)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    except (RecursionError, OverflowError, UnicodeEncodeError):
        raise ValueError("a regular expression too large, or not text") from None
    if shape.repeats > _MOST_REPEATS or shape.choices > _MOST_CHOICES:
        raise ValueError(
            f"at most {_MOST_REPEATS} repeats and {_MOST_CHOICES} choices are supported"
        )
    return Pattern(pattern, shape.repeats)


def literal_prefix(pattern: bytes) -> bytes:
    """What every value begins with that a pattern matches: as much as is seen without parsing."""
    if b"|" in pattern or b"(?" in pattern:
        return b""
    found = _LITERAL.match(pattern)
    return found[1] if found is not None else b""


def check_template(rewrite: RegexRewrite) -> None:
    """Whether a substitution names groups that its pattern has.

    Raises ValueError.
    """
    try:
        groups = re.compile(rewrite.match.encode()).groups
    except re.error:
        return  # said of the pattern
    template(rewrite.substitution, groups)


def template(substitution: str, groups: int) -> bytes:
    """RE2's form of a substitution as Python's: behind a backslash is a group's digit, or another.

    Raises ValueError.
    """
    found = b""
    at = 0
    text = substitution.encode()
    while at < len(text):
        octet = text[at : at + 1]
        if octet != b"\\":
            found += octet
            at += 1
            continue
        behind = text[at + 1 : at + 2]
        if behind == b"\\":
            found += b"\\\\"
        elif behind.isdigit() and int(behind) <= groups:
            found += b"\\g<" + behind + b">"
        else:
            raise ValueError(f"expected \\0 to \\{groups}, or \\\\, behind a backslash")
        at += 2
    return found
