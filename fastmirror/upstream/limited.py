"""The pools of a service that says how much of it may be used, as Envoy's circuit breakers do.

Invariants: at most ``max_connections`` are open or being opened, to all endpoints together; while
a request waits, none of them is idle, and the oldest is passed over a few times at most; a request
that waits leaves the line once, with a connection or because nobody waits for its answer any more.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from contextlib import suppress

from fastmirror._core import now
from fastmirror.counts import ServiceCounts, WorkerCounts
from fastmirror.rules.address import Address
from fastmirror.rules.model import ConnectionPool, TcpKeepalive
from fastmirror.rules.units import seconds
from fastmirror.timers import Wheel
from fastmirror.upstream.connection import ResponseHandler, UpstreamConnection
from fastmirror.upstream.dial import Dialer
from fastmirror.upstream.pool import Pool, close_connection, is_open, tell_connected

NO_LIMIT = 1 << 40
# While connections to one endpoint come free and the oldest waits for another, so many later ones
# go first, instead of each costing a connection to one and a new one to the other.
PASSED_MOST = 16


class Waiter:
    """A request that waits for a connection to one address."""

    def __init__(self, pool: LimitedPool, handler: ResponseHandler, timeout: float) -> None:
        self.pool = pool
        self.handler = handler
        self.timeout = timeout


class Limits:
    """What one cluster may take in one of so many workers, and what it takes."""

    def __init__(self, spec: ConnectionPool, workers: int, counts: ServiceCounts) -> None:
        self.counts = counts
        self.max_connections = _share(spec.max_connections, workers)
        self.max_pending = _share(spec.max_pending_requests, workers)
        self.max_requests = _share(spec.max_requests, workers)
        self.max_retries = _share(spec.max_retries, workers)
        self.connections = self.pending = self.requests = self.retries = 0
        self.line: OrderedDict[ResponseHandler, Waiter] = OrderedDict()
        self.pools: list[LimitedPool] = []
        self.passed = 0

    def admits(self, pool: Pool) -> bool:
        """Whether a request may be sent, or wait; if so, ``request_ended`` is owed."""
        if self.requests >= self.max_requests or (
            self.pending >= self.max_pending and not pool.idle
        ):
            self.counts.overflowed()
            return False
        self.requests += 1
        return True

    def request_ended(self) -> int:
        """A request that was admitted is over."""
        self.requests -= 1
        return 0

    def retry_begins(self) -> bool:
        """Whether another attempt may be made; if so, ``retry_ended`` is owed."""
        if self.retries >= self.max_retries:
            self.counts.overflowed()
            return False
        self.retries += 1
        return True

    def retry_ended(self) -> int:
        """Another attempt is over."""
        self.retries -= 1
        return 0

    def next_for(self, pool: LimitedPool) -> Waiter | None:
        """Who is to have a connection of this pool that comes free, or what is opened instead."""
        oldest = first_of(self.line)
        if oldest is None:
            return None
        own = first_of(pool.line)
        if own is None or own is oldest or self.passed >= PASSED_MOST:
            self.passed = 0
            return oldest
        self.passed += 1
        return own

    def make_room(self) -> int:
        """Close an idle connection to whatever endpoint: its end lets the oldest open one."""
        for pool in self.pools:
            if close_an_idle(pool):
                return 0
        return 0

    def use_room(self) -> int:
        """A connection is gone: open others for those that wait."""
        while self.line and self.connections < self.max_connections:
            waiter = first_of(self.line)
            assert waiter is not None
            waiter.pool.start(waiter)
        return 0

    def stop(self) -> None:
        """Open no connection any more."""
        self.line.clear()


def _share(limit: int | None, workers: int) -> int:
    return NO_LIMIT if limit is None else -(-limit // workers)


class LimitedPool(Pool):
    """Connections to an address, for one cluster alone."""

    def __init__(
        self,
        address: Address,
        wheel: Wheel,
        counts: WorkerCounts,
        side: int,
        idle_timeout: float,
        dialer: Dialer,
        spec: ConnectionPool,
        limits: Limits,
    ) -> None:
        if spec.idle_timeout is not None:
            idle_timeout = seconds(spec.idle_timeout)
        super().__init__(address, wheel, counts, side, idle_timeout, dialer)
        self.limits = limits
        self.line: OrderedDict[ResponseHandler, Waiter] = OrderedDict()
        self.connect_timeout = seconds(spec.connect_timeout or 0.0)
        self.max_exchanges = spec.max_requests_per_connection or NO_LIMIT
        self.max_age = seconds(spec.max_connection_duration or 0.0)
        self.socket_options: list[tuple[int, int, int]] = []
        if spec.tcp_keepalive is not None and not address.is_unix:
            self.socket_options = _keepalive(spec.tcp_keepalive)
        self.limits.pools.append(self)

    def connect(self, handler: ResponseHandler, timeout: float) -> int:
        limits = self.limits
        if limits.pending >= limits.max_pending:
            limits.counts.overflowed()
            self.loop.call_soon(refuse, handler)
            return 0
        if self.connect_timeout != 0.0:
            timeout = self.connect_timeout
        self.active += 1
        limits.pending += 1
        waiter = Waiter(self, handler, timeout)
        if limits.connections < limits.max_connections:
            return self.start(waiter)
        limits.line[handler] = waiter
        self.line[handler] = waiter
        return limits.make_room()

    def start(self, waiter: Waiter) -> int:
        """Open the connection that a request waits for."""
        self.limits.line.pop(waiter.handler, None)
        self.line.pop(waiter.handler, None)
        self.limits.connections += 1
        return self.open_for(waiter.handler, waiter.timeout)

    def leave(self, handler: ResponseHandler) -> int:
        if self.line.pop(handler, None) is not None:
            self.limits.line.pop(handler, None)
            self.limits.pending -= 1
            self.active -= 1
        return 0

    def made(self, connection: UpstreamConnection) -> int:
        self.limits.pending -= 1
        if self.socket_options:
            sock = connection.transport.get_extra_info("socket")
            with suppress(OSError):  # the peer has gone already: that will be heard of
                for level, option, value in self.socket_options:
                    sock.setsockopt(level, option, value)
        return 0

    def not_made(self, connection: UpstreamConnection) -> int:
        self.limits.pending -= 1
        if connection.since == 0.0:  # else lost() is told of it
            self.limits.connections -= 1
        Pool.not_made(self, connection)
        return self.limits.use_room()

    def give_back(self, connection: UpstreamConnection) -> int:
        if self._is_worn(connection) or not is_open(connection):
            return self.discard(connection)
        limits = self.limits
        waiter = limits.next_for(self)
        if waiter is None:
            Pool.give_back(self, connection)
            if self.max_age != 0.0 and not self.retired:
                left = connection.since + self.max_age - now()
                if left < self.idle_timeout:
                    self.wheel.arm(connection, left)
            return 0
        if waiter.pool is not self:
            return self.discard(connection)  # its end lets the oldest open one
        self.leave(waiter.handler)  # which takes this one's place among the active
        connection.resume_reading()
        return tell_connected(waiter.handler, connection)

    def _is_worn(self, connection: UpstreamConnection) -> bool:
        return connection.exchanges >= self.max_exchanges or (
            self.max_age != 0.0 and now() - connection.since >= self.max_age
        )

    def lost(self, connection: UpstreamConnection) -> int:
        Pool.lost(self, connection)
        self.limits.connections -= 1
        return self.limits.use_room()

    def retire(self) -> None:
        super().retire()
        self.limits.pools.remove(self)


def _keepalive(spec: TcpKeepalive) -> list[tuple[int, int, int]]:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for option, value in (
        (socket.TCP_KEEPIDLE, spec.time),
        (socket.TCP_KEEPINTVL, spec.interval),
        (socket.TCP_KEEPCNT, spec.probes),
    ):
        if value is not None:
            options.append((socket.IPPROTO_TCP, option, int(seconds(value))))
    return options


def first_of(line: OrderedDict[ResponseHandler, Waiter]) -> Waiter | None:
    """The oldest, which stays; None: nobody waits."""
    for waiter in line.values():
        return waiter
    return None


def close_an_idle(pool: LimitedPool) -> bool:
    """Close the connection that was unused for longest; False: none is idle."""
    if not pool.idle:
        return False
    close_connection(pool.idle.pop(0))
    return True


def refuse(handler: ResponseHandler) -> None:
    """As many requests wait as may."""
    handler.refused("too many requests wait for a connection to the service")
