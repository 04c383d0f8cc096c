"""Framing, order, backpressure and errors between client and primary (the contract's part 5)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

import h11
import pytest

from .backends import Backend, Backends, Connection, closes_each, echo, never_answers, never_reads
from .client import Client, blast, exchange, gets, raw_answer, request_bytes, stalled
from .conftest import Started, StartProxy
from .documents import rules
from .procs import LOOPBACK, Proxy, free_port, wait_until
from .website import pattern_sha256, site

MIB = 1 << 20


@pytest.fixture(scope="module")
def primary(module_backends: Backends) -> Backend:
    return module_backends.start(site)


@pytest.fixture(scope="module")
def shared(module_started: Started, module_backends: Backends, primary: Backend) -> Proxy:
    """One proxy for all tests of the module that do not count; mirroring is on, as in life."""
    shadow = module_backends.start(echo)
    document = rules({"v1": primary.port, "v2": shadow.port}, {}, hosts=["app.test"])
    return module_started.proxy(document)


@pytest.fixture
def proxy(shared: Proxy, primary: Backend) -> Iterator[Proxy]:
    """The shared proxy; what the test made it send must have satisfied h11."""
    primary.requests.clear()
    primary.heads.clear()
    primary.errors.clear()
    yield shared
    assert primary.errors == []
    shared.assert_sound()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Client]:
    with Client(proxy.port) as client:
        yield client


class TestConnections:
    def test_kept_on_both_sides(self, start_proxy: StartProxy, backends: Backends) -> None:
        primary = backends.start(echo)
        proxy = start_proxy(rules({"v1": primary.port}))
        with Client(proxy.port) as client:
            for i in range(50):
                assert client.request("POST", f"/{i}", (), b"x" * i).status == 200
        # The next client's requests go over the connection that the first one's left.
        with Client(proxy.port) as client:
            assert client.get("/").status == 200
        assert len(primary.requests) == 51
        assert primary.accepted == 1

    def test_as_many_upstream_as_needed(self, start_proxy: StartProxy, backends: Backends) -> None:
        primary = backends.start(echo)
        proxy = start_proxy(rules({"v1": primary.port}))
        blast(proxy.port, gets(400), connections=4)
        assert 1 <= primary.accepted <= 4

    def test_connection_close_is_honoured(self, proxy: Proxy, client: Client) -> None:
        response = client.get("/", ("Connection", "close"))
        assert response.status == 200
        assert (response.value("connection") or "").lower() == "close"
        assert client.at_end()

    def test_upstream_that_closes_each(self, start_proxy: StartProxy, backends: Backends) -> None:
        primary = backends.start(closes_each)
        proxy = start_proxy(rules({"v1": primary.port}))
        with Client(proxy.port) as client:
            for i in range(1, 51):
                assert client.get("/").status == 200
                # Its FIN is sent before we ask again: a connection known dead is not used.
                wait_until(lambda: primary.open == 0, "closed")
                assert primary.accepted == i

    def test_client_half_closes(self, proxy: Proxy, client: Client) -> None:
        client.send(request_bytes("POST", "/", (), b"body"))
        client.sock.shutdown(socket.SHUT_WR)
        response = client.response("POST")
        assert json.loads(response.body)["length"] == 4
        assert client.at_end()


SEQUENCE: list[tuple[str, bytes]] = [
    ("GET", request_bytes("GET", "/1")),
    ("POST", request_bytes("POST", "/2", (), b"a body with\r\n\r\nGET / HTTP/1.1\r\n in it")),
    ("HEAD", request_bytes("HEAD", "/big?n=100000")),
    ("POST", request_bytes("POST", "/4", (), [b"chunk", b"ed" * 700], trailers=[("X-T", "1")])),
    ("GET", request_bytes("GET", "/status/204")),
    ("GET", request_bytes("GET", "/chunked?n=70000")),
    ("GET", request_bytes("GET", "/status/304")),
    ("PUT", request_bytes("PUT", "/8", (), b"")),
    ("GET", request_bytes("GET", "/hints")),
    ("DELETE", request_bytes("DELETE", "/10")),
]


class TestPipelining:
    @pytest.mark.parametrize("pieces", [None, 1, 7, 1000], ids=lambda p: f"pieces-of-{p}")
    def test_answered_in_order(self, proxy: Proxy, primary: Backend, pieces: int | None) -> None:
        data = b"".join(raw for _, raw in SEQUENCE)
        answers = exchange(proxy.port, data, *(method for method, _ in SEQUENCE), pieces=pieces)
        statuses = [answer.status for answer in answers]
        assert statuses == [200, 200, 200, 200, 204, 200, 304, 200, 200, 200]
        echoed = {i: json.loads(answers[i].body) for i in (0, 1, 3, 7, 9)}
        assert [d["target"] for d in echoed.values()] == ["/1", "/2", "/4", "/8", "/10"]
        assert [d["method"] for d in echoed.values()] == ["GET", "POST", "POST", "PUT", "DELETE"]
        assert [d["length"] for d in echoed.values()] == [0, 37, 1405, 0, 0]
        assert echoed[3]["trailers"] == [["x-t", "1"]]
        assert answers[2].body == b""
        assert answers[2].value("content-length") == "100000"
        assert answers[5].sha256 == pattern_sha256(70_000)
        assert answers[8].informational == [103, 103]
        assert len(primary.requests) == len(SEQUENCE)

    def test_many(self, proxy: Proxy) -> None:
        count = 500
        answers = exchange(proxy.port, b"".join(gets(count)), *["GET"] * count)
        assert [json.loads(a.body)["target"] for a in answers] == [f"/r/{i}" for i in range(count)]

    @pytest.mark.parametrize(("method", "raw"), SEQUENCE, ids=range(1, len(SEQUENCE) + 1))
    def test_each_whole_byte_by_byte_and_with_the_next_behind(
        self, proxy: Proxy, method: str, raw: bytes
    ) -> None:
        (whole,) = exchange(proxy.port, raw, method)
        (pieced,) = exchange(proxy.port, raw, method, pieces=1)
        followed, after = exchange(proxy.port, raw + request_bytes("GET", "/next"), method, "GET")
        for other in (pieced, followed):
            assert (other.status, other.trailers) == (whole.status, whole.trailers)
            # The echo holds a request id of its own each time.
            if not whole.body.startswith(b"{"):
                assert other.body == whole.body
        assert json.loads(after.body)["target"] == "/next"

    def test_bad_request_behind_a_good_one(self, proxy: Proxy, client: Client) -> None:
        client.send(request_bytes("GET", "/good") + b"BAD\x00REQUEST\r\n\r\n")
        assert json.loads(client.response().body)["target"] == "/good"
        assert client.response().status == 400
        assert client.at_end()

    @pytest.mark.parametrize("first", ["connection-close", "http10"])
    def test_requests_behind_the_last_one_cost_nothing_of_its_answer(
        self, start_proxy: StartProxy, backends: Backends, first: str
    ) -> None:
        """A client that sends on after its last request, and reads late: what it sent must not
        make the kernel throw the answer away (RFC 9112 section 9.6)."""
        size = 3_000_000

        async def answer_later(conn: Connection) -> None:
            await conn.request()
            await asyncio.sleep(0.3)
            await conn.answer(bytes(size))

        primary = backends.start(answer_later)
        proxy = start_proxy(rules({"v1": primary.port}))
        if first == "http10":
            last = b"GET /last HTTP/1.0\r\n\r\n"
        else:
            last = request_bytes("GET", "/last", [("Connection", "close")])
        with socket.create_connection((LOOPBACK, proxy.port), timeout=10) as sock:
            sock.sendall(last)
            for _ in range(2):
                time.sleep(0.1)
                sock.sendall(request_bytes("GET", "/behind"))
            time.sleep(0.5)
            received = bytearray()
            while data := sock.recv(1 << 16):
                received += data
        assert len(received.partition(b"\r\n\r\n")[2]) == size
        assert [request.target for request in primary.requests] == ["/last"]

    def test_an_upstream_that_closes_in_the_old_way(
        self, start_proxy: StartProxy, backends: Backends
    ) -> None:
        """Proxy-Connection: close is no standard, and still means what it says."""

        async def close_each(conn: Connection) -> None:
            await conn.request()
            await conn.answer(b"ok", 200, ("Proxy-Connection", "close"))
            await asyncio.sleep(0.05)

        primary = backends.start(close_each)
        proxy = start_proxy(rules({"v1": primary.port}))
        with Client(proxy.port) as client:
            for _ in range(3):
                assert client.request("POST", "/", (), b"x").status == 200
        assert primary.accepted == 3


class TestAnswers:
    @pytest.mark.parametrize("target", ["/big?n=1000", "/chunked?n=1000", "/status/200", "/hints"])
    def test_head(self, client: Client, target: str) -> None:
        for _ in range(3):
            response = client.request("HEAD", target)
            assert (response.status, response.body) == (200, b"")
        # Nothing is left on either connection that the next answer could be taken for.
        assert json.loads(client.get("/after").body)["target"] == "/after"

    @pytest.mark.parametrize("status", [204, 304])
    def test_without_body(self, client: Client, status: int) -> None:
        for _ in range(3):
            response = client.get(f"/status/{status}")
            assert (response.status, response.body) == (status, b"")
            assert response.value("transfer-encoding") is None
        assert json.loads(client.get("/after").body)["target"] == "/after"

    @pytest.mark.parametrize("status", [200, 201, 301, 404, 500, 599])
    def test_status_is_passed(self, client: Client, status: int) -> None:
        assert client.get(f"/status/{status}").status == status

    @pytest.mark.parametrize("size", [0, 1, 100_000, 5 * MIB])
    def test_chunked_with_trailers(self, client: Client, size: int) -> None:
        for _ in range(2):
            response = client.get(f"/chunked?n={size}")
            assert (response.length, response.sha256) == (size, pattern_sha256(size))
            assert response.trailers == [("x-sum", "checked")]

    @pytest.mark.parametrize("size", [0, 1, 100_000, 5 * MIB])
    def test_until_close(self, client: Client, size: int) -> None:
        response = client.get(f"/until-close?n={size}")
        assert (response.length, response.sha256) == (size, pattern_sha256(size))

    def test_http10_upstream(self, client: Client) -> None:
        response = client.get("/http10")
        assert (response.status, response.body) == (200, b"old style\n")

    def test_early_hints(self, client: Client) -> None:
        response = client.get("/hints")
        assert (response.informational, response.body) == ([103, 103], b"hinted\n")


class TestHttp10Client:
    def test_closes_after_one(self, client: Client) -> None:
        client.send(request_bytes("GET", "/", version="1.0"))
        assert client.response().status == 200
        assert client.at_end()

    def test_keep_alive_on_demand(self, client: Client) -> None:
        for _ in range(2):
            client.send(request_bytes("GET", "/", [("Connection", "keep-alive")], version="1.0"))
            response = client.response()
            assert response.status == 200
            assert (response.value("connection") or "").lower() == "keep-alive"

    def test_its_missing_host_is_not_the_next_requests(self, client: Client) -> None:
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert client.response("GET").status == 404
        client.send(b"GET / HTTP/1.1\r\nHost: \r\n\r\n")
        assert client.response("GET").status == 400

    def test_no_chunks_for_it(self, client: Client) -> None:
        client.send(request_bytes("GET", "/chunked?n=100000", version="1.0"))
        response = client.response()
        assert response.value("transfer-encoding") is None
        assert response.sha256 == pattern_sha256(100_000)
        assert client.at_end()

    def test_no_interim_answers_for_it(self, client: Client) -> None:
        client.send(request_bytes("GET", "/hints", version="1.0"))
        response = client.response()
        assert (response.informational, response.body) == ([], b"hinted\n")


class TestExpect:
    HEADERS = (("Expect", "100-continue"), ("Content-Length", "10"))

    def test_continue(self, client: Client) -> None:
        client.send(request_bytes("POST", "/", self.HEADERS))
        client.sock.settimeout(5)  # the body is not sent before the go-ahead
        assert client.sock.recv(16, socket.MSG_PEEK).startswith(b"HTTP/1.1 100")
        client.send(b"0123456789")
        response = client.response("POST")
        assert (response.status, response.informational) == (200, [100])
        assert json.loads(response.body)["length"] == 10
        assert client.get("/after").status == 200

    def test_body_sent_without_waiting(self, client: Client) -> None:
        client.send(request_bytes("POST", "/", self.HEADERS) + b"0123456789")
        response = client.response("POST")
        assert json.loads(response.body)["length"] == 10

    def test_refused(self, client: Client) -> None:
        client.send(request_bytes("POST", "/refuse-expect", self.HEADERS))
        assert client.response("POST").status == 417


class TestEarlyAnswer:
    def test_and_upstream_closes(self, client: Client) -> None:
        body = request_bytes("POST", "/early", [("Content-Length", str(20 * MIB))])
        client.send(body + bytes(100_000))
        response = client.response("POST")
        assert (response.status, response.body) == (413, b"too early\n")

    def test_and_the_body_comes_after(self, client: Client, primary: Backend) -> None:
        data = request_bytes("POST", "/early-keep", (), bytes(3 * MIB))
        client.send(data[:1000])
        response = client.response("POST")
        assert (response.status, response.body) == (200, b"early\n")
        if (response.value("connection") or "").lower() != "close":
            client.send(data[1000:])
            assert json.loads(client.get("/after").body)["target"] == "/after"


class TestStreaming:
    def test_answer_is_not_held_back(self, start_proxy: StartProxy, backends: Backends) -> None:
        gate = backends.gate()

        async def in_two(conn: Connection) -> None:
            await conn.request()
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            await gate.passed()
            await conn.send(b"later")

        proxy = start_proxy(rules({"v1": backends.start(in_two).port}))
        with Client(proxy.port) as client:
            client.send(request_bytes("GET", "/"))
            response = client.head("GET")
            parts = client.body(response)
            assert next(parts) == b"first"
            gate.open()
            assert b"".join(parts) == b"later"

    def test_request_is_not_held_back(self, start_proxy: StartProxy, backends: Backends) -> None:
        parts: list[bytes] = []

        async def note(conn: Connection) -> None:
            while part := await conn.receive():
                parts.append(part)
                if b"later" in part:
                    await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        proxy = start_proxy(rules({"v1": backends.start(note).port}))
        with Client(proxy.port) as client:
            client.send(request_bytes("POST", "/", [("Content-Length", "10")]) + b"first")
            wait_until(lambda: b"".join(parts).endswith(b"first"), "the first half upstream")
            client.send(b"later")
            assert client.response("POST").status == 200

    def test_upstream_that_drips(self, start_proxy: StartProxy, backends: Backends) -> None:
        answer = (
            b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
            b"5\r\nhello\r\n2\r\n, \r\n5\r\nworld\r\n0\r\nX-Sum: 3\r\n\r\n"
        )

        async def byte_by_byte(conn: Connection) -> None:
            while await conn.receive():
                for byte in answer:
                    await conn.send(bytes([byte]))

        proxy = start_proxy(rules({"v1": backends.start(byte_by_byte).port}))
        with Client(proxy.port) as client:
            for _ in range(3):
                response = client.get("/")
                assert (response.status, response.body) == (200, b"hello, world")
                assert (response.informational, response.trailers) == ([103], [("x-sum", "3")])


class TestBackpressure:
    BOUND = 16 * MIB

    def test_client_that_reads_slowly(self, start_proxy: StartProxy, backends: Backends) -> None:
        proxy = start_proxy(rules({"v1": backends.start(site).port}))
        size = 100 * MIB
        with Client(proxy.port, timeout=60, rcvbuf=64 << 10) as client:
            client.get("/warm")
            before = proxy.reset_peak_rss()
            client.send(request_bytes("GET", f"/big?n={size}"))
            response = client.head("GET")
            parts = client.body(response)
            next(parts)
            wait_for_rest(proxy)
            for _ in parts:
                pass
        assert (response.length, response.sha256) == (size, pattern_sha256(size))
        assert proxy.peak_rss() - before <= self.BOUND

    def test_primary_that_reads_slowly(self, start_proxy: StartProxy, backends: Backends) -> None:
        gate = backends.gate()

        async def waits(conn: Connection) -> None:
            while head := await conn.head():
                if head.method == "POST":
                    await gate.passed()
                request = await conn.body(head)
                await conn.answer(request.describe())

        primary = backends.start(waits, rcvbuf=64 << 10)
        proxy = start_proxy(rules({"v1": primary.port}))
        with Client(proxy.port) as client:
            client.get("/warm")
        before = proxy.reset_peak_rss()
        size = 100 * MIB
        block = random.Random(1).randbytes(MIB)
        with Client(proxy.port, timeout=60) as client:
            client.send(request_bytes("POST", "/", [("Content-Length", str(size))]))
            taken = stalled(client.sock, block, limit=size)
            assert taken < size // 2, "the proxy reads what the primary does not take"
            gate.open()
            client.sock.settimeout(60)
            whole = block * (size // MIB)
            client.send(whole[taken:])
            response = client.response("POST")
        got = json.loads(response.body)
        assert (got["length"], got["sha256"]) == (size, hashlib.sha256(whole).hexdigest())
        assert proxy.peak_rss() - before <= self.BOUND

    def test_pipelining_client_that_does_not_read(
        self, start_proxy: StartProxy, backends: Backends
    ) -> None:
        proxy = start_proxy(rules({"v1": backends.start(site).port}))
        with Client(proxy.port, rcvbuf=64 << 10) as client:
            client.get("/warm")
            before = proxy.reset_peak_rss()
            request = request_bytes("GET", "/big?n=1000000", [("X-Padding", "x" * 4000)])
            stalled(client.sock, request, limit=40 * MIB)
            assert proxy.peak_rss() - before <= self.BOUND


def wait_for_rest(proxy: Proxy) -> None:
    """Until the proxy uses no more CPU: it has taken in what it will."""
    ticks = [-1]

    def same() -> bool:
        with open(f"/proc/{proxy.pid}/stat") as stat:
            ticks.append(sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13])))
        return len(ticks) > 10 and len(set(ticks[-10:])) == 1

    wait_until(same, "the proxy at rest", every=0.03)


class TestHeaders:
    """What a request carries on, and what belongs to one connection only."""

    def forwarded(self, client: Client, *headers: tuple[str, str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in json.loads(client.get("/", *headers).body)["headers"]:
            found.setdefault(name, []).append(value)
        return found

    def test_hop_by_hop_are_dropped(self, client: Client) -> None:
        found = self.forwarded(
            client,
            ("Connection", "keep-alive, X-Mine, x-other"),
            ("X-Mine", "1"),
            ("X-Other", "2"),
            ("X-Third", "3"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("TE", "gzip, trailers"),
        )
        assert not {"x-mine", "x-other", "keep-alive", "proxy-connection"} & set(found)
        assert found["x-third"] == ["3"]
        assert found.get("te", ["trailers"]) == ["trailers"]

    @pytest.mark.parametrize(
        "name", ["Host", "X-Forwarded-For", "X-Request-Id", "Authorization", "Cookie"]
    )
    def test_connection_cannot_strip(self, client: Client, name: str) -> None:
        value = "app.test" if name == "Host" else "value"
        own = [] if name == "Host" else [(name, value)]
        found = self.forwarded(client, ("Connection", name), *own)
        assert found[name.lower()][0].startswith(value)

    def test_forwarded_for_and_request_id(self, client: Client) -> None:
        found = self.forwarded(client)
        assert found["x-forwarded-for"] == ["127.0.0.1"]
        (made,) = found["x-request-id"]
        assert len(made) >= 16
        found = self.forwarded(client, ("X-Forwarded-For", "10.1.1.1"), ("X-Request-Id", "mine"))
        assert ",".join(found["x-forwarded-for"]).replace(" ", "") == "10.1.1.1,127.0.0.1"
        assert found["x-request-id"] == ["mine"]

    @pytest.mark.parametrize(
        ("sent", "forwarded"),
        [
            ("/a/./b/../c?x=/../y", "/a/c?x=/../y"),
            ("/a/%2e%2E/c", "/c"),
            ("/../../etc", "/etc"),
            ("/a//b", "/a//b"),
            ("/a%2fb", "/a%2fb"),
            ("/?q", "/?q"),
        ],
    )
    def test_path(self, client: Client, sent: str, forwarded: str) -> None:
        assert json.loads(client.get(sent).body)["target"] == forwarded

    def test_asterisk(self, client: Client) -> None:
        response = client.request("OPTIONS", "*")
        assert json.loads(response.body)["target"] == "*"


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


GET = "GET / HTTP/1.1"
POST = "POST / HTTP/1.1"
HOST = "Host: app.test"

REFUSED = {
    "no host": (head(GET), 400),
    "two hosts": (head(GET, HOST, "Host: other.test"), 400),
    "host with a space": (head(GET, "Host: app test"), 400),
    "host with a slash": (head(GET, "Host: app.test/x"), 400),
    "host with userinfo": (head(GET, "Host: me@app.test"), 400),
    "length and chunked": (
        head(POST, HOST, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        400,
    ),
    "two lengths": (head(POST, HOST, "Content-Length: 5", "Content-Length: 6") + b"hello", 400),
    "negative length": (head(POST, HOST, "Content-Length: -1"), 400),
    "length with a sign": (head(POST, HOST, "Content-Length: +5") + b"hello", 400),
    "bare line feeds": (head(GET, HOST).replace(b"\r\n", b"\n"), 400),
    "space before colon": (head(GET, HOST, "X-A : b"), 400),
    "folded line": (head(GET, HOST, "X-A: b", " c"), 400),
    "zero byte in a value": (head(GET, HOST, "X-A: b\0c"), 400),
    "carriage return in a value": (head(GET, HOST, "X-A: b\rc"), 400),
    "bad name": (head(GET, HOST, "X(A): b"), 400),
    "bad chunk size": (head(POST, HOST, "Transfer-Encoding: chunked") + b"zz\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 garbage\r\n\r\n", 400),
    "uri too long": (head(f"GET /{'x' * 40_000} HTTP/1.1", HOST), 414),
    "one header too large": (head(GET, HOST, "X-A: " + "x" * 70_000), 431),
    "headers too large": (head(GET, HOST, *(f"X-{i}: {'x' * 1000}" for i in range(70))), 431),
    "too many headers": (head(GET, HOST, *(f"X-{i}: x" for i in range(101))), 431),
    "connect": (head("CONNECT app.test:443 HTTP/1.1", "Host: app.test:443"), 501),
    "no route": (head(GET, "Host: unknown.test"), 404),
}


class TestRefused:
    @pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
    def test_request(self, proxy: Proxy, primary: Backend, data: bytes, status: int) -> None:
        with Client(proxy.port) as client:
            client.send(data)
            response = client.response("GET")
            assert response.status == status
            assert (response.value("content-type") or "").startswith("text/plain")
            assert len(response.body.strip().splitlines()) == 1
            if status != 404:
                client.sock.shutdown(socket.SHUT_WR)
                assert client.at_end()
        assert primary.requests == []

    def test_just_within_the_limits(self, proxy: Proxy, client: Client) -> None:
        fields = [(f"X-{i}", "x" * 400) for i in range(90)]
        assert client.get("/" + "x" * 20_000, *fields).status == 200

    def test_chunked_not_last(self, proxy: Proxy, primary: Backend) -> None:
        data = head(POST, HOST, "Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n"
        assert exchange(proxy.port, data, "POST")[0].status in (400, 501)
        assert primary.requests == []

    def test_http2_preface(self, proxy: Proxy, primary: Backend) -> None:
        answer = raw_answer(proxy.port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(20))
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 505"))
        assert primary.requests == []

    def test_connection_survives_404(self, client: Client) -> None:
        assert client.get("/", host="unknown.test").status == 404
        assert client.get("/").status == 200

    def test_body_of_a_refused_request_is_no_request(self, proxy: Proxy, primary: Backend) -> None:
        hidden = request_bytes("GET", "/smuggled")
        data = request_bytes("POST", "/", (), hidden, host="unknown.test")
        first, second = exchange(proxy.port, data + request_bytes("GET", "/next"), "POST", "GET")
        assert (first.status, second.status) == (404, 200)
        assert [request.target for request in primary.requests] == ["/next"]


class TestUpstreamFails:
    def test_not_there(self, start_proxy: StartProxy) -> None:
        proxy = start_proxy(rules({"v1": free_port()}))
        with Client(proxy.port) as client:
            for _ in range(3):
                assert client.get("/").status == 503
                assert client.request("POST", "/", (), b"body").status == 503

    @pytest.mark.parametrize("target", ["/garbage"])
    def test_garbage(self, client: Client, target: str) -> None:
        assert client.get(target).status == 502
        assert client.get("/after").status == 200

    @pytest.mark.parametrize("target", ["/nothing", "/cut-head"])
    def test_closes_before_an_answer(self, client: Client, target: str) -> None:
        # POST, because nobody may try that again.
        assert client.request("POST", target, (), b"x").status in (502, 503)
        assert client.get("/after").status == 200

    @pytest.mark.parametrize("target", ["/cut-body", "/cut-chunks", "/reset-body"])
    def test_cut_answer_never_looks_whole(self, client: Client, target: str) -> None:
        client.send(request_bytes("GET", target))
        response = client.head("GET")
        assert response.status == 200
        with pytest.raises((h11.RemoteProtocolError, ConnectionResetError)):
            for _ in client.body(response):
                pass

    def test_no_answer_in_time(self, start_proxy: StartProxy, backends: Backends) -> None:
        document = rules({"v1": backends.start(never_answers).port}, timeout="200ms")
        proxy = start_proxy(document)
        with Client(proxy.port) as client:
            assert client.get("/").status == 504

    def test_reads_nothing_and_no_answer_in_time(
        self, start_proxy: StartProxy, backends: Backends
    ) -> None:
        primary = backends.start(never_reads, rcvbuf=4096)
        proxy = start_proxy(rules({"v1": primary.port}, timeout="300ms"))
        with Client(proxy.port) as client:
            stalled(client.sock, request_bytes("POST", "/", (), bytes(20 * MIB)), quiet=0.2)
            client.sock.settimeout(10)
            assert client.response("POST").status == 504

    def test_connections_are_not_left(self, start_proxy: StartProxy, backends: Backends) -> None:
        """A client that resets its connection takes the upstream connection with it. (One that
        only ends its half may still want the answer: RFC 9112 section 9.6.)"""
        primary = backends.start(never_answers)
        proxy = start_proxy(rules({"v1": primary.port}))
        reset = struct.pack("ii", 1, 0)
        with ExitStack() as clients:
            for _ in range(10):
                client = clients.enter_context(Client(proxy.port))
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                client.send(request_bytes("GET", "/"))
            wait_until(lambda: primary.open == 10, "ten requests upstream")
        wait_until(lambda: primary.open == 0, "their upstream connections closed")


class TestLimits:
    """What the operator can set, each against its default."""

    def test_slow_head(self, start_proxy: StartProxy, backends: Backends) -> None:
        document = rules({"v1": backends.start(echo).port})
        proxy = start_proxy(document, "--request-head-timeout", "0.3")
        with Client(proxy.port) as client:
            client.send(request_bytes("GET", "/")[:-2])
            assert client.response().status == 408
            assert client.at_end()
        # A slow body is none of that limit's business.
        with Client(proxy.port) as client:
            client.send(request_bytes("POST", "/", [("Content-Length", "2")]) + b"a")
            time.sleep(0.5)
            client.send(b"b")
            assert client.response("POST").status == 200

    def test_idle(self, start_proxy: StartProxy, backends: Backends) -> None:
        document = rules({"v1": backends.start(echo).port})
        proxy = start_proxy(document, "--idle-timeout", "0.3")
        with Client(proxy.port, timeout=10) as client:
            assert client.get("/").status == 200
            assert client.at_end()

    @pytest.mark.parametrize("body", [bytes(1001), [bytes(600), bytes(600)]], ids=["length", "te"])
    def test_body_size(
        self, start_proxy: StartProxy, backends: Backends, body: bytes | list[bytes]
    ) -> None:
        primary = backends.start(echo)
        proxy = start_proxy(rules({"v1": primary.port}), "--max-body-bytes", "1000")
        with Client(proxy.port) as client:
            assert client.request("POST", "/", (), bytes(1000)).status == 200
            assert client.request("POST", "/", (), body).status == 413
        assert [request.length for request in primary.requests] == [1000]

    def test_header_limits(self, start_proxy: StartProxy, backends: Backends) -> None:
        document = rules({"v1": backends.start(echo).port})
        options = ("--max-headers", "10", "--max-header-bytes", "2000", "--max-uri-bytes", "500")
        proxy = start_proxy(document, *options)
        for target, headers, status in (
            ("/", [(f"X-{i}", "x") for i in range(8)], 200),
            ("/", [(f"X-{i}", "x") for i in range(10)], 431),
            ("/", [("X-A", "x" * 2000)], 431),
            ("/" + "x" * 600, [], 414),
        ):
            data = request_bytes("GET", target, headers)
            assert exchange(proxy.port, data, "GET")[0].status == status

    def test_headers_of_the_proxy_off(self, start_proxy: StartProxy, backends: Backends) -> None:
        primary = backends.start(echo)
        options = ("--x-forwarded-for", "off", "--x-request-id", "off")
        proxy = start_proxy(rules({"v1": primary.port}), *options)
        with Client(proxy.port) as client:
            client.get("/")
            client.get("/", ("X-Forwarded-For", "10.1.1.1"), ("X-Request-Id", "mine"))
        bare, given = primary.requests
        assert bare.value("x-forwarded-for") is bare.value("x-request-id") is None
        assert (given.value("x-forwarded-for"), given.value("x-request-id")) == ("10.1.1.1", "mine")


def test_many_short_connections(start_proxy: StartProxy, backends: Backends) -> None:
    """Connection churn leaves no descriptors behind."""
    primary = backends.start(echo)
    proxy = start_proxy(rules({"v1": primary.port}))

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{proxy.pid}/fd"))

    with Client(proxy.port) as client:
        client.get("/")
    before = descriptors()
    for _ in range(300):
        with Client(proxy.port) as client:
            assert client.get("/").status == 200
    wait_until(lambda: descriptors() <= before + 4, "descriptors closed again")
