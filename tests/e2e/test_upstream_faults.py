"""How a primary may fail: each way has its status, its flag in the log, and leaves the connection
with the client in order.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from pathlib import Path

import pytest

from .backends import Backends, Connection, echo, never_answers
from .client import Client, raw_answer, request_bytes
from .conftest import StartProxy
from .documents import rules
from .procs import LOOPBACK, Proxy, free_port, wait_until

AFTER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nafter"


def logged(start_proxy: StartProxy, tmp_path: Path, ports: dict[str, int], **route) -> Proxy:
    log = tmp_path / "access.log"
    options = ("--access-log", str(log), "--access-log-format", "json")
    proxy = start_proxy(rules(ports, **route), *options)
    proxy.access_log = log  # type: ignore[attr-defined]
    return proxy


def entries(proxy: Proxy, count: int) -> list[dict]:
    log: Path = proxy.access_log  # type: ignore[attr-defined]
    wait_until(lambda: len(log.read_text().splitlines()) >= count, f"{count} lines in the log")
    return [json.loads(line) for line in log.read_text().splitlines()]


def once(first: bytes | None, *, reset: bool = False, close: bool = True):
    """Answers the first request of the process with these bytes, all later ones rightly."""
    seen = 0

    async def handler(conn: Connection) -> None:
        nonlocal seen
        while await conn.request():
            seen += 1
            if seen > 1:
                await conn.send(AFTER)
                conn.h11 = type(conn.h11)(conn.h11.our_role)
                continue
            if first:
                await conn.send(first)
            if reset:
                conn.reset()
            if close:
                return
            conn.h11 = type(conn.h11)(conn.h11.our_role)

    return handler


BEFORE_AN_ANSWER = {
    "closes": (once(None), 503, "UC"),
    "resets": (once(None, reset=True), 503, "UC"),
    "closes within the head": (once(b"HTTP/1.1 200 OK\r\ncontent-le"), 503, "UC"),
    "resets within the head": (once(b"HTTP/1.1 200 OK\r\n", reset=True), 503, "UC"),
    "garbage": (once(b"what is this\r\n\r\n", close=False), 502, "UPE"),
    "two lengths": (
        once(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", close=False),
        502,
        "UPE",
    ),
    "length and chunked": (
        once(
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            close=False,
        ),
        502,
        "UPE",
    ),
    "bare line feeds": (once(b"HTTP/1.1 200 OK\ncontent-length: 0\n\n", close=False), 502, "UPE"),
    "another protocol": (once(b"HTTP/1.1 101 OK\r\nupgrade: x\r\n\r\n", close=False), 502, "UPE"),
    "a head without end": (once(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 80_000), 502, "UPE"),
    "1xx without end": (once(b"HTTP/1.1 102 Go on\r\n\r\n" * 20_000), 502, "UPE"),
}


@pytest.mark.parametrize(
    ("handler", "status", "flag"), BEFORE_AN_ANSWER.values(), ids=BEFORE_AN_ANSWER
)
def test_before_an_answer(start_proxy, backends: Backends, tmp_path, handler, status, flag):
    backend = backends.start(handler)
    proxy = logged(start_proxy, tmp_path, {"v1": backend.port})
    with Client(proxy.port) as client:
        # POST: nobody may try that again.
        assert client.request("POST", "/", (), b"x").status == status
        assert client.get("/").body == b"after"
    assert entries(proxy, 2)[0]["response_flags"] == flag
    assert backend.accepted == 2  # the connection was not used again


WITHIN_AN_ANSWER = {
    "shorter than its length": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc",
    "within a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\nabc",
    "before the last chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    "bad trailer": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n a\r\n\r\n",
}


@pytest.mark.parametrize("answer", WITHIN_AN_ANSWER.values(), ids=WITHIN_AN_ANSWER)
def test_within_an_answer(start_proxy, backends: Backends, tmp_path, answer):
    proxy = logged(start_proxy, tmp_path, {"v1": backends.start(once(answer)).port})
    received = raw_answer(proxy.port, request_bytes("GET", "/", [("Connection", "close")]))
    # 502 where all of it was read at once, so that nothing had been passed on yet.
    assert received.startswith((b"HTTP/1.1 200 OK", b"HTTP/1.1 502 "))
    assert received.startswith(b"HTTP/1.1 502 ") or not received.endswith(b"0\r\n\r\n")
    assert entries(proxy, 1)[0]["response_flags"] in ("UC", "UPE")


def test_reset_within_an_answer_until_close(start_proxy, backends: Backends, tmp_path):
    """Cut, it must not look complete: the client's connection is reset, or its chunks end open."""

    async def handler(conn: Connection) -> None:
        await conn.request()
        await conn.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        conn.reset()

    proxy = logged(start_proxy, tmp_path, {"v1": backends.start(handler).port})
    received = raw_answer(proxy.port, request_bytes("GET", "/"))
    assert not received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"])
def test_longer_than_its_length(start_proxy, backends: Backends, tmp_path, extra):
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
    backend = backends.start(once(answer + extra, close=False))
    proxy = logged(start_proxy, tmp_path, {"v1": backend.port})
    with Client(proxy.port) as client:
        assert client.get("/").body == b"abc"
        assert client.get("/").body == b"after"
    assert backend.accepted == 2


