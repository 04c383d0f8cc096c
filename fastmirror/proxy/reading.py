"""What comes from a client's connection, read as requests.

Invariants: no more than one piece's requests and one read's bytes wait behind the one that is
served (reading is paused); after a request that is refused for its form, nothing of the connection
is ever read as a request again.
"""

from __future__ import annotations

from fastmirror._core import now
from fastmirror._framing import Chunks, Head
from fastmirror._head import Fields, is_plain_target, part
from fastmirror.http1.framing import CHUNKED, INVALID, LENGTH, NO_BODY, request_body
from fastmirror.http1.heads import HeadError, parse_request
from fastmirror.http1.target import HTTP_PORT, normal_target
from fastmirror.proxy.captured import CapturedConnection
from fastmirror.proxy.client import Client
from fastmirror.proxy.context import ProxyContext
from fastmirror.proxy.exchange import Exchange
from fastmirror.rules.request import Request

PIECE = 16384  # bytes that are read at a time, while heads may come: these bound the line


class RequestReader(Client):
    """The reading half of a client's connection; ``Downstream`` is the rest."""

    def _read_for(self, context: ProxyContext) -> int:
        """Ready for a connection's first bytes."""
        self.context = context
        self.idle_timeout = context.idle_timeout
        self.source_ip = b""
        self.captured: CapturedConnection | None = None
        self.raw: list[bytes] | None = None
        self.head: Head | None = None
        self.receiving: Exchange | None = None
        self.body_left = 0
        self.chunks: Chunks | None = None
        self.refused = self.last = self.upgrading = False
        self.unread: list[bytes] | None = None
        self.paused_by_line = self.tunnel = self.lingering = False
        self.raw_host: bytes | None = None
        self.host = b""
        self.port = HTTP_PORT
        return 0

    def _take(self, exchange: Exchange) -> int:
        """A request, whose body may be still to come."""
        return 0

    def _refuse(self, status: int, flags: str, text: str) -> int:
        """What comes in is no request that can be served."""
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
