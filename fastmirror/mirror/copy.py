"""One copy of one request, from the queue to its end.

Invariants: the exchange with the primary calls ``feed``, ``end`` and ``client_gone`` and never
waits, never hears of an outcome, never sees an exception of the shadow's; a copy is dropped or
sent, and if sent completed or failed, each counted once; a request that was cut short is never
finished for the shadow: its connection is closed.
"""

from __future__ import annotations

from collections.abc import Callable

from fastmirror._core import now
from fastmirror.counts import (
    BODY_TOO_LARGE,
    BYTES_FULL,
    CLIENT_ABORT,
    DROP_REASONS,
    FAILED_CLIENT_ABORT,
    FAILED_CONNECT,
    FAILED_PROTOCOL,
    FAILED_RESET,
    FAILED_SLOW,
    FAILED_TIMEOUT,
    FAILURE_KINDS,
    MirrorCounts,
)
from fastmirror.mirror.control import MirrorControl
from fastmirror.mirror.limits import HEALTH_BAD, HEALTH_GOOD, HEALTH_UNKNOWN, CopyQueue, RateLimit
from fastmirror.timers import Wheel
from fastmirror.upstream.cluster import Member
from fastmirror.upstream.connection import (
    PROTOCOL,
    RESET,
    TIMED_OUT,
    ResponseHandler,
    UpstreamConnection,
)

STUCK = 4 << 20  # bytes by which a complete copy may lag and say nothing about its shadow
MAX_HEADS = 1 << 18  # bytes of heads and framing that are read beyond max_response

# The states of a copy. Literals below, where they are compared on the hot path.
QUEUED, CONNECTING, ACTIVE, DONE = range(4)

_FAILURES = {TIMED_OUT: FAILED_TIMEOUT, RESET: FAILED_RESET, PROTOCOL: FAILED_PROTOCOL}


class CopyOwner:
    """What a copy knows of its mirror, which inherits from this."""

    name: str
    counts: MirrorCounts
    control: MirrorControl
    wheel: Wheel
    queue: CopyQueue
    connects: RateLimit
    live: set[Copy]
    max_body: int
    max_copy_bytes: int
    stuck: int
    max_response: int
    connect_timeout: float
    response_timeout: float

    def admit(self, copy: Copy) -> int:
        """A copy that was held back may go."""
        return 0

    def ended(self, copy: Copy, health: int) -> int:
        """A copy that was sent has ended."""
        return 0


class SharedConnection(ResponseHandler):
    """What a copy knows of a connection that it shares, which it neither closes nor gives back."""

    def left(self) -> int:
        """A copy was given up."""
        return 0


