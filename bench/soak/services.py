"""The primary and the shadow of the soak: each request's path says how it is to be answered.

Invariants: an answer says by ``x-n`` for which request it is, and a shadow's says ``x-shadow`` too;
a request is answered once it is whole, and those of one connection in order. The shadow answers as
the path says or, now and then, as it likes; it may be away.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import Any

from ..load.machine import free_port

BODY = b"x" * 207
LARGE = b"x" * 300_000
_AT_ONCE = struct.pack("ii", 1, 0)

# What a shadow does instead of what it was asked for: by weight, in a thousand.
_WHIMS = {"before": 5, "cut": 5, "bye": 5, "stall": 1, "garbage": 2, "twice": 2, "large": 1}


def reset(transport: Any) -> None:
    """Close so that the other side gets a reset."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


class Service:
    """One of them, on a port of its own."""

    def __init__(self, shadow: bool) -> None:
        self.shadow = shadow
        self.more = b"x-shadow: 1\r\n" if shadow else b""
        self.peers: set[Peer] = set()
        self.requests = 0
        self.server: asyncio.AbstractServer | None = None
        self.port = free_port()  # none that a connection could take while it is away

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(
            lambda: Peer(self), "127.0.0.1", self.port, backlog=1024, reuse_address=True
        )

    async def away(self, seconds: float) -> None:
        """Nobody listens for a while, and whoever was connected is reset."""
        self.close()
        await asyncio.sleep(seconds)
        await self.listen()

    def close(self) -> None:
        if self.server is not None:
            self.server.close()
        for peer in list(self.peers):
            reset(peer.transport)


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.rest = b""
        self.left = 0
        self.request: list[bytes] = []
        self.chunked = self.ended = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.service.peers.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
        self.service.peers.discard(self)

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        at = 0
        while not self.ended:
            if self.left:
                taken = min(self.left, len(data) - at)
                self.left -= taken
                at += taken
                if self.left:
                    break
                self._answer()
            elif self.chunked:
                # Bodies are made of x alone, so that this is found nowhere else.
                end = data.find(b"0\r\n\r\n", at)
                if end < 0:
                    at = max(at, len(data) - 4)
                    break
                at = end + 5
                self.chunked = False
                self._answer()
            else:
                end = data.find(b"\r\n\r\n", at)
                if end < 0:
                    break
                self._head(data[at : end + 2])
                at = end + 4
        self.rest = data[at:]

    def _head(self, head: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        self.request = [method, *path.split(b"/")[2:4]]
        found = head.find(b"\r\ncontent-length: ")
        if found >= 0:
            self.left = int(head[found + 18 : head.index(b"\r\n", found + 18)])
        self.chunked = head.find(b"\r\ntransfer-encoding: chunked\r\n") >= 0
        if b"\r\nexpect: " in head:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.left and not self.chunked:
            self._answer()

    def _answer(self) -> None:
        method, style, number = self.request
        self.service.requests += 1
        how = style.decode()
        if self.service.shadow:
            point = random.randrange(1000)
            for whim, weight in _WHIMS.items():
                point -= weight
                if point < 0:
                    how = whim
                    break
        if how == "slow":
            asyncio.get_running_loop().call_later(0.02, self._write, "length", method, number)
        else:
            self._write(how, method, number)

    def _write(self, how: str, method: bytes, number: bytes) -> None:
        if self.ended:
            return
        head = b"HTTP/1.1 200 OK\r\nx-n: %b\r\n%b" % (number, self.service.more)
        body = b"content-length: 207\r\n\r\n" + BODY
        write = self.transport.write
        to_head = method == b"HEAD"
        if to_head and how not in ("before", "bye", "stall", "none"):
            write(head + b"content-length: 207\r\n\r\n")
        elif how == "chunked":
            write(head + b"transfer-encoding: chunked\r\n\r\n64\r\n%b\r\n" % BODY[:100])
            write(b"1;a=b\r\nx\r\n0\r\n\r\n")
        elif how == "none":
            write(b"HTTP/1.1 204 No Content" + head[15:] + b"\r\n")
        elif how == "early":
            write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + head + body)
        elif how == "large":
            write(head + b"content-length: %d\r\n\r\n%b" % (len(LARGE), LARGE))
        elif how == "until-close":
            write(head + b"\r\n" + BODY)
            self._close()
        elif how == "closing":
            write(head + b"connection: close\r\n" + body)
            self._close()
        elif how == "bye":  # without a word before
            write(head + (b"content-length: 207\r\n\r\n" if to_head else body))
            self._close()
        elif how == "before":
            self.ended = True
            reset(self.transport)
        elif how == "cut":
            write(head + b"content-length: %d\r\n\r\n%b" % (len(LARGE), BODY))
            self.ended = True
            asyncio.get_running_loop().call_later(0.002, reset, self.transport)
        elif how == "stall":
            self.ended = True
        elif how == "garbage":
            write(b"this is no answer\r\n\r\n")
        elif how == "twice":
            write((head + body) * 2)
        else:
            write(head + body)

    def _close(self) -> None:
        self.ended = True
        self.transport.close()
