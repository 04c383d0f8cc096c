"""What checks of a document share. Invariant: a problem has the path of its field
(``routes[2].mirrors[0].percent``) and what was expected of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fastmirror.rules.model import Key
from fastmirror.rules.units import seconds

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_NAME = re.compile(r"[\x21-\x7e]+( [\x21-\x7e]+)*")


@dataclass(frozen=True)
class Problem:
    """A field's path and what was expected of it."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


class Checks:
    """The problems found so far, and the checks of single values."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, path: str, text: str) -> None:
        self.problems.append(Problem(path, text))

    def parses(self, parse: Callable[[Any], object], value: object, path: str) -> None:
        """A value that ``parse`` takes; None is an absent one."""
        if value is None:
            return
        try:
            parse(value)
        except ValueError as error:
            self.add(path, str(error))

    def positive(self, value: float | str | None, path: str) -> None:
        """A duration above 0; None is an absent one."""
        if value is None:
            return
        try:
            if seconds(value) <= 0:
                self.add(path, f"expected a duration above 0, got {value!r}")
        except ValueError as error:
            self.add(path, str(error))

    def printable(self, name: str, path: str) -> None:
        if _NAME.fullmatch(name) is None:
            self.add(path, f"expected printable ASCII, got {name!r}")

    def unique(self, names: Iterable[str], path: str) -> None:
        """Names, each of its own; ``path`` has ``{}`` for the index."""
        seen: set[str] = set()
        for index, name in enumerate(names):
            if name in seen:
                self.add(path.format(index), f'expected a name of its own, "{name}" is taken')
            self.printable(name, path.format(index))
            seen.add(name)

    def token(self, name: str, path: str, what: str) -> None:
        if _TOKEN.fullmatch(name) is None:
            self.add(path, f"expected {what}, got {name!r}")

    def key(self, source: Key | str, path: str) -> None:
        """Where a sampling or balancing key is read from."""
        if isinstance(source, str):
            return
        given = [
            kind
            for kind in ("header", "cookie", "query", "source_ip", "path", "request_id")
            if getattr(source, kind)
        ]
        if len(given) != 1:
            self.add(path, "expected one of header, cookie, query, source_ip, path, request_id")
        if source.header:
            self.token(source.header, f"{path}.header", "a header name")
