"""Patterns of RE2's meaning: the match of a whole value, and the replacement of parts of it."""

from typing import Protocol

class _Program(Protocol):
    edges: list[list[tuple[int, int, int]]]
    steps: list[list[tuple[int, int]]]
    slots: list[int]
    start: int
    classes: bytes

class Pattern:
    """A program, and what is known of the values that match it as a whole: they begin with
    ``prefix``, and are no longer if it is ``literal``. ``groups``: how many there are to name.
    """

    groups: int
    prefix: bytes
    literal: bool

    def __init__(self, program: _Program, groups: int, prefix: bytes, literal: bool) -> None: ...
    def fullmatch(self, value: bytes) -> bool:
        """Whether the pattern takes the whole value."""

    def replace(self, substitution: list[bytes | int], value: bytes) -> bytes:
        """The value with each match replaced, from the left, as RE2's GlobalReplace does it: no
        empty match where the one before ended. ``substitution``: text, and numbers of groups.
        """

    @property
    def work(self) -> int:
        """How many states were looked at so far; what comes from the cache is free."""

    @property
    def cached(self) -> tuple[int, int]:
        """How many sets of states are kept, and how many may be."""
