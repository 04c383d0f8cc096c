"""Copies that share one write to a shadow's connection: ``pipeline`` of a mirror.

Invariants: only requests without a body are sent so, and only on a connection that was kept alive
before; an answer counts for the copy whose turn it is and for no other; when a connection ends
early, the copies that got no byte of an answer are sent again, once, each by itself.

RFC 9112 section 9.3.2 allows it. A batch is what one turn of the event loop made for one endpoint,
so a copy waits only for answers to requests that came with it, never for those of an earlier one.
"""

from __future__ import annotations

from fastmirror._core import now
from fastmirror.mirror.copy import Copy, SharedConnection
from fastmirror.timers import Wheel
from fastmirror.upstream.connection import PROTOCOL, UpstreamConnection
from fastmirror.upstream.pool import Pool, is_open

HOLD_OFF = 10.0  # seconds without batches for an endpoint that did not answer one in order


class Batch(SharedConnection):
    """``connection``: taken from the pool for it."""

    def __init__(
        self, pool: Pool, connection: UpstreamConnection, wheel: Wheel, timeout: float
    ) -> None:
        self.pool = pool
        self.connection: UpstreamConnection | None = connection
        self.wheel = wheel
        self.timeout = timeout
        self.copies: list[Copy] = []
        self.turn = 0

    def add(self, copy: Copy) -> int:
        """One more, before ``dispatch``; the number of them is the result."""
        copy.whole = True  # it has no body
        self.copies.append(copy)
        return len(self.copies)

    def dispatch(self) -> int:
        """Send them all, but for those that were given up meanwhile."""
        connection = self.connection
        self.copies = [copy for copy in self.copies if is_connecting(copy)]
        count = len(self.copies)
        if connection is None or count == 0:
            return self._release(True)
        if not is_open(connection):  # closed since it was taken
            self._release(False)
            for copy in self.copies:
                reconnect(copy)
            return 0
        if count == 1:
            self.connection = None
            return copy_at(self.copies, 0).connected(connection)
        for copy in self.copies:
            share(copy, self, connection)
        data = b"".join([head_of(copy) for copy in self.copies])
        connection.send_together(self, data, count)
        return self.wheel.arm(connection, self.timeout)

    # -- from the connection

    def response_head(self, connection: UpstreamConnection) -> int:
        copy = copy_at(self.copies, self.turn)
        copy.response_head(connection)
        return self._cut() if copy.state == 3 else 0

    def response_data(self, data: bytes) -> int:
        copy = copy_at(self.copies, self.turn)
        copy.response_data(data)
        return self._cut() if copy.state == 3 else 0

    def received(self) -> int:
        if self.connection is None:
            return 0
        copy = copy_at(self.copies, self.turn)
        copy.received()
        return self._cut() if copy.state == 3 else 0

    def response_end(self, connection: UpstreamConnection) -> int:
        copy = copy_at(self.copies, self.turn)
        self.turn += 1
        reusable = connection.reusable
        if reusable and self.turn < len(self.copies):
            connection.expect(self)
            self.wheel.arm(connection, self.timeout)
            return copy.response_end(connection)
        self._release(reusable)
        copy.response_end(connection)
        return self._send_rest()

    def switched(self, connection: UpstreamConnection, rest: bytes) -> int:
        return self.failed(connection, PROTOCOL, "another protocol, which nobody asked for")

    def failed(self, connection: UpstreamConnection, kind: int, reason: str) -> int:
        copy = copy_at(self.copies, self.turn)
        self.turn += 1
        self.pool.pipeline_after = now() + HOLD_OFF
        self._release(False)
        copy.failed(connection, kind, reason)
        return self._send_rest()

    # -- from a copy

    def left(self) -> int:
        """A copy was given up: when no other waits for an answer, there is none to be read."""
        for index in range(self.turn, len(self.copies)):
            if copy_at(self.copies, index).state == 2:
                return 0
        return self._release(False)

    # -- ends

    def _cut(self) -> int:
        """The copy whose turn it is has ended before its answer: nothing more can be read."""
        if self.connection is None:
            return 0
        self.turn += 1
        self.pool.pipeline_after = now() + HOLD_OFF
        self._release(False)
        return self._send_rest()

    def _release(self, reusable: bool) -> int:
        connection = self.connection
        self.connection = None
        if connection is None:
            return 0
        return self.pool.give_back(connection) if reusable else self.pool.discard(connection)

    def _send_rest(self) -> int:
        rest = self.copies[self.turn :]
        self.turn = len(self.copies)
        for copy in rest:
            send_again(copy)
        return 0


# Elements of lists have no C type; these give them one.
def copy_at(copies: list[Copy], index: int) -> Copy:
    """``copies[index]``."""
    return copies[index]


def is_connecting(copy: Copy) -> bool:
    """Whether a copy still waits for its connection."""
    return copy.state == 1


def head_of(copy: Copy) -> bytes:
    """``copy.head``."""
    return copy.head


def share(copy: Copy, batch: Batch, connection: UpstreamConnection) -> int:
    """``copy.share(batch, connection)``."""
    return copy.share(batch, connection)


def reconnect(copy: Copy) -> int:
    """``copy.reconnect()``."""
    return copy.reconnect()


def send_again(copy: Copy) -> int:
    """``copy.send_again()``."""
    return copy.send_again()
