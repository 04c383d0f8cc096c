"""What HTTP/1.1 means beyond framing: methods, fields, early answers, tunnels, both ends that close
as they like. Each proxy answers to its end and never complains (the fixtures see to it).
"""

from __future__ import annotations

import json
import re
import socket
import time
from email.utils import parsedate_to_datetime

import pytest

from .backends import Backends, Connection, echo
from .client import Client, exchange, raw_answer, request_bytes
from .conftest import StartProxy
from .documents import rules
from .procs import LOOPBACK, Proxy, free_port, wait_until

BODY = b"0123456789"


def raw(answer: bytes, *, close: bool = False):
    """A backend that reads each request and answers it with these bytes."""

    async def handler(conn: Connection) -> None:
        while await conn.request():
            await conn.send(answer)
            if close:
                return
            conn.h11 = type(conn.h11)(conn.h11.our_role)

    return handler


@pytest.fixture
def proxy(start_proxy: StartProxy, backends: Backends) -> Proxy:
    return start_proxy(rules({"v1": backends.start(echo).port}))


class TestMethods:
    @pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
    def test_refused_by_default(self, start_proxy: StartProxy, backends: Backends, method) -> None:
        backend = backends.start(echo)
        proxy = start_proxy(rules({"v1": backend.port}))
        target = "app.test:443" if method == "CONNECT" else "/"
        with Client(proxy.port) as client:
            client.send(request_bytes(method, target) + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            response = client.response("GET")
            assert response.status == (501 if method == "CONNECT" else 405)
            assert method == "CONNECT" or "GET" in (response.value("allow") or "")
            client.sock.shutdown(socket.SHUT_WR)
            assert client.at_end()
        assert backend.heads == []

    def test_trace_when_allowed(self, start_proxy: StartProxy, backends: Backends) -> None:
        backend = backends.start(echo)
        proxy = start_proxy(rules({"v1": backend.port}), "--allow-trace", "on")
        with Client(proxy.port) as client:
            assert client.request("TRACE", "/").status == 200
            assert client.request("TRACE", "/", (), b"body").status == 400
        assert [request.method for request in backend.requests] == ["TRACE"]

    def test_a_method_that_is_not_known(self, proxy: Proxy) -> None:
        assert exchange(proxy.port, request_bytes("BREW", "/pot"), "GET")[0].status == 501

    @pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
    def test_max_forwards(self, start_proxy: StartProxy, backends: Backends, method: str) -> None:
        backend = backends.start(echo)
        proxy = start_proxy(rules({"v1": backend.port}), "--allow-trace", "on")
        secret = [("Cookie", "a=b"), ("X-A", "b")]
        with Client(proxy.port) as client:
            client.request(method, "/", [("Max-Forwards", "3")])
            (seen,) = backend.requests
            assert seen.values("max-forwards") == ["2"]
            answer = client.request(method, "/x", [("Max-Forwards", "0"), *secret])
            assert answer.status == 200
            if method == "TRACE":
                assert answer.value("content-type") == "message/http"
                assert answer.body.startswith(b"TRACE /x HTTP/1.1\r\n")
                assert b"X-A: b\r\n" in answer.body
                assert b"a=b" not in answer.body
            client.request("GET", "/", [("Max-Forwards", "0")])  # means nothing there
        assert [request.method for request in backend.requests] == [method, "GET"]
        assert backend.requests[1].values("max-forwards") == ["0"]

    @pytest.mark.parametrize("target", ["*", "http://app.test", "http://app.test:80"])
    def test_options_of_the_server(self, start_proxy: StartProxy, backends: Backends, target):
        backend = backends.start(echo)
        proxy = start_proxy(rules({"v1": backend.port}))
        assert exchange(proxy.port, request_bytes("OPTIONS", target), "OPTIONS")[0].status == 200
        assert backend.requests[0].target == "*"


class TestConnect:
    def test_a_tunnel(self, start_proxy: StartProxy, backends: Backends) -> None:
        async def shouts(conn: Connection) -> None:
            while data := await conn.receive():
                await conn.send(data.upper())

        target = backends.start(shouts)
        document = rules({"v1": target.port, "v2": backends.start(echo).port}, {})
        proxy = start_proxy(document, "--allow-connect", "on")
        with socket.create_connection((LOOPBACK, proxy.port), timeout=10) as sock:
            sock.sendall(request_bytes("CONNECT", "app.test:443") + b"early ")
            answer = sock.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n\r\n")
            sock.sendall(b"and late")
            while len(answer) < 19 + 14:
                answer += sock.recv(4096)
            assert answer[19:] == b"EARLY AND LATE"
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(4096) == b""
        wait_until(lambda: target.open == 0, "the tunnel's other end closed")
        page = proxy.ask("/metrics")[1]
        assert 'fastmirror_tunnels_total{kind="connect"} 1' in page
        assert 'reason="upgrade"} 1' in page

    @pytest.mark.parametrize("target", ["app.test", "/", "app.test:", ":443", "a b:443"])
    def test_not_a_host_and_port(self, start_proxy: StartProxy, backends: Backends, target) -> None:
        options = ("--allow-connect", "on")
        proxy = start_proxy(rules({"v1": backends.start(echo).port}), *options)
        assert exchange(proxy.port, request_bytes("CONNECT", target), "GET")[0].status == 400

    def test_nobody_there(self, start_proxy: StartProxy) -> None:
        proxy = start_proxy(rules({"v1": free_port()}), "--allow-connect", "on")
        data = request_bytes("CONNECT", "app.test:443") + request_bytes("GET", "/smuggled")
        answer = raw_answer(proxy.port, data)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert answer.count(b"HTTP/1.1") == 1


class TestFields:
    def test_date(self, start_proxy: StartProxy, backends: Backends) -> None:
        own = b"HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n\r\n"
        document = rules({"v1": backends.start(raw(own)).port}, hosts=["app.test"])
        proxy = start_proxy(document)
        with Client(proxy.port) as client:
            assert client.get("/").value("date") == "Sun, 06 Nov 1994 08:49:37 GMT"
            missing = client.get("/", host="other.test")
            assert missing.status == 404
            assert missing.value("server") == "fastmirror"
            written = parsedate_to_datetime(missing.value("date") or "").timestamp()
            assert abs(time.time() - written) < 3

    def test_date_is_added(self, proxy: Proxy) -> None:
        (answer,) = exchange(proxy.port, request_bytes("GET", "/"), "GET")
        assert re.fullmatch(
            r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT",
            answer.value("date") or "",
        )

    def test_via_and_server_are_passed_on(self, start_proxy: StartProxy, backends: Backends):
        answer = b"HTTP/1.1 200 OK\r\nserver: mine\r\nvia: 1.1 x\r\ncontent-length: 0\r\n\r\n"
        backend = backends.start(raw(answer))
        proxy = start_proxy(rules({"v1": backend.port}))
        with Client(proxy.port) as client:
            found = client.get("/", ("Via", "1.0 y"))
        assert (found.value("server"), found.value("via")) == ("mine", "1.1 x")
        assert backend.requests[0].values("via") == ["1.0 y"]


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "status", "body"),
        [
            (b"HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n", 205, b""),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", 200, b"abc"),
            (b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", 200, b"abc"),
            (b"HTTP/1.1 200\r\ncontent-length: 3\r\n\r\nabc", 200, b"abc"),
            (b"HTTP/1.1 200 \r\ncontent-length: 3\r\n\r\nabc", 200, b"abc"),
        ],
    )
    def test_are_passed(self, start_proxy: StartProxy, backends: Backends, answer, status, body):
        proxy = start_proxy(rules({"v1": backends.start(raw(answer, close=True)).port}))
        with Client(proxy.port) as client:
            for _ in range(2):
                found = client.get("/")
                assert (found.status, found.body) == (status, body)

    def test_a_final_one_while_the_body_is_still_coming(
        self, start_proxy: StartProxy, backends: Backends
    ) -> None:
        async def early(conn: Connection) -> None:
            while await conn.head():
                await conn.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
                while await conn.receive():
                    pass

        proxy = start_proxy(rules({"v1": backends.start(early).port}))
        with Client(proxy.port) as client:
            client.send(request_bytes("POST", "/", [("Content-Length", "100000")]) + bytes(1000))
            assert client.response("POST").status == 403
            client.send(bytes(99_000))
            client.send(request_bytes("GET", "/next"))
            assert client.response().status == 403

    def test_the_client_has_closed_its_half(self, proxy: Proxy) -> None:
        with Client(proxy.port) as client:
            client.send(request_bytes("POST", "/", (), BODY) + request_bytes("GET", "/second"))
            client.sock.shutdown(socket.SHUT_WR)
            first, second = client.response("POST"), client.response()
            assert json.loads(first.body)["length"] == len(BODY)
            assert json.loads(second.body)["target"] == "/second"
            assert client.at_end()


