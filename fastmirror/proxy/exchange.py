"""One request and its response, between a client, the primary, and the copies.

Invariants: the primary gets each byte before any copy does, and nothing that a copy does reaches
this file; a response that was begun is ended right or the connection is cut, never ended as if
complete; every exchange is counted and logged once, in ``_done`` alone.
"""

from __future__ import annotations

from typing import Any

from fastmirror._core import (
    RequestHead,
    chunk_head,
    new_request_id,
    now,
    write_request,
    write_response,
    write_trailers,
)
from fastmirror._head import Fields
from fastmirror.counts import (
    BODY_TOO_LARGE,
    CONNECTED,
    NO_ENDPOINT,
    NOT_ROUTED,
    OVERFLOW,
    UPGRADED,
)
from fastmirror.http1.framing import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE
from fastmirror.mirror.copy import Copy
from fastmirror.mirror.mirror import Mirror
from fastmirror.mirror.tee import (
    abort_copies,
    end_copies,
    feed_copies,
    flush_copies,
    mirror_at,
    refuse_copies,
)
from fastmirror.proxy.attempts import Attempts
from fastmirror.proxy.client import Client
from fastmirror.proxy.context import RouteAction, Target
from fastmirror.proxy.reply import as_last, own_answer, refusal
from fastmirror.rules.entry import RouteEntry
from fastmirror.rules.request import Request
from fastmirror.upstream.cluster import Cluster, Member
from fastmirror.upstream.connection import (
    PROTOCOL,
    RESET,
    TIMED_OUT,
    ResponseHandler,
    UpstreamConnection,
)
from fastmirror.upstream.pool import Pool

# RFC 9110 section 9.2.2: sending one again is no other than sending it once.
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))
_AS_LONG_AS_THE_KERNEL = 150.0  # seconds: it tries to connect for about 130
_MAX_WAITING = 65536  # bytes of a body that wait for a connection
_READ_BEFORE_REPLY = 65536  # bytes of a body that are read before the proxy's own answer


