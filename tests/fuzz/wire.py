"""A proxy between clients, a primary and a shadow, all in one event loop and on real sockets.

Invariants: what the primary and the shadow were sent is kept to the last octet, connection by
connection; ``check`` holds the proxy to all that must be true whatever came over the wire: nothing
reached the event loop's exception handler, what was written upstream is whole requests (the last
may be cut, with its connection), and every count adds up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import uvloop

from fastmirror import counts
from fastmirror.counts import SharedCounts, SlotMap
from fastmirror.options import Options
from fastmirror.proxy.downstream import Downstream
from fastmirror.rules.load import decode_rules
from fastmirror.runtime import Runtime
from fastmirror.timers import Wheel

from . import strict

PATIENCE = 6.0  # seconds after which a client hangs: beyond every timeout that the proxy has here
SHARED = SharedCounts(1)

# What to answer a request with, and whether to close behind it.
Script = Callable[[strict.Message], tuple[bytes, bool]]


class Peer(asyncio.Protocol):
    """One connection to a primary or a shadow; answers each request once it is whole."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.received = b""
        self.read = 0
        self.lost = self.closed = False
        service.peers.append(self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        try:
            found, self.read = strict.read_requests(self.received, self.read)
        except strict.Wrong as wrong:
            self.service.wrong.append((wrong, self.received))
            self.transport.abort()
            return
        for each in found:
            if self.closed:
                break
            answer, self.closed = self.service.script(each)
            self.transport.write(answer)
        if self.closed:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


class Service:
    """A primary, or a shadow."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.peers: list[Peer] = []
        self.wrong: list[tuple[strict.Wrong, bytes]] = []

    def requests(self) -> list[strict.Message]:
        """All that came whole; those of one connection in order."""
        return [each for peer in self.peers for each in strict.read_requests(peer.received)[0]]

    def check(self) -> None:
        assert self.wrong == []
        for peer in self.peers:
            found, end = strict.read_requests(peer.received)
            strict.check_requests(peer.received, found)
            assert end == len(peer.received) or peer.lost, "a request that was never finished"


class Client(asyncio.Protocol):
    """Keeps what comes. ``enough``: whether it has all that it wants, and closes."""

    def __init__(self, enough: Callable[[bytes], bool]) -> None:
        self.received = b""
        self.enough = enough
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.enough(self.received):
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


class Place:
    """All of it. ``mirror``: fields of the one mirror; ``options``: of the proxy; ``timeout``: for
    answers; ``dead``: nobody listens where the shadow should be.
    """

    def __init__(
        self,
        primary: Script,
        shadow: Script,
        mirror: dict[str, object],
        options: dict[str, Any],
        timeout: str = "300ms",
        dead: bool = False,
    ) -> None:
        self.primary, self.shadow = Service(primary), Service(shadow)
        self.mirror = {"service": "shadow", "name": "m", "response_timeout": timeout, **mirror}
        self.timeout = timeout
        self.dead = dead
        self.options = Options(**options)
        self.servers: list[asyncio.AbstractServer] = []
        self.unexpected: list[object] = []

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, what: self.unexpected.append(what))
        ports = {}
        for name, service in (("primary", self.primary), ("shadow", self.shadow)):
            server = await loop.create_server(lambda of=service: Peer(of), "127.0.0.1", 0)
            self.servers.append(server)
            ports[name] = server.sockets[0].getsockname()[1]
            if self.dead and service is self.shadow:
                server.close()
        document = {
            "version": 1,
            "services": [
                {"name": name, "endpoints": [{"address": f"127.0.0.1:{port}"}]}
                for name, port in ports.items()
            ],
            "routes": [
                {
                    "name": "r",
                    "to": [{"service": "primary"}],
                    "timeout": self.timeout,
                    "mirrors": [self.mirror],
                }
            ],
        }
        slots = SlotMap()
        for slot in range(counts.GLOBAL_SLOTS + 1024):
            SHARED.set(slot, 0)  # what the example before has left there
        self.bases = slots.bases
        self.runtime = Runtime(self.options, Wheel(loop), SHARED, 0, slots)
        self.runtime.apply(decode_rules(msgspec.msgpack.encode(document), "r"))
        context = self.runtime.context
        proxy = await loop.create_server(lambda: Downstream(context), "127.0.0.1", 0)
        self.servers.append(proxy)
        self.port = proxy.sockets[0].getsockname()[1]

    async def connect(self, enough: Callable[[bytes], bool] = lambda received: False) -> Client:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Client(enough), "127.0.0.1", self.port)
        return client

    async def talk(self, client: Client, pieces: list[bytes], half_close: bool) -> bytes:
        """Send the pieces, each in a turn of its own; what came back until the end."""
        for piece in pieces:
            if client.transport.is_closing():
                break
            client.transport.write(piece)
            if len(pieces) > 1:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        if half_close and not client.transport.is_closing():
            with suppress(OSError):
                client.transport.write_eof()
        async with asyncio.timeout(PATIENCE):
            await client.lost
        return client.received

    async def settled(self) -> None:
        """No client is connected; no copy waits, or is in flight."""
        async with asyncio.timeout(PATIENCE):
            while self.runtime.copies() or self.connections(counts.DOWNSTREAM):
                await asyncio.sleep(0.002)
            for _ in range(10):  # what was closed at the end is to be heard of
                await asyncio.sleep(0)

    async def stop(self) -> None:
        for server in self.servers:
            server.close()
        self.runtime.stop_copies()
        self.runtime.close()
        for _ in range(200):
            if not (self.connections(counts.UPSTREAM) or self.connections(counts.SHADOW)):
                break
            await asyncio.sleep(0.002)

    # -- what must be true

    def connections(self, side: int) -> int:
        return SHARED.total(counts.GLOBAL_CONNECTIONS + side)

    def _sum(self, key: tuple[str, ...], first: int, size: int) -> int:
        return sum(SHARED.total(self.bases[key] + first + at) for at in range(size))

    def counted(self, first: int, size: int = 1) -> int:
        """Of the mirror's slots."""
        return self._sum(("mirror", "r", "m"), first, size)

    def check(self) -> None:
        """Once it is settled."""
        assert self.unexpected == []
        self.primary.check()
        self.shadow.check()
        routed = self._sum(("route", "r"), 0, counts.ROUTE_SLOTS)
        dropped = self.counted(counts.MIRROR_DROPPED, len(counts.DROP_REASONS))
        sent = self.counted(counts.MIRROR_SENT)
        assert routed == self.counted(counts.MIRROR_NOT_SAMPLED) + dropped + sent
        assert sent == self.counted(0, counts.MIRROR_SENT), "sent != completed + failed"
        assert self.counted(counts.MIRROR_BUFFERED) == 0
        for registry, side in (
            (self.runtime.primaries, counts.UPSTREAM),
            (self.runtime.shadows, counts.SHADOW),
        ):
            pools = registry.pools.values()
            assert [pool.active for pool in pools] == [0] * len(pools)
            assert sum(pool.open for pool in pools) == self.connections(side)


def conversation(place: Place, scenario: Callable[[], Awaitable[None]]) -> None:
    """Run the scenario, and hold the proxy to what must be true."""

    async def main() -> None:
        await place.start()
        try:
            await scenario()
            await place.settled()
            place.check()
        finally:
            await place.stop()
        assert place.unexpected == []
        assert place.connections(counts.UPSTREAM) == place.connections(counts.SHADOW) == 0

    uvloop.run(main())