class TestExpect:
    def test_a_silent_primary(self, start_proxy: StartProxy, backends: Backends) -> None:
        """A client that waits no longer sends its body, and is answered."""

        async def silent(conn: Connection) -> None:
            request = await conn.head()
            assert request is not None
            conn.h11 = type(conn.h11)(conn.h11.our_role)
            received = b""
            while len(received) < len(BODY):
                received += await conn.receive()
            await conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        proxy = start_proxy(rules({"v1": backends.start(silent).port}))
        with Client(proxy.port) as client:
            headers = [("Expect", "100-continue"), ("Content-Length", str(len(BODY)))]
            client.send(request_bytes("POST", "/", headers))
            time.sleep(0.3)
            client.send(BODY)
            assert client.response("POST").status == 200

    def test_a_copy_gets_the_body_all_the_same(
        self, start_proxy: StartProxy, backends: Backends
    ) -> None:
        shadow = backends.start(echo)
        document = rules({"v1": backends.start(echo).port, "v2": shadow.port}, {})
        proxy = start_proxy(document)
        with Client(proxy.port) as client:
            headers = [("Expect", "100-continue"), ("Content-Length", str(len(BODY)))]
            client.send(request_bytes("POST", "/", headers))
            assert client.sock.recv(100).startswith(b"HTTP/1.1 100")
            client.send(BODY)
            assert client.response("POST").status == 200
        proxy.settled(1)
        (copy,) = shadow.requests
        assert (copy.length, copy.value("expect")) == (len(BODY), None)
