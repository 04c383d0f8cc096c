"""What ``explain`` says, as data: what ``--json`` writes and the text is made of.

Invariants: a field keeps its name and meaning (docs/explain.md), and is there whether it has a
value or not; text that came as bytes is UTF-8, with an escape for each byte that is not.
"""

from __future__ import annotations

from msgspec import Struct


class Asked(Struct, frozen=True):
    """The request in the form that rules see; None where the proxy refuses to read it."""

    method: str
    target: str
    path: str
    host: str  # as routes are compared with it
    port: int  # the same
    authority: str  # as the client said it
    source: str
    request_id: str | None


class Failed(Struct, frozen=True):
    """A condition that does not hold. ``block``: which of the route's ``match``."""

    block: int
    field: str  # "path", "method", "port", "headers.NAME", "without_headers.NAME", "query.NAME"
    wanted: str
    found: str | None


class Considered(Struct, frozen=True):
    """A route that was asked, in the document's order; the last may be the one that is taken."""

    index: int
    route: str
    hosts: list[str]
    host_matches: bool
    failed: list[Failed]
    taken: bool
    block: int | None  # the match that holds; None: it is not taken, or has none


class Delay(Struct, frozen=True):
    """An injected delay."""

    seconds: float
    percent: float


class Forwarded(Struct, frozen=True):
    """What the primary gets. ``changes``: what rules change of the fields, "- " or "+ " first."""

    line: str
    host: str
    changes: list[str]
    request_id_made: bool
    head: list[str]  # without the empty line at its end


class Answer(Struct, frozen=True):
    """The proxy's own, without ``date``."""

    status: int
    headers: list[str]
    body: str


class KeyFound(Struct, frozen=True):
    """What a sample goes by. ``bucket``: its hash, None where that is random."""

    source: str  # "header x-user", "request_id" and so on
    value: str | None
    made: bool  # an x-request-id that the proxy makes
    missing: str  # what holds without the key
    bucket: str | None


class Endpoint(Struct, frozen=True):
    """One that may get it. ``host``: the Host of what it gets."""

    address: str
    host: str


class CopySent(Struct, frozen=True):
    """What the shadow gets."""

    line: str
    host: str
    marker: str
    endpoints: list[Endpoint]
    head: list[str]


class MirrorSays(Struct, frozen=True):
    """What one mirror does with the request. None where only chance knows."""

    mirror: str
    percent: float
    threshold: str
    key: KeyFound | None  # None: fresh random bits
    sampled: bool | None
    dropped: str | None  # the reason, if it is sampled
    copied: bool | None
    note: str | None
    copy: CopySent | None  # if it is copied


class Outcome(Struct, frozen=True):
    """One of the things that may happen, and what percentage of such requests it happens to."""

    percent: float
    to: str | None  # SERVICE or SERVICE/SUBSET; None: no destination was asked for
    cause: str  # "forwarded", or why the proxy answers
    endpoints: list[str]
    forwarded: Forwarded | None
    answer: Answer | None
    mirrors: list[MirrorSays]


class Report(Struct, frozen=True):
    """All of it."""

    request: Asked
    routes: list[Considered]
    route: str | None  # as metrics and logs call it
    by: str  # "rule", "default", "none" or "proxy"
    reason: str
    delay: Delay | None
    outcomes: list[Outcome]


def shown(value: bytes) -> str:
    """Bytes as text."""
    return value.decode(errors="backslashreplace")


def head_lines(head: bytes) -> list[str]:
    """A head's lines, without the empty one."""
    return [shown(line) for line in head.split(b"\r\n\r\n", 1)[0].split(b"\r\n")]
