"""An intercepted connection as bytes, both ways, between the client and where it was going.

Invariants: every byte is passed on once, in order, and nothing is added; a side is read no faster
than the other takes; the end of one direction is passed on and leaves the other as it is; a side
that fails resets the other, so that nobody takes a part for the whole; each relay that was begun
is counted once and logged once.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from fastmirror._core import now
from fastmirror.counts import DOWNSTREAM, TLS, TUNNEL_KINDS, UPSTREAM
from fastmirror.intercept.end import End, reset
from fastmirror.intercept.sni import ClientHello
from fastmirror.rules.address import Address
from fastmirror.upstream import dial
from fastmirror.upstream.dial import keep_alive

if TYPE_CHECKING:
    from fastmirror.intercept.interception import Interception

# Seconds to go on connecting, once the client has sent its end: one that only closed its half waits
# for an answer, one that has given up looks the same, and what it asked is not to be done later.
LEFT_TIME = 10.0

_logger = logging.getLogger("fastmirror")


class Relay:
    """``connect`` first; ``start`` when it is sure that it is to be bytes; or ``abandon``."""

    def __init__(self, interception: Interception, original: Address, source: str) -> None:
        self.interception = interception
        self.context = interception.context
        self.original = original
        self.source = source
        self.client, self.server = End(self, DOWNSTREAM), End(self, UPSTREAM)
        self.client.peer, self.server.peer = self.server, self.client
        self.kind: int | None = None
        self.hello: ClientHello | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.front: Any = None  # whoever still looks at what the client sends
        self.flags, self.details = "-", "-"
        self.began = now()
        self.over = False

    def connect(self) -> None:
        """To where the client was going; as long as the kernel tries."""
        self.task = self.context.wheel.loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self.interception.dialer.open(self.server, self.original)
        except OSError as error:
            self._connect_failed(str(error.strerror or error))
        except asyncio.CancelledError:
            if self.server.transport is not None and not self.server.lost:
                self.server.connection_lost(None)  # uvloop closes it, and says nothing
            raise

    def start(self, transport: Any, kind: int, data: bytes, ended: bool = False) -> None:
        """Take the client's connection, and pass on what was read of it. ``ended``: that is all."""
        self.kind = kind
        self.front = None
        self.context.clients.add(self)
        self.context.counts.tunnel(kind)
        if kind == TLS:
            self.hello = ClientHello()
        if self.task is None:
            self.connect()
        transport.set_protocol(self.client)
        self.client.connection_made(transport)
        self.client.ended = ended
        if self.server.transport is None:
            self.client.read(False)
            self.client.watch(self._client_left)
        if data:
            self.client.data_received(data)
        if ended and self.server.transport is not None:
            self.server.end()
            self.direction_ended(self.client)

    def abandon(self) -> None:
        """The client's bytes are to be read otherwise: the connection is not needed."""
        self.over = True
        self.front = None
        if self.server.transport is not None:
            self.server.transport.abort()
        elif self.task is not None:
            self.task.cancel()

    # -- from the two sides

    def made(self, end: End) -> None:
        """A side is connected."""
        if end is not self.server:
            return
        if self.over:
            end.transport.abort()
            return
        self.client.unwatch()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        for data in end.waiting:
            end.transport.write(data)
        end.waiting.clear()
        if self.client.ended:
            end.transport.write_eof()
            self.direction_ended(self.client)
        elif not end.full:
            self.client.read(True)

    def heard(self, end: End) -> None:
        """Something came."""
        if self.front is not None and end is self.server:
            self.front.server_spoke()

    def look(self, end: End, data: bytes) -> None:
        """For the server's name, in what a TLS client sends first."""
        if self.hello is not None and end is self.client and not self.hello.done:
            self.hello.feed(data)

    def direction_ended(self, end: End) -> None:
        """A direction has ended; the other goes on, for as long as it needs."""
        if self.client.ended and self.server.ended:
            self._close()
            return
        if not self.over and not end.lost:
            end.watch(partial(self._reset_later, end))
        if self.client.transport is not None:
            keep_alive(self.client.transport.get_extra_info("socket").fileno(), dial.OFTEN)

    def _reset_later(self, end: End, reset: bool) -> None:
        """A side that had ended before."""
        if reset:
            self.flags = "DC" if end is self.client else "UC"
            self.details = "the connection was reset"
            self._cut()

    def _client_left(self, reset: bool) -> None:
        """While it waits for the connection, it was reset, or sends no more."""
        if reset:
            self.flags, self.details = "DC", "the client's connection was reset"
            self._cut()
        elif self.timer is None:
            self.timer = self.context.wheel.loop.call_later(LEFT_TIME, self._left)

    def _left(self) -> None:
        self.flags = "DC"
        self.details = f"no connection to {self.original}, and the client has sent its end"
        self._cut()

    def side_lost(self, end: End, error: Exception | None) -> None:
        """A side's connection is closed."""
        if end is self.server:
            self.interception.dialer.closed(end)
        if not self.over:
            self.flags = "DC" if end is self.client else "UC"
            self.details = str(error or "the connection was closed")
            self._cut()
        if all(each.lost or each.transport is None for each in (self.client, self.server)):
            self._done()

    # -- ends

    def _connect_failed(self, reason: str) -> None:
        self.flags, self.details = "UF", f"no connection to {self.original}: {reason}"
        _logger.debug("intercepted %s: %s", self.source, self.details)
        if not self.over:
            self._cut()

    def _close(self) -> None:
        """What is unsent is sent first."""
        self.over = True
        for end in (self.client, self.server):
            end.unwatch()
            if end.transport is not None:
                end.transport.close()

    def _cut(self) -> None:
        """Reset what is open."""
        if self.front is not None:
            self.front.server_spoke()
        self.over = True
        for end in (self.client, self.server):
            end.unwatch()
            if end.transport is not None and not end.lost:
                reset(end.transport)
        if self.server.transport is None and self.task is not None:
            self.task.cancel()

    def _done(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.kind is not None:
            self._counted_out(self.kind)
        # No cycles are left behind: they would stay where a reload has told the collector to let
        # be what is there.
        for end in (self.client, self.server):
            del end.relay, end.peer

    def _counted_out(self, kind: int) -> None:
        self.context.clients.discard(self)
        log = self.context.access_log
        if log is not None:
            log.relay(
                {
                    "tunnel": TUNNEL_KINDS[kind],
                    "requested_server_name": self.hello.name if self.hello is not None else "-",
                    "downstream_remote_address": self.source,
                    "upstream_host": str(self.original),
                    "bytes_received": self.client.received,
                    "bytes_sent": self.server.received,
                    "response_flags": self.flags,
                    "response_code_details": self.details,
                },
                now() - self.began,
            )

    # -- for the worker

    def drain(self) -> None:
        """A relay has no place where it could be ended: it goes on until it does, or is cut."""

    def cut(self) -> None:
        """The drain's time is up."""
        self._cut()
