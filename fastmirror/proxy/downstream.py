"""A client's connection: requests in, responses out, in order.

Invariants: responses leave in the order of their requests; a client that does not read its answers
gets no more of them; a connection that is closed leaves nothing of itself behind.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from fastmirror._core import now
from fastmirror._head import Fields
from fastmirror._outlet import Outlet
from fastmirror._sockets import peer_ip
from fastmirror.counts import DOWNSTREAM
from fastmirror.http1.framing import NO_BODY
from fastmirror.proxy.context import ProxyContext, RouteAction
from fastmirror.proxy.exchange import Exchange
from fastmirror.proxy.reading import RequestReader
from fastmirror.upstream.connection import ResponseHandler

NEVER = 1 << 62
LAST_WORD = 0.25  # seconds that a drain leaves to requests that are on their way
# Seconds: an intercepted connection may be silent for as long as it could without us, and the
# kernel's keepalive finds those whose peer is gone.
FOREVER = 1e9
LINGER = 2.0  # seconds for a client to take its last answer


class Downstream(RequestReader):
    """An asyncio protocol (by its methods)."""

    def __init__(
        self, context: ProxyContext, taken: Callable[[Any, int, bytes], bool] | None = None
    ) -> None:
        """``taken``: asked about the connection when it is made, with its descriptor and the
        client's address; True: somebody else has it.
        """
        self._read_for(context)
        self.taken = taken
        self.deadline = 0.0
        self.looked_at = 0
        self.transport: Any = None
        self.outlet = Outlet()
        self.since = now()
        self.passing = False
        self.current: Exchange | None = None
        self.waiting: deque[Exchange] | None = None
        self.unsent = NEVER
        self.paused_by_upstream = self.reading_paused = self.writing_paused = False
        self.half_closed = False

    # -- from the event loop
    #
    # An exchange is taken into a local before it is called: it may end, and this connection then
    # let go of the last reference to it, and C calls take none.

    def connection_made(self, transport: Any) -> None:
        taken, self.taken = self.taken, None
        self.outlet.open(transport)
        self.source_ip = peer_ip(self.outlet.descriptor)
        if taken is not None and taken(transport, self.outlet.descriptor, self.source_ip):
            self.outlet.shut()
            return
        self.transport = transport
        context = self.context
        context.counts.connection(DOWNSTREAM, 1)
        context.clients.add(self)
        if 0 < context.max_connections < len(context.clients):
            context.counts.connection_refused()
            if len(context.clients) > context.max_connections + 64:
                self._close()  # an answer takes the connection for a while: not for a flood
            else:
                self._refuse(503, "OM", "too many connections")
        else:
            if self.captured is not None:
                self.idle_timeout = FOREVER
            context.wheel.arm(self, self.idle_timeout)

    def data_received(self, data: bytes) -> None:
        if self.tunnel:
            current = self.current
            if current is not None:
                current.client_data(data)
        elif self.lingering or self.refused:
            if self.passing:
                self._set_aside(data)
        elif self.unread or self.paused_by_line:
            self._set_aside(data)
        else:
            self._feed(data)

    def eof_received(self) -> bool:
        self.half_closed = True
        if self.captured is not None:
            self.captured.half_closed(self.transport)
        current = self.current
        if self.tunnel and current is not None:
            current.client_eof()
            return True
        if self.passing:
            return True
        # A client may close its half once its requests are sent, and still read the answers.
        return self.current is not None and self.receiving is None and self.head is None

    def connection_lost(self, error: Exception | None) -> None:
        self.context.counts.connection(DOWNSTREAM, -1)
        self.context.clients.discard(self)
        self.context.wheel.forget(self)
        self.lingering = True
        current, self.current = self.current, None
        if current is not None:
            current.client_gone()
        self.waiting = None
        self.receiving = None
        self.head = None
        self.chunks = None
        self.unread = None
        self.outlet.shut()
        self.transport = None
        if self.captured is not None:
            self.captured.close()

    def pause_writing(self) -> None:
        self.writing_paused = True
        current = self.current
        if current is not None:
            current.client_paused(True)

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self.lingering:
            self.context.wheel.arm(self, LINGER)
        current = self.current
        if current is not None:
            current.client_paused(False)
        elif self.paused_by_line and not self.lingering:
            self._next()

    def expired(self) -> int:
        """Nothing came for too long."""
        if self.lingering or (self.current is None and self.head is None):
            return self._give_up()
        if self.head is not None and self.current is not None:
            return self.context.wheel.arm(self, self.context.head_timeout)  # our own delay
        if self.head is not None:
            return self._refuse(408, "-", "the request's head did not come in time")
        receiving = self.receiving
        if receiving is not None and receiving is self.current:
            return receiving.client_timed_out()
        return 0

    # -- the line of exchanges

    def _take(self, exchange: Exchange) -> int:
        """Serve it, or let it wait until those before it are answered."""
        self.last = not exchange.keep_alive
        self.raw = None
        if self.current is None and not self.writing_paused:
            self.current = exchange
            if exchange.upgrade is not None:
                self.upgrading = self.paused_by_line = True
                self._switch_reading()
            self.deadline = 0.0
            exchange.begin()
            return 0
        if self.waiting is None:
            self.waiting = deque()
        self.waiting.append(exchange)
        self.upgrading = exchange.upgrade is not None
        self.paused_by_line = True
        return self._switch_reading()

    def _refuse(self, status: int, flags: str, text: str) -> int:
        """What comes in is no request that can be served: say so, in its turn, and close."""
        if self.refused or self.lingering:
            return 0
        self.refused = True
        receiving, self.receiving = self.receiving, None
        self.head = None
        self.chunks = None
        self.body_left = 0
        if receiving is not None:
            return receiving.bad_body(text)
        captured = self.captured
        if captured is not None and self.raw is not None and captured.passthrough and status != 413:
            # No request of ours, and yet it may be one where it was going.
            self.passing = True
            if self.current is not None:
                self.paused_by_line = True
                return self._switch_reading()
            self.context.wheel.loop.call_soon(self.pass_on)
            return 0
        exchange = Exchange.__new__(Exchange)
        exchange.set_up(self, b"-", Fields(), None, b"", False, NO_BODY, None)
        exchange.refuse(status, flags, text)
        return self._take(exchange)

    def exchange_done(self, exchange: ResponseHandler, keep: bool) -> int:
        current = self.current
        if current is None or exchange is not current:
            return 0
        self.current = None
        self.paused_by_upstream = False
        if current.upgrade is not None:
            self.upgrading = False  # not granted: what follows is requests
        if self.tunnel or self.transport is None:
            return 0
        if not keep or self.half_closed:
            if keep and (self.waiting or self.unread or self.passing):
                return self._next()
            return self._linger()
        return self._next()

    def _next(self) -> int:
        """Serve the next request that waits, or wait for one. A client that does not read its
        answers gets no more of them.
        """
        if self.writing_paused:
            self.paused_by_line = True
            self.unsent = NEVER
            self.context.wheel.arm(self, self.idle_timeout)
            return self._switch_reading()
        if self.waiting:
            exchange = as_exchange(self.waiting.popleft())
            self.current = exchange
            # Its body may be still to come, and then nothing waits behind it.
            self.paused_by_line = bool(self.waiting) or exchange.upgrade is not None
            exchange.begin()
            exchange.request_fed()
        elif self.passing:
            self.context.wheel.loop.call_soon(self.pass_on)
            return 0
        else:
            self.paused_by_line = False
        return self._read_on()

    def _read_on(self) -> int:
        """Parse what was read and not parsed, as far as the line has room."""
        while self.unread and not (self.paused_by_line or self.refused or self.lingering):
            unread, self.unread = self.unread, None
            for at, data in enumerate(unread):
                self._feed(data)
                if self.paused_by_line or self.refused or self.lingering:
                    for later in unread[at + 1 :]:
                        self._set_aside(later)
                    break
        if self.passing:
            return 0
        if self.current is None and self.receiving is None and self.head is None:
            if self.half_closed:
                return self._linger()
            timeout = self.idle_timeout
            if self.context.draining:
                # An answer that began before the drain did not say that it is the last.
                timeout = LAST_WORD
            self.context.wheel.arm(self, timeout)
        return self._switch_reading()

    def pass_on(self) -> None:
        """Let go of the connection: it is bytes from here on."""
        transport, captured = self.transport, self.captured
        if transport is None or captured is None or transport.is_closing():
            return
        data = b"".join([*(self.raw or ()), *(self.unread or ())])
        self.flush()
        self.paused_by_line = self.paused_by_upstream = False
        if not self.half_closed:
            self._switch_reading()
        self.connection_lost(None)
        captured.relay(transport, data, self.half_closed)

    def _linger(self) -> int:
        """Close once all is written. Where the client may still be sending, its bytes are read
        and thrown away for a while: a reset would take the answer from it (RFC 9112 9.6).
        """
        more = bool(self.waiting) or bool(self.unread) or self.reading_paused
        closing = self.half_closed or (self.receiving is None and not self.refused and not more)
        if closing and not self.lingering:
            self.outlet.finish()
        else:
            self.flush()
        self.lingering = True
        self.waiting = None
        self.unread = None
        if self.transport is None or self.transport.is_closing():
            return 0
        self.paused_by_upstream = self.paused_by_line = False
        self._switch_reading()
        if closing:
            more = self.outlet.unsent() > 0
            self.outlet.shut()
            self.transport.close()
            if not more:
                return 0  # with the next turn of the loop
        elif self.transport.can_write_eof():
            self.transport.write_eof()
        self.unsent = NEVER
        wait = self.context.idle_timeout if self.writing_paused else LINGER
        self.context.wheel.arm(self, wait)
        return 0

    def _give_up(self) -> int:
        """Nothing happens any more: close, unless the client still takes what is unsent."""
        if self.transport is None:
            return 0
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < self.unsent:
            self.unsent = unsent
            return self.context.wheel.arm(self, self.context.idle_timeout)
        return self.reset() if unsent else self._close()

    def _close(self) -> int:
        if self.transport is not None:
            self.outlet.shut()
            self.transport.abort()
        return 0

    def drain(self) -> None:
        """Take no more requests: close now if idle, else with the next response."""
        if self.lingering:
            return  # for a while, so that its last answer is not reset
        if self.current is None and self.head is None and self.transport is not None:
            self.outlet.shut()
            self.transport.close()

    def cut(self) -> None:
        """The drain's time is up."""
        self._close()

    # -- for the exchange

    def unmatched(self) -> RouteAction | None:
        return self.captured.unmatched() if self.captured is not None else None

    def leaves(self) -> bool:
        context = self.context
        # What this host's applications call is not reached by another way.
        return context.draining or (
            context.leaving and (self.captured is None or not self.captured.outbound())
        )

    def send(self, data: bytes) -> int:
        return 0 if self.lingering else self.outlet.write(data)

    def send_later(self, data: bytes) -> int:
        return 0 if self.lingering else self.outlet.hold(data)

    def take_back(self) -> bool:
        return self.outlet.take_back()

    def flush(self) -> int:
        return 0 if self.lingering else self.outlet.flush()

    def pause_reading(self) -> int:
        self.paused_by_upstream = True
        return self._switch_reading()

    def resume_reading(self) -> int:
        self.paused_by_upstream = False
        return self._switch_reading()

    def _switch_reading(self) -> int:
        paused = self.paused_by_upstream or self.paused_by_line
        if paused == self.reading_paused or self.transport is None:
            return 0
        self.reading_paused = paused
        if paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()
        return 0

    def reset(self) -> int:
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            if sock is not None and sock.family != socket.AF_UNIX:
                # A plain close would end a close-delimited body as if it were complete.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.outlet.shut()
            self.transport.abort()
        return 0

    def become_tunnel(self) -> int:
        self.tunnel = True
        self.paused_by_line = False
        unread, self.unread = self.unread, None
        current = self.current
        for data in unread or ():
            if current is not None:
                current.client_data(data)
        return self._switch_reading()

    def upstream_closed(self) -> int:
        if self.transport is not None:
            self.flush()
            self.outlet.shut()
            self.transport.close()
        return 0


def as_exchange(item: Any) -> Exchange:
    """What the line gave, with a C type."""
    return item  # type: ignore[no-any-return]
