"""What a route changes of a message, as both APIs say it: header fields, Host, path.

Invariant: what is returned is what the rules accept. The rules' own validation is asked, so that a
mistake has the manifest's line, and is the same mistake as in a rules document.
"""

from __future__ import annotations

from typing import Any

from fastmirror.manifests.drafts import TOKEN
from fastmirror.manifests.fields import Field
from fastmirror.rules.address import parse_host
from fastmirror.rules.model import Destination, HeaderChange, Headers, Rewrite, Route, Rules
from fastmirror.rules.validate import validate

_LONGEST = 253  # of a name in the rules


def refusal(**fields: Any) -> str | None:
    """What the rules say against a route with these fields; None: nothing."""
    route = Route(name="route", to=[Destination(status=500)], **fields)
    problems = validate(Rules(version=1, routes=[route]))
    return problems[0].text if problems else None


def read_host(at: Field) -> str | None:
    """A Host, with a port or without; absent or empty: None."""
    text = at.string("")
    return text if text and _is_host(at, text) else None


def read_path(at: Field) -> str | None:
    """A path to write in the place of another, or of a part of it; absent: None."""
    if not at.given:
        return None
    text = at.string()
    if why := refusal(rewrite=Rewrite(path=text)):
        at.problem(why)
        return None
    return text


def _is_host(at: Field, text: str) -> bool:
    try:
        if len(text) <= _LONGEST and parse_host(text):
            return True
    except ValueError:
        pass
    at.expected("a host name, with a port or without")
    return False


class Changes:
    """A HeaderChange in the making, of a request or of a response."""

    def __init__(self, side: str) -> None:
        self._side = side
        self._values: dict[str, dict[str, str]] = {"set": {}, "add": {}}
        self._removed: list[str] = []

    def value(self, kind: str, name: str, value: str, at: Field) -> None:
        """``kind``: set or add. What the rules refuse is said at ``at``, and left out."""
        values = self._values[kind]
        if kind == "set" and name.lower() in (other.lower() for other in values):
            at.problem(f"{name} is set twice")
        elif self._side == "request" and name.lower() == "host":
            if kind == "add":
                at.problem("a request has one Host: expected it in set")
            elif _is_host(at, value):
                values["host"] = value
        elif self._may_change(name, at):
            if why := self._refusal(HeaderChange(set={name: value})):
                at.problem(why)
            values[name] = value

    def remove(self, name: str, at: Field) -> None:
        if self._side == "request" and name.lower() == "host":
            at.problem("a request needs its Host")
        elif self._may_change(name, at):
            self._removed.append(name)

    def done(self) -> HeaderChange:
        return HeaderChange(self._values["set"], self._values["add"], self._removed)

    def _may_change(self, name: str, at: Field) -> bool:
        if TOKEN.fullmatch(name) is None or len(name) > _LONGEST:
            at.problem(f"expected the name of a header, not {name!r}")
            return False
        if self._refusal(HeaderChange(set={name: ""})):
            at.unsupported(f"a change of {name}, which belongs to one connection or message,")
            return False
        return True

    def _refusal(self, change: HeaderChange) -> str | None:
        return refusal(headers=Headers(**{self._side: change}))
