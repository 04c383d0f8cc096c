"""A proxy, its primary and its shadow in one event loop, and a client, all through real connections
on the loopback.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable

import msgspec
import uvloop

from fastmirror import counts
from fastmirror.counts import SharedCounts, SlotMap
from fastmirror.options import Options
from fastmirror.proxy.downstream import Downstream
from fastmirror.rules.load import decode_rules
from fastmirror.runtime import Runtime
from fastmirror.timers import Wheel

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server(asyncio.Protocol):
    """Answers every request, which has no body, and keeps its head."""

    def __init__(self, heads: list[bytes], answer: bytes) -> None:
        self.heads = heads
        self.answer = answer
        self.data = b""

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, self.data = self.data.partition(b"\r\n\r\n")
            self.heads.append(head)
            if self.answer:
                self.transport.write(self.answer)


class Place:
    """All of it. ``mirror``: fields of the rules' one mirror."""

    def __init__(
        self,
        mirror: dict[str, object],
        shadow_answer: bytes,
        shadow_dead: bool,
        shadow: Callable[[], asyncio.Protocol] | None,
    ) -> None:
        self.shadow = shadow
        self.mirror = {"service": "shadow", "name": "m", **mirror}
        self.shadow_answer = shadow_answer
        self.shadow_dead = shadow_dead
        self.primary_heads: list[bytes] = []
        self.shadow_heads: list[bytes] = []
        self.shadow_sock: socket.socket | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        ports = {}
        self.servers = []
        for name, heads, answer in (
            ("primary", self.primary_heads, ANSWER),
            ("shadow", self.shadow_heads, self.shadow_answer),
        ):
            sock = socket.socket()
            sock.bind(("127.0.0.1", 0))
            ports[name] = sock.getsockname()[1]
            if name == "shadow" and self.shadow_dead:
                self.shadow_sock = sock  # bound and not listening: refuses, and nobody else gets it
            elif name == "shadow" and self.shadow is not None:
                self.servers.append(await loop.create_server(self.shadow, sock=sock))
            else:
                await self.serve(sock, heads, answer)
        document = {
            "version": 1,
            "services": [
                {"name": name, "endpoints": [{"address": f"127.0.0.1:{port}"}]}
                for name, port in ports.items()
            ],
            "routes": [{"name": "r", "to": [{"service": "primary"}], "mirrors": [self.mirror]}],
        }
        self.shared, self.slots = SharedCounts(1), SlotMap()
        self.runtime = Runtime(Options(), Wheel(loop), self.shared, 0, self.slots)
        self.runtime.apply(decode_rules(msgspec.msgpack.encode(document), "r"))
        proxy = await loop.create_server(lambda: Downstream(self.runtime.context), "127.0.0.1", 0)
        self.port = proxy.sockets[0].getsockname()[1]
        self.servers.append(proxy)
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def serve(self, sock: socket.socket, heads: list[bytes], answer: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(lambda: Server(heads, answer), sock=sock))

    async def stop(self) -> None:
        self.writer.close()
        for server in self.servers:
            server.close()
        if self.shadow_sock is not None:
            self.shadow_sock.close()
        self.runtime.stop_copies()
        self.runtime.close()
        await asyncio.sleep(0.05)

    async def ask(self, target: str = "/", **headers: str) -> bytes:
        """The status line of the primary's answer."""
        lines = [f"GET {target} HTTP/1.1", "host: httpbin:8000"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: (\d+)", head)
        await self.reader.readexactly(int(size[1]) if size else 0)
        return head.split(b"\r\n", 1)[0]

    def count(self, first: int, size: int = 1) -> list[int]:
        base = self.slots.bases[("mirror", "r", "m")] + first
        return [self.shared.total(base + at) for at in range(size)]

    def dropped(self) -> dict[str, int]:
        found = self.count(counts.MIRROR_DROPPED, len(counts.DROP_REASONS))
        return {name: n for name, n in zip(counts.DROP_REASONS, found, strict=True) if n}

    def failed(self) -> dict[str, int]:
        found = self.count(counts.MIRROR_FAILED, len(counts.FAILURE_KINDS))
        return {name: n for name, n in zip(counts.FAILURE_KINDS, found, strict=True) if n}

    def classes(self) -> dict[str, int]:
        found = self.count(counts.MIRROR_COMPLETED, len(counts.CODE_CLASSES))
        return {name: n for name, n in zip(counts.CODE_CLASSES, found, strict=True) if n}

    @property
    def sent(self) -> int:
        return self.count(counts.MIRROR_SENT)[0]

    @property
    def completed(self) -> int:
        return sum(self.count(counts.MIRROR_COMPLETED, len(counts.CODE_CLASSES)))

    @property
    def not_sampled(self) -> int:
        return self.count(counts.MIRROR_NOT_SAMPLED)[0]

    async def settled(self) -> None:
        """No copy waits or is in flight."""
        async with asyncio.timeout(10):
            while self.runtime.copies():
                await asyncio.sleep(0.005)


def conversation(
    scenario: Callable[[Place], Awaitable[None]],
    mirror: dict[str, object],
    shadow_answer: bytes = ANSWER,
    shadow_dead: bool = False,
    shadow: Callable[[], asyncio.Protocol] | None = None,
) -> None:
    """Run the scenario; nothing may reach the event loop's exception handler."""
    unexpected: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: unexpected.append(what))
        place = Place(mirror, shadow_answer, shadow_dead, shadow)
        await place.start()
        try:
            async with asyncio.timeout(30):
                await scenario(place)
        finally:
            await place.stop()

    uvloop.run(main())
    assert unexpected == []
