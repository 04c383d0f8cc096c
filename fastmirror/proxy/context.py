"""What every connection of a worker shares. Invariant: a request takes its table, and with it
its route's action, once; a reload puts another table here and changes nothing in an old one.
"""

from __future__ import annotations

from fractions import Fraction

from fastmirror._core import Sampler, random64
from fastmirror.counts import RouteCounts, WorkerCounts
from fastmirror.http1.target import host_and_port
from fastmirror.mirror.mirror import Mirror
from fastmirror.options import Options
from fastmirror.proxy.access_log import AccessLog
from fastmirror.proxy.attempts import RetryPolicy
from fastmirror.proxy.cors import CorsPolicy
from fastmirror.proxy.edit import HeaderEdit, OwnAnswer, PathEdit
from fastmirror.rules.model import Abort, Delay, Destination, Route
from fastmirror.rules.table import RouteTable
from fastmirror.rules.units import seconds, size
from fastmirror.timers import Wheel
from fastmirror.upstream.cluster import Cluster


class Target:
    """One of a route's destinations, or, without a cluster, the status that is answered instead."""

    def __init__(
        self, cluster: Cluster | None, mirrors: list[Mirror], spec: Destination, route: Route
    ) -> None:
        self.cluster = cluster
        self.mirrors = mirrors
        self.weight = spec.weight
        self.status = spec.status or 0
        self.request = HeaderEdit(spec.headers.request, route.headers.request)
        self.response = HeaderEdit(spec.headers.response, route.headers.response)
        own = spec.rewrite.host if spec.rewrite.host is not None else route.rewrite.host
        self.host = own.encode() if own is not None else self.request.host
        self.path = PathEdit(spec.rewrite) or PathEdit(route.rewrite)
        self.edits = bool(self.request) or self.host is not None or bool(self.path)
        self.edits_response = bool(self.response)


def _share(fault: Delay | Abort | None) -> Sampler:
    """What decides who is injected a fault. Most routes have none, and share one that says no."""
    return Sampler(Fraction(fault.percent) / 100, b"") if fault is not None else _NOBODY


_NOBODY = Sampler(Fraction(0), b"")


class RouteAction:
    """Where a route's requests go, and what copies them; or what is answered to them."""

    def __init__(
        self,
        route: Route,
        targets: list[Target],
        mirrors: list[Mirror],
        counts: RouteCounts,
    ) -> None:
        self.name = route.name
        self.targets = [target for target in targets if target.weight > 0]
        self.total = sum(target.weight for target in self.targets)
        self.mirrors = mirrors
        self.counts = counts
        self.timeout = seconds(route.timeout) if route.timeout is not None else 0.0
        self.max_body = size(route.max_body) if route.max_body is not None else -1
        self.retries = RetryPolicy(route.retries)
        delay, abort = route.fault.delay, route.fault.abort
        self.delay = seconds(delay.duration) if delay is not None else 0.0
        self.delayed = _share(delay)
        self.abort = abort.status if abort is not None else 0
        self.aborted = _share(abort)
        self.cors = CorsPolicy(route.cors) if route.cors is not None else None
        self.unchanged = False
        self.own: OwnAnswer | None = None
        if route.redirect is not None or route.direct_response is not None:
            self.own = OwnAnswer(route)

    def pick(self) -> Target:
        """One of the destinations, by weight."""
        if len(self.targets) == 1:
            return target_at(self.targets, 0)
        point = random64() % self.total
        for index in range(len(self.targets)):
            target = target_at(self.targets, index)
            if point < target.weight:
                return target
            point -= target.weight
        return target_at(self.targets, 0)


def target_at(targets: list[Target], index: int) -> Target:
    """``targets[index]``, with a C type."""
    return targets[index]


HOSTS = 1024  # that are remembered, of up to so many bytes:
LONGEST = 255


class ProxyContext:
    """``no_route`` counts the requests that no route took."""

    def __init__(
        self,
        options: Options,
        wheel: Wheel,
        counts: WorkerCounts,
        no_route: RouteCounts,
        table: RouteTable,
    ) -> None:
        self.wheel = wheel
        self.counts = counts
        self.no_route = no_route
        self.table = table
        self.access_log: AccessLog | None = None
        self.leaving = self.draining = False
        self.clients: set[object] = set()
        self.max_header_bytes = options.max_header_bytes
        self.max_headers = options.max_headers
        self.max_uri = options.max_uri_bytes
        self.max_body = options.max_body_bytes or -1
        # Each worker has its share, as of the mirrors' memory.
        self.max_connections = -(-options.max_connections // options.workers)
        self.idle_timeout = options.idle_timeout
        self.head_timeout = options.request_head_timeout
        self.request_timeout = options.request_timeout
        self.connect_timeout = options.connect_timeout
        self.forwarded_for = options.x_forwarded_for
        self.request_id = options.x_request_id
        self.allow_connect = options.allow_connect
        self.allow_trace = options.allow_trace
        self.hosts: dict[bytes, tuple[bytes, int]] = {}

    def host_and_port(self, host: bytes) -> tuple[bytes, int]:
        """A Host field as routes are compared with it. Most connections bring one that came before.

        Raises ValueError.
        """
        found = self.hosts.get(host)
        if found is None:
            found = host_and_port(host)
            if len(host) <= LONGEST:
                if len(self.hosts) >= HOSTS:
                    self.hosts.clear()
                self.hosts[host] = found
        return found
