"""An exchange and its endpoint: the attempts, their times, and the answer on its way back.

Invariants: a response that was begun is ended right or the connection is cut, never ended as if
complete; no attempt follows one of whose answer the client has got anything.
"""

from __future__ import annotations

from fastmirror._core import chunk_head, now, write_response, write_trailers
from fastmirror.counts import CONNECTED, UPGRADED
from fastmirror.http1.framing import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE
from fastmirror.mirror.tee import abort_copies
from fastmirror.proxy.answering import Answering
from fastmirror.proxy.attempts import Attempts
from fastmirror.upstream.connection import PROTOCOL, RESET, TIMED_OUT, UpstreamConnection

# RFC 9110 section 9.2.2: sending one again is no other than sending it once.
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))
_AS_LONG_AS_THE_KERNEL = 150.0  # seconds: it tries to connect for about 130


class Forwarding(Answering):
    """A request that is sent to an endpoint."""

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
        return context.wheel.arm(self.connection, timeout if timeout else self.client.idle_timeout)

    def _progress(self) -> int:
        """Something went through: the idle timeout begins anew."""
        connection = self.connection
        if connection is None:
            return 0
        return self.client.context.wheel.arm(connection, self.client.idle_timeout)

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

    def timed_out(self) -> None:
        """The route's timeout is over, in whatever attempt."""
        if not self.over and not self.refusal:
            if self.connection is not None:  # else it waited for one
                self._blame(TIMED_OUT)
            self._release(False)
            if not self._cut(TIMED_OUT, "the endpoint did not answer in time"):
                self._give_up(TIMED_OUT, "", "-")

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
        if self.client.context.leaving and self.client.leaves():
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

    def write_paused(self, paused: bool) -> int:
        if self.connection is not None and not self.answered:
            self._arm()
        return self.client.pause_reading() if paused else self.client.resume_reading()
