"""A tree as a program: the states of an automaton, which the compiled matcher runs.

Invariants: a program has at most ``MOST_STATES`` states, and what would have more is refused before
it is made; its paths, tried in the order of their steps, are RE2's in the order that it prefers.
"""

from __future__ import annotations

from fastmirror.rules.regex.syntax import (
    BEGIN_LINE,
    BOUNDARY,
    END_LINE,
    NO_BOUNDARY,
    AnyByte,
    Assertion,
    Chars,
    Choice,
    Concat,
    Group,
    Node,
    Repeat,
)
from fastmirror.rules.regex.utf8 import END, Edge, automaton

MOST_STATES = 10_000
GOAL = 0  # the state where everything has been matched

_WORD = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))


class Program:
    """``edges``: for each state, those that take a byte. ``steps``: where it goes on without one,
    the preferred first, each with what must hold there (0: nothing). ``slots``: which end of which
    group is there (2 * index, and 1 more for its end), or -1. ``start``: where it begins.
    """

    def __init__(self, tree: Node) -> None:
        self.edges: list[list[Edge]] = []
        self.steps: list[list[tuple[int, int]]] = []
        self.slots: list[int] = []
        self._state()
        self.start = self._made(tree, GOAL)
        self.classes = self._classes()

    def _state(self, *steps: tuple[int, int], slot: int = -1) -> int:
        if len(self.edges) >= MOST_STATES:
            raise ValueError(
                f"a regular expression too large: its program has more than {MOST_STATES} states"
            )
        self.edges.append([])
        self.steps.append(list(steps))
        self.slots.append(slot)
        return len(self.edges) - 1

    def _made(self, node: Node, to: int) -> int:
        """Where a part begins that leads there."""
        if isinstance(node, Chars):
            return self._chars(automaton(node.ranges), to)
        if isinstance(node, AnyByte):
            return self._chars([((0, 255, END),)], to)
        if isinstance(node, Assertion):
            return self._state((node.need, to))
        if isinstance(node, Group):
            end = self._state((0, to), slot=2 * node.index + 1)
            return self._state((0, self._made(node.inner, end)), slot=2 * node.index)
        if isinstance(node, Choice):
            return self._state(*[(0, self._made(part, to)) for part in node.parts])
        if isinstance(node, Concat):
            for part in reversed(node.parts):
                to = self._made(part, to)
            return to
        assert isinstance(node, Repeat)
        return self._repeat(node, to)

    def _chars(self, states: list[tuple[Edge, ...]], to: int) -> int:
        base = len(self.edges)
        for edges in states:
            made = self._state()
            self.edges[made] = [
                (low, high, to if target == END else base + target) for low, high, target in edges
            ]
        return len(self.edges) - 1

    def _repeat(self, node: Repeat, to: int) -> int:
        """``x{2,4}`` is ``xx(x(x)?)?``, and ``x{2,}`` is ``xx+``."""
        least = node.least
        if node.most is None:
            if least > 0:
                to, least = self._plus(node, to), least - 1
            elif node.inner.nullable:
                # (x+)?: what is preferred within x, which may be nothing, is then right as well.
                to = self._fork(node, self._plus(node, to), to)
            else:
                loop = self._state()
                self._aim(loop, node, self._made(node.inner, loop), to)
                to = loop
        else:
            end = to
            for _ in range(node.most - least):
                to = self._fork(node, self._made(node.inner, to), end)
        for _ in range(least):
            to = self._made(node.inner, to)
        return to

    def _plus(self, node: Repeat, to: int) -> int:
        loop = self._state()
        begin = self._made(node.inner, loop)
        self._aim(loop, node, begin, to)
        return begin

    def _fork(self, node: Repeat, more: int, to: int) -> int:
        fork = self._state()
        self._aim(fork, node, more, to)
        return fork

    def _aim(self, fork: int, node: Repeat, more: int, to: int) -> None:
        self.steps[fork] = [(0, to), (0, more)] if node.lazy else [(0, more), (0, to)]

    def _classes(self) -> bytes:
        """For each byte its class: bytes of one class make no difference anywhere."""
        ends = {end for edges in self.edges for low, high, _ in edges for end in (low - 1, high)}
        needs = {need for steps in self.steps for need, _ in steps}
        if needs & {BEGIN_LINE, END_LINE}:
            ends |= {9, 10}
        if needs & {BOUNDARY, NO_BOUNDARY}:
            ends |= {end for low, high in _WORD for end in (low - 1, high)}
        found = bytearray()
        kind = 0
        for octet in range(256):
            found.append(kind)
            kind += octet in ends
        return bytes(found)
