"""Python's clients in front of the proxy: http.client, requests (urllib3), httpx, aiohttp.

Invariant: bodies arrive whole, both ways, over connections that are kept; a cut answer is an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from e2e.backends import Backend
from e2e.procs import Proxy
from e2e.website import pattern_sha256

PARTS = [b"part %d;" % i * 1000 for i in range(50)]
WHOLE = b"".join(PARTS)
SIZE = 300_000


def described_whole(described: dict[str, Any]) -> bool:
    right = {"length": len(WHOLE), "sha256": hashlib.sha256(WHOLE).hexdigest()}
    return described["complete"] and right.items() <= described.items()


class TestHttpClient:
    @pytest.fixture
    def connection(self, proxy: Proxy) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        connection.connect()
        connection.auto_open = 0  # to open another connection is an error
        yield connection
        connection.close()

    def ask(
        self, connection: http.client.HTTPConnection, method: str, target: str, **more: Any
    ) -> tuple[int, bytes]:
        connection.request(method, target, **more)
        response = connection.getresponse()
        return response.status, response.read()

    def test_one_connection_for_all(self, connection: http.client.HTTPConnection) -> None:
        for i in range(50):
            status, body = self.ask(connection, "GET", f"/r/{i}")
            assert (status, json.loads(body)["target"]) == (200, f"/r/{i}")
        assert self.ask(connection, "HEAD", "/big?n=1000") == (200, b"")
        assert self.ask(connection, "GET", "/status/204") == (204, b"")
        assert self.ask(connection, "GET", "/status/304") == (304, b"")
        for path in ("/big", "/chunked", "/until-close"):
            status, body = self.ask(connection, "GET", f"{path}?n={SIZE}")
            assert hashlib.sha256(body).hexdigest() == pattern_sha256(SIZE)

    def test_uploads(self, connection: http.client.HTTPConnection) -> None:
        _, body = self.ask(connection, "POST", "/up", body=WHOLE)
        assert described_whole(json.loads(body))
        _, body = self.ask(connection, "PUT", "/up", body=iter(PARTS), encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})  # fmt: skip
        assert described_whole(json.loads(body))

    def test_a_cut_answer(self, proxy: Proxy) -> None:
        for target in ("/cut-body", "/cut-chunks", "/reset-body"):
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                self.ask(connection, "GET", target)
            connection.close()


class TestRequests:
    @pytest.fixture
    def session(self) -> Iterator[Any]:
        requests = pytest.importorskip("requests")
        with requests.Session() as session:
            session.trust_env = False
            yield session

    def test_session(self, session: Any, url: str, primary: Backend) -> None:
        before = primary.accepted
        for i in range(50):
            assert session.get(f"{url}/r/{i}", params={"q": "ä b"}).json()["target"] == (
                f"/r/{i}?q=%C3%A4+b"
            )
        assert session.head(f"{url}/big?n=1000").headers["content-length"] == "1000"
        assert session.options(f"{url}/x").json()["method"] == "OPTIONS"
        assert session.get(f"{url}/status/404").status_code == 404
        assert primary.accepted <= before + 1

    def test_uploads(self, session: Any, url: str) -> None:
        assert described_whole(session.post(f"{url}/up", data=WHOLE).json())
        described = session.post(f"{url}/up", data=iter(PARTS)).json()
        assert described_whole(described)
        assert ["transfer-encoding", "chunked"] in described["headers"]
        assert session.post(f"{url}/up", files={"file": WHOLE}).json()["length"] > len(WHOLE)

    def test_streamed_answer(self, session: Any, url: str) -> None:
        for path in ("/big", "/chunked", "/until-close"):
            digest = hashlib.sha256()
            with session.get(f"{url}{path}?n={SIZE}", stream=True) as response:
                for part in response.iter_content(10_000):
                    digest.update(part)
            assert digest.hexdigest() == pattern_sha256(SIZE)

    def test_as_a_forward_proxy(self, session: Any, url: str) -> None:
        described = session.get("http://app.test/x", proxies={"http": url}).json()
        assert described["target"] == "/x"
        assert ["host", "app.test"] in described["headers"]

    def test_a_cut_answer(self, session: Any, url: str) -> None:
        errors = pytest.importorskip("requests").exceptions
        for target in ("/cut-body", "/cut-chunks"):
            with pytest.raises((errors.ChunkedEncodingError, errors.ConnectionError)):
                session.get(f"{url}{target}")


class TestHttpx:
    @pytest.fixture
    def client(self) -> Iterator[Any]:
        httpx = pytest.importorskip("httpx")
        with httpx.Client(trust_env=False, timeout=20) as client:
            yield client

    def test_client(self, client: Any, url: str) -> None:
        for i in range(50):
            assert client.get(f"{url}/r/{i}").json()["target"] == f"/r/{i}"
        assert client.head(f"{url}/chunked?n=1000").content == b""
        assert client.delete(f"{url}/x").json()["method"] == "DELETE"

    def test_uploads(self, client: Any, url: str) -> None:
        assert described_whole(client.post(f"{url}/up", content=WHOLE).json())
        assert described_whole(client.post(f"{url}/up", content=iter(PARTS)).json())

    def test_streamed_answer(self, client: Any, url: str) -> None:
        for path in ("/big", "/chunked", "/until-close"):
            digest = hashlib.sha256()
            with client.stream("GET", f"{url}{path}?n={SIZE}") as response:
                for part in response.iter_raw():
                    digest.update(part)
            assert digest.hexdigest() == pattern_sha256(SIZE)


class TestAiohttp:
    def with_session(
        self, use: Callable[[Any], Coroutine[Any, Any, None]], connections: int = 4
    ) -> None:
        """Run it with a session whose pool has so many connections."""
        aiohttp = pytest.importorskip("aiohttp")

        async def run() -> None:
            connector = aiohttp.TCPConnector(limit=connections)
            timeout = aiohttp.ClientTimeout(total=20)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                await use(session)

        asyncio.run(run())

    def test_pool(self, url: str) -> None:
        async def use(session: Any) -> None:
            async def get(i: int) -> None:
                async with session.get(f"{url}/r/{i}") as response:
                    assert (await response.json())["target"] == f"/r/{i}"

            await asyncio.gather(*(get(i) for i in range(300)))

        self.with_session(use)

    def test_posts_one_behind_the_other(self, url: str, primary: Backend) -> None:
        """Each connection's next POST goes out as soon as the answer before it is there."""

        async def use(session: Any) -> None:
            async def post(i: int) -> None:
                async with session.post(f"{url}/p/{i}", data=b"x" * i) as response:
                    assert (await response.json())["length"] == i

            await asyncio.gather(*(post(i) for i in range(300)))

        self.with_session(use)
        assert len(primary.requests) == 300

    def test_streamed_upload_and_answer(self, url: str) -> None:
        async def parts() -> AsyncIterator[bytes]:
            for part in PARTS:
                yield part
                await asyncio.sleep(0)

        async def use(session: Any) -> None:
            async with session.post(f"{url}/up", data=parts()) as response:
                described = await response.json()
            assert described_whole(described)
            assert ["transfer-encoding", "chunked"] in described["headers"]
            digest = hashlib.sha256()
            async with session.get(f"{url}/chunked?n={SIZE}") as response:
                async for part in response.content.iter_any():
                    digest.update(part)
            assert digest.hexdigest() == pattern_sha256(SIZE)

        self.with_session(use)

    def test_expect(self, url: str) -> None:
        async def use(session: Any) -> None:
            async with session.post(f"{url}/up", data=WHOLE, expect100=True) as response:
                assert described_whole(await response.json())

        self.with_session(use)

    def test_a_cut_answer(self, url: str) -> None:
        errors = pytest.importorskip("aiohttp")

        async def use(session: Any) -> None:
            for target in ("/cut-body", "/cut-chunks"):
                with pytest.raises((errors.ClientPayloadError, errors.ClientConnectionError)):
                    async with session.get(f"{url}{target}") as response:
                        await response.read()

        self.with_session(use)
