"""A proxy that believes what the test says of where its clients were going; real connections."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvloop

from fastmirror import counts
from fastmirror.counts import SharedCounts, SlotMap
from fastmirror.intercept.front import take
from fastmirror.intercept.interception import Interception
from fastmirror.options import Options
from fastmirror.proxy.downstream import Downstream
from fastmirror.rules.address import Address
from fastmirror.rules.load import convert_rules
from fastmirror.runtime import Runtime
from fastmirror.timers import Wheel

TIMEOUT = 60.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class StubKernel:
    """``to``: where every connection was going; None: to us."""

    def __init__(self, taken: Callable[[Any, Address], bool]) -> None:
        self.to: Address | None = None
        self.taken = taken

    def take(self, transport: Any, descriptor: int, peer: bytes) -> bool:
        return self.to is not None and self.taken(transport, self.to)


class Lines:
    """In the access log's place."""

    def __init__(self) -> None:
        self.relays: list[dict[str, Any]] = []
        self.routes: list[str] = []

    def relay(self, entry: dict[str, Any], age: float) -> None:
        self.relays.append(entry)

    def exchange(self, exchange: Any) -> None:
        self.routes.append(exchange.action.name if exchange.action is not None else "-")


class Intercepting:
    """The proxy, and a destination."""

    def __init__(self, **options: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.shared = SharedCounts(1)
        self.options = Options(**options)
        self.runtime = Runtime(self.options, Wheel(self.loop), self.shared, 0, SlotMap())
        self.context = self.runtime.context
        self.interception = Interception(self.options, self.context, self.runtime.dialer)
        self.kernel = StubKernel(partial(take, self.interception))
        self.log = Lines()
        self.context.access_log = self.log
        self.servers: list[asyncio.Server] = []
        self.address = ("", 0)
        self.unused: socket.socket | None = None
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda loop, what: self.errors.append(what))

    async def start(self, serve: Serve | None) -> None:
        """Listen, in front of a destination; None: of one that refuses connections."""
        client: Any = partial(Downstream, self.context, self.kernel.take)
        server = await self.loop.create_server(client, "127.0.0.1", 0)
        self.servers.append(server)
        self.address = server.sockets[0].getsockname()
        if serve is None:
            self.unused = socket.socket()
            self.unused.bind(("127.0.0.1", 0))
            self.kernel.to = Address(*self.unused.getsockname())
        else:
            self.kernel.to = await self.destination(serve)

    async def destination(self, serve: Serve) -> Address:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.servers.append(server)
        return Address(*server.sockets[0].getsockname())

    def apply(
        self, *, hosts: list[str], to: Address, path: str = "/", port: int | None = None
    ) -> None:
        """A rule that sends a host's requests somewhere else."""
        document = {
            "version": 1,
            "services": [{"name": "app", "hosts": [], "endpoints": [{"address": str(to)}]}],
            "routes": [
                {
                    "name": "app",
                    "hosts": hosts,
                    "match": [{"path": {"prefix": path}} | ({"port": port} if port else {})],
                    "to": [{"service": "app"}],
                }
            ],
        }
        self.runtime.apply(convert_rules(document, "rules"))

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)

    def tunnels(self) -> dict[str, int]:
        """Of each kind that there were."""
        found = {
            kind: self.shared.total(counts.GLOBAL_TUNNELS + at)
            for at, kind in enumerate(counts.TUNNEL_KINDS)
        }
        return {kind: count for kind, count in found.items() if count}

    def open(self) -> int:
        first = counts.GLOBAL_CONNECTIONS
        return sum(self.shared.total(first + at) for at in range(len(counts.SIDES)))

    async def settled(self) -> None:
        """Until nothing is open."""
        async with asyncio.timeout(20):
            while self.context.clients or self.open():
                await asyncio.sleep(0.01)


def intercepting(
    test: Callable[[Intercepting], Awaitable[None]], serve: Serve | None, **options: Any
) -> Intercepting:
    """Run a test; afterwards nothing may be left open, and nothing may have gone wrong unseen."""

    async def main() -> Intercepting:
        proxy = Intercepting(**options)
        await proxy.start(serve)
        try:
            async with asyncio.timeout(TIMEOUT):
                await test(proxy)
                proxy.runtime.primaries.close()
                await proxy.settled()
        finally:
            for client in list(proxy.context.clients):
                cut: Any = client
                cut.cut()
            for server in proxy.servers:
                server.close()
            if proxy.unused is not None:
                proxy.unused.close()
            proxy.runtime.close()
            await asyncio.sleep(0.01)
        assert proxy.errors == []
        assert not proxy.runtime.dialer.open_flows
        return proxy

    return uvloop.run(main())


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
