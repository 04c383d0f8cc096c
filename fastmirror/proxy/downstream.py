"""A client's connection: requests in, responses out, in order.

Invariants: responses leave in the order of their requests; no more than one piece's requests and
one read's bytes wait behind the one that is served (reading is paused); after a request that is
refused for its form, nothing of the connection is ever read as a request again.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from fastmirror._core import now
from fastmirror._framing import Chunks, Head
from fastmirror._head import Fields, is_plain_target, part
from fastmirror._outlet import Outlet
from fastmirror._sockets import peer_ip
from fastmirror.counts import DOWNSTREAM
from fastmirror.http1.framing import CHUNKED, INVALID, LENGTH, NO_BODY, request_body
from fastmirror.http1.heads import HeadError, parse_request
from fastmirror.http1.target import HTTP_PORT, normal_target
from fastmirror.proxy.captured import CapturedConnection
from fastmirror.proxy.client import Client
from fastmirror.proxy.context import ProxyContext, RouteAction
from fastmirror.proxy.exchange import Exchange
from fastmirror.rules.request import Request
from fastmirror.upstream.connection import ResponseHandler

PIECE = 16384  # bytes that are read at a time, while heads may come: these bound the line
NEVER = 1 << 62
LAST_WORD = 0.25  # seconds that a drain leaves to requests that are on their way
# Seconds: an intercepted connection may be silent for as long as it could without us, and the
# kernel's keepalive finds those whose peer is gone.
FOREVER = 1e9
LINGER = 2.0  # seconds for a client to take its last answer


class Downstream(Client):
    """An asyncio protocol (by its methods)."""

    def __init__(
        self, context: ProxyContext, taken: Callable[[Any, int, bytes], bool] | None = None
    ) -> None:
        """``taken``: asked about the connection when it is made, with its descriptor and the
        client's address; True: somebody else has it.
        """
        self.taken = taken
        self.deadline = 0.0
        self.looked_at = 0
        self.context = context
        self.idle_timeout = context.idle_timeout
        self.transport: Any = None
        self.outlet = Outlet()
        self.source_ip = b""
        self.since = now()
        self.captured: CapturedConnection | None = None
        self.raw: list[bytes] | None = None
        self.passing = False
        self.head: Head | None = None
        self.receiving: Exchange | None = None
        self.body_left = 0
        self.chunks: Chunks | None = None
        self.refused = self.last = False
        self.current: Exchange | None = None
        self.waiting: deque[Exchange] | None = None
        self.unread: list[bytes] | None = None
        self.unsent = NEVER
        self.paused_by_upstream = self.paused_by_line = self.reading_paused = False
        self.writing_paused = self.tunnel = self.lingering = self.half_closed = False
        self.upgrading = False
        self.raw_host: bytes | None = None
        self.host = b""
        self.port = HTTP_PORT

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

    def _keep_raw(self, data: bytes, at: int) -> int:
        """Should it be refused, an intercepted connection's head has to go on as it came."""
        if self.head is None:
            self.raw = []
        if self.raw is not None:
            self.raw.append(part(data, at, len(data)))
        return 0

    def _set_aside(self, data: bytes) -> int:
        """Read this later: the line has no room."""
        if self.unread is None:
            self.unread = []
        self.unread.append(data)
        return 0

    # -- reading requests

    def _feed(self, data: bytes) -> int:
        """Read what came; a piece at a time where it may hold many requests."""
        size = len(data)
        if size <= 16384 or self.body_left >= size:
            self._take_in(data)
        else:
            for at in range(0, size, PIECE):
                if self.paused_by_line or self.refused or self.lingering or self.tunnel:
                    self._set_aside(data[at:])
                    break
                self._take_in(data[at : at + PIECE])
        receiving = self.receiving
        if receiving is not None:
            receiving.request_fed()
            timeout = self.idle_timeout
            if self.context.request_timeout:
                left = receiving.began + self.context.request_timeout - now()
                timeout = min(timeout, max(left, 0.001))
            self.context.wheel.arm(self, timeout)
        return 0

    def _take_in(self, data: bytes) -> int:
        """Requests, and what there is of the next."""
        at, size = 0, len(data)
        while at < size and not self.refused and not self.lingering:
            if self.body_left > 0:
                at = self._counted(data, at)
            elif self.chunks is not None:
                at = self._chunked(data, at)
            elif self.upgrading:
                # Whose bytes these are, a tunnel's or the next request's, the answer decides.
                self._set_aside(part(data, at, size))
                break
            else:
                at = self._read_head(data, at)
        return 0

    def _read_head(self, data: bytes, at: int) -> int:
        """A head, or some of one; gives where what was taken ends."""
        head = self.head
        size = len(data)
        if self.captured is not None:
            self._keep_raw(data, at)
        if head is None:
            if self.last:
                self.refused = True  # RFC 9112 section 9.6: no request behind it is processed
                return size
            fields = Fields.__new__(Fields)
            end = fields.scan_request(data, at)
            if end:
                self._requested(fields.method, fields.target, fields, fields.http10, True)
                return end
            head = Head(True)
        at = head.take(data, at)
        if at < 0:
            self._refuse(400, "DPE", f"not a valid request: {head.wrong}")
            return size
        if head.size() > self.context.max_header_bytes + self.context.max_uri + 4096:
            self._refuse(431, "-", "the header fields are too large")
            return size
        if head.complete:
            self.head = None
            self._parse(head.text())
        elif self.head is None:
            self.head = head
            self.context.wheel.arm(self, self.context.head_timeout)
        return at

    def _parse(self, head: bytes) -> int:
        """A head that came in pieces, or is not plain."""
        fields = Fields.__new__(Fields)
        if fields.scan_request(head, 0):
            return self._requested(fields.method, fields.target, fields, fields.http10, True)
        try:
            parsed = parse_request(head)
        except HeadError as error:
            return self._refuse(error.status, "DPE", f"not a valid request: {error}")
        return self._requested(parsed.method, parsed.target, parsed.fields, parsed.http10, False)

    def _requested(
        self,
        method: bytes | None,
        target: bytes | None,
        fields: Fields,
        http10: bool,
        plain: bool,
    ) -> int:
        """A request's head is whole. ``plain``: the target is a path without dots."""
        context = self.context
        assert method is not None and target is not None
        if fields.size > context.max_header_bytes or fields.count > context.max_headers:
            return self._refuse(431, "-", "the header fields are too many or too large")
        if len(target) > context.max_uri:
            return self._refuse(414, "-", "the request target is too long")
        if fields.hosts != 1 and (fields.hosts > 1 or not http10):
            return self._refuse(400, "DPE", "a request has exactly one Host field")
        body = request_body(fields)
        if body == INVALID:
            if fields.transfer_encoding and fields.content_length == -1:
                return self._refuse(501, "DPE", "no transfer coding but chunked is served")
            return self._refuse(400, "DPE", "the body's length is ambiguous")
        if http10 and body == CHUNKED:
            return self._refuse(400, "DPE", "HTTP/1.0 has no chunked bodies")
        if method == b"TRACE":
            if not context.allow_trace:
                return self._refuse(405, "DPE", "TRACE is not served")
            if body != NO_BODY:  # RFC 9110 section 9.3.8
                return self._refuse(400, "DPE", "TRACE has no body")
        captured = self.captured
        # What an intercepted client asks of a forward proxy is that one's to do.
        passed = captured is not None and captured.passthrough
        if method == b"CONNECT" and (passed or not context.allow_connect):
            return self._refuse(501, "DPE", "CONNECT is not served")
        if 0 <= context.max_body < fields.content_length:
            return self._refuse(413, "-", "the body is too large")
        host = fields.host if fields.host is not None else b""
        asked = target
        try:
            if not plain and (method == b"CONNECT" or not is_plain_target(target)):
                host, target = normal_target(method, target, host)
            if host != self.raw_host or not host:  # HTTP/1.0 may do without one
                if host or not http10:
                    self.host, self.port = context.host_and_port(host)
                else:
                    self.host, self.port = b"", HTTP_PORT
                if captured is not None:
                    self.port = captured.original.port
                self.raw_host = host
        except ValueError as error:
            return self._refuse(400, "DPE", str(error))
        upgrade: bytes | None = None
        if fields.upgrade is not None and fields.wants_upgrade and body == NO_BODY and not http10:
            # h2c is not spoken; what else is asked for is the primary's to grant.
            upgrade = fields.upgrade if b"h2c" not in fields.upgrade.lower() else None
        elif method == b"CONNECT":
            upgrade = b"connect"
        request = Request.__new__(Request)
        request.set_up(method, target, self.host, self.port, fields, self.source_ip)
        if passed and target != asked and context.table.find(request) is None:
            # http://a/b, for a forward proxy: what it gets is to be just that.
            return self._refuse(404, "NR", "no route for this host and path")
        exchange = Exchange.__new__(Exchange)
        exchange.set_up(self, method, fields, request, host, http10, body, upgrade)
        if method == b"CONNECT":
            exchange.keep_alive = False  # refused, what is behind it is no request
        self.receiving = exchange
        if body == LENGTH:
            self.body_left = fields.content_length
        elif body == CHUNKED:
            self.chunks = Chunks(context.max_header_bytes)
        self._take(exchange)
        return self._complete() if body == NO_BODY else 0

    def _counted(self, data: bytes, at: int) -> int:
        """More of a body whose length is known."""
        left = len(data) - at
        left = min(left, self.body_left)
        self.body_left -= left
        receiving = self.receiving
        if receiving is not None:
            receiving.request_data(data if left == len(data) else part(data, at, at + left))
        if self.body_left == 0:
            self._complete()
        return at + left

    def _chunked(self, data: bytes, at: int) -> int:
        """More of a chunked body: one chunk, or some of it."""
        chunks = self.chunks
        receiving = self.receiving
        assert chunks is not None
        at = chunks.next(data, at)
        if at < 0:
            if chunks.too_large:
                self._refuse(431, "-", "the trailer fields are too large")
            else:
                self._refuse(400, "DPE", f"not a valid request: {chunks.wrong}")
            return len(data)
        if receiving is not None and chunks.end > chunks.start:
            receiving.request_data(part(data, chunks.start, chunks.end))
        if chunks.complete:
            self.chunks = None
            if receiving is not None:
                receiving.trailers = chunks.trailers
            self._complete()
        return at

    def _complete(self) -> int:
        exchange = self.receiving
        self.receiving = None
        if exchange is not None:
            exchange.request_end()
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
            # An answer that began before the drain did not say that it is the last.
            draining = self.context.draining
            self.context.wheel.arm(self, LAST_WORD if draining else self.idle_timeout)
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
