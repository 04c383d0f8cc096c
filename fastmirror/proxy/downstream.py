"""A client's connection: requests in, responses out, in order.

Invariants: responses leave in the order of their requests; no more than one piece's requests and
one read's bytes wait behind the one that is served (reading is paused); after a request that is
refused for its form, nothing of the connection is ever read as a request again.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from fastmirror._core import now
from fastmirror._head import Fields, is_plain_target, part
from fastmirror._outlet import Outlet
from fastmirror.counts import DOWNSTREAM
from fastmirror.http1.framing import INVALID, NO_BODY, request_body
from fastmirror.http1.target import normal_host, resolve_dots, split_absolute
from fastmirror.proxy.context import ProxyContext
from fastmirror.proxy.exchange import Client, Exchange
from fastmirror.rules.request import Request
from fastmirror.upstream.connection import report_unexpected

PIECE = 16384  # bytes that are parsed at a time, while heads may come: these bound the line
NEVER = 1 << 62
LINGER = 2.0  # seconds for a client to take its last answer


class RefusedError(ValueError):
    """A request that is answered with an error: status, Envoy's flag, text."""


class Downstream(Client):
    """An asyncio protocol (by its methods)."""

    def __init__(self, context: ProxyContext) -> None:
        self.deadline = 0.0
        self.looked_at = 0
        self.context = context
        self.transport: Any = None
        self.outlet = Outlet()
        self.parser: Any = None
        self.source_ip = b""
        self.since = now()
        self.fields: Fields | None = None
        self.url = b""
        self.body_left = 0
        self.receiving: Exchange | None = None
        self.latest: Exchange | None = None
        self.in_head = self.head_timed = False
        self.unframed = 0
        self.refused = self.last = False
        self.current: Exchange | None = None
        self.waiting: deque[Exchange] | None = None
        self.unread: list[bytes] | None = None
        self.unsent = NEVER
        self.rejection: RefusedError | None = None
        self.paused_by_upstream = self.paused_by_line = self.reading_paused = False
        self.writing_paused = self.tunnel = self.lingering = self.half_closed = False
        self.raw_host: bytes | None = None
        self.host = b""

    # -- from the event loop
    #
    # An exchange is taken into a local before it is called: it may end, and this connection then
    # let go of the last reference to it, and C calls take none.

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.outlet.open(transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.source_ip = peer[0].removeprefix("::ffff:").encode()
        self.context.counts.connection(DOWNSTREAM, 1)
        self.context.clients.add(self)
        self.context.wheel.arm(self, self.context.idle_timeout)

    def data_received(self, data: bytes) -> None:
        if self.tunnel:
            current = self.current
            if current is not None:
                current.client_data(data)
        elif self.lingering or self.refused:
            pass
        elif self.unread or self.paused_by_line:
            self._set_aside(data)
        else:
            self._feed(data)

    def eof_received(self) -> bool:
        self.half_closed = True
        current = self.current
        if self.tunnel and current is not None:
            current.client_eof()
            return True
        # A client may close its half once its requests are sent, and still read the answers.
        return self.current is not None and self.receiving is None and not self.in_head

    def connection_lost(self, error: Exception | None) -> None:
        self.context.counts.connection(DOWNSTREAM, -1)
        self.context.clients.discard(self)
        self.deadline = 0.0
        self.lingering = True
        current, self.current = self.current, None
        if current is not None:
            current.client_gone()
        self.waiting = None
        self.receiving = self.latest = None
        self.unread = None
        self.outlet.shut()
        self.transport = None
        self.parser = None  # a cycle, by its bound callbacks

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
        if self.lingering or (self.current is None and not self.in_head):
            return self._give_up()
        if self.in_head and self.current is not None:
            return self.context.wheel.arm(self, self.context.head_timeout)  # our own delay
        if self.in_head:
            return self._refuse(408, "-", "the request's head did not come in time")
        receiving = self.receiving
        if receiving is not None and receiving is self.current:
            return receiving.client_timed_out()
        return 0

    def _set_aside(self, data: bytes) -> int:
        """Parse this later: the line has no room."""
        if self.unread is None:
            self.unread = []
        self.unread.append(data)
        return 0

    # -- parsing

    def _feed(self, data: bytes) -> int:
        """Parse what came; a piece at a time where it may hold many requests."""
        size = len(data)
        receiving = self.receiving
        if size <= 16384 or (
            receiving is not None and receiving.fields.content_length - receiving.bytes_in >= size
        ):
            self._take_in(data)
        else:
            for at in range(0, size, PIECE):
                if self.paused_by_line or self.refused or self.lingering or self.tunnel:
                    self._set_aside(data[at:])
                    break
                self._take_in(data[at : at + PIECE])
        if self.in_head:
            return 0
        receiving = self.receiving
        if receiving is not None:
            receiving.request_fed()
            self.context.wheel.arm(self, self.context.idle_timeout)
        return 0

    def _take_in(self, data: bytes) -> int:
        """Scan requests whose heads are plain and complete; all else is the parser's, which is
        always between two messages when a request is scanned.
        """
        at = 0
        size = len(data)
        while at < size and not self.refused and not self.lingering:
            if self.body_left > 0:
                end = size if size - at <= self.body_left else at + self.body_left
                self.body_left -= end - at
                self._body(data if end - at == size else part(data, at, end))
                at = end
                if self.body_left == 0:
                    self._complete()
                continue
            if self.in_head or self.receiving is not None:
                break
            if self.last:
                self.refused = True  # RFC 9112 section 9.6: no request behind it is processed
                break
            fields = Fields.__new__(Fields)
            end = fields.scan_request(data, at)
            if end == 0 or fields.size > self.context.max_header_bytes:
                break
            at = end
            self._scanned(fields)
        if at < size:
            self._parse(part(data, at, size) if at else data)
        return 0

    def _scanned(self, fields: Fields) -> int:
        """A request's head, whole."""
        self.fields = fields
        assert fields.method is not None and fields.target is not None
        if fields.count > self.context.max_headers:
            return self._refuse(431, "-", "the header fields are too many or too large")
        if len(fields.target) > self.context.max_uri:
            return self._refuse(414, "-", "the request target is too long")
        try:
            exchange = self._exchange(fields.method, fields.target, fields, False, True)
        except RefusedError:
            return self._refuse_rejected()
        self.receiving = exchange
        self.fields = None
        self.unframed = 0
        self.body_left = max(0, fields.content_length)
        self._take(exchange)
        if self.body_left == 0:
            self._complete()
        return 0

    def _body(self, data: bytes) -> int:
        self.unframed = 0
        receiving = self.receiving
        if receiving is not None:
            receiving.request_data(data)
        return 0

    def _complete(self) -> int:
        exchange = self.receiving
        self.receiving = None
        if exchange is not None:
            exchange.request_end()
        return 0

    def _refuse_rejected(self) -> int:
        rejection, self.rejection = self.rejection, None
        assert rejection is not None
        status, flags, text = rejection.args
        return self._refuse(status, flags, text)

    def _parse(self, data: bytes) -> int:
        if self.refused or self.lingering or self.transport is None:
            return 0
        if self.parser is None:
            self.parser = HttpRequestParser(self)
        self.unframed += len(data)
        upgraded_at, failure = -1, None
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            upgraded_at = upgrade.args[0]
        except HttpParserError as error:
            failure = error
        # Outside of the handlers, so that no other exception gets this one as its context.
        if upgraded_at >= 0:
            self._upgraded(data[upgraded_at:])
        elif failure is not None:
            if self.rejection is not None:
                self._refuse_rejected()
            else:
                report_unexpected(failure)
                self._refuse(400, "DPE", f"not a valid request: {failure}")
        self.latest = None
        if self.in_head and not self.head_timed:
            self.head_timed = True
            self.context.wheel.arm(self, self.context.head_timeout)
        if self.unframed > self.context.max_header_bytes + self.context.max_uri + PIECE and (
            self.in_head or self.receiving is not None
        ):
            self._refuse(431, "-", "the header or trailer fields are too large")
        return 0

    def on_message_begin(self) -> None:
        self.fields = Fields()
        self.url = b""
        self.in_head = True
        self.head_timed = False
        self.unframed = 0

    def on_url(self, url: bytes) -> None:
        self.url = self.url + url if self.url else url
        if len(self.url) > self.context.max_uri:
            raise self._rejected(414, "-", "the request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:
            if self.receiving is None:
                return
            if self.receiving.trailers is None:
                self.receiving.trailers = Fields()
            self.fields = self.receiving.trailers
        fields = self.fields
        assert fields is not None
        if (
            fields.append(name, value) > self.context.max_header_bytes
            or fields.count > self.context.max_headers
        ):
            raise self._rejected(431, "-", "the header fields are too many or too large")

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self.lingering:
            self.receiving = None
            return
        exchange = self._parsed()
        self.fields = None
        self.receiving = self.latest = exchange
        self._take(exchange)

    def on_body(self, data: bytes) -> None:
        self._body(data)

    def on_message_complete(self) -> None:
        exchange = self.receiving
        if exchange is None:
            return
        if exchange.body != NO_BODY and exchange.fields.wants_upgrade and self._stopped_early():
            return
        self._complete()

    def _stopped_early(self) -> bool:
        """The parser takes no body behind an Upgrade, and calls the message complete."""
        return bool(self.parser.should_upgrade())

    def _rejected(self, status: int, flags: str, text: str) -> RefusedError:
        """What a callback raises to stop the parser, kept for when it has."""
        self.rejection = RefusedError(status, flags, text)
        return self.rejection

    def _parsed(self) -> Exchange:
        """The exchange of the head that the parser has taken.

        Raises RefusedError.
        """
        version: str = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            if version < "1.0":
                raise self._rejected(400, "DPE", "the request line has no HTTP version")
            raise self._rejected(505, "DPE", "only HTTP/1.1 and HTTP/1.0 are served")
        assert self.fields is not None
        return self._exchange(
            self.parser.get_method(), self.url, self.fields, version == "1.0", False
        )

    def _exchange(
        self, method: bytes, target: bytes, fields: Fields, http10: bool, plain: bool
    ) -> Exchange:
        """The exchange of a head. ``plain``: the target is known to be a path without dots.

        Raises RefusedError.
        """
        host = fields.host
        if fields.hosts != 1 and (fields.hosts > 1 or not http10):
            raise self._rejected(400, "DPE", "a request has exactly one Host field")
        body = request_body(fields)
        if body == INVALID:
            raise self._rejected(501, "DPE", "no transfer coding but chunked is served")
        if fields.chunked and http10:
            raise self._rejected(400, "DPE", "HTTP/1.0 has no chunked bodies")
        if method == b"CONNECT":
            raise self._rejected(501, "DPE", "CONNECT is not served")
        if 0 <= self.context.max_body < fields.content_length:
            raise self._rejected(413, "-", "the body is too large")
        try:
            if not plain and not is_plain_target(target):
                if target == b"*":
                    if method != b"OPTIONS":
                        raise ValueError("only OPTIONS can be asked of *")
                elif not target.startswith(b"/"):
                    host, target = split_absolute(target)
                if target.find(b"#") >= 0:
                    raise ValueError("the request target has a fragment")
                target = resolve_dots(target)
            if host is None:
                host = b""
            if host != self.raw_host:
                self.host = normal_host(host) if host or not http10 else b""
                self.raw_host = host
        except ValueError as error:
            raise self._rejected(400, "DPE", str(error)) from None
        upgrade: bytes | None = None
        if fields.upgrade is not None and fields.wants_upgrade and body == NO_BODY and not http10:
            # h2c is not spoken; what else is asked for is the primary's to grant.
            upgrade = fields.upgrade if b"h2c" not in fields.upgrade.lower() else None
        request = Request.__new__(Request)
        request.set_up(method, target, self.host, fields, self.source_ip)
        exchange = Exchange.__new__(Exchange)
        exchange.set_up(self, method, fields, request, host, http10, body, upgrade)
        return exchange

    def _upgraded(self, rest: bytes) -> int:
        """The parser stopped behind a request that asks for an upgrade. Whether what follows is
        a tunnel's or the next request is known when the primary has answered.
        """
        exchange = self.latest
        if self.refused or self.lingering or exchange is None:
            return 0
        if exchange.body != NO_BODY:
            # The parser takes no body behind an Upgrade: another does, after a head of its own.
            # It cannot go on to a next request, so that this one is the connection's last.
            exchange.keep_alive = False
            self.last = True
            length = exchange.fields.content_length
            framing = f"content-length: {length}" if length >= 0 else "transfer-encoding: chunked"
            self.parser = HttpRequestParser(_BodyOf(self))
            self.parser.feed_data(f"POST / HTTP/1.1\r\n{framing}\r\n\r\n".encode())
        else:
            self.parser = HttpRequestParser(self)
        if not rest:
            return 0
        if self.paused_by_line:
            self._set_aside(rest)
            return 0
        return self._feed(rest)

    # -- the line of exchanges

    def _take(self, exchange: Exchange) -> int:
        """Serve it, or let it wait until those before it are answered."""
        self.last = not exchange.keep_alive
        if self.current is None and not self.writing_paused:
            self.current = exchange
            if exchange.upgrade is not None:
                self.paused_by_line = True  # whose bytes these are, the answer decides
                self._switch_reading()
            self.deadline = 0.0
            exchange.begin()
            return 0
        if self.waiting is None:
            self.waiting = deque()
        self.waiting.append(exchange)
        self.paused_by_line = True
        return self._switch_reading()

    def _refuse(self, status: int, flags: str, text: str) -> int:
        """What comes in is no request that can be served: say so, in its turn, and close."""
        if self.refused or self.lingering:
            return 0
        self.refused = True
        receiving, self.receiving = self.receiving, None
        if receiving is not None and not self.in_head:
            return receiving.bad_body(text)
        self.in_head = False
        self.body_left = 0
        fields = self.fields if self.fields is not None else Fields()
        exchange = Exchange.__new__(Exchange)
        exchange.set_up(self, b"-", fields, None, b"", False, NO_BODY, None)
        exchange.refuse(status, flags, text)
        return self._take(exchange)

    def exchange_done(self, exchange: Exchange, keep: bool) -> int:
        if exchange is not self.current:
            return 0
        self.current = None
        self.paused_by_upstream = False
        if self.tunnel or self.transport is None:
            return 0
        if not keep or self.half_closed:
            if keep and (self.waiting or self.unread):
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
            self.context.wheel.arm(self, self.context.idle_timeout)
            return self._switch_reading()
        if self.waiting:
            exchange = as_exchange(self.waiting.popleft())
            self.current = exchange
            # Its body may be still to come, and then nothing waits behind it.
            self.paused_by_line = bool(self.waiting) or exchange.upgrade is not None
            exchange.begin()
            exchange.request_fed()
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
        if self.current is None and self.receiving is None and not self.in_head:
            if self.half_closed or self.context.draining:
                return self._linger()
            self.context.wheel.arm(self, self.context.idle_timeout)
        return self._switch_reading()

    def _linger(self) -> int:
        """Close once all is written. Where the client may still be sending, its bytes are read
        and thrown away for a while: a reset would take the answer from it (RFC 9112 9.6).
        """
        self.flush()
        self.lingering = True
        more = bool(self.waiting) or bool(self.unread) or self.reading_paused
        self.waiting = None
        self.unread = None
        if self.transport is None or self.transport.is_closing():
            return 0
        self.paused_by_upstream = self.paused_by_line = False
        self._switch_reading()
        if self.half_closed or (self.receiving is None and not self.refused and not more):
            self.outlet.shut()
            self.transport.close()
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
        if self.current is None and not self.in_head and self.transport is not None:
            self.outlet.shut()
            self.transport.close()

    def cut(self) -> None:
        """The drain's time is up."""
        self._close()

    # -- for the exchange

    def send(self, data: bytes) -> int:
        return 0 if self.lingering else self.outlet.write(data)

    def send_later(self, data: bytes) -> int:
        return 0 if self.lingering else self.outlet.hold(data)

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


class _BodyOf:
    """The callbacks for the body of a request whose head another parser took."""

    def __init__(self, client: Downstream) -> None:
        self.on_body = client.on_body
        self.on_message_complete = client.on_message_complete
        self.client = client
        self.headed = False

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headed:
            self.client.on_header(name, value)


def as_exchange(item: Any) -> Exchange:
    """What the line gave, with a C type."""
    return item  # type: ignore[no-any-return]
