"""Real servers behind the proxy, each as primary and as shadow at once.

Invariant: every answer is right, and every request's copy is answered too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.backends import Backends
from e2e.client import Client, blast, request_bytes
from e2e.conftest import Started
from e2e.documents import rules
from e2e.procs import Proxy

from .servers import SERVERS, Server, application, digest, streamed


@dataclass
class Upstream:
    """A server behind a proxy, and how many requests it has got through it."""

    server: Server
    proxy: Proxy
    directory: Path
    asked: int = 0


@pytest.fixture(scope="module", params=SERVERS, ids=lambda server: server.name.replace(" ", "-"))
def upstream(request: pytest.FixtureRequest, started: Started, backends: Backends) -> Upstream:
    server: Server = request.param
    port = server.start(started, backends.start(application).port)
    document = rules({"v1": port, "v2": port}, {"response_timeout": 30})
    directory = started.directory / server.name.replace(" ", "-")
    return Upstream(server, started.proxy(document), directory)


@pytest.fixture
def client(upstream: Upstream) -> Iterator[Client]:
    with Client(upstream.proxy.port) as client:
        yield client
    upstream.proxy.assert_sound()


class TestEach:
    def test_one_behind_the_other(self, upstream: Upstream, client: Client) -> None:
        for _ in range(20):
            response = client.get("/hello")
            assert (response.status, response.body) == (200, b"hello\n")
        upstream.asked += 20

    def test_head_and_nothing(self, upstream: Upstream, client: Client) -> None:
        for _ in range(3):
            head = client.request("HEAD", "/hello")
            assert (head.status, head.body) == (200, b"")
            assert client.get("/nothing").status == 204
        assert client.get("/hello").body == b"hello\n"
        upstream.asked += 7

    @pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
    def test_body(self, upstream: Upstream, client: Client, size: int) -> None:
        body = os.urandom(size)
        for _ in range(2):
            assert client.request("POST", "/digest", (), body).body == digest(body)
        upstream.asked += 2

    @pytest.mark.parametrize("count", [0, 1, 200])
    def test_chunked_body(self, upstream: Upstream, client: Client, count: int) -> None:
        if not upstream.server.takes_chunked:
            pytest.skip(f"{upstream.server.name} takes no chunked bodies")
        parts = [os.urandom(1 + i * 37) for i in range(count)]
        for _ in range(2):
            response = client.request("POST", "/digest", (), parts)
            assert response.body == digest(b"".join(parts))
        upstream.asked += 2

    @pytest.mark.parametrize("count", [0, 1, 500])
    def test_streamed_answer(self, upstream: Upstream, client: Client, count: int) -> None:
        for _ in range(2):
            assert client.get(f"/stream?n={count}").body == streamed(count)
        assert client.get("/hello").body == b"hello\n"
        upstream.asked += 3

    def test_expect(self, upstream: Upstream, client: Client) -> None:
        headers = [("Expect", "100-continue"), ("Content-Length", "5")]
        client.send(request_bytes("POST", "/digest", headers) + b"hello")
        assert client.response("POST").body == digest(b"hello")
        upstream.asked += 1

    def test_pipelined(self, upstream: Upstream, client: Client) -> None:
        client.send(
            request_bytes("GET", "/hello")
            + request_bytes("POST", "/digest", (), b"one")
            + request_bytes("GET", "/stream?n=3")
            + request_bytes("POST", "/digest", (), b"two")
        )
        bodies = [client.response(method).body for method in ("GET", "POST", "GET", "POST")]
        assert bodies == [b"hello\n", digest(b"one"), streamed(3), digest(b"two")]
        upstream.asked += 4

    def test_many_at_a_time(self, upstream: Upstream) -> None:
        requests = [request_bytes("POST", "/digest", (), b"%d" % i * 100) for i in range(200)]
        answers = blast(upstream.proxy.port, requests, connections=8)
        assert sorted(answers) == sorted(b"200 " + digest(b"%d" % i * 100) for i in range(200))
        upstream.asked += 200

    def test_every_copy_was_answered(self, upstream: Upstream) -> None:
        """The last of the class: what all tests before it have had copied."""
        if upstream.asked == 0:
            pytest.skip("no test before this one has asked")
        counters = upstream.proxy.settled(upstream.asked, timeout=60)
        assert counters.failed == {}
        assert sum(counters.completed.values()) == counters.sent == upstream.asked, counters


@pytest.fixture(scope="module")
def files(started: Started, backends: Backends) -> Proxy:
    """nginx as most know it: with files."""
    server = next(server for server in SERVERS if server.name == "nginx")
    fresh = Server("nginx with files", server.argv)
    port = fresh.start(started, backends.start(application).port)
    directory = started.directory / "nginx-with-files" / "files"
    (directory / "folder").mkdir(parents=True)
    (directory / "text.txt").write_bytes(b"a line of text\n" * 20_000)
    return started.proxy(rules({"v1": port}))


class TestFiles:
    def test_whole_part_and_unchanged(self, files: Proxy) -> None:
        with Client(files.port) as client:
            whole = client.get("/files/text.txt")
            assert whole.body == b"a line of text\n" * 20_000
            tag = whole.value("etag")
            assert tag is not None
            unchanged = client.get("/files/text.txt", ("If-None-Match", tag))
            assert (unchanged.status, unchanged.body) == (304, b"")
            part = client.get("/files/text.txt", ("Range", "bytes=2-5"))
            assert (part.status, part.body) == (206, b"line")
            parts = client.get("/files/text.txt", ("Range", "bytes=0-0,2-5"))
            assert parts.status == 206
            assert client.request("HEAD", "/files/text.txt").value("content-length") == "300000"

    def test_compressed(self, files: Proxy) -> None:
        """Then nginx does not know the length, and sends chunks."""
        import gzip

        with Client(files.port) as client:
            for _ in range(2):
                packed = client.get("/files/text.txt", ("Accept-Encoding", "gzip"))
                assert packed.value("content-encoding") == "gzip"
                assert gzip.decompress(packed.body) == b"a line of text\n" * 20_000
            assert client.request("HEAD", "/files/text.txt").status == 200

    def test_errors_and_redirects(self, files: Proxy) -> None:
        with Client(files.port) as client:
            assert client.get("/files/none").status == 404
            moved = client.get("/files/folder")
            assert moved.status == 301
            assert client.request("POST", "/files/text.txt", (), b"x").status == 405
            assert client.get("/files/text.txt").status == 200
