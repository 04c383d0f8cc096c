"""What an exchange knows of its request and response; the proxy's own answers; how all ends.

Invariants: every exchange is counted and logged once, in ``_done`` alone; a connection that was
taken for it is given back once, in ``_release`` alone.
"""

from __future__ import annotations

from fastmirror._core import RequestHead, now
from fastmirror._head import Fields
from fastmirror.http1.framing import NO_BODY
from fastmirror.mirror.copy import Copy
from fastmirror.mirror.tee import abort_copies, flush_copies
from fastmirror.proxy.attempts import Attempts
from fastmirror.proxy.client import Client
from fastmirror.proxy.context import RouteAction, Target
from fastmirror.proxy.reply import own_answer, refusal
from fastmirror.rules.request import Request
from fastmirror.upstream.cluster import Cluster, Member
from fastmirror.upstream.connection import ResponseHandler, UpstreamConnection
from fastmirror.upstream.pool import Pool

_READ_BEFORE_REPLY = 65536  # bytes of a body that are read before the proxy's own answer


class Answering(ResponseHandler):
    """A request, from when its head is complete."""

    def set_up(
        self,
        client: Client,
        method: bytes,
        fields: Fields,
        request: Request | None,
        host: bytes,
        http10: bool,
        body: int,
        upgrade: bytes | None,
    ) -> int:
        """What a constructor would do, without the cost of calling one."""
        self.client = client
        self.method = method
        self.fields = fields
        self.request = request
        self.host = host
        self.http10 = http10
        self.body = body
        self.upgrade = upgrade
        self.trailers: Fields | None = None
        self.keep_alive = not fields.close and (not http10 or fields.keep_alive)
        self.whole = self.begun = False
        self.waiting: list[bytes] | None = None
        self.bytes_in = 0
        self.action: RouteAction | None = None
        self.member: Member | None = None
        self.cluster: Cluster | None = None
        self.target: Target | None = None
        self.admitted = self.retrying = False
        self.cookie: bytes | None = None
        self.sent_host = host
        self.own: tuple[bytes | None, bytes, bytes] | None = None
        self.origin: bytes | None = None
        self.head: RequestHead | None = None
        self.connection: UpstreamConnection | None = None
        self.connecting = False
        self.attempts = 0
        self.tried: list[Pool] | None = None
        self.tries: Attempts | None = None
        self.retried = False
        self.copies: list[Copy] | None = None
        self.status = 0
        self.answered = self.chunked = self.continued = self.responded = False
        self.tunnel = self.over = self.under_way = False
        self.bytes_out = 0
        self.flags = "-"
        self.details: str | None = None
        self.began = now()
        self.answered_at = 0.0
        self.refusal = 0
        self.refusal_text = ""
        return 0

    def refuse(self, status: int, flags: str, text: str) -> int:
        """Answer so when it is its turn, instead of routing it; the connection is then closed."""
        self.refusal = status
        self.refusal_text = text
        self.flags = flags
        self.keep_alive = False
        return 0

    def _reply(self, status: int, flags: str, text: str) -> int:
        """Answer instead of the primary: once what remains of a small body was read, so that the
        connection can serve on; at once, and then close, where the body is large.
        """
        self.refusal = status
        self.refusal_text = text
        self.flags = flags
        self.details = text
        self.waiting = None
        if not self.whole:
            self.client.resume_reading()
            length = self.fields.content_length
            if self.body == NO_BODY or (
                not self.fields.expect and 0 <= length <= _READ_BEFORE_REPLY
            ):
                return 0  # request_end sends it
            self.keep_alive = False
        return self._send_reply()

    def _send_reply(self) -> int:
        if self.client.context.leaving and self.client.leaves():
            self.keep_alive = False
        if self.own is not None:
            answer = own_answer(self.refusal, *self.own, self.method, self._option())
        else:
            answer = refusal(self.refusal, self.refusal_text, self.method, self._option())
        return self._answer(self.refusal, answer)

    def _option(self) -> bytes | None:
        """What Connection says of an answer."""
        return b"close" if not self.keep_alive else b"keep-alive" if self.http10 else None

    def _answer(self, status: int, answer: bytes) -> int:
        self.status = status
        self.answered = True
        self.responded = True
        self.answered_at = now()
        self.bytes_out = len(answer) - answer.find(b"\r\n\r\n") - 4
        self.client.send(answer)
        return self._done(self.keep_alive)

    def _release(self, reusable: bool) -> int:
        """Give the connection back; close it unless it can be used again."""
        connection = self.connection
        self.connection = None
        if connection is not None:
            assert self.member is not None
            if reusable:
                self.member.pool.give_back(connection)
            else:
                self.member.pool.discard(connection)
        elif self.connecting and self.member is not None:
            self.member.pool.leave(self)
        return 0

    def _stop_trying(self) -> int:
        if self.tries is not None:
            self.tries.stop()
            self.tries = None
        return 0

    def _maybe_done(self) -> int:
        """Both the request and the response have ended; or the response, and the connection
        closes with it.
        """
        if self.over or not self.responded:
            return 0
        if self.whole:
            return self._done(self.keep_alive)
        if not self.keep_alive:
            abort_copies(self.copies)
            return self._done(False)
        # What is left of the body is read, for the copies, and for the next request's sake.
        return self.client.resume_reading()

    def _done(self, keep: bool) -> int:
        self.over = True
        self.waiting = None
        if self.admitted and self.cluster is not None and self.cluster.limits is not None:
            self.cluster.limits.request_ended()
        if self.retrying and self.cluster is not None:
            self.cluster.retry_ended()
        self._stop_trying()
        context = self.client.context
        counts = self.action.counts if self.action is not None else context.no_route
        counts.request(self.status, now() - self.began)
        if context.access_log is not None:
            context.access_log.exchange(self)
        self.copies = None
        return self.client.exchange_done(self, keep)

    def request_fed(self) -> int:
        """All of what was read of the request in one go has been handed over."""
        if self.body != NO_BODY and not self.over:
            connection = self.connection
            if connection is not None:
                connection.flush()
            flush_copies(self.copies)
        return 0
