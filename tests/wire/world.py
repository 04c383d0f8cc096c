"""A proxy with a test at both of its ends, and what is asked of it for every request.

Invariant: after each entry a request of its own, the probe, goes through: it is the next that the
primary sees, and its answer is the one for it. What an entry left behind anywhere on the way would
show there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from e2e.procs import Proxy

from .corpus import Forwarded, RequestEntry, octets
from .driver import Loop
from .peers import Answer, Asker, Message, Seen, Server

SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"


class World:
    """The loop, the proxy, and the servers behind it."""

    def __init__(self, loop: Loop, proxy: Proxy, primary: Server, shadow: Server | None) -> None:
        self.loop = loop
        self.proxy = proxy
        self.primary = primary
        self.shadow = shadow
        self._probes = itertools.count()

    def forget(self) -> None:
        for server in (self.primary, self.shadow):
            if server is not None:
                server.forget()

    def ask(self, data: bytes, *methods: str, piece: int | None = None) -> Asker:
        """A new connection on which this is sent, for an answer to each of the methods."""
        asker = Asker(self.loop, self.proxy.port, *methods, piece=piece)
        asker.send(data)
        return asker

    def wait(self, until: Callable[[], object], what: str) -> None:
        self.loop.run(until, what)

    def answered(self, asker: Asker, number: int) -> Answer:
        """The answer of that number, from 1. Raises AssertionError."""
        self.wait(lambda: asker.over(number), f"answer {number}, have {bytes(asker.received)!r}")
        assert asker.problem is None, f"{asker.problem}: {bytes(asker.received)!r}"
        assert len(asker.answers) >= number, f"closed instead of answer {number}: {asker.received}"
        return asker.answers[number - 1]

    def ends(self, asker: Asker) -> None:
        """The proxy closes the connection, and has sent nothing more."""
        self.wait(lambda: asker.ended, "the connection closed")
        assert asker.beyond == b""

    def probe(self) -> Seen:
        """A request of its own, which the primary gets as it is; nothing came before it."""
        before = len(self.primary.requests)
        target = f"/probe-{next(self._probes)}"
        with self.ask(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), "GET") as asker:
            answer = self.answered(asker, 1)
        assert (answer.status, answer.body) == (200, f"GET {target}".encode())
        self.loop.settle()
        assert self.primary.problems == []
        (seen,) = self.primary.requests[before:]
        assert seen.target == target
        return seen


def judge_refused(world: World, entry: RequestEntry, asker: Asker, answer: Answer) -> None:
    """The answer is the proxy's own, and the connection is closed."""
    assert answer.status in entry.status, (answer.status, answer.body)
    assert len(answer.values("date")) == 1
    if answer.status >= 400:
        assert answer.values("content-type") == ["text/plain"]
        assert len(answer.body.decode().splitlines()) == (0 if entry.method == "HEAD" else 1)
    if not entry.keeps:
        assert answer.values("connection") == ["close"]
        world.ends(asker)
    world.loop.settle()
    assert world.primary.requests == []
    assert entry.partial or world.primary.heads == []


def judge_seen(expected: Forwarded, seen: Seen) -> None:
    """The primary got what it should."""
    assert seen.method == expected.method
    assert seen.target == octets(expected.target).decode("latin-1")
    hosts = seen.values("host")
    if expected.host == "*":  # the primary's own address: the client gave none
        assert [host.rpartition(":")[0] for host in hosts] == ["127.0.0.1"]
    else:
        assert hosts == [expected.host]
    assert seen.body == octets(expected.body)
    judge_fields(expected.trailers, expected.fields, expected.absent, seen)


def judge_fields(
    trailers: dict[str, str],
    fields: dict[str, str | list[str]],
    absent: list[str],
    seen: Message,
) -> None:
    """The fields that must be there are, with these values, and the others are not."""
    for name, value in trailers.items():
        assert [v for key, v in seen.trailers if key == name.lower()] == [value], seen.trailers
    for name, value in fields.items():
        wanted = [value] if isinstance(value, str) else value
        assert seen.values(name) == wanted, (name, seen.fields)
    for name in absent:
        assert name.lower() not in dict([*seen.fields, *seen.trailers]), name
