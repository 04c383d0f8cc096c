"""Text as a regular expression: groups, flags, alternatives and repeats.

Invariant: what is accepted is what RE2 accepts with its default options (google/re2, doc/syntax),
read in the same way; the exceptions are deeper nesting than ``syntax.DEEPEST``, which is refused.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from fastmirror.rules.regex.classes import ALL, NOT_NEWLINE
from fastmirror.rules.regex.folding import folded
from fastmirror.rules.regex.reader import Reader
from fastmirror.rules.regex.sets import bracketed, escape, named_set
from fastmirror.rules.regex.syntax import (
    BEGIN_LINE,
    BEGIN_TEXT,
    BOUNDARY,
    DEEPEST,
    END_LINE,
    END_TEXT,
    MOST_COPIES,
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

_LOOK_AROUND = ("(?=", "(?!", "(?<=", "(?<!")
_IN_NAMES = ("L", "Mn", "Mc", "Nd", "Nl", "Pc")
_ASSERTIONS = {"A": BEGIN_TEXT, "z": END_TEXT, "b": BOUNDARY, "B": NO_BOUNDARY}
_REPEATS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


@dataclass
class _Open:
    """A group that is being read. ``outer``: the flags that hold again behind it; ``index``: None
    for a group that has no number.
    """

    outer: str
    index: int | None
    at: int
    parts: list[Node] = field(default_factory=list)
    choices: list[Node] = field(default_factory=list)

    def end_choice(self) -> None:
        self.choices.append(self.parts[0] if len(self.parts) == 1 else Concat(self.parts))
        self.parts = []

    def all(self) -> Node:
        self.end_choice()
        inner = self.choices[0] if len(self.choices) == 1 else Choice(self.choices)
        return inner if self.index is None else Group(self.index, inner)


class Parser:
    """One expression. ``groups``: how many have numbers."""

    def __init__(self, text: str) -> None:
        self.reader = Reader(text)
        self.groups = 0
        self._names: set[str] = set()
        self._flags = ""  # those of imsU that are set
        self._open = [_Open("", None, 0)]
        self._repeated = False  # the last thing that was read is a repeat

    def parse(self) -> Node:
        """The tree.

        Raises ValueError.
        """
        reader = self.reader
        while reader.more():
            repeated, self._repeated = self._repeated, False
            if reader.skip("("):
                self._group()
            elif reader.skip("|"):
                self._open[-1].end_choice()
            elif reader.skip(")"):
                self._close()
            elif reader.peek() in _REPEATS or reader.peek() == "{":
                self._repeat(repeated)
            else:
                self._one()
        if len(self._open) > 1:
            reader.refuse("missing )", self._open[-1].at)
        return self._checked(self._open[0].all())

    def _push(self, node: Node) -> None:
        self._open[-1].parts.append(self._checked(node))

    def _checked(self, node: Node) -> Node:
        if node.depth > DEEPEST:
            self.reader.refuse(f"nested more than {DEEPEST} deep", self.reader.at)
        return node

    def _literal(self, point: int) -> None:
        one = ((point, point),)
        self._push(Chars(folded(one) if "i" in self._flags else one))

    def _one(self) -> None:
        reader, flags = self.reader, self._flags
        start = reader.at
        if reader.skip("^"):
            self._push(Assertion(BEGIN_LINE if "m" in flags else BEGIN_TEXT))
        elif reader.skip("$"):
            self._push(Assertion(END_LINE if "m" in flags else END_TEXT))
        elif reader.skip("."):
            self._push(Chars(ALL if "s" in flags else NOT_NEWLINE))
        elif reader.skip("["):
            self._push(Chars(bracketed(reader, "i" in flags)))
        elif reader.peek() != "\\":
            self._literal(ord(reader.take()))
        elif reader.peek(1) in _ASSERTIONS:
            self._push(Assertion(_ASSERTIONS[reader.take(2)[1]]))
        elif reader.skip("\\C"):
            self._push(AnyByte())
        elif reader.skip("\\Q"):
            quoted = reader.until("\\E")
            for char in reader.rest() if quoted is None else quoted:
                self._literal(ord(char))
        elif (found := named_set(reader, "i" in flags)) is not None:
            self._push(Chars(found))
        else:
            self._literal(escape(reader, start))

    # ---- groups

    def _group(self) -> None:
        reader = self.reader
        start = reader.at - 1
        if not reader.skip("?"):
            self._enter(start, self._flags, self._number())
            return
        if any(reader.starts(each, start) for each in _LOOK_AROUND):
            reader.refuse("look-around is not in RE2's syntax", start)
        if reader.skip("P<") or reader.skip("<"):
            name = reader.until(">")
            if not name or not all(unicodedata.category(c).startswith(_IN_NAMES) for c in name):
                reader.refuse("a group's name is of letters, digits and _, up to a >", start)
            elif name in self._names:
                reader.refuse(f"two groups are named {name}", start)
            else:
                self._names.add(name)
            self._enter(start, self._flags, self._number())
            return
        self._flag_group(start)

    def _number(self) -> int:
        self.groups += 1
        return self.groups

    def _enter(self, at: int, outer: str, index: int | None) -> None:
        if len(self._open) > DEEPEST:
            self.reader.refuse(f"nested more than {DEEPEST} deep", at)
        self._open.append(_Open(outer, index, at))

    def _flag_group(self, start: int) -> None:
        reader, outer = self.reader, self._flags
        flags = set(outer)
        clear = flag = False
        while True:
            letter = reader.take()
            if letter in ("i", "m", "s", "U"):
                flag = True
                (flags.discard if clear else flags.add)(letter)
            elif letter == "-" and not clear:
                clear, flag = True, False
            elif letter in (":", ")") and (flag or not clear):
                break
            else:
                reader.refuse("(? without flags of RE2's syntax (i, m, s, U), : or )", start)
        self._flags = "".join(sorted(flags))
        if letter == ":":
            self._enter(start, outer, None)

    def _close(self) -> None:
        if len(self._open) == 1:
            self.reader.refuse("a ) that closes nothing", self.reader.at - 1)
        done = self._open.pop()
        self._flags = done.outer
        self._push(done.all())

    # ---- repeats

    def _repeat(self, repeated: bool) -> None:
        reader = self.reader
        start = reader.at
        count = reader.repeat()
        counted = count is not None
        if count is None:
            sign = reader.take()
            if sign == "{":
                self._literal(ord(sign))  # as in Perl, where no count follows
                return
            count = _REPEATS[sign]
        lazy = reader.skip("?") != ("U" in self._flags)
        least, most = count
        if repeated:
            reader.refuse("a repeat of a repeat, which RE2 has not: group it", start)
        if max(least, most or 0) > MOST_COPIES or (most is not None and most < least):
            reader.refuse(f"a count is at most {MOST_COPIES}, and the second no less", start)
        parts = self._open[-1].parts
        if not parts:
            reader.refuse("nothing to repeat", start)
        self._repeated = True
        self._push(self._repetition(parts.pop(), least, most, lazy, counted))
        if counted and max(least, most or 0) > 1 and parts[-1].copies > MOST_COPIES:
            reader.refuse(f"repeats within each other of more than {MOST_COPIES} copies", start)

    def _repetition(
        self, inner: Node, least: int, most: int | None, lazy: bool, counted: bool
    ) -> Repeat:
        same = isinstance(inner, Repeat) and not inner.counted and inner.lazy == lazy
        if same and not counted:
            # As RE2 does: (?:a*)* is a*, and so is (?:a+)?; the same twice is itself.
            assert isinstance(inner, Repeat)
            if (inner.least, inner.most) == (least, most):
                return inner
            return Repeat(inner.inner, 0, None, lazy, False)
        return Repeat(inner, least, most, lazy, counted)
