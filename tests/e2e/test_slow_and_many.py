"""Clients that are slow, and clients that are many: nobody else waits for them, and what they may
take of the process is bounded.
"""

from __future__ import annotations

import os
import resource
import socket
import time
from contextlib import ExitStack, suppress

import pytest

from .backends import Backends, echo
from .client import Client, exchange, raw_answer, request_bytes
from .conftest import StartProxy
from .documents import rules
from .procs import LOOPBACK, wait_until
from .website import site

MIB = 1 << 20


class TestConnectionLimit:
    def test_one_more_is_told(self, start_proxy: StartProxy, backends: Backends) -> None:
        proxy = start_proxy(rules({"v1": backends.start(echo).port}), "--max-connections", "5")
        with ExitStack() as clients:
            held = [clients.enter_context(Client(proxy.port)) for _ in range(5)]
            for client in held:
                assert client.get("/").status == 200
            with Client(proxy.port) as client:
                refused = client.response()
                assert refused.status == 503
                assert b"too many connections" in refused.body
            for client in held:
                assert client.get("/").status == 200
        with Client(proxy.port) as client:
            wait_until(lambda: client_is_served(proxy.port), "a place for the next")
        assert "fastmirror_connections_refused_total" in proxy.ask("/metrics")[1]

    def test_a_flood(self, start_proxy: StartProxy, backends: Backends) -> None:
        proxy = start_proxy(rules({"v1": backends.start(echo).port}), "--max-connections", "5")
        with ExitStack() as stack:
            held = [stack.enter_context(Client(proxy.port)) for _ in range(5)]
            for client in held:
                assert client.get("/").status == 200
            flood = [
                stack.enter_context(socket.create_connection((LOOPBACK, proxy.port)))
                for _ in range(500)
            ]
            time.sleep(0.2)
            descriptors = len(os.listdir(f"/proc/{proxy.popen.pid}/fd"))
            assert descriptors < 250
            for client in held:
                assert client.get("/").status == 200
            assert len(flood) == 500


def client_is_served(port: int) -> bool:
    try:
        return exchange(port, request_bytes("GET", "/"), "GET")[0].status == 200
    except (AssertionError, OSError):
        return False


def test_descriptors_run_out(start_proxy: StartProxy, backends: Backends) -> None:
    """Connections beyond them are not served; those that are there are, and all is well after."""
    proxy = start_proxy(rules({"v1": backends.start(echo).port}))
    with Client(proxy.port) as client:
        assert client.get("/").status == 200
        open_now = len(os.listdir(f"/proc/{proxy.popen.pid}/fd"))
        limit = open_now + 20
        resource.prlimit(proxy.popen.pid, resource.RLIMIT_NOFILE, (limit, limit))
        with ExitStack() as stack:
            for _ in range(100):
                sock = stack.enter_context(socket.socket())
                sock.settimeout(2)
                with suppress(OSError):
                    sock.connect((LOOPBACK, proxy.port))
                    sock.sendall(request_bytes("GET", "/"))
            # Until the others have theirs, one of them may have the connection to the backend.
            wait_until(lambda: client.get("/").status == 200, "the others' answers")
            for _ in range(20):
                assert client.get("/").status == 200
        wait_until(lambda: client_is_served(proxy.port), "new connections served again")


