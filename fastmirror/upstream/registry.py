"""All endpoints that the rules name. Invariant: an address has one pool however many rules name
it, and keeps it, with its connections, over reloads for as long as one does.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastmirror.counts import WorkerCounts
from fastmirror.rules.address import Address, parse_address
from fastmirror.rules.model import Endpoint, Rules, Service
from fastmirror.timers import Wheel
from fastmirror.upstream.cluster import Cluster, Member
from fastmirror.upstream.dial import Dialer
from fastmirror.upstream.pool import Pool
from fastmirror.upstream.resolve import Resolver

ClusterKey = tuple[str, str | None]  # service, subset


class Registry:
    """Pools by address, for one side: the primaries', or one mirror's shadows."""

    def __init__(
        self,
        wheel: Wheel,
        counts: WorkerCounts,
        resolver: Resolver,
        side: int,
        idle_timeout: float,
        dialer: Dialer,
    ) -> None:
        self.wheel = wheel
        self.counts = counts
        self.resolver = resolver
        self.side = side
        self.idle_timeout = idle_timeout
        self.dialer = dialer
        self.pools: dict[Address, Pool] = {}
        self.in_use: set[Address] = set()

    def pool(self, address: Address) -> Pool:
        """The pool of an address, made when it is first asked for."""
        pool = self.pools.get(address)
        if pool is None:
            idle = self.idle_timeout
            pool = Pool(address, self.wheel, self.counts, self.side, idle, self.dialer)
            self.pools[address] = pool
        pool.revive()
        return pool

    def retire_unused(self, used: Iterable[Address]) -> None:
        """Drop every pool whose address is not among these."""
        keep = set(used)
        for address in [address for address in self.pools if address not in keep]:
            self.pools.pop(address).retire()

    def close(self) -> None:
        """Close every idle connection, and each other when its exchange is over."""
        self.retire_unused(())


class ClusterSet:
    """The clusters of one rules document; ``close()`` when no request runs under it any more."""

    def __init__(self, rules: Rules, registry: Registry) -> None:
        self.registry = registry
        self.services = {service.name: service for service in rules.services}
        self.clusters: dict[ClusterKey, Cluster] = {}
        self.watched: list[tuple[Address, _Refresh]] = []

    def get(self, service: str, subset: str | None) -> Cluster:
        """The cluster of a service's endpoints, or of one subset's."""
        key = (service, subset)
        cluster = self.clusters.get(key)
        if cluster is None:
            cluster = self.clusters[key] = self._build(self.services[service], subset)
        return cluster

    def _build(self, service: Service, subset: str | None) -> Cluster:
        endpoints = [
            endpoint for endpoint in service.endpoints if _in_subset(endpoint, service, subset)
        ]
        name = service.name if subset is None else f"{service.name}/{subset}"
        cluster = Cluster(name, service.balance)
        refresh = _Refresh(cluster, endpoints, self.registry)
        for endpoint in endpoints:
            address = parse_address(endpoint.address)
            if address.is_name:
                self.registry.resolver.watch(address, refresh)
                self.watched.append((address, refresh))
        refresh()
        return cluster

    def addresses(self) -> set[Address]:
        """Every address in use now."""
        return {
            member.pool.address for cluster in self.clusters.values() for member in cluster.members
        }

    def close(self) -> None:
        """Watch no names for it any more."""
        for address, refresh in self.watched:
            self.registry.resolver.unwatch(address, refresh)
        self.watched.clear()


class _Refresh:
    """Gives a cluster its members anew, when it is made and when a name's addresses change."""

    def __init__(self, cluster: Cluster, endpoints: list[Endpoint], registry: Registry) -> None:
        self.cluster = cluster
        self.endpoints = endpoints
        self.registry = registry

    def __call__(self) -> None:
        members: dict[Address, Member] = {}
        for endpoint in self.endpoints:
            address = parse_address(endpoint.address)
            found = self.registry.resolver.addresses(address) if address.is_name else (address,)
            for each in found:
                known = members.get(each)
                weight = endpoint.weight + (known.weight if known is not None else 0)
                members[each] = Member(self.registry.pool(each), _host(address), weight)
        self.cluster.set_members(list(members.values()))


def _host(address: Address) -> bytes:
    """The Host of requests to an endpoint by its own name, as nginx's $proxy_host."""
    if address.is_unix:
        return b"localhost"
    return str(address).removesuffix(":80").encode()


def _in_subset(endpoint: Endpoint, service: Service, subset: str | None) -> bool:
    wanted = service.subsets[subset] if subset is not None else {}
    return all(endpoint.labels.get(name) == value for name, value in wanted.items())
