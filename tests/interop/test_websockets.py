"""A WebSocket server behind the proxy and a client in front: the package websockets, twice.

Invariant: each side gets what the other has sent, in order and whole, up to the code that it closes
with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from e2e.conftest import Started
from e2e.documents import rules
from e2e.procs import Proxy, free_port

pytest.importorskip("websockets", reason="the package websockets is not installed (test group)")

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

Handler = Callable[[ServerConnection], Awaitable[None]]
Use = Callable[[ClientConnection], Awaitable[None]]


@pytest.fixture(scope="module")
def upstream() -> int:
    return free_port()


@pytest.fixture(scope="module")
def proxy(started: Started, upstream: int) -> Proxy:
    """The server comes and goes; a mirror is there, which gets no upgrades."""
    return started.proxy(rules({"v1": upstream, "v2": free_port()}, {}))


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


def converse(proxy: Proxy, upstream: int, handler: Handler, use: Use, **options: Any) -> None:
    """Serve with the one, connect through the proxy, and let the other talk."""

    async def run() -> None:
        url = f"ws://127.0.0.1:{proxy.port}/chat?x=y"
        async with (
            serve(handler, "127.0.0.1", upstream, max_size=None, **options),
            connect(url, max_size=None, proxy=None) as socket,
        ):
            await use(socket)

    asyncio.run(asyncio.wait_for(run(), 30))
    proxy.assert_sound()


def test_echo_of_1000_messages(proxy: Proxy, upstream: int) -> None:
    async def use(socket: ClientConnection) -> None:
        for i in range(1000):
            message = f"message {i} äöü" if i % 2 else b"%d" % i * (i % 50)
            await socket.send(message)
            assert await socket.recv() == message

    converse(proxy, upstream, echo, use)


def test_many_under_way(proxy: Proxy, upstream: int) -> None:
    async def use(socket: ClientConnection) -> None:
        async def send() -> None:
            for i in range(1000):
                await socket.send(f"{i}")

        sending = asyncio.create_task(send())
        for i in range(1000):
            assert await socket.recv() == f"{i}"
        await sending

    converse(proxy, upstream, echo, use)


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, 5_000_000])
def test_large_frames(proxy: Proxy, upstream: int, size: int) -> None:
    async def use(socket: ClientConnection) -> None:
        message = bytes(range(256)) * (size // 256 + 1)
        await socket.send(message[:size])
        assert await socket.recv() == message[:size]

    converse(proxy, upstream, echo, use, compression=None)


def test_fragments(proxy: Proxy, upstream: int) -> None:
    async def use(socket: ClientConnection) -> None:
        await socket.send(f"part {i}," for i in range(100))
        assert await socket.recv() == "".join(f"part {i}," for i in range(100))

    converse(proxy, upstream, echo, use)


def test_the_server_speaks_first(proxy: Proxy, upstream: int) -> None:
    """Its first frame is right behind its 101."""

    async def greet(socket: ServerConnection) -> None:
        await socket.send("welcome")
        await echo(socket)

    async def use(socket: ClientConnection) -> None:
        assert await socket.recv() == "welcome"
        await socket.send("thanks")
        assert await socket.recv() == "thanks"

    converse(proxy, upstream, greet, use)


def test_ping_of_both_sides(proxy: Proxy, upstream: int) -> None:
    async def ping(socket: ServerConnection) -> None:
        await (await socket.ping(b"from the server"))
        await echo(socket)

    async def use(socket: ClientConnection) -> None:
        assert await (await socket.ping(b"from the client")) < 20
        await socket.send("x")
        assert await socket.recv() == "x"

    converse(proxy, upstream, ping, use)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going away"), (4321, "own ä")])
def test_the_server_closes(proxy: Proxy, upstream: int, code: int, reason: str) -> None:
    async def close(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.close(code, reason)

    async def use(socket: ClientConnection) -> None:
        await socket.send("go")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)

    converse(proxy, upstream, close, use)


def test_the_client_closes(proxy: Proxy, upstream: int) -> None:
    seen: list[tuple[int | None, str | None]] = []

    async def listen(socket: ServerConnection) -> None:
        await socket.wait_closed()
        seen.append((socket.close_code, socket.close_reason))

    async def use(socket: ClientConnection) -> None:
        await socket.close(3456, "enough")

    converse(proxy, upstream, listen, use)
    assert seen == [(3456, "enough")]


@pytest.mark.parametrize("who", ["client", "server"])
def test_one_side_is_gone(proxy: Proxy, upstream: int, who: str) -> None:
    """Its connection ends without a close frame, and the other one hears of it."""
    seen: list[int | None] = []

    async def handle(socket: ServerConnection) -> None:
        await socket.recv()
        if who == "server":
            socket.transport.abort()
        await socket.wait_closed()
        seen.append(socket.close_code)

    async def use(socket: ClientConnection) -> None:
        await socket.send("x")
        if who == "client":
            await asyncio.sleep(0.05)
            socket.transport.abort()
        await socket.wait_closed()
        assert socket.close_code == 1006

    converse(proxy, upstream, handle, use)
    assert seen == [1006]


def test_subprotocol_and_path(proxy: Proxy, upstream: int) -> None:
    async def run() -> None:
        async def tell(socket: ServerConnection) -> None:
            assert socket.request is not None
            await socket.send(f"{socket.request.path} {socket.subprotocol}")

        url = f"ws://127.0.0.1:{proxy.port}/a?b=c"
        spoken, wanted = [Subprotocol("two"), Subprotocol("one")], [Subprotocol("one")]
        async with (
            serve(tell, "127.0.0.1", upstream, subprotocols=spoken),
            connect(url, subprotocols=wanted, proxy=None) as socket,
        ):
            assert await socket.recv() == "/a?b=c one"

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_refused_handshake(proxy: Proxy, upstream: int) -> None:
    def refuse(socket: ServerConnection, request: Request) -> Response:
        return socket.respond(403, "not you\n")

    async def run() -> None:
        async with serve(echo, "127.0.0.1", upstream, process_request=refuse):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://127.0.0.1:{proxy.port}/", proxy=None)
        assert refused.value.response.status_code == 403
        assert refused.value.response.body == b"not you\n"

    asyncio.run(asyncio.wait_for(run(), 30))


def test_many_tunnels(proxy: Proxy, upstream: int) -> None:
    """And none of them is copied."""

    def uncopied() -> int:
        counters = proxy.metrics().counters()
        assert counters.sent == 0
        return counters.dropped.get("upgrade", 0)

    before = uncopied()

    async def run() -> None:
        url = f"ws://127.0.0.1:{proxy.port}/"

        async def one(i: int) -> None:
            async with connect(url, proxy=None) as socket:
                for n in range(10):
                    await socket.send(f"{i} {n}")
                    assert await socket.recv() == f"{i} {n}"

        async with serve(echo, "127.0.0.1", upstream):
            await asyncio.gather(*(one(i) for i in range(50)))

    asyncio.run(asyncio.wait_for(run(), 30))
    assert uncopied() == before + 50
    proxy.assert_sound()
