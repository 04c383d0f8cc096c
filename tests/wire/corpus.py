"""What goes over the wire, and what must come of it: entries of requests.yaml and responses.yaml.

Invariants: an entry that is not understood to the last word is an error that names file and entry,
never an entry that tests less; each character of a text is one octet.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
import yaml

HERE = Path(__file__).parent


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A form that takes no other fields than its own."""


class Repeat(Strict):
    """The same text many times, for what would be too long to write."""

    repeat: str
    times: int


Text = str | list[str | Repeat]


def octets(text: Text) -> bytes:
    """The text as it goes over the wire. Raises ValueError."""
    parts = [text] if isinstance(text, str) else text
    whole = "".join(p if isinstance(p, str) else p.repeat * p.times for p in parts)
    try:
        return whole.encode("latin-1")
    except UnicodeEncodeError as error:
        found = whole[error.start]
        raise ValueError(f"a character that is no octet: {found!r} (write \\xNN)") from None


class Forwarded(Strict):
    """What the primary must get: exactly one request, and this one."""

    method: str = "GET"
    target: Text = "/"
    host: str = "a"
    body: Text = ""
    trailers: dict[str, str] = {}
    fields: dict[str, str | list[str]] = {}  # all values of a field, in order
    absent: list[str] = []  # neither in the head nor in the trailers


class RequestEntry(Strict):
    """A request, and its outcome: ``status`` or ``forwarded`` (both: either will do), or
    ``unfinished``."""

    name: str
    send: Text
    # Refused with one of these: nothing of it reaches the primary, and the connection is closed.
    status: list[int] = []
    keeps: bool = False  # ... but the connection serves on
    partial: bool = False  # ... but its head has gone on already; it is never complete
    forwarded: Forwarded | None = None
    closes: bool = False  # after the answer, as the request wants it
    then: list[int] = []  # what is behind the request in ``send`` is refused with one of these
    copied: bool = True  # a mirror copies it
    unfinished: bool = False  # no answer, but a refusal maybe, before the rest has come
    bug: str | None = None  # why the outcome is another one today

    def __post_init__(self) -> None:
        octets(self.send)
        if self.unfinished == bool(self.status or self.forwarded):
            raise ValueError("expected an outcome: status, forwarded, or unfinished alone")
        if (self.keeps or self.partial) and not self.status:
            raise ValueError("keeps and partial go with status")
        if (self.closes or self.then or not self.copied) and self.forwarded is None:
            raise ValueError("closes, then and copied go with forwarded")

    @property
    def data(self) -> bytes:
        return octets(self.send)

    @property
    def method(self) -> str:
        """By which the answer is read: one to HEAD has no body."""
        if self.forwarded is not None:
            return self.forwarded.method
        return "HEAD" if self.data.startswith(b"HEAD ") else "GET"


class Passed(Strict):
    """What the client must get."""

    reused: bool  # whether the next request may go over the same upstream connection
    status: int = 200
    body: Text = ""
    interim: list[int] = []
    trailers: dict[str, str] = {}
    fields: dict[str, str | list[str]] = {}
    absent: list[str] = []


class ResponseEntry(Strict):
    """What an upstream answers, and its outcome: ``status``, ``passed`` (both: either will do), or
    ``cut``. After all but ``passed`` the upstream connection is never used again."""

    name: str
    send: Text
    request: str = "GET"  # the method
    early: bool = False  # answered when half of the request's body has come
    close: bool = False  # the upstream closes behind it
    status: list[int] = []  # the proxy's own answer is one of these
    passed: Passed | None = None
    cut: bool = False  # the client can tell that the answer is not whole; or gets a 502
    bug: str | None = None

    def __post_init__(self) -> None:
        octets(self.send)
        if self.cut == bool(self.status or self.passed):
            raise ValueError("expected an outcome: status, passed, or cut alone")

    @property
    def data(self) -> bytes:
        return octets(self.send)


E = TypeVar("E", RequestEntry, ResponseEntry)


def parse(text: str, kind: type[E], file: str) -> list[E]:
    """The entries of a file's text. Raises ValueError."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: {error}") from None
    if not isinstance(document, list):
        raise ValueError(f"{file}: expected a list of entries")
    entries: list[E] = []
    names: set[str] = set()
    for number, item in enumerate(document, 1):
        label = item.get("name") if isinstance(item, dict) else None
        where = f"{file}: entry {number} ({label})"
        try:
            entry = msgspec.convert(item, kind)
        except msgspec.ValidationError as error:
            raise ValueError(f"{where}: {error}") from None
        if entry.name in names:
            raise ValueError(f"{where}: another entry has this name")
        names.add(entry.name)
        entries.append(entry)
    return entries


def requests() -> list[RequestEntry]:
    return parse((HERE / "requests.yaml").read_text(), RequestEntry, "requests.yaml")


def responses() -> list[ResponseEntry]:
    return parse((HERE / "responses.yaml").read_text(), ResponseEntry, "responses.yaml")


def params(entries: list[E]) -> pytest.MarkDecorator:
    """Each entry as a test's parameter ``entry``, known bugs among them."""
    return pytest.mark.parametrize(
        "entry",
        [
            pytest.param(
                entry,
                id=entry.name.replace(" ", "-"),
                marks=[pytest.mark.xfail(strict=True, reason=entry.bug)] if entry.bug else [],
            )
            for entry in entries
        ],
    )
