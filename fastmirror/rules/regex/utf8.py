"""A set of characters as an automaton of their UTF-8 bytes.

Invariant: the automaton is deterministic, and what it takes is exactly the encodings of the set.
One exception is RE2's, and Envoy's with it: where all that is not ASCII is in the set (``.``,
``[^a]``), sequences that are too long or beyond 10FFFF are taken too, which keeps it small.
"""

from __future__ import annotations

from functools import lru_cache

from fastmirror.rules.regex.syntax import LAST, Ranges

Bytes = tuple[tuple[int, int], ...]  # one range for each byte of a sequence
Edge = tuple[int, int, int]  # first byte, last byte, where to: a state's number, or END

END = -1
_ENDS = (0x7F, 0x7FF, 0xFFFF, LAST)  # the last code points of one to four bytes
_CONTINUED = (0x80, 0xBF)
_BEYOND_ASCII: list[Bytes] = [
    ((0xC2, 0xDF), _CONTINUED),
    ((0xE0, 0xEF), _CONTINUED, _CONTINUED),
    ((0xF0, 0xF4), _CONTINUED, _CONTINUED, _CONTINUED),
]


@lru_cache(maxsize=256)
def automaton(ranges: Ranges) -> list[tuple[Edge, ...]]:
    """The edges of each state; they lead to states before it, or to the end. The last is where
    it begins.
    """
    states: dict[tuple[Edge, ...], int] = {}
    sequences: list[Bytes] = []
    for low, high in ranges:
        if low <= 0x80 and high == LAST:
            if low < 0x80:
                sequences.append(((low, 0x7F),))
            sequences += _BEYOND_ASCII
        else:
            sequences += _split(low, high)
    _state(sequences, 0, states)
    return list(states)


def _split(low: int, high: int) -> list[Bytes]:
    """Sequences whose bytes vary independently of each other."""
    for end in _ENDS:
        if low <= end < high:
            return _split(low, end) + _split(end + 1, high)
    if high > 0x7F:
        for bits in (6, 12, 18):
            mask = (1 << bits) - 1
            if low & ~mask != high & ~mask:
                if low & mask:
                    return _split(low, low | mask) + _split((low | mask) + 1, high)
                if high & mask != mask:
                    return _split(low, (high & ~mask) - 1) + _split(high & ~mask, high)
    return [tuple(zip(_encoded(low), _encoded(high), strict=True))]


def _encoded(point: int) -> bytes:
    return chr(point).encode("utf-8", "surrogatepass")


def _state(sequences: list[Bytes], depth: int, states: dict[tuple[Edge, ...], int]) -> int:
    """The state that takes the sequences from their byte ``depth`` on: they are sorted, and ranges
    of one place are equal or apart.
    """
    edges: list[Edge] = []
    at = 0
    while at < len(sequences):
        first = at
        low, high = sequences[first][depth]
        while at < len(sequences) and sequences[at][depth] == (low, high):
            at += 1
        last = len(sequences[first]) == depth + 1
        to = END if last else _state(sequences[first:at], depth + 1, states)
        if edges and edges[-1][1] + 1 == low and edges[-1][2] == to:
            edges[-1] = (edges[-1][0], high, to)
        else:
            edges.append((low, high, to))
    return states.setdefault(tuple(edges), len(states))
