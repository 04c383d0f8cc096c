"""One HTTP/1.1 connection to an endpoint, for the primary's exchanges and for copies.

Invariants: at most one exchange at a time; a byte that came after a response's end, or before a
request, is never taken for a later response (the connection is closed instead); the handler
hears of each exchange's end exactly once, and never after it was let go with ``close()``.
"""

from __future__ import annotations

from typing import Any

from fastmirror._core import now
from fastmirror._framing import Chunks, Head
from fastmirror._head import Fields, part
from fastmirror._outlet import Outlet
from fastmirror.http1.framing import (
    CHUNKED,
    INVALID,
    LENGTH,
    NO_BODY,
    UNTIL_CLOSE,
    response_body,
)
from fastmirror.http1.heads import HeadError, parse_response
from fastmirror.timers import Timed, Wheel

# Why an exchange failed.
TIMED_OUT = 1
RESET = 2
PROTOCOL = 3

MAX_HEAD = 65536  # octets of a head, and of a trailer section
MAX_INTERIM = 4 * MAX_HEAD  # octets of all 1xx heads before a final one


class ResponseHandler:
    """Whoever sent a request: the exchange with the primary, or a copy."""

    def connected(self, connection: UpstreamConnection) -> int:
        """The connection that was asked for is there, and idle."""
        return 0

    def connect_failed(self, reason: str) -> int:
        """It could not be had."""
        return 0

    def refused(self, reason: str) -> int:
        """It is not even tried to have one: a limit of the service is reached."""
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
        self.since = 0.0
        self.handler: ResponseHandler | None = None
        self.fields = Fields()
        self.reason: bytes | None = None
        self.trailers: Fields | None = None
        self.outlet = Outlet()
        self.status = 0
        self.body = NO_BODY
        self.head: Head | None = None
        self.chunks: Chunks | None = None
        self.to_head = self.started = self.headed = self.ended = False
        self.reusable = self.tunnel = False
        self.exchanges = self.wire = self.interim = self.body_left = 0
        self.behind = 0
        self.reading_paused = self.writing_paused = False

    # -- for the handler

    def send(self, handler: ResponseHandler, head: bytes, to_head: bool, more: bool) -> int:
        """Begin an exchange on this idle connection. ``more``: a body may be right behind, so
        that the head waits for it, or for ``flush``: each write is a system call.
        """
        self.handler = handler
        self.to_head = to_head
        self.started = self.headed = self.ended = self.reusable = False
        self.wire = self.interim = 0
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
        self.wire = self.interim = 0
        self.exchanges += 1
        return 0

    def begin_tunnel(self, handler: ResponseHandler) -> int:
        """Nothing but bytes, both ways, on this idle connection."""
        self.handler = handler
        self.deadline = 0.0
        self.exchanges += 1
        self.tunnel = True
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
        self.since = now()
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
        self.wire += len(data)
        at, size = 0, len(data)
        while at < size:
            current = self.handler
            if current is None:
                break
            self.started = True
            if not self.headed:
                at = self._read_head(current, data, at)
            elif self.body == LENGTH:
                at = self._counted(current, data, at)
            elif self.body == CHUNKED:
                at = self._chunked(current, data, at)
            else:
                current.response_data(part(data, at, size) if at else data)
                at = size
            if self.ended:
                if at < size and self.behind == 0:
                    self.reusable = False  # nobody asked for what is behind the end
                self._finish()
        handler.received()

    def _read_head(self, handler: ResponseHandler, data: bytes, at: int) -> int:
        """A head, or some of one; gives where what was taken ends."""
        head = self.head
        if head is None:
            end = self._scanned(data, at)
            if end:
                return self._headed(handler, end)
            self.head = head = Head()
        at = head.take(data, at)
        if at < 0:
            return self._invalid(head.wrong, len(data))
        if head.size() > MAX_HEAD:
            return self._invalid("a head of more than 64 KiB", len(data))
        if not head.complete:
            return at
        self.head = None
        text = head.text()
        if self._scanned(text, 0):  # it came in pieces
            return self._headed(handler, at)
        try:
            parsed = parse_response(text)
        except HeadError as error:
            return self._invalid(str(error), len(data))
        self.fields = parsed.fields
        self.status = parsed.status
        self.reason = parsed.reason
        if parsed.status < 200:
            return self._informed(handler, data, at, len(text))
        self.body = response_body(parsed.status, self.to_head, parsed.fields)
        if self.body == INVALID:
            return self._invalid("a body whose length cannot be known", len(data))
        # RFC 9112 section 9.3.
        self.reusable = (
            not parsed.fields.close
            and (not parsed.http10 or parsed.fields.keep_alive)
            and self.body != UNTIL_CLOSE
        )
        return self._headed(handler, at)

    def _scanned(self, data: bytes, at: int) -> int:
        """Take a head that is plain and complete; gives where it ends, 0 where it is not."""
        fields = self.fields
        end = fields.scan_response(data, at)
        if end == 0 or end - at > MAX_HEAD:
            return 0
        body = response_body(fields.status, self.to_head, fields)
        if body == UNTIL_CLOSE or body == INVALID:
            return 0
        self.status = fields.status
        self.reason = fields.reason
        self.body = body
        self.reusable = not fields.close
        return end

    def _headed(self, handler: ResponseHandler, at: int) -> int:
        """The final head is whole."""
        self.headed = True
        self.trailers = None
        if self.body == NO_BODY:
            self.ended = True
        elif self.body == LENGTH:
            self.body_left = self.fields.content_length
        elif self.body == CHUNKED:
            self.chunks = Chunks(MAX_HEAD)
        handler.response_head(self)
        if self.handler is None:
            self.ended = False  # let go of: nobody waits for an end
        return at

    def _informed(self, handler: ResponseHandler, data: bytes, at: int, size: int) -> int:
        """A 1xx."""
        if self.status == 101:
            self.tunnel = True
            handler.switched(self, part(data, at, len(data)))
            return len(data)
        self.interim += size
        if self.interim > MAX_INTERIM:
            return self._invalid("1xx answers without end", len(data))
        handler.informational(self)
        return at

    def _counted(self, handler: ResponseHandler, data: bytes, at: int) -> int:
        """More of a body whose length is known."""
        left = len(data) - at
        left = min(left, self.body_left)
        self.body_left -= left
        if self.body_left == 0:
            self.ended = True
        handler.response_data(data if left == len(data) else part(data, at, at + left))
        return at + left

    def _chunked(self, handler: ResponseHandler, data: bytes, at: int) -> int:
        """More of a chunked body: one chunk, or some of it."""
        chunks = self.chunks
        assert chunks is not None
        at = chunks.next(data, at)
        if at < 0:
            return self._invalid(chunks.wrong, len(data))
        if chunks.end > chunks.start:
            handler.response_data(part(data, chunks.start, chunks.end))
        elif chunks.complete:
            self.ended = True
            self.trailers = chunks.trailers
            self.chunks = None
        return at

    def _invalid(self, what: str | None, end: int) -> int:
        """What came is no HTTP: nothing more of it is read."""
        self._fail(PROTOCOL, f"invalid answer: {what}")
        return end

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is None:
            return  # heard already
        self.outlet.shut()
        self.wheel.forget(self)
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

    # -- ends

    def _finish(self) -> int:
        """The response is complete."""
        handler = self.handler
        self.handler = None
        self.deadline = 0.0
        if handler is not None:
            handler.response_end(self)
        return 0

    def _fail(self, kind: int, reason: str) -> int:
        handler = self.handler
        self.close()
        if handler is not None:
            handler.failed(self, kind, reason)
        return 0