class Copy(ResponseHandler):
    """Made by ``Mirror.open`` alone."""

    def set_up(
        self, mirror: CopyOwner, member: Member, head: bytes, to_head: bool, has_body: bool
    ) -> int:
        """What a constructor would do, without the cost of calling one."""
        self.mirror = mirror
        self.member = member
        self.head = head
        self.to_head = to_head
        self.has_body = has_body
        self.state = 0  # QUEUED
        self.connection: UpstreamConnection | None = None
        self.shared: SharedConnection | None = None
        self.waiting: list[bytes] | None = None
        self.whole = False
        self.fed = 0
        self.piecewise = self.held = self.stuck = False
        self.charged = 0
        self.began = 0.0
        self.answer_size = 0
        self.retried = False
        self.on_end: Callable[[Copy], None] | None = None
        self.status = 0
        self.outcome: str | None = None
        return 0

    # -- from the exchange with the primary

    def feed(self, data: bytes, size: int) -> int:
        """More of the request as it goes on the wire, with so many bytes of the body in it."""
        if self.state == 3:
            return 0
        self.fed += size
        if self.mirror.max_body >= 0 and self.fed > self.mirror.max_body:
            if self.state == 0:
                return self.drop(BODY_TOO_LARGE)
            return self.abandon(FAILED_SLOW)
        connection = self.connection
        if connection is None:
            lag = self.charged + len(data)
            if self._over_budget(lag):
                return 0
            if self.waiting is None:
                self.waiting = []
            self.waiting.append(data)
            return self._charge(lag)
        lag = connection.unsent() + len(data)
        if self._over_budget(lag):
            return 0
        self.piecewise = True
        connection.write(data)
        return self._charge(connection.unsent())

    def flush(self) -> int:
        """All of what was read in one go has been fed."""
        connection = self.connection
        return connection.flush() if connection is not None else 0

    def end(self) -> int:
        """The request is complete."""
        self.whole = True
        self.flush()
        self._set_stuck()
        if self.held and self.state == 0:
            self.held = False
            return self.mirror.admit(self)
        if self.state == 2 and self.connection is not None:
            self.mirror.wheel.arm(self.connection, self.mirror.response_timeout)
        return 0

    def client_gone(self) -> int:
        """The client went away; a request that had come in whole is still copied."""
        if self.whole or self.state == 3:
            return 0
        if self.state == 0:
            return self.drop(CLIENT_ABORT)
        return self.abandon(FAILED_CLIENT_ABORT)

    # -- from the mirror

    def begin(self) -> int:
        """From here on the copy counts as sent."""
        self.state = 1
        self.began = now()
        return self.mirror.counts.sent()

    def start(self) -> int:
        """Begin, and take or open a connection."""
        self.begin()
        connection = self.member.pool.take()
        if connection is not None:
            return self.connected(connection)
        return self._connect()

    def _connect(self) -> int:
        self.mirror.connects.spend()
        return self.member.pool.connect(self, self.mirror.connect_timeout)

    def _restart(self) -> int:
        """Send it on a new connection, for the one that it had is closed."""
        self.state = 1
        self.connection = None
        self.shared = None
        return self._connect()

    # -- from what it shares a connection with

    def share(self, shared: SharedConnection, connection: UpstreamConnection) -> int:
        """The copy is sent, together with others."""
        self.state = 2
        self.shared = shared
        self.connection = connection
        return 0

    def reconnect(self) -> int:
        """The connection was closed before anything was sent."""
        return self._restart() if self.state == 1 else 0

    def send_again(self) -> int:
        """The connection ended before a byte of this copy's answer."""
        if self.state != 2:
            return 0
        self.shared = None
        self.connection = None
        if self.retried:
            return self.abandon(FAILED_RESET)
        self.retried = True
        self.state = 1
        connection = self.member.pool.take()
        if connection is not None:
            return self.connected(connection)
        return self._connect()

    def drop(self, reason: int) -> int:
        """Give up a copy that waits."""
        self.mirror.counts.dropped(reason)
        self.mirror.queue.remove(self)
        self._let_go(DROP_REASONS[reason])
        return 0

    def abandon(self, kind: int) -> int:
        """Give up a copy that was sent, as a failure of that kind."""
        connection = self.connection
        shared = self.shared
        if connection is not None and shared is None:
            self.member.pool.discard(connection)
        self.mirror.counts.failed(kind)
        bad = kind in (FAILED_CONNECT, FAILED_TIMEOUT, FAILED_RESET, FAILED_SLOW)
        self._let_go(FAILURE_KINDS[kind])
        if shared is not None:
            shared.left()
        return self.mirror.ended(self, HEALTH_BAD if bad else HEALTH_UNKNOWN)

    # -- from the connection

    def connected(self, connection: UpstreamConnection) -> int:
        if self.state != 1:  # given up meanwhile
            return self.member.pool.give_back(connection)
        self.state = 2
        self.connection = connection
        connection.send(self, self.head, self.to_head, self.has_body and not self.whole)
        if self.waiting is not None:
            self.piecewise = True
            for data in self.waiting:
                connection.write(data)
            self.waiting = None
        if self.charged:
            self._charge(connection.unsent())
        if self.whole:
            self.mirror.wheel.arm(connection, self.mirror.response_timeout)
        return 0

    def connect_failed(self, reason: str) -> int:
        if self.state != 1:
            return 0
        return self.abandon(FAILED_CONNECT)

    def response_head(self, connection: UpstreamConnection) -> int:
        self.status = connection.status
        if not self.to_head and connection.fields.content_length > self.mirror.max_response:
            return self._complete(connection, False)
        return 0

    def response_data(self, data: bytes) -> int:
        self.answer_size += len(data)
        connection = self.connection
        if self.answer_size > self.mirror.max_response and connection is not None:
            return self._complete(connection, False)
        return 0

    def received(self) -> int:
        connection = self.connection
        if connection is not None and connection.wire > self.mirror.max_response + MAX_HEADS:
            return self._complete(connection, False)  # framing alone can be without end
        return 0

    def response_end(self, connection: UpstreamConnection) -> int:
        reusable = connection.reusable and self.whole
        if reusable and self.piecewise:
            # An answer before all of the request was read: what is unsent is not for the next.
            reusable = connection.unsent() == 0
        return self._complete(connection, reusable)

    def switched(self, connection: UpstreamConnection, rest: bytes) -> int:
        return self.abandon(FAILED_PROTOCOL)  # nobody asked for another protocol

    def failed(self, connection: UpstreamConnection, kind: int, reason: str) -> int:
        if (
            kind == RESET
            and connection.exchanges > 1
            and not connection.started
            and not self.piecewise
            and not self.retried
        ):
            # A kept-alive connection that the shadow had closed before the copy was sent.
            self.retried = True
            if self.shared is None:
                self.member.pool.discard(connection)
            return self._restart()
        return self.abandon(_FAILURES[kind])

    def write_paused(self, paused: bool) -> int:
        if not paused and self.connection is not None:
            self._charge(self.connection.unsent())
        return 0

    # -- for the access log

    def body_bytes(self) -> int:
        """How much of the body came."""
        return self.fed

    def answer_bytes(self) -> int:
        """How much of an answer's body was read."""
        return self.answer_size

    def host(self) -> bytes:
        """The copy's Host: the first field of the head."""
        return self.head.split(b"\r\n", 2)[1].partition(b": ")[2]

    def endpoint(self) -> object:
        """The shadow's address."""
        return self.member.pool.address

    def mirror_name(self) -> str:
        """The mirror's name."""
        return self.mirror.name

    # -- ends

    def _charge(self, size: int) -> int:
        """The copy holds so many bytes now."""
        change = size - self.charged
        if change:
            self.charged = size
            self.mirror.control.charge(change)
            self.mirror.counts.buffered(change)
            if self.state == 0:
                self.mirror.queue.size += change
            if self.whole:
                self._set_stuck()
        return 0

    def _set_stuck(self) -> int:
        """Whether all of the request was given to the shadow, and much of it was not taken: until
        it is, other copies may lag less, so that a shadow that takes nothing soon costs nothing.
        """
        stuck = self.state == 2 and self.charged > STUCK
        if stuck != self.stuck:
            self.stuck = stuck
            self.mirror.stuck += 1 if stuck else -1
        return 0

    def _over_budget(self, held: int) -> int:
        """Give the copy up, and say so, if it would hold more than it may."""
        change = held - self.charged
        limit = self.mirror.max_copy_bytes
        if self.mirror.stuck and not self.stuck and limit > STUCK:
            limit = STUCK
        if (
            held <= limit
            and self.mirror.control.fits(change)
            and (self.state != 0 or self.mirror.queue.has_room_for(change))
        ):
            return 0
        if self.state == 0:
            self.drop(BYTES_FULL)
        else:
            self.abandon(FAILED_SLOW)
        return 1

    def _complete(self, connection: UpstreamConnection, reusable: bool) -> int:
        if self.state != 2:
            return 0
        if self.shared is None:
            if reusable:
                self.member.pool.give_back(connection)
            else:
                self.member.pool.discard(connection)
        self.mirror.counts.completed(connection.status, now() - self.began)
        self._let_go("completed")
        return self.mirror.ended(self, HEALTH_GOOD)

    def _let_go(self, outcome: str) -> int:
        """Hold nothing any more."""
        self._charge(0)
        self.state = 3
        self._set_stuck()
        self.connection = None
        self.shared = None
        self.waiting = None
        self.outcome = outcome
        self.mirror.live.discard(self)
        if self.on_end is not None:
            self.on_end(self)
        return 0
