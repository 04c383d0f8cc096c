"""A primary whose answer depends on the path: every form of answer that HTTP/1.1 has."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from .backends import Connection, Request, sized

BLOCK = bytes(range(256)) * 256  # 64 KiB


def pattern(size: int) -> Iterator[bytes]:
    """A body of that size, in blocks."""
    while size > 0:
        yield BLOCK[:size]
        size -= len(BLOCK)


def pattern_sha256(size: int) -> str:
    digest = hashlib.sha256()
    for block in pattern(size):
        digest.update(block)
    return digest.hexdigest()


async def site(conn: Connection) -> None:
    while head := await conn.head():
        path = urlsplit(head.target).path
        if path == "/early":
            # A final answer without having read the body: RFC 9110 10.1.1 lets a server do so.
            await conn.answer(b"too early\n", 413, ("connection", "close"))
            # Lingering close, as servers do: to close with unread bytes would send a reset, and
            # that may overtake the answer.
            conn.sock.shutdown(socket.SHUT_WR)
            while await conn.receive():
                pass
            return
        if path == "/early-keep":
            await conn.answer(b"early\n")
            await conn.body(head)
            continue
        if path == "/refuse-expect":
            await conn.answer(b"no\n", 417, ("connection", "close"))
            return
        if path == "/hang":
            await asyncio.Event().wait()
        request = await conn.body(head)
        if not await answer(conn, path, request):
            return


async def answer(conn: Connection, path: str, request: Request) -> bool:
    """Answer by path; False when the connection is over."""
    if path.startswith("/status/"):
        status = int(path.removeprefix("/status/"))
        # 204 and 304 have no body whatever the headers say; 304 may tell the length it would have.
        length = [("content-length", "5")] if status == 304 else []
        await conn.answer(b"", status, *length, length=status not in (204, 304))
    elif path == "/hints":
        await conn.inform(103, ("link", "</style.css>; rel=preload"))
        await conn.inform(103, ("link", "</script.js>; rel=preload"))
        await conn.answer(b"hinted\n")
    elif path == "/chunked":
        await send_raw(conn, b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n")
        if request.method != "HEAD":
            for block in pattern(sized(request)):
                await conn.send(b"%x;ext=1\r\n%b\r\n" % (len(block), block))
            await conn.send(b"0\r\nX-Sum: checked\r\n\r\n")
        # h11 was passed by; the next request needs a parser of its own.
        return await start_anew(conn)
    elif path == "/until-close":
        await send_raw(conn, b"Connection: close\r\n")
        for block in pattern(sized(request)):
            await conn.send(block)
        return False
    elif path == "/http10":
        await conn.send(b"HTTP/1.0 200 OK\r\n\r\nold style\n")
        return False
    elif path == "/big":
        size = sized(request)
        await send_raw(conn, b"Content-Length: %d\r\n" % size)
        if request.method != "HEAD":
            for block in pattern(size):
                await conn.send(block)
        return await start_anew(conn)
    elif path == "/garbage":
        await conn.send(b"this is not HTTP\r\n\r\n")
        return False
    elif path == "/nothing":
        return False
    elif path == "/cut-head":
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        return False
    elif path == "/cut-body":
        await send_raw(conn, b"Content-Length: 1000\r\n")
        await conn.send(bytes(500))
        return False
    elif path == "/cut-chunks":
        await send_raw(conn, b"Transfer-Encoding: chunked\r\n")
        await conn.send(b"5\r\nhello\r\n")
        return False
    elif path == "/reset-body":
        await send_raw(conn, b"Content-Length: 1000\r\n")
        await conn.send(bytes(500))
        conn.reset()
        return False
    else:
        await conn.answer(request.describe(), 200, ("content-type", "application/json"))
    return True


async def send_raw(conn: Connection, headers: bytes) -> None:
    await conn.send(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n")


async def start_anew(conn: Connection) -> bool:
    """Forget h11's view of a cycle that was answered by hand."""
    rest, closed = conn.h11.trailing_data
    conn.h11 = type(conn.h11)(conn.h11.our_role, max_incomplete_event_size=1 << 20)
    if rest:
        conn.h11.receive_data(rest)
    return not closed