class Exchange(ResponseHandler):
    """Made when a request's head is complete; ``begin`` when it is its turn."""

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

    # -- the request

    def begin(self) -> int:
        """Every earlier request of the client is answered: route this one."""
        self.begun = True
        if self.refusal:
            return self._send_reply()
        self._route()
        if self.whole and not self.over:
            end_copies(self.copies)
        return 0

    def _route(self) -> int:
        request = self.request
        assert request is not None
        if self.fields.max_forwards == 0 and self.method in (b"OPTIONS", b"TRACE"):
            self.own = as_last(self.method, request.target, self.fields)
            return self._reply(200, "-", "max_forwards")
        entry = self.client.context.table.find(request)
        if entry is None:
            action = self.client.unmatched()
            if action is None:
                return self._reply(404, "NR", "no route for this host and path")
            self.action = action
            return self._send_on(action, None)
        action = action_of(entry.action)
        self.action = action
        if action.delay != 0.0 and action.delayed.decide_random():
            self.flags = "DI"
            self.client.context.wheel.loop.call_later(action.delay, self.go_on, entry)
            return 0
        return self._send_on(action, entry)

    def go_on(self, entry: RouteEntry) -> None:
        """An injected delay is over."""
        if self.over or self.refusal:
            return
        self._send_on(action_of(entry.action), entry)
        if self.whole and not self.over:
            end_copies(self.copies)
        self.request_fed()

    def _send_on(self, action: RouteAction, entry: RouteEntry | None) -> int:
        """Do what the route says; without an entry, it says nothing but where."""
        request = self.request
        assert request is not None
        if action.cors is not None:
            self.origin = action.cors.allowed(self.fields)
            if self.origin is not None:
                lines = action.cors.preflight(self.method, self.fields, self.origin)
                if lines is not None:
                    self._refuse_copies(action.mirrors, NOT_ROUTED)
                    self.own = (None, lines, b"")
                    return self._reply(200, "-", "cors_preflight")
        if action.abort and action.aborted.decide_random():
            self._refuse_copies(action.mirrors, NOT_ROUTED)
            return self._reply(action.abort, "FI", "fault_filter_abort")
        if action.own is not None and entry is not None:
            return self._answer_by_rule(action, entry)
        target = action.pick()
        self.target = target
        if target.cluster is None:
            self._refuse_copies(target.mirrors, NOT_ROUTED)
            return self._reply(target.status, "NR", "the route's backend is no valid one")
        self.cluster = target.cluster
        if self.cluster.sticky is not None:
            self.cookie = self.cluster.sticky.made_for(request)
        self.member = self.cluster.pick(request, self.cookie)
        if self.member is None:
            self._refuse_copies(target.mirrors, NO_ENDPOINT)
            return self._reply(503, "UH", "no usable endpoint")
        context = self.client.context
        if 0 <= action.max_body < self.fields.content_length:
            self._refuse_copies(target.mirrors, BODY_TOO_LARGE)
            return self._reply(413, "-", "the body is too large")
        if self.cluster.limits is not None:
            self.admitted = self.cluster.limits.admits(self.member.pool)
            if not self.admitted:
                self._refuse_copies(target.mirrors, OVERFLOW)
                return self._reply(503, "UO", "too many requests for the service")
        fields, wanted, host = self.fields, request.target, self.host
        if target.edits:
            fields = target.request.apply(fields)
            if target.path and entry is not None:
                wanted = target.path.apply(request, entry.matched(request))
            if target.host is not None:
                host = target.host
        if not host:  # HTTP/1.0 has none, and what is forwarded is HTTP/1.1
            host = self.member.name
        self.sent_host = host
        forwarded = context.forwarded_for and not action.unchanged
        self.head = write_request(
            self.method,
            wanted,
            fields,
            host,
            request.source_ip if forwarded and request.source_ip else None,
            context.request_id and not action.unchanged,
            self.upgrade,
        )
        self.fields.request_id = fields.request_id
        early = self.waiting  # of a pipelined request's body, which came before its turn
        if action.retries.replays or action.retries.per_try != 0.0:
            self._keep_for_retries(early)
        self._dispatch()
        if target.mirrors:
            self._open_copies(target.mirrors, b"".join(early) if early else None)
        return 0

    def _keep_for_retries(self, early: list[bytes] | None) -> int:
        assert self.action is not None
        tries = Attempts(self, self.action.retries, self.body != NO_BODY)
        for data in early or ():
            tries.keep(data)
        self.tries = tries
        return 0

    def _refuse_copies(self, mirrors: list[Mirror], reason: int) -> int:
        """Count what would have been copied; sampled by the id that it would have had."""
        assert self.request is not None
        if not mirrors:
            return 0
        if self.client.context.request_id and self.fields.request_id is None:
            self.fields.request_id = new_request_id()
        return refuse_copies(mirrors, self.request, reason)

    def _answer_by_rule(self, action: RouteAction, entry: RouteEntry) -> int:
        """A redirect or a direct response."""
        request = self.request
        own = action.own
        assert request is not None and own is not None
        self._refuse_copies(action.mirrors, NOT_ROUTED)
        lines = own.fields(request, self.host, entry.matched(request))
        self.own = (own.kind, lines, own.body)
        return self._reply(own.status, "-", "redirect" if own.redirect else "direct_response")

    def _dispatch(self) -> int:
        """Send to the endpoint that was picked."""
        assert self.member is not None and self.action is not None
        pool = self.member.pool
        # A tunnel gets no connection that may have been closed meanwhile: none can be told.
        connection = pool.take() if self.method != b"CONNECT" else None
        self.attempts += 1
        if connection is not None:
            return self.connected(connection)
        if self.action.timeout != 0.0 and self.tries is None:  # it bounds the time to connect too
            self.tries = Attempts(self, self.action.retries, False)
        if self.whole:
            self._all_sent()
        self.connecting = True
        timeout = self.client.context.connect_timeout
        return pool.connect(self, _AS_LONG_AS_THE_KERNEL if self.action.unchanged else timeout)

    def _all_sent(self) -> int:
        """The request is complete: the route's timeout begins."""
        if self.tries is not None and self.action is not None:
            self.tries.start(self.client.context.wheel, self.action.timeout)
        return 0

    def _open_copies(self, mirrors: list[Mirror], early: bytes | None) -> int:
        assert self.request is not None and self.head is not None
        length = 0
        if self.body != NO_BODY:
            length = -1 if self.body == CHUNKED else self.fields.content_length
        for index in range(len(mirrors)):
            copy = mirror_at(mirrors, index).open(
                self.request, self.head, self.sent_host, length, self.upgrade is not None
            )
            if copy is not None:
                if self.client.context.access_log is not None:
                    self.client.context.access_log.watch(copy, self)
                if self.copies is None:
                    self.copies = []
                self.copies.append(copy)
                if early is not None:
                    copy.feed(early, self.bytes_in)
        return 0

    def request_data(self, data: bytes) -> int:
        """More of the body."""
        self.bytes_in += len(data)
        maximum = self.client.context.max_body
        if self.action is not None and self.action.max_body >= 0:
            maximum = self.action.max_body
        if 0 <= maximum < self.bytes_in and not self.over:
            return self.bad_body("")
        size = len(data)
        if self.body == CHUNKED:
            data = b"%b%b\r\n" % (chunk_head(size), data)
        return self._feed(data, size)

    def _feed(self, data: bytes, size: int) -> int:
        """To the primary, then to the copies; ``size``: of the body's bytes in it."""
        if self.refusal or self.over:
            return 0
        if self.tries is not None:
            self.tries.keep(data)
        connection = self.connection
        if connection is not None:
            connection.write(data)
            self._arm()
        elif not self.responded:
            if self.waiting is None:
                self.waiting = []
            self.waiting.append(data)
            self.client.pause_reading()
        return feed_copies(self.copies, data, size)

    def request_end(self) -> int:
        """The request is complete."""
        if self.body == CHUNKED and not self.whole:
            self._feed(write_trailers(self.trailers), 0)
        self.whole = True
        if not self.begun or self.over:
            return 0
        if self.refusal:
            if not self.answered:
                self._send_reply()
            return 0
        self._all_sent()
        if self.connection is not None:
            self._arm()
        end_copies(self.copies)
        return self._maybe_done()

    def request_fed(self) -> int:
        """All of what was read of the request in one go has been handed over."""
        if self.body != NO_BODY and not self.over:
            connection = self.connection
            if connection is not None:
                connection.flush()
            flush_copies(self.copies)
        return 0

    def client_gone(self) -> int:
        """The client's connection is lost; nobody hears of the answer."""
        if self.over:
            return 0
        abort_copies(self.copies)
        if self.flags == "-" and not self.tunnel:
            self.flags = "DC"
            self.details = "downstream connection closed"
        self._release(False)
        return self._done(False)

    def bad_body(self, text: str) -> int:
        """The body is not framed right, or larger (no text) than allowed."""
        if self.over:
            return 0
        if not self.begun:  # an earlier request's answer comes first
            self.waiting = None
            self.whole = True
            if text:
                return self.refuse(400, "DPE", text)
            return self.refuse(413, "-", "the body is too large")
        abort_copies(self.copies)
        self._release(False)
        if self.answered:
            self.flags = "DPE"
            self.client.reset()
            return self._done(False)
        self.keep_alive = False
        self.whole = True
        if text:
            return self._reply(400, "DPE", text)
        return self._reply(413, "-", "the body is too large")

    # -- from the upstream connection

    def connected(self, connection: UpstreamConnection) -> int:
        self.connecting = False
        if self.over or self.refusal:
            assert self.member is not None
            return self.member.pool.give_back(connection)
        assert self.head is not None
        self.connection = connection
        if self.method == b"CONNECT":
            return self._open_tunnel(connection)
        if self.whole:
            self._all_sent()
        more = self.body != NO_BODY
        connection.send(self, self.head.data, self.method == b"HEAD", more)
        if self.waiting is not None:
            for data in self.waiting:
                connection.write(data)
            self.waiting = None
        if self.body != NO_BODY and not connection.writing_paused:
            self.client.resume_reading()
        return self._arm()

    def _open_tunnel(self, connection: UpstreamConnection) -> int:
        """CONNECT: the endpoint is there, and hears only what the client says from here on."""
        connection.begin_tunnel(self)
        self._stop_trying()
        self.status = 200
        self.answered = self.tunnel = True
        self.answered_at = now()
        self.client.send(b"HTTP/1.1 200 OK\r\n\r\n")
        self._progress()
        self.client.context.counts.tunnel(CONNECTED)
        return self.client.become_tunnel()

    def _arm(self) -> int:
        """The route's timeout while the endpoint is to answer, as in Envoy, or to read on; for the
        rest, and where there is none, the idle timeout.
        """
        assert self.action is not None and self.connection is not None
        context = self.client.context
        its_turn = self.whole or self.connection.writing_paused
        timeout = self.action.timeout if its_turn else 0.0
        if self.tries is not None and self.whole:  # which bounds all attempts
            timeout = self.tries.policy.per_try if not self.answered else 0.0
        return context.wheel.arm(self.connection, timeout if timeout else context.idle_timeout)

    def _progress(self) -> int:
        """Something went through: the idle timeout begins anew."""
        connection = self.connection
        if connection is None:
            return 0
        return self.client.context.wheel.arm(connection, self.client.context.idle_timeout)

    def refused(self, reason: str) -> int:
        self.connecting = False
        if self.over or self.refusal:
            return 0
        abort_copies(self.copies)
        return self._reply(503, "UO", reason)

    def connect_failed(self, reason: str) -> int:
        self.connecting = False
        if self.member is not None:
            self.member.failed(503)
        if self.over or self.refusal:
            return 0
        assert self.action is not None
        if self.action.retries.on_connect and self._retry(True):
            return 0
        abort_copies(self.copies)
        return self._reply(503, self._exhausted("UF", self.action.retries.on_connect), reason)

    def _retry(self, untouched: bool) -> bool:
        """Send the request again, if it may be; ``untouched``: none of it was sent."""
        assert self.action is not None and self.cluster is not None and self.member is not None
        policy, tries = self.action.retries, self.tries
        if self.attempts > policy.attempts or (
            not untouched and (tries is None or not tries.whole)
        ):
            return False
        if self.tried is None:
            self.tried = []
        self.tried.append(self.member.pool)
        other = self.cluster.other(self.tried)
        if other is None and not policy.same_endpoint:
            return False
        if not self.retrying:
            self.retrying = self.cluster.retry_begins()
            if not self.retrying:
                return False
        # An answer that is not read to its end costs its connection, as in Envoy.
        self._release(False)
        if other is not None:
            self.member = other
        self.action.counts.retried()
        if not untouched and tries is not None and tries.kept is not None:
            self.waiting = list(tries.kept)
        if untouched and other is not None:
            self._dispatch()
            return True
        self.connecting = True
        wait = policy.wait(self.attempts)
        self.client.context.wheel.loop.call_later(wait, self.try_again)
        return True

    def try_again(self) -> None:
        """The time between two attempts is over."""
        self.connecting = False
        if not self.over and not self.refusal:
            self._dispatch()
            self.request_fed()

    def _exhausted(self, flags: str, wanted: bool) -> str:
        """Flags of a failure that would have been retried, had there not been so many attempts."""
        assert self.action is not None
        if wanted and self.attempts > 1 and self.attempts > self.action.retries.attempts:
            return "URX" if flags == "-" else f"{flags},URX"
        return flags

    def _stop_trying(self) -> int:
        if self.tries is not None:
            self.tries.stop()
            self.tries = None
        return 0

    def timed_out(self) -> None:
        """The route's timeout is over, in whatever attempt."""
        if not self.over and not self.refusal:
            if self.connection is not None:  # else it waited for one
                self._blame(TIMED_OUT)
            self._release(False)
            if not self._cut(TIMED_OUT, "the endpoint did not answer in time"):
                self._give_up(TIMED_OUT, "", "-")

    def informational(self, connection: UpstreamConnection) -> int:
        if self.http10:
            return 0  # RFC 9110 section 15.2: never to an HTTP/1.0 client
        if connection.status == 100:
            if self.continued:  # in an earlier attempt
                return 0
            self.continued = True
        return self.client.send(
            write_response(
                connection.status, connection.reason, connection.fields, False, False, None
            )
        )

    def response_head(self, connection: UpstreamConnection) -> int:
        if self.member is not None:
            self.member.answered(connection.status)
        if self.tries is not None and self._retry_answer(connection.status):
            return 0
        self.status = connection.status
        self.answered = True
        self.answered_at = now()
        if self.client.context.draining:
            self.keep_alive = False
        if not self.whole and self.fields.expect and not self.continued:
            # Whether the body will still come cannot be known (RFC 9110 section 10.1.1).
            self.keep_alive = False
        body = connection.body
        self.chunked = (body == CHUNKED or body == UNTIL_CLOSE) and not self.http10
        if self.http10 and (body == CHUNKED or body == UNTIL_CLOSE):
            self.keep_alive = False
        option = self._option()
        fields = connection.fields
        if self.target is not None and self.target.edits_response:
            fields = self.target.response.apply(fields)
        if self.origin is not None and self.action is not None and self.action.cors is not None:
            fields = self.action.cors.apply(fields, self.origin)
        if self.cookie is not None and self.cluster is not None and self.cluster.sticky is not None:
            fields = self.cluster.sticky.apply(fields, self.cookie)
        with_length = body == LENGTH or (body == NO_BODY and self.status != 204)
        return self.client.send_later(
            write_response(
                self.status, connection.reason, fields, with_length, self.chunked, option
            )
        )

    def _retry_answer(self, status: int) -> bool:
        """Whether another attempt is made for a better answer."""
        assert self.action is not None
        if self.action.retries.wanted(status):
            if self._retry(False):
                return True
            self.flags = self._exhausted(self.flags, True)
        self._progress()
        return False

    def response_data(self, data: bytes) -> int:
        self.bytes_out += len(data)
        if self.action is not None and (
            self.tunnel or not self.action.timeout or self.tries is not None
        ):
            self._progress()  # with a timeout, that bounds the whole of the answer, as in Envoy
        if self.chunked:
            data = b"%b%b\r\n" % (chunk_head(len(data)), data)
        return self.client.send_later(data)

    def received(self) -> int:
        self.under_way = self.answered
        return self.client.flush()

    def response_end(self, connection: UpstreamConnection) -> int:
        if self.tunnel:
            self.client.upstream_closed()
            self._release(False)
            return self._done(False)
        if self.chunked:
            self.client.send_later(write_trailers(connection.trailers))
        self.responded = True
        self._release(connection.reusable and self.whole and not connection.writing_paused)
        return self._maybe_done()

    def switched(self, connection: UpstreamConnection, rest: bytes) -> int:
        if self.upgrade is None:
            return self.failed(connection, PROTOCOL, "invalid answer: 101 without being asked")
        self._stop_trying()
        if self.member is not None:
            self.member.answered(101)
        self.status = 101
        self.answered = True
        self.answered_at = now()
        self.tunnel = True
        self.keep_alive = False
        self.client.send(
            write_response(101, connection.reason, connection.fields, False, False, b"upgrade")
        )
        if rest:
            self.response_data(rest)
        self._progress()
        self.client.context.counts.tunnel(UPGRADED)
        return self.client.become_tunnel()

    def failed(self, connection: UpstreamConnection, kind: int, reason: str) -> int:
        self._release(False)
        if self._cut(kind, reason):
            return self._blame(kind)
        if (
            kind == RESET
            and connection.exchanges > 1
            and not connection.started
            and not self.retried
            and self.body == NO_BODY
            and self.method in _IDEMPOTENT
        ):
            # A kept-alive connection that the endpoint had closed meanwhile.
            self.retried = True
            assert self.member is not None
            self.connecting = True
            return self.member.pool.connect(self, self.client.context.connect_timeout)
        self._blame(kind)
        wanted = self.action is not None and self.action.retries.on_reset
        if wanted and self._retry(False):
            return 0
        return self._give_up(kind, reason, self._exhausted("-", wanted))

    def _blame(self, kind: int) -> int:
        """The endpoint failed, in whatever way."""
        if self.member is None or self.tunnel:
            return 0
        return self.member.failed(504 if kind == TIMED_OUT else 503 if kind == RESET else 502)

    def _cut(self, kind: int, reason: str) -> bool:
        """End an answer of which some was sent; False: the client has got nothing yet."""
        if self.answered and not self.under_way and self.client.take_back():
            self.answered = self.chunked = False  # its head was not sent yet
            self.bytes_out = 0
        if not self.answered:
            return False
        self.flags = {TIMED_OUT: "UT", RESET: "UC"}.get(kind, "UPE")
        self.details = reason
        abort_copies(self.copies)
        self.client.reset()
        self._done(False)
        return True

    def _give_up(self, kind: int, reason: str, more: str) -> int:
        """Tell the client of a failure; ``more``: a flag beside its own, or "-"."""
        abort_copies(self.copies)
        status, flags, text = 502, "UPE", reason
        if kind == TIMED_OUT:
            status, flags, text = 504, "UT", "the endpoint did not answer in time"
        elif kind == RESET:
            status, flags, text = 503, "UC", "the endpoint closed the connection"
        return self._reply(status, flags if more == "-" else f"{flags},{more}", text)

    def write_paused(self, paused: bool) -> int:
        if self.connection is not None and not self.answered:
            self._arm()
        return self.client.pause_reading() if paused else self.client.resume_reading()

    # -- from the client's connection

    def client_paused(self, paused: bool) -> int:
        """The client does not keep up with what is written, or does again."""
        connection = self.connection
        if connection is None:
            return 0
        return connection.pause_reading() if paused else connection.resume_reading()

    def client_data(self, data: bytes) -> int:
        """A tunnel's bytes."""
        self.bytes_in += len(data)
        self._progress()
        connection = self.connection
        return connection.write(data) if connection is not None else 0

    def client_eof(self) -> int:
        """The client sends no more through the tunnel."""
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.write_eof()
        return 0

    def client_timed_out(self) -> int:
        """No more of the body came for too long."""
        if self.over:
            return 0
        abort_copies(self.copies)
        self._release(False)
        if self.answered:
            self.flags = "SI"
            self.client.reset()
            return self._done(False)
        self.whole = True
        self.keep_alive = False
        return self._reply(408, "SI", "the body did not come in time")

    # -- the proxy's own answers

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
        if self.client.context.draining:
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

    # -- ends

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


def action_of(action: Any) -> RouteAction:
    """What was put into the route table, with a C type."""
    return action  # type: ignore[no-any-return]
