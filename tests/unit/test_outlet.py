"""What an Outlet is given arrives, all of it and in order, whether the kernel takes it at once or
not. It is used through a proxy's connections, as it has no interface but to compiled code.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Coroutine
from typing import Any

import pytest
import uvloop

from fastmirror import counts
from fastmirror.counts import SharedCounts, SlotMap
from fastmirror.options import Options
from fastmirror.proxy.downstream import Downstream
from fastmirror.rules.load import decode_rules
from fastmirror.runtime import Runtime
from fastmirror.timers import Wheel

SIZE = 6 << 20
BODY = hashlib.shake_256(b"body").digest(SIZE)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE


running: list[Runtime] = []
servers: list[asyncio.AbstractServer] = []


def run(main: Coroutine[Any, Any, None]) -> None:
    """With uvloop; an exception that reaches the loop's handler fails the test."""
    unexpected: list[dict[str, Any]] = []

    async def watched() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unexpected.append(context))
        try:
            await asyncio.wait_for(main, 60)
        finally:
            while servers:
                servers.pop().close()
            while running:
                runtime = running.pop()
                for downstream in list(runtime.context.clients):
                    downstream.cut()
                await asyncio.sleep(0.1)
                runtime.close()
                await asyncio.sleep(0.1)  # connections that were closed say so in the next turn

    uvloop.run(watched())
    assert unexpected == []


async def proxy(primary: int) -> tuple[Runtime, int]:
    """A proxy for one primary, in this loop."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    document = (
        b'{"version": 1, "services": [{"name": "p", "endpoints": [{"address": "127.0.0.1:%d"}]}],'
        b' "routes": [{"name": "r", "to": [{"service": "p"}]}]}' % primary
    )
    runtime = Runtime(Options(listen=(), rules="none"), Wheel(loop), SharedCounts(1), 0, SlotMap())
    running.append(runtime)
    runtime.apply(decode_rules(document, "rules.json"))
    servers.append(await loop.create_server(lambda: Downstream(runtime.context), sock=sock))
    return runtime, sock.getsockname()[1]


async def slowly(reader: asyncio.StreamReader, size: int) -> bytes:
    """With pauses, so that the sender meets a full socket again and again."""
    found = b""
    while len(found) < size:
        found += await reader.readexactly(min(200_000, size - len(found)))
        await asyncio.sleep(0.001)
    return found


def small(sock: socket.socket) -> socket.socket:
    """A socket whose buffers are soon full."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return sock


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = small(socket.socket())
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=sock, limit=2**16)


def test_an_answer_that_the_client_reads_slowly_arrives_as_it_was():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD + BODY)
            await writer.drain()
        await reader.read()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        _, port = await proxy(server.sockets[0].getsockname()[1])
        reader, writer = await connected(port)
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"content-length: %d" % SIZE in head
            assert await slowly(reader, SIZE) == BODY
        writer.close()

    run(main())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_the_primary_reads_slowly_arrives_as_it_was(chunked):
    arrived = hashlib.sha256()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            if chunked:
                while size := int(await reader.readline(), 16):
                    arrived.update(await slowly(reader, size))
                    await reader.readexactly(2)
                await reader.readexactly(2)
            else:
                arrived.update(await slowly(reader, SIZE))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await reader.read()
        writer.close()

    async def main() -> None:
        listening = small(socket.create_server(("127.0.0.1", 0)))
        server = await asyncio.start_server(answer, sock=listening)
        servers.append(server)
        _, port = await proxy(server.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            if chunked:
                writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                for at in range(0, SIZE, 70_000):
                    piece = BODY[at : at + 70_000]
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
            else:
                writer.write(
                    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE + BODY
                )
            got = await reader.readuntil(b"ok")
            assert got.startswith(b"HTTP/1.1 200")
        writer.close()

    run(main())
    assert arrived.digest() == hashlib.sha256(BODY + BODY).digest()


def test_descriptors_that_are_used_again_get_nothing_of_their_former_connections():
    """Clients that go away at every point, while others take their descriptors."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                name = head.split(b" ", 2)[1]
                await asyncio.sleep(0.001 * (len(name) % 3))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(name) + name)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def client(port: int, number: int) -> None:
        for turn in range(12):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            name = b"/%d-%d%b" % (number, turn, b"x" * (turn % 5))
            writer.write(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % name)
            if turn % 3 == 0:
                writer.transport.abort()
                continue
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(name)) == name
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        runtime, port = await proxy(server.sockets[0].getsockname()[1])
        await asyncio.gather(*(client(port, number) for number in range(40)))
        await asyncio.sleep(0.1)
        assert runtime.counters.get(counts.GLOBAL_CONNECTIONS + counts.DOWNSTREAM) == 0

    run(main())


@pytest.mark.parametrize("size", [0, 1, 5000, 20_000, SIZE])
@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("half_closed", [False, True])
def test_an_answer_that_closes_the_connection_arrives_whole_and_ends(size, framed, half_closed):
    """Its end goes with the last of it, unless the kernel has no room for all at once."""
    body = BODY[:size]
    length = b"content-length: %d\r\n" % size if framed else b"connection: close\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n" % length + body)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        runtime, port = await proxy(server.sockets[0].getsockname()[1])
        reader, writer = await connected(port)
        writer.write(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        if half_closed:
            writer.write_eof()
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\nconnection: close\r\n" in head
        assert await slowly(reader, size) == body
        assert await reader.read() == b""
        writer.close()
        await asyncio.sleep(0.1)
        assert runtime.counters.get(counts.GLOBAL_CONNECTIONS + counts.DOWNSTREAM) == 0

    run(main())
