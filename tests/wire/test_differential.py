"""What the proxy writes, read by others: h11 over the raw octets, nginx, and the shadow.

Invariant: they all find exactly one request in it, the same one; and of what is refused a shadow
finds nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import h11
import pytest
from e2e.conftest import Started
from e2e.documents import rules

from .corpus import Forwarded, RequestEntry, octets, params, requests
from .driver import Loop
from .nginx import Line, ProxyingNginx
from .peers import Seen, Server
from .world import World

ENTRIES = requests()
FORWARDED = [entry for entry in ENTRIES if entry.forwarded]
REFUSED = [entry for entry in ENTRIES if not entry.forwarded and not entry.unfinished]


@pytest.fixture(scope="module")
def mirror() -> dict[str, Any] | None:
    """Copies of all, and none of them lost to what the entries before did to their copies."""
    return {"percent": 100, "breaker": {"consecutive_failures": 0}}


def forwarded(world: World, entry: RequestEntry) -> Seen | None:
    """What the primary got of it; None where the proxy may refuse it, and has."""
    with world.ask(entry.data, entry.method) as asker:
        answer = world.answered(asker, 1)
        world.loop.settle()
    if answer.status != 200:
        assert answer.status in entry.status
        return None
    assert world.primary.problems == []
    (seen,) = world.primary.requests
    return seen


def read_again(raw: bytes) -> Seen:
    """One request, and nothing behind it, by h11."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(raw)
    event = parser.next_event()
    assert isinstance(event, h11.Request)
    seen = Seen([], method=event.method.decode(), target=event.target.decode("latin-1"))
    while not seen.complete:
        event = parser.next_event()
        assert isinstance(event, h11.Data | h11.EndOfMessage)
        seen.add(event)
    assert parser.trailing_data == (b"", False)
    return seen


def judge_normal(raw: bytes) -> None:
    """There is one way to read the head: no tolerance of RFC 9112 is needed, or allowed."""
    head = raw.partition(b"\r\n\r\n")[0] + b"\r\n"
    assert re.fullmatch(
        rb"[A-Z-]+ [!-~]+ HTTP/1\.1\r\n([!#$%&'*+.^_`|~0-9A-Za-z-]+: ?([!-~\x80-\xff]"
        rb"([ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?\r\n)*",
        head,
    ), head
    lines = [line.partition(b":")[::2] for line in head.lower().split(b"\r\n")[1:-1]]
    names = [name for name, _ in lines]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    codings = [value.strip() for name, value in lines if name == b"transfer-encoding"]
    assert codings in ([], [b"chunked"])


def judge_same(expected: Forwarded, seen: Seen) -> None:
    again = read_again(seen.raw)
    assert (again.method, again.body) == (expected.method, octets(expected.body))
    assert again.target.encode("latin-1") == octets(expected.target)
    assert again.trailers == seen.trailers
    judge_normal(seen.raw)


class TestPrimaryAndShadow:
    @params(FORWARDED)
    def test_forwarded(self, world: World, entry: RequestEntry) -> None:
        assert entry.forwarded is not None and world.shadow is not None
        seen = forwarded(world, entry)
        if seen is None:
            return
        judge_same(entry.forwarded, seen)
        copies = world.shadow.requests
        if not entry.copied:
            world.probe()
            world.wait(lambda: copies, "the probe's copy")
            assert [copy.target for copy in copies] == [world.primary.requests[-1].target]
            return
        world.wait(lambda: copies, "the copy")
        assert world.shadow.problems == []
        (copy,) = copies
        judge_same(entry.forwarded, copy)
        assert copy.trailers == seen.trailers
        assert copy.values("x-fastmirror-copy") == ["app/v2"]
        self.judge_fields(seen, copy)

    def judge_fields(self, seen: Seen, copy: Seen) -> None:
        """The copy is the primary's request but for its Host and its mark, and what asks for an
        answer of some form: nobody reads the answer to a copy."""
        own = {"host", "x-fastmirror-copy", "expect", "connection", "te"}
        assert [pair for pair in copy.fields if pair[0] not in own] == [
            pair for pair in seen.fields if pair[0] not in own
        ]

    @params(REFUSED)
    def test_refused(self, world: World, entry: RequestEntry) -> None:
        assert world.shadow is not None
        with world.ask(entry.data, entry.method) as asker:
            assert world.answered(asker, 1).status in entry.status
        probe = world.probe()
        copies = world.shadow.requests
        world.wait(lambda: copies, "the probe's copy")
        assert [copy.target for copy in copies] == [probe.target]
        assert world.shadow.problems == []


# What nginx 1.22 does not take although the proxy may, each time for what is no ambiguity.
NGINX_REFUSES = {
    "OPTIONS of the asterisk": 400,
    "OPTIONS of a server in absolute form": 400,
    "an OPTIONS with a body": 400,
    "Max-Forwards of 5": 400,
    "a dot for a Host": 400,
    "a percent sign without digits": 400,
    "an encoded NUL": 400,
}


class Behind:
    """The proxy, nginx behind it, and the recorder behind that."""

    def __init__(self, world: World, nginx: ProxyingNginx) -> None:
        self.world = world
        self.nginx = nginx

    def logged(self) -> list[Line]:
        """The lines of the request that was answered: nginx writes them behind its answer."""
        end = time.monotonic() + 5
        while not (lines := self.nginx.new_lines()):
            assert time.monotonic() < end, "no line in nginx's log"
            self.world.loop.settle()
        return lines


@pytest.fixture(scope="module")
def behind(loop: Loop, started: Started) -> Iterator[Behind]:
    recorder = Server(loop)
    nginx = ProxyingNginx(started.directory / "proxying-nginx", recorder.port)
    proxy = started.proxy(rules({"v1": nginx.port}))
    yield Behind(World(loop, proxy, recorder, None), nginx)
    nginx.stop()


@params(FORWARDED)
def test_nginx(behind: Behind, entry: RequestEntry) -> None:
    assert entry.forwarded is not None
    world = behind.world
    world.forget()
    with world.ask(entry.data, entry.method) as asker:
        answer = world.answered(asker, 1)
        world.loop.settle()
    if answer.values("server") == ["fastmirror"]:
        assert answer.status in entry.status
        return
    (line,) = behind.logged()
    if entry.name in NGINX_REFUSES:
        assert (line.status, world.primary.requests) == (NGINX_REFUSES[entry.name], [])
        return
    assert line.status == 200, line
    assert line.method == entry.forwarded.method
    assert line.target.encode("latin-1") == octets(entry.forwarded.target)
    (seen,) = world.primary.requests
    assert seen.body == octets(entry.forwarded.body)