def test_an_answer_that_nobody_asked_for(start_proxy, backends: Backends, tmp_path):
    """What comes on an idle connection is not the next request's answer."""

    async def handler(conn: Connection) -> None:
        await conn.request()
        await conn.answer(b"first")
        await conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await conn.receive()

    backend = backends.start(handler)
    proxy = logged(start_proxy, tmp_path, {"v1": backend.port})
    with Client(proxy.port) as client:
        for _ in range(3):
            assert client.get("/").body == b"first"
            wait_until(lambda: backend.open == 0, "the connection given up")


class TestStale:
    """A kept-alive connection that the primary has closed, unseen, when a request is sent on it."""

    @staticmethod
    async def closes_on_the_second(conn: Connection) -> None:
        if await conn.request():
            await conn.answer(b"one")
            await conn.head()  # the second is read, and dropped with its connection

    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "OPTIONS"])
    def test_tried_again_where_that_is_safe(self, start_proxy, backends, tmp_path, method):
        backend = backends.start(self.closes_on_the_second)
        proxy = logged(start_proxy, tmp_path, {"v1": backend.port})
        with Client(proxy.port) as client:
            for _ in range(4):
                assert client.request(method, "/").status == 200

    @pytest.mark.parametrize(
        ("method", "body"), [("POST", None), ("PATCH", None), ("POST", b"x"), ("PUT", b"x")]
    )
    def test_never_where_it_is_not(self, start_proxy, backends, tmp_path, method, body):
        backend = backends.start(self.closes_on_the_second)
        proxy = logged(start_proxy, tmp_path, {"v1": backend.port})
        with Client(proxy.port) as client:
            assert client.request(method, "/", (), body).status == 200
            assert client.request(method, "/", (), body).status == 503
        assert len(backend.heads) == 2

    def test_never_twice(self, start_proxy, backends, tmp_path):
        seen = 0

        async def only_the_first(conn: Connection) -> None:
            nonlocal seen
            while await conn.head():
                seen += 1
                if seen > 1:
                    return
                await conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                conn.h11 = type(conn.h11)(conn.h11.our_role)

        backend = backends.start(only_the_first)
        proxy = logged(start_proxy, tmp_path, {"v1": backend.port})
        with Client(proxy.port) as client:
            assert client.get("/").status == 200
            assert client.get("/").status == 503
        assert seen == 3


def test_refused(start_proxy, tmp_path):
    proxy = logged(start_proxy, tmp_path, {"v1": free_port()})
    with Client(proxy.port) as client:
        assert client.get("/").status == 503
    assert entries(proxy, 1)[0]["response_flags"] == "UF"


def test_no_such_name(start_proxy, tmp_path):
    document = rules({"v1": 1})
    document["services"][0]["endpoints"] = [
        {"address": "no-such-name.invalid:80", "labels": {"version": "v1"}}
    ]
    proxy = start_proxy(document)
    with Client(proxy.port) as client:
        found = client.get("/")
        assert found.status == 503
        assert b"endpoint" in found.body


def test_slow_connect(start_proxy, tmp_path):
    """A full backlog: the kernel drops the SYN, and nobody says no."""
    with socket.socket() as full:
        full.bind((LOOPBACK, 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((LOOPBACK, port))
            fillers.append(filler)
        time.sleep(0.1)
        log = tmp_path / "access.log"
        options = ("--connect-timeout", "0.3", "--access-log", str(log))
        proxy = start_proxy(rules({"v1": port}), *options, "--access-log-format", "json")
        proxy.access_log = log
        with Client(proxy.port) as client:
            began = time.monotonic()
            assert client.get("/").status == 503
            assert time.monotonic() - began < 5
        assert entries(proxy, 1)[0]["response_flags"] == "UF"
        for filler in fillers:
            filler.close()


def test_half_open(start_proxy, backends: Backends, tmp_path):
    """The primary ends its half behind an answer that goes on: what it sent still counts."""

    async def handler(conn: Connection) -> None:
        await conn.request()
        await conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhalf")
        conn.sock.shutdown(socket.SHUT_WR)
        await conn.receive()

    proxy = logged(start_proxy, tmp_path, {"v1": backends.start(handler).port})
    with Client(proxy.port) as client:
        for _ in range(3):
            assert client.get("/").body == b"half"


def test_closes_while_the_client_still_sends(start_proxy, backends: Backends, tmp_path):
    async def handler(conn: Connection) -> None:
        if (request := await conn.head()) and request.method == "POST":
            return
        await conn.send(AFTER)

    proxy = logged(start_proxy, tmp_path, {"v1": backends.start(handler).port})
    received = raw_answer(
        proxy.port,
        request_bytes("POST", "/", [("Content-Length", "500000"), ("Connection", "close")])
        + bytes(500_000),
    )
    assert received.startswith(b"HTTP/1.1 503 ")
    with Client(proxy.port) as client:
        assert client.get("/").body == b"after"
    assert entries(proxy, 1)[0]["response_flags"] == "UC"


def test_the_client_goes_away(start_proxy, backends: Backends, tmp_path):
    backend = backends.start(never_answers)
    proxy = logged(start_proxy, tmp_path, {"v1": backend.port})
    with Client(proxy.port) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.send(request_bytes("GET", "/"))
        wait_until(lambda: backend.open == 1, "the request upstream")
    assert entries(proxy, 1)[0]["response_flags"] == "DC"


def test_one_of_two_endpoints_is_gone(start_proxy, backends: Backends, tmp_path):
    document = rules({"v1": backends.start(echo).port, "gone": free_port()})
    document["routes"][0]["to"] = [{"service": "app"}]
    proxy = start_proxy(document)
    with Client(proxy.port) as client:
        for _ in range(10):
            assert client.get("/").status == 200
