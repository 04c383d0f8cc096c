"""One HTTP/1.1 connection to an endpoint, for the primary's exchanges and for copies.

Invariants: at most one exchange at a time; a byte that came after a response's end, or before a
request, is never taken for a later response (the connection is closed instead); the handler
hears of each exchange's end exactly once, and never after it was let go with ``close()``.
"""

from __future__ import annotations

import logging
from typing import Any

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpResponseParser,
)

from fastmirror._head import Fields, part
from fastmirror._outlet import Outlet
from fastmirror.http1.framing import INVALID, LENGTH, NO_BODY, UNTIL_CLOSE, response_body
from fastmirror.timers import Timed, Wheel

# Why an exchange failed.
TIMED_OUT = 1
RESET = 2
PROTOCOL = 3

MAX_HEAD = 65536  # bytes of a response's head
MAX_UNFRAMED = 4 * MAX_HEAD  # and of anything else between two pieces of a body, or before

_logger = logging.getLogger("fastmirror")


def report_unexpected(error: HttpParserError) -> None:
    """Callbacks raise ValueError for what a peer did wrong; anything else is our own mistake."""
    cause = error.__context__
    if isinstance(error, HttpParserCallbackError) and not isinstance(cause, ValueError):
        _logger.error("exception in a parser callback", exc_info=cause)


def what_was_wrong(error: HttpParserError) -> str:
    """The parser's own words, or those of the callback that stopped it."""
    cause = error.__context__
    return str(cause if isinstance(cause, ValueError) else error)


class ResponseHandler:
    """Whoever sent a request: the exchange with the primary, or a copy."""

    def connected(self, connection: UpstreamConnection) -> int:
        """The connection that was asked for is there, and idle."""
        return 0

    def connect_failed(self, reason: str) -> int:
        """It could not be had."""
        return 0

    def informational(self, connection: UpstreamConnection) -> int:
        """A 1xx head; the connection has its status and fields."""
        return 0

    def response_head(self, connection: UpstreamConnection) -> int:
        """The final head."""
        return 0

    def response_data(self, data: bytes) -> int:
        """Some of the body, without chunk framing."""
        return 0

    def response_end(self, connection: UpstreamConnection) -> int:
        """The response is complete; the connection has its trailers."""
        return 0

    def switched(self, connection: UpstreamConnection, rest: bytes) -> int:
        """101: the connection is a tunnel now, and ``rest`` its first bytes."""
        return 0

    def failed(self, connection: UpstreamConnection, kind: int, reason: str) -> int:
        """The exchange failed; the connection is closed."""
        return 0

    def received(self) -> int:
        """All of what was read in one go has been handed over."""
        return 0

    def write_paused(self, paused: bool) -> int:
        """The endpoint does not keep up with what is written, or does again."""
        return 0


class ConnectionOwner:
    """The pool that a connection belongs to."""

    receive_buffer: int

    def opened(self) -> int:
        """A connection was made."""
        return 0

    def lost(self, connection: UpstreamConnection) -> int:
        """It is closed."""
        return 0


