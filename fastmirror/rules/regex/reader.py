"""The text of an expression and a place in it.

Invariant: each way to refuse an expression says what is wrong and at which character.
"""

from __future__ import annotations

from typing import NoReturn

_DIGITS = "0123456789"


class Reader:
    """Reads on from ``at``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def refuse(self, what: str, at: int) -> NoReturn:
        """Raises ValueError."""
        here = f"at its end: {what}"
        if at < len(self.text):
            here = f"at character {at + 1}, {self.text[at : at + 12]!r}: {what}"
        raise ValueError(f"not a regular expression {here}")

    def more(self) -> bool:
        """Whether the end is not reached."""
        return self.at < len(self.text)

    def peek(self, ahead: int = 0) -> str:
        """A character; empty behind the end."""
        return self.text[self.at + ahead : self.at + ahead + 1]

    def take(self, count: int = 1) -> str:
        """The next characters; fewer at the end."""
        found = self.text[self.at : self.at + count]
        self.at += len(found)
        return found

    def starts(self, text: str, at: int) -> bool:
        """Whether this stands there."""
        return self.text.startswith(text, at)

    def skip(self, text: str) -> bool:
        """Whether this is next; it is read then."""
        found = self.text.startswith(text, self.at)
        if found:
            self.at += len(text)
        return found

    def until(self, end: str) -> str | None:
        """What is before the next ``end``, which is read too; None where there is none."""
        at = self.text.find(end, self.at)
        if at < 0:
            return None
        found = self.text[self.at : at]
        self.at = at + len(end)
        return found

    def rest(self) -> str:
        """All that is left."""
        return self.take(len(self.text))

    def repeat(self) -> tuple[int, int | None] | None:
        """``{2}``, ``{2,}`` or ``{2,5}``; None, and nothing is read, for anything else."""
        start = self.at
        most: int | None
        if self.skip("{") and (least := self._number()) is not None:
            most = least
            if self.skip(","):
                most = None if self.peek() == "}" else self._number()
                if most is None and self.peek() != "}":
                    self.at = start
                    return None
            if self.skip("}"):
                return least, most
        self.at = start
        return None

    def _number(self) -> int | None:
        start = self.at
        while self.peek() and self.peek() in _DIGITS and self.at < start + 9:
            self.at += 1
        digits = self.text[start : self.at]
        if not digits or (digits[0] == "0" and len(digits) > 1):
            return None
        return int(digits)
