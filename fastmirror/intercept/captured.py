"""The requests of an intercepted connection that no rule takes. Invariant: they go to where the
connection was going, with nothing added, over connections that end with the client's.
"""

from __future__ import annotations

from typing import Any

from fastmirror.counts import PASSED_THROUGH, UPSTREAM
from fastmirror.intercept.end import reset
from fastmirror.intercept.interception import Interception
from fastmirror.intercept.original import is_local
from fastmirror.intercept.relay import LEFT_TIME, Relay
from fastmirror.proxy.context import RouteAction, Target
from fastmirror.rules.address import Address
from fastmirror.rules.model import Destination, Route
from fastmirror.upstream import dial
from fastmirror.upstream.cluster import Cluster, Member
from fastmirror.upstream.dial import keep_alive
from fastmirror.upstream.pool import Pool

NAME = "passthrough"  # the route's name in the access log
_TO = Destination()
_ROUTE = Route(name=NAME, to=[_TO])


class Captured:
    """One client's connection. ``original``: where it was going."""

    def __init__(self, interception: Interception, original: Address, source: str) -> None:
        self.interception = interception
        self.original = original
        self.passthrough = interception.passthrough
        self.source = source
        self._action: RouteAction | None = None
        self._pool: Pool | None = None
        self._outbound: bool | None = None

    def outbound(self) -> bool:
        """Whether it comes from this host."""
        if self._outbound is None:
            self._outbound = is_local(self.source.rpartition(":")[0].strip("[]"))
        return self._outbound

    def unmatched(self) -> RouteAction | None:
        """What serves a request that no route takes; None: nothing does."""
        interception = self.interception
        if not self.passthrough:
            return None
        if self._action is None:
            context = interception.context
            self._pool = Pool(
                self.original,
                context.wheel,
                context.counts,
                UPSTREAM,
                context.idle_timeout,
                interception.dialer,
            )
            name = str(self.original).removesuffix(":80")  # for HTTP/1.0 without a Host
            cluster = Cluster(NAME, "round_robin")
            cluster.set_members([Member(self._pool, name.encode(), 1)])
            target = Target(cluster, [], _TO, _ROUTE)
            self._action = RouteAction(_ROUTE, [target], [], context.no_route)
            self._action.unchanged = True
        return self._action

    def relay(self, transport: Any, data: bytes, ended: bool) -> None:
        """The client's connection, and what was read of it, is bytes from here on."""
        relay = Relay(self.interception, self.original, self.source)
        relay.start(transport, PASSED_THROUGH, data, ended)

    def half_closed(self, transport: Any) -> None:
        """The client has sent its end, and waits for what it asked for."""
        keep_alive(transport.get_extra_info("socket").fileno(), dial.OFTEN)
        if self._pool is not None and self._pool.connecting:
            self.interception.context.wheel.loop.call_later(LEFT_TIME, self._give_up, transport)

    def _give_up(self, transport: Any) -> None:
        """Where it has still to be connected, it has gone, as far as can be told."""
        if self._pool is not None and self._pool.connecting and not transport.is_closing():
            reset(transport)

    def close(self) -> None:
        """The client's connection is closed."""
        if self._pool is not None:
            self._pool.retire()
            for task in list(self._pool.connecting):
                task.cancel()  # as long as the kernel tries: for nobody
