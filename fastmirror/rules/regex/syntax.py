"""What a regular expression is made of.

Invariant: a tree is no deeper than ``DEEPEST``, so that whoever walks it may call itself; ``least``
below says whether a part can match nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

Ranges = tuple[tuple[int, int], ...]  # of code points, both ends included; sorted, apart

LAST = 0x10FFFF
DEEPEST = 200
# What counted repeats within each other may multiply to, as in RE2.
MOST_COPIES = 1000

# What holds between two bytes. The compiled matcher has the same numbers.
BEGIN_TEXT, END_TEXT, BEGIN_LINE, END_LINE, BOUNDARY, NO_BOUNDARY = 1, 2, 4, 8, 16, 32


class Node:
    """A part. ``depth``: of the tree below; ``copies``: what counted repeats in it multiply to;
    ``nullable``: it can match nothing.
    """

    __slots__ = ("copies", "depth", "nullable")

    def __init__(self, inner: Sequence[Node] = (), nullable: bool = True) -> None:
        self.depth: int = 1 + max([each.depth for each in inner]) if inner else 1
        self.copies: int = max([each.copies for each in inner]) if inner else 1
        self.nullable = nullable


class Chars(Node):
    """One character of a set, as UTF-8."""

    __slots__ = ("ranges",)

    def __init__(self, ranges: Ranges) -> None:
        super().__init__(nullable=False)
        self.ranges = ranges


class AnyByte(Node):
    r"""``\C``: one byte, which need not be UTF-8."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(nullable=False)


class Assertion(Node):
    """Nothing, where ``need`` holds: one of the numbers above."""

    __slots__ = ("need",)

    def __init__(self, need: int) -> None:
        super().__init__()
        self.need = need


class Group(Node):
    """What a substitution may name; numbered from 1."""

    __slots__ = ("index", "inner")

    def __init__(self, index: int, inner: Node) -> None:
        super().__init__([inner], inner.nullable)
        self.index, self.inner = index, inner


class Concat(Node):
    """One behind the other."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Node]) -> None:
        super().__init__(parts, all(part.nullable for part in parts))
        self.parts = parts


class Choice(Node):
    """One of several; an earlier one is preferred."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Node]) -> None:
        super().__init__(parts, any(part.nullable for part in parts))
        self.parts = parts


class Repeat(Node):
    """So often; ``most`` is None where there is no end. ``lazy``: fewer are preferred. ``counted``:
    written with braces.
    """

    __slots__ = ("counted", "inner", "lazy", "least", "most")

    def __init__(
        self, inner: Node, least: int, most: int | None, lazy: bool, counted: bool
    ) -> None:
        super().__init__([inner], least == 0 or inner.nullable)
        self.inner, self.least, self.most = inner, least, most
        self.lazy, self.counted = lazy, counted
        if counted:
            self.copies *= max(1, least if most is None else most)
