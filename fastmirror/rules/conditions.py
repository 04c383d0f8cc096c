"""The conditions of a match block. Invariant: a condition is a pure function of the request; the
text it compares with is made ready when rules load, not when a request comes.
"""

from __future__ import annotations

from fastmirror._regex import Pattern
from fastmirror.rules.model import HeaderMatch, Match, PathMatch, StringMatch
from fastmirror.rules.regex import compile_regex
from fastmirror.rules.request import Request

EXACT, PREFIX, REGEX, PRESENT, ABSENT, ELEMENTS = range(6)


class Condition:
    """One comparison."""

    def __init__(self, match: StringMatch) -> None:
        self.pattern: Pattern | None = None
        self.text = b""
        present = match.present if isinstance(match, HeaderMatch) else None
        elements = match.path_separated_prefix if isinstance(match, PathMatch) else None
        if match.exact is not None:
            self.kind = EXACT
            self.text = match.exact.encode()
        elif match.prefix is not None:
            self.kind = PREFIX
            self.text = match.prefix.encode()
        elif match.regex is not None:
            self.kind = REGEX
            self.pattern = compile_regex(match.regex)
        elif elements is not None:
            self.kind = ELEMENTS
            self.text = elements.rstrip("/").encode()
        else:
            self.kind = ABSENT if present is False else PRESENT

    def taken(self, path: bytes) -> int:
        """How much of a path that it holds for it has looked at: what a prefix is rewritten for."""
        return len(self.text) if self.kind in (PREFIX, ELEMENTS) else len(path)

    def holds(self, value: bytes | None) -> bool:
        """Whether a value, None where there is none, is as wanted."""
        if value is None:
            return self.kind == ABSENT
        if self.kind == EXACT:
            return value == self.text
        if self.kind == PREFIX:
            return value.startswith(self.text)
        if self.kind == REGEX:
            assert self.pattern is not None
            return self.pattern.fullmatch(value)
        if self.kind == ELEMENTS:
            size = len(self.text)
            return value.startswith(self.text) and (
                len(value) == size or value[size : size + 1] == b"/"
            )
        return self.kind == PRESENT


class MatchBlock:
    """All of its conditions must hold, and none of those in ``without``. So what a header is
    compared with there is well where the header is missing, while ``present: false`` is not.
    """

    def __init__(self, match: Match) -> None:
        self.path: Condition | None = None
        if match.path is not None and match.path.prefix != "":
            self.path = Condition(match.path)
        self.method: Condition | None = None
        if match.method is not None:
            method = match.method
            self.method = Condition(
                StringMatch(exact=method) if isinstance(method, str) else method
            )
        self.port = match.port or 0
        self.headers = _by_name(match.headers)
        self.without = _by_name(match.without_headers)
        self.query = [(name.encode(), Condition(value)) for name, value in match.query.items()]

    def always(self) -> bool:
        """There is no condition: every request matches."""
        return not (
            self.path or self.method or self.port or self.headers or self.without or self.query
        )

    def holds(self, request: Request) -> bool:
        """Whether the request is as wanted."""
        if self.path is not None and not self.path.holds(request.path):
            return False
        if self.method is not None and not self.method.holds(request.method):
            return False
        if self.port and self.port != request.port:
            return False
        for name, condition in self.headers:
            if not condition_holds(condition, header_value(request, name)):
                return False
        for name, condition in self.without:
            if condition_holds(condition, header_value(request, name)):
                return False
        for name, condition in self.query:
            if not condition_holds(condition, query_value(request, name)):
                return False
        return True


def _by_name(headers: dict[str, HeaderMatch]) -> list[tuple[bytes, Condition]]:
    return [(name.lower().encode(), Condition(value)) for name, value in headers.items()]


# Elements of the lists above have no C type; these give them one.
def condition_holds(condition: Condition, value: bytes | None) -> bool:
    """``condition.holds(value)``."""
    return condition.holds(value)


def header_value(request: Request, name: bytes) -> bytes | None:
    """The header as one value; Host in the form that hosts are compared in."""
    return request.host if name == b"host" else request.fields.get(name)


def query_value(request: Request, name: bytes) -> bytes | None:
    """``request.query_value(name)``."""
    return request.query_value(name)
