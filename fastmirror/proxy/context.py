"""What every connection of a worker shares. Invariant: a request takes its table, and with it
its route's action, once; a reload puts another table here and changes nothing in an old one.
"""

from __future__ import annotations

from fastmirror._core import random64
from fastmirror.counts import RouteCounts, WorkerCounts
from fastmirror.mirror.mirror import Mirror
from fastmirror.options import Options
from fastmirror.proxy.access_log import AccessLog
from fastmirror.rules.table import RouteTable
from fastmirror.timers import Wheel
from fastmirror.upstream.cluster import Cluster


class RouteAction:
    """Where a route's requests go, and what copies them."""

    def __init__(
        self,
        name: str,
        destinations: list[tuple[Cluster, int]],
        mirrors: list[Mirror],
        counts: RouteCounts,
        timeout: float,
        max_body: int,
    ) -> None:
        self.name = name
        self.clusters = [cluster for cluster, weight in destinations if weight > 0]
        self.weights = [weight for _, weight in destinations if weight > 0]
        self.total = sum(self.weights)
        self.mirrors = mirrors
        self.counts = counts
        self.timeout = timeout
        self.max_body = max_body

    def pick(self) -> Cluster:
        """One of the destinations, by weight."""
        if len(self.clusters) == 1:
            return cluster_at(self.clusters, 0)
        point = random64() % self.total
        for index, weight in enumerate(self.weights):
            if point < weight:
                return cluster_at(self.clusters, index)
            point -= weight
        return cluster_at(self.clusters, 0)


def cluster_at(clusters: list[Cluster], index: int) -> Cluster:
    """``clusters[index]``, with a C type."""
    return clusters[index]


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
        self.draining = False
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