class TestSlow:
    def test_a_head_that_drips(self, start_proxy: StartProxy, backends: Backends) -> None:
        """The time is from its first byte, however many more come."""
        options = ("--request-head-timeout", "0.5")
        proxy = start_proxy(rules({"v1": backends.start(echo).port}), *options)
        with Client(proxy.port) as client:
            began = time.monotonic()
            client.send(b"GET / HTTP/1.1\r\nHost: app.test\r\n")
            with suppress(OSError):
                while time.monotonic() - began < 3:
                    client.send(b"x")
                    time.sleep(0.1)
                    client.sock.settimeout(0.001)
                    with suppress(TimeoutError):
                        if client.sock.recv(1, socket.MSG_PEEK):
                            break
            client.sock.settimeout(5)
            assert time.monotonic() - began < 2
            assert client.response().status == 408

    def test_a_body_that_drips(self, start_proxy: StartProxy, backends: Backends) -> None:
        backend = backends.start(echo)
        proxy = start_proxy(rules({"v1": backend.port}), "--request-timeout", "0.6")
        with Client(proxy.port) as client:
            client.send(request_bytes("POST", "/", [("Content-Length", "100")]))
            began = time.monotonic()
            with suppress(OSError):
                for _ in range(10):
                    client.send(b"x")
                    time.sleep(0.1)
            assert client.response("POST").status == 408
            assert time.monotonic() - began < 3
        assert backend.requests == []
        with Client(proxy.port) as client:
            for _ in range(3):
                assert client.request("POST", "/", (), bytes(1000)).status == 200
                time.sleep(0.3)

    def test_a_body_that_stops(self, start_proxy: StartProxy, backends: Backends) -> None:
        proxy = start_proxy(rules({"v1": backends.start(echo).port}), "--idle-timeout", "0.4")
        with Client(proxy.port) as client:
            client.send(request_bytes("POST", "/", [("Content-Length", "100")]) + b"some")
            assert client.response("POST").status == 408

    def test_a_reader_that_stops(self, start_proxy: StartProxy, backends: Backends) -> None:
        """It holds a buffer's worth, not the answer; and is given up."""
        primary = backends.start(site)
        proxy = start_proxy(rules({"v1": primary.port}), "--idle-timeout", "1")
        before = rss(proxy.popen.pid)
        with ExitStack() as stack:
            for _ in range(10):
                client = stack.enter_context(Client(proxy.port, rcvbuf=4096))
                client.send(request_bytes("GET", f"/big?n={50 * MIB}"))
            time.sleep(0.7)
            assert rss(proxy.popen.pid) - before < 40 * MIB
            assert client_is_served(proxy.port)
            wait_until(lambda: primary.open <= 1, "those that read nothing given up", timeout=15)

    def test_thousands_of_idle_ones(self, start_proxy: StartProxy, backends: Backends) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 3000
        if hard < wanted + 500:
            pytest.skip(f"only {hard} descriptors are allowed here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 500), hard))
        proxy = start_proxy(rules({"v1": backends.start(echo).port}))
        before = rss(proxy.popen.pid)
        with ExitStack() as stack:
            for _ in range(wanted):
                stack.enter_context(socket.create_connection((LOOPBACK, proxy.port)))
            wait_until(
                lambda: (
                    f'fastmirror_connections{{side="downstream"}} {wanted}'
                    in proxy.ask("/metrics")[1]
                ),
                "all of them accepted",
            )
            assert client_is_served(proxy.port)
            assert rss(proxy.popen.pid) - before < wanted * 8192


def rss(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class TestRouteLimits:
    @pytest.mark.parametrize("chunked", [False, True])
    def test_body(self, start_proxy: StartProxy, backends: Backends, chunked: bool) -> None:
        primary, shadow = backends.start(echo), backends.start(echo)
        document = rules({"v1": primary.port, "v2": shadow.port}, {}, max_body="1KiB")
        proxy = start_proxy(document)
        for size, status in ((1024, 200), (1025, 413)):
            body = [bytes(size)] if chunked else bytes(size)
            data = request_bytes("POST", "/", (), body)
            assert exchange(proxy.port, data, "POST")[0].status == status
        assert [request.length for request in primary.requests] == [1024]
        proxy.settled(2)
        assert [request.length for request in shadow.requests] == [1024]

    def test_no_body_at_all(self, start_proxy: StartProxy, backends: Backends) -> None:
        proxy = start_proxy(rules({"v1": backends.start(echo).port}, max_body=0))
        with Client(proxy.port) as client:
            assert client.get("/").status == 200
            assert client.request("POST", "/", (), b"x").status == 413


def test_garbage_is_answered_at_once(start_proxy: StartProxy, backends: Backends) -> None:
    """Not when the time for a head is up: a TLS client would wait as long."""
    proxy = start_proxy(rules({"v1": backends.start(echo).port}))
    began = time.monotonic()
    answer = raw_answer(proxy.port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert time.monotonic() - began < 4