class UpstreamConnection(Timed):
    """An asyncio protocol (by its methods) that parses responses."""

    def __init__(self, owner: ConnectionOwner, wheel: Wheel) -> None:
        self.deadline = 0.0
        self.looked_at = 0
        self.owner = owner
        self.wheel = wheel
        self.transport: Any = None
        self.parser: Any = None
        self.handler: ResponseHandler | None = None
        self.fields = Fields()
        self.reason: bytes | None = None
        self.outlet = Outlet()
        self.status = 0
        self.body = NO_BODY
        self.to_head = self.started = self.headed = self.ended = False
        self.excess = self.reusable = self.tunnel = False
        self.scanned = False
        self.exchanges = self.wire = self.unframed = self.body_left = 0
        self.behind = 0
        self.rest: bytes | None = None
        self.reading_paused = self.writing_paused = False

    # -- for the handler

    def send(self, handler: ResponseHandler, head: bytes, to_head: bool, more: bool) -> int:
        """Begin an exchange on this idle connection. ``more``: a body may be right behind, so
        that the head waits for it, or for ``flush``: each write is a system call.
        """
        self.handler = handler
        self.to_head = to_head
        self.started = self.headed = self.ended = self.reusable = False
        self.wire = self.unframed = 0
        self.deadline = 0.0
        self.exchanges += 1
        return self.outlet.hold(head) if more else self.outlet.write(head)

    def send_together(self, handler: ResponseHandler, heads: bytes, count: int) -> int:
        """Begin so many exchanges at once, of requests without a body whose method is not HEAD. On
        each ``response_end`` but the last, while the connection is reusable, the handler calls
        ``expect``; where it does not, it has closed the connection.
        """
        self.behind = count - 1
        return self.send(handler, heads, False, False)

    def expect(self, handler: ResponseHandler) -> int:
        """The next of the answers to what was sent together."""
        self.behind -= 1
        self.handler = handler
        self.started = self.headed = self.ended = self.reusable = False
        self.wire = self.unframed = 0
        self.exchanges += 1
        return 0

    def write(self, data: bytes) -> int:
        """More of the request."""
        return self.outlet.write(data)

    def flush(self) -> int:
        """Send a head that waits."""
        return self.outlet.flush()

    def unsent(self) -> int:
        """How many bytes of what was written the kernel has not taken yet."""
        return self.outlet.unsent()

    def pause_reading(self) -> int:
        """No more of the response for now."""
        if not self.reading_paused and self.transport is not None:
            self.reading_paused = True
            self.transport.pause_reading()
        return 0

    def resume_reading(self) -> int:
        """More of the response."""
        if self.reading_paused and self.transport is not None:
            self.reading_paused = False
            self.transport.resume_reading()
        return 0

    def close(self) -> int:
        """Let go of the handler and close at once: nothing that is still unsent is sent."""
        self.handler = None
        self.outlet.shut()
        self.deadline = 0.0
        if self.transport is not None:
            self.transport.abort()
        return 0

    # -- from the event loop

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.outlet.open(transport)
        if self.owner.receive_buffer:
            self.outlet.limit_reading(self.owner.receive_buffer)
        self.owner.opened()

    # A handler is taken into a local before it is called: it may let go of this connection, which
    # may hold the last reference to it, and C calls take none.

    def data_received(self, data: bytes) -> None:
        handler = self.handler
        if handler is None:
            self.close()  # nobody asked: it must not become the next request's response
            return
        if self.tunnel:
            handler.response_data(data)
            handler.received()
            return
        while True:
            self.wire += len(data)
            if not self.started:
                self.started = True
                self.scanned = self._scan(handler, data)
            elif self.scanned:
                self._body(handler, data)
            if not self.scanned:
                break
            rest = self.rest
            self.rest = None
            if self.ended:
                self._finish()
            if rest is None or self.handler is None:
                handler.received()
                return
            data = rest
        self.unframed += len(data)
        if self.parser is None:
            self.parser = HttpResponseParser(self)
        upgraded_at, failure = -1, None
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            upgraded_at = upgrade.args[0]
        except HttpParserError as error:
            failure = error
        # Outside of the handlers, so that no other exception gets this one as its context.
        if upgraded_at >= 0:
            if self.handler is not None and self.status == 101:
                self.tunnel = True
                handler.switched(self, data[upgraded_at:])
                handler.received()
                return
            self.excess = True
        elif failure is not None:
            report_unexpected(failure)
            if not self.ended:
                self._fail(PROTOCOL, f"invalid answer: {what_was_wrong(failure)}")
                return
            self.excess = True
        if self.ended:
            self._finish()
            handler.received()
            return
        handler.received()
        if self.unframed > MAX_UNFRAMED and self.handler is not None:
            self._fail(PROTOCOL, "invalid answer: a head, a trailer or an extension without end")

    def _scan(self, handler: ResponseHandler, data: bytes) -> bool:
        """Take a response whose head is plain and complete, and what came of its body."""
        fields = self.fields
        end = fields.scan_response(data)
        if end == 0 or end > MAX_HEAD:
            return False
        body = response_body(fields.status, self.to_head, fields)
        if body == UNTIL_CLOSE or body == INVALID:
            return False
        self.status = fields.status
        self.reason = fields.reason
        self.body = body
        self.headed = self.reusable = True
        self.body_left = fields.content_length if body == LENGTH else 0
        handler.response_head(self)
        if self.handler is not None:
            self._body(handler, part(data, end, len(data)))
        return True

    def _body(self, handler: ResponseHandler, data: bytes) -> int:
        """More of a body whose length is known."""
        size = len(data)
        if size > self.body_left:
            if self.behind:
                self.rest = part(data, self.body_left, size)
            else:
                self.excess = True
            size = self.body_left
            data = part(data, 0, size)
        self.body_left -= size
        if size:
            handler.response_data(data)
        if self.body_left == 0:
            self.ended = True
        return 0

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is None:
            return  # heard already
        self.outlet.shut()
        self.owner.lost(self)
        handler = self.handler
        if handler is not None:
            if self.headed and self.body == UNTIL_CLOSE and error is None:
                self.ended = True
                self._finish()
                handler.received()
            elif self.tunnel:
                self.handler = None
                handler.response_end(self)
            else:
                where = "within" if self.started else "before"
                self._fail(RESET, f"connection closed {where} the answer")
        self.transport = None
        self.parser = None  # a cycle, by its bound callbacks

    def pause_writing(self) -> None:
        self.writing_paused = True
        handler = self.handler
        if handler is not None:
            handler.write_paused(True)

    def resume_writing(self) -> None:
        self.writing_paused = False
        handler = self.handler
        if handler is not None:
            handler.write_paused(False)

    def expired(self) -> int:
        """No answer in time; or idle for too long."""
        if self.handler is None:
            self.close()
        else:
            self._fail(TIMED_OUT, "no answer in time")
        return 0

    # -- from the parser

    def on_message_begin(self) -> None:
        if self.ended:
            self.excess = True
            return
        self.started = True  # of several answers in one piece, too
        self.fields.clear()
        self.reason = None

    def on_status(self, reason: bytes) -> None:
        self.reason = reason if self.reason is None else self.reason + reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.fields.append(name, value) > MAX_HEAD and not self.excess:
            raise ValueError("a head of more than 64 KiB")

    def on_headers_complete(self) -> None:
        handler = self.handler
        if self.ended or handler is None:
            self.excess = True
            return
        self.status = self.parser.get_status_code()
        if self.status < 100:
            raise ValueError("a status below 100")
        if self.status < 200:
            if self.status != 101:
                handler.informational(self)
            return
        self.headed = True
        self.body = response_body(self.status, self.to_head, self.fields)
        if self.body == INVALID or self.status > 599:
            raise ValueError("a head whose body or status cannot be known")
        self.reusable = (
            (not self.fields.close and (self.parser.get_http_version() == "1.1"))
            if self.to_head
            else self.parser.should_keep_alive()
        )
        handler.response_head(self)
        if self.to_head:
            self.ended = True  # the parser does not know that no body follows
        elif self.body != NO_BODY and self.handler is not None:
            self.fields = Fields()  # of the trailer section

    def on_body(self, data: bytes) -> None:
        handler = self.handler
        if self.ended or handler is None:
            self.excess = True
        elif not self.headed:
            raise ValueError("a 1xx with a body")
        else:
            self.unframed = 0
            handler.response_data(data)

    def on_message_complete(self) -> None:
        if self.headed:
            self.ended = True
            if self.behind:
                self._finish()

    # -- ends

    def _finish(self) -> int:
        """The response is complete: say so, when the parser has come back."""
        handler = self.handler
        self.handler = None
        self.deadline = 0.0
        if self.excess or self.body == UNTIL_CLOSE:
            self.reusable = False
        if self.to_head and not self.scanned:
            self.parser = None  # it waits for a body
        if handler is not None:
            handler.response_end(self)
        return 0

    def _fail(self, kind: int, reason: str) -> int:
        handler = self.handler
        self.close()
        if handler is not None:
            handler.failed(self, kind, reason)
        return 0
