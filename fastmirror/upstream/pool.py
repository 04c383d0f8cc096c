"""The connections to one address. Invariants: a connection is idle here or in one exchange,
never both; ``active`` rises with ``take`` and ``connect`` and falls once with ``give_back``,
``discard`` or a failed connect; what the peer closes while idle is forgotten at once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastmirror.counts import SHADOW, WorkerCounts
from fastmirror.rules.address import Address
from fastmirror.timers import Wheel
from fastmirror.upstream.connection import ConnectionOwner, ResponseHandler, UpstreamConnection
from fastmirror.upstream.dial import Dialer

# What a shadow sends back is thrown away, and what it costs to read is the primary's loss: no more
# than about this much of it is read at a time.
SHADOW_BUFFER = 32768


class Pool(ConnectionOwner):
    """Connections to an address, kept alive for reuse, the last used first."""

    def __init__(
        self,
        address: Address,
        wheel: Wheel,
        counts: WorkerCounts,
        side: int,
        idle_timeout: float,
        dialer: Dialer,
    ) -> None:
        self.address = address
        self.loop = wheel.loop
        self.wheel = wheel
        self.counts = counts
        self.side = side
        self.idle_timeout = idle_timeout
        self.dialer = dialer
        self.receive_buffer = SHADOW_BUFFER if side == SHADOW else 0
        self.idle: list[UpstreamConnection] = []
        self.users = self.active = 0
        self.open = 0
        self.connecting: set[asyncio.Task[None]] = set()
        self.retired = False
        self.pipeline_after = 0.0

    def take(self) -> UpstreamConnection | None:
        """An idle connection, for one exchange."""
        while self.idle:
            connection = self.idle.pop()
            if is_open(connection):
                self.active += 1
                return connection
        return None

    def connect(self, handler: ResponseHandler, timeout: float) -> int:
        """Open a connection for one exchange; the handler hears of its fate, later."""
        self.active += 1
        return self.open_for(handler, timeout)

    def open_for(self, handler: ResponseHandler, timeout: float) -> int:
        """Open a connection for what is active already."""
        task = self.loop.create_task(self._connect(handler, timeout))
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)
        return 0

    async def _connect(self, handler: ResponseHandler, timeout: float) -> None:
        connection = UpstreamConnection(self, self.wheel)
        protocol: Any = connection  # one by its methods
        address = self.address
        try:
            async with asyncio.timeout(timeout):
                await self.dialer.open(protocol, address)
        except TimeoutError:
            self.not_made(connection)
            tell_failed(handler, f"no connection to {address} within {timeout:g} s")
        except OSError as error:
            self.not_made(connection)
            tell_failed(handler, f"no connection to {address}: {error.strerror or error}")
        except asyncio.CancelledError:
            self.not_made(connection)
            tell_failed(handler, f"no connection to {address}: stopping")
            raise
        else:
            if is_open(connection):
                self.made(connection)
                tell_connected(handler, connection)
            else:
                self.not_made(connection)
                tell_failed(handler, f"no connection to {address}: closed at once")

    def made(self, connection: UpstreamConnection) -> int:
        """What was to be opened is open."""
        return 0

    def leave(self, handler: ResponseHandler) -> int:
        """A handler that does not want its connection any more: it waits for none."""
        return 0

    def not_made(self, connection: UpstreamConnection) -> int:
        """What was to be opened is not, or not any more."""
        self.active -= 1
        # uvloop closes a connection whose task is cancelled just when it is made, and says nothing.
        connection.connection_lost(None)
        return 0

    def give_back(self, connection: UpstreamConnection) -> int:
        """The exchange is over and the connection can be used again."""
        self.active -= 1
        if self.retired or not is_open(connection):
            connection.close()
            return 0
        connection.resume_reading()
        self.idle.append(connection)
        self.wheel.arm(connection, self.idle_timeout)
        return 0

    def discard(self, connection: UpstreamConnection) -> int:
        """The exchange is over and the connection is not to be used again."""
        self.active -= 1
        connection.close()
        return 0

    def opened(self) -> int:
        self.open += 1
        self.counts.connection(self.side, 1)
        return 0

    def lost(self, connection: UpstreamConnection) -> int:
        self.open -= 1
        self.counts.connection(self.side, -1)
        self.dialer.closed(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        return 0

    def retire(self) -> None:
        """No rule names the address any more: close what is idle now, the rest when it is."""
        self.retired = True
        for connection in self.idle:
            close_connection(connection)
        self.idle.clear()


def is_open(connection: UpstreamConnection) -> bool:
    """Whether something can still be sent."""
    return connection.transport is not None and not connection.transport.is_closing()


def tell_connected(handler: ResponseHandler, connection: UpstreamConnection) -> int:
    """``handler.connected(connection)``, with C types; nobody else is there to flush."""
    handler.connected(connection)
    return connection.flush()


def tell_failed(handler: ResponseHandler, reason: str) -> int:
    """``handler.connect_failed(reason)``, with C types."""
    return handler.connect_failed(reason)


def close_connection(connection: UpstreamConnection) -> int:
    """``connection.close()``, with a C type."""
    return connection.close()
