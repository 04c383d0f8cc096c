"""An intercepted connection as bytes, both ways, between the client and where it was going.

Invariants: every byte is passed on once, in order, and nothing is added; a side is read no faster
than the other takes; the end of one direction is passed on and leaves the other as it is; a side
that fails resets the other, so that nobody takes a part for the whole; each relay that was begun
is counted once and logged once.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from fastmirror._core import now
from fastmirror.counts import DOWNSTREAM, TLS, TUNNEL_KINDS, UPSTREAM
from fastmirror.intercept.end import End, reset
from fastmirror.intercept.sni import ClientHello
from fastmirror.rules.address import Address

if TYPE_CHECKING:
    from fastmirror.intercept.interception import Interception

HALF_CLOSED_TIME = 3600.0  # seconds without a byte, once one direction has ended; as Envoy's idle
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
        self.watched = -1  # the client's descriptor, while it waits for the connection
        self.front: Any = None  # whoever still looks at what the client sends
        self.flags, self.details = "-", "-"
        self.began = self.heard_at = now()
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
            self.watched = transport.get_extra_info("socket").fileno()
            self.interception.watch.add(self.watched, self._client_left)
        if data:
            self.client.data_received(data)
        if ended and self.server.transport is not None:
            self.server.end()
            self.maybe_over()

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
        self._unwatch()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        for data in end.waiting:
            end.transport.write(data)
        end.waiting.clear()
        if self.client.ended:
            end.transport.write_eof()
            self.maybe_over()
        elif not end.full:
            self.client.read(True)

    def heard(self, end: End) -> None:
        """Something came."""
        self.heard_at = now()
        if self.front is not None and end is self.server:
            self.front.server_spoke()

    def look(self, end: End, data: bytes) -> None:
        """For the server's name, in what a TLS client sends first."""
        if self.hello is not None and end is self.client and not self.hello.done:
            self.hello.feed(data)

    def maybe_over(self) -> None:
        """Both directions have ended; or one has, and the other is watched."""
        if self.client.ended and self.server.ended:
            self._close()
        elif self.timer is None and not self.over:
            self._watch(HALF_CLOSED_TIME)

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

    def _unwatch(self) -> None:
        if self.watched >= 0:
            self.interception.watch.remove(self.watched)
            self.watched = -1

    def side_lost(self, end: End, error: Exception | None) -> None:
        """A side's connection is closed."""
        if end is self.server:
            self.interception.dialer.closed(end)
        else:
            self._unwatch()
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

    def _watch(self, seconds: float) -> None:
        self.timer = self.context.wheel.loop.call_later(seconds, self._look_at_time)

    def _look_at_time(self) -> None:
        left = self.heard_at + HALF_CLOSED_TIME - now()
        if left > 0:
            self._watch(left)
        else:
            self.flags, self.details = "SI", "half closed, and idle for too long"
            self._cut()

    def _close(self) -> None:
        """What is unsent is sent first."""
        self.over = True
        for end in (self.client, self.server):
            if end.transport is not None:
                end.transport.close()

    def _cut(self) -> None:
        """Reset what is open."""
        if self.front is not None:
            self.front.server_spoke()
        self.over = True
        self._unwatch()
        for end in (self.client, self.server):
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
