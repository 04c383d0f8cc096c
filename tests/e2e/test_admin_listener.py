"""The admin listener before clients that are many, slow, gone, or not what they say."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from .backends import Backends, Connection
from .client import Client
from .conftest import StartNginx, StartProxy
from .documents import rules
from .procs import LOOPBACK, Proxy, wait_until


def said(proxy: Proxy, data: bytes, *, end: bool = False) -> bytes:
    """All that is answered; ``end``: to a client that sends no more."""
    with socket.create_connection((LOOPBACK, proxy.admin), 10) as sock:
        sock.sendall(data)
        if end:
            sock.shutdown(socket.SHUT_WR)
        return sock.makefile("rb").read()


def status_of(proxy: Proxy, *lines: str) -> int:
    return int(said(proxy, "\r\n".join([*lines, "", ""]).encode()).split()[1])


def many(port: int, count: int) -> dict[str, Any]:
    """Rules of which each page has megabytes."""
    document = rules({"v1": port, "v2": port}, {})
    [route] = document["routes"]
    [mirror] = route["mirrors"]
    document["routes"] = [
        {**route, "name": f"{at}-{'r' * 200}", "match": [{"path": {"exact": f"/{at}"}}],
         "mirrors": [{**mirror, "name": "m" * 100}]}
        for at in range(count)
    ]  # fmt: skip
    return document


@pytest.fixture
def proxy(start_proxy: StartProxy, start_nginx: StartNginx) -> Proxy:
    return start_proxy(rules({"v1": start_nginx("v1").port}))


@pytest.mark.parametrize("path", ["/readyz", "/metrics", "/services", "/stats.json", "/"])
def test_a_client_that_sends_no_more_is_answered(proxy: Proxy, path: str) -> None:
    data = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode()
    head, _, body = said(proxy, data, end=True).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"content-length: {len(body)}\r\n".encode() in head


def test_what_is_behind_a_request_is_not_read(proxy: Proxy) -> None:
    first = f"GET /readyz HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode()
    for behind in (b"\0nonsense\r\n\r\n", b"POST /drain HTTP/1.1\r\nHost: a\r\n\r\n"):
        assert said(proxy, first + behind).startswith(b"HTTP/1.1 200 ")
    assert proxy.ask("/readyz")[0] == 200


class TestOrigin:
    def test_a_host_that_is_said_twice(self, proxy: Proxy) -> None:
        where = f"{LOOPBACK}:{proxy.admin}"
        lines = ["Host: evil.test", f"Host: {where}", f"Origin: http://{where}"]
        assert status_of(proxy, "POST /mirror/off HTTP/1.1", *lines) == 400

    @pytest.mark.parametrize("name", ["evil.test", "127.0.0.1.evil.test", "EVIL.test", "a@b"])
    def test_a_name_that_was_made_to_point_here(self, proxy: Proxy, name: str) -> None:
        lines = [f"Host: {name}:{proxy.admin}", f"Origin: http://{name}:{proxy.admin}"]
        assert status_of(proxy, "POST /mirror/off HTTP/1.1", *lines) == 403
        assert status_of(proxy, "GET /readyz HTTP/1.1", lines[0]) == 200

    @pytest.mark.parametrize(
        "name", [LOOPBACK, "[::1]", "localhost", "LocalHost", "gateway", "a.svc.cluster.local"]
    )
    def test_our_own(self, proxy: Proxy, name: str) -> None:
        for port in ("", f":{proxy.admin}"):
            lines = [f"Host: {name}{port}", f"Origin: http://{name.lower()}{port}"]
            assert status_of(proxy, "POST /mirror/on HTTP/1.1", *lines) == 200


def test_slow_readers_of_long_pages_are_bounded(
    start_proxy: StartProxy, start_nginx: StartNginx
) -> None:
    """Forty readers of 20 MB each that read nothing, in turn: not 800 MB."""
    proxy = start_proxy(many(start_nginx("v1").port, 1000))
    length = len(proxy.ask("/metrics")[1])
    assert length > 15 << 20
    before = proxy.reset_peak_rss()
    with ExitStack() as stack:
        clients = []
        for _ in range(40):
            client = stack.enter_context(Client(proxy.admin, rcvbuf=4096))
            client.send(f"GET /metrics HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode())
            clients.append((client, client.head("GET")))
        statuses = [answer.status for _, answer in clients]
        assert statuses[0] == 200
        assert set(statuses) == {200, 503}
        assert proxy.peak_rss() - before < 250 << 20
        # Short ones are not refused for it, and the first are read to their end.
        assert proxy.ask("/readyz")[0] == 200
        assert proxy.ask("/metrics", "HEAD")[0] == 200
        for client, answer in (clients[0], clients[-1]):
            read = sum(map(len, client.body(answer)))
            assert read == int(answer.value("content-length") or 0)
    wait_until(lambda: proxy.ask("/metrics")[0] == 200, "another page, now that they are gone")


def test_many_who_ask_at_once_share_a_page(
    start_proxy: StartProxy, start_nginx: StartNginx
) -> None:
    proxy = start_proxy(many(start_nginx("v1").port, 1000))
    before = proxy.reset_peak_rss()
    found: list[tuple[int, int]] = []

    def ask() -> None:
        status, text = proxy.ask("/metrics")
        found.append((status, len(text)))

    threads = [threading.Thread(target=ask) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _ in found} == {200}
    assert min(length for _, length in found) > 15 << 20
    assert proxy.peak_rss() - before < 250 << 20


def test_services_are_not_waited_for_while_workers_drain(
    start_proxy: StartProxy, backends: Backends
) -> None:
    gate = backends.gate()

    async def held(conn: Connection) -> None:
        while await conn.request():
            await gate.passed()
            await conn.answer(b"ok")

    backend = backends.start(held)
    proxy = start_proxy(rules({"v1": backend.port}), "--workers", "2", "--drain-time", "30")
    with Client(proxy.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
        wait_until(lambda: '"active":1' in proxy.ask("/services")[1], "the request")
        assert proxy.ask("/drain", "POST")[0] == 200
        for path in ("/services", "/stats.json", "/metrics"):
            assert proxy.ask(path)[0] == 200
        assert proxy.ask("/drain?graceful", "POST")[0] == 200
        assert proxy.ask("/mirror/off", "POST")[0] == 200
        gate.open()
        assert client.response("GET").status == 200
    assert proxy.wait() == 0


def test_clients_that_are_gone_take_nobodys_place(
    start_proxy: StartProxy, start_nginx: StartNginx
) -> None:
    proxy = start_proxy(many(start_nginx("v1").port, 1000))
    data = f"GET /metrics HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode()
    for _ in range(100):
        with socket.create_connection((LOOPBACK, proxy.admin)) as sock:
            sock.sendall(data)
    assert proxy.ask("/readyz")[0] == 200
    assert proxy.ask("/metrics")[0] == 200
