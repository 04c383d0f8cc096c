"""All endpoints that the rules name.

Invariants: an address has one pool however many rules name it, but one of its own in each cluster
with a ``connection_pool``; it keeps it, with its connections, over reloads and new answers of DNS
for as long as one of them names it; a cluster of which nothing has changed lives on over reloads,
with all that it knows of its endpoints.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakValueDictionary

from fastmirror.counts import UPSTREAM, ServiceCounts, SlotMap, WorkerCounts
from fastmirror.rules.address import Address, parse_address
from fastmirror.rules.model import (
    Balance,
    ConnectionPool,
    Endpoint,
    OutlierDetection,
    Rules,
    Service,
    SubsetPolicy,
)
from fastmirror.timers import Wheel
from fastmirror.upstream.cluster import Cluster, Member
from fastmirror.upstream.dial import Dialer
from fastmirror.upstream.limited import LimitedPool, Limits
from fastmirror.upstream.outliers import OutlierDetector
from fastmirror.upstream.pool import Pool
from fastmirror.upstream.resolve import Resolver

ClusterKey = tuple[str, str | None]  # service, subset
LimitsKey = tuple[str, ConnectionPool]  # the cluster's name, and what it may take

_SHARED = ConnectionPool()
_AS_SERVICE = SubsetPolicy()


class Registry:
    """Pools by address, for one side: the primaries', or the shadows', whose mirrors have limits of
    their own. ``workers``: among how many processes a service's limits are shared.
    """

    def __init__(
        self,
        wheel: Wheel,
        counts: WorkerCounts,
        resolver: Resolver,
        side: int,
        idle_timeout: float,
        workers: int,
        slots: SlotMap,
        dialer: Dialer,
    ) -> None:
        self.wheel = wheel
        self.counts = counts
        self.resolver = resolver
        self.side = side
        self.idle_timeout = idle_timeout
        self.workers = workers
        self.slots = slots
        self.dialer = dialer
        self.pools: dict[tuple[Address, LimitsKey | None], Pool] = {}
        self.limits: WeakValueDictionary[LimitsKey, Limits] = WeakValueDictionary()

    def service_counts(self, service: str) -> ServiceCounts:
        """What is counted of a service."""
        return ServiceCounts(self.counts.counters, self.slots, service)

    def limits_of(self, spec: ClusterSpec) -> Limits | None:
        """What a cluster may take; None: it shares its pools."""
        key = spec.limits_key()
        if key is None:
            return None
        limits = self.limits.get(key)
        if limits is None:
            counts = self.service_counts(spec.service)
            limits = self.limits[key] = Limits(spec.connection_pool, self.workers, counts)
        return limits

    def pool(self, address: Address, spec: ClusterSpec) -> Pool:
        """The pool of a cluster's address, made when it is first asked for; ``release`` is owed."""
        key = (address, spec.limits_key())
        pool = self.pools.get(key)
        if pool is None:
            limits = self.limits_of(spec)
            common = (self.wheel, self.counts, self.side, self.idle_timeout, self.dialer)
            if limits is None:
                pool = Pool(address, *common)
            else:
                pool = LimitedPool(address, *common, spec.connection_pool, limits)
            self.pools[key] = pool
        pool.users += 1
        return pool

    def release(self, pool: Pool, spec: ClusterSpec) -> None:
        """A cluster has it no more; if none has, it is dropped."""
        pool.users -= 1
        if pool.users == 0:
            del self.pools[pool.address, spec.limits_key()]
            pool.retire()

    def close(self) -> None:
        """Close every idle connection, and each other when its exchange is over."""
        for limits in self.limits.values():
            limits.stop()
        for pool in self.pools.values():
            pool.retire()
        self.pools.clear()


class ClusterSpec(NamedTuple):
    """All that a cluster is made of."""

    service: str
    name: str
    endpoints: list[Endpoint]
    balance: Balance
    connection_pool: ConnectionPool
    outlier_detection: OutlierDetection | None

    def limits_key(self) -> LimitsKey | None:
        """What tells its limits and pools from others; None: its pools are those of all."""
        return None if self.connection_pool == _SHARED else (self.name, self.connection_pool)


def cluster_spec(service: Service, subset: str | None, side: int) -> ClusterSpec:
    """A service, or one subset with its own policy."""
    policy = service.subset_policies.get(subset, _AS_SERVICE) if subset is not None else _AS_SERVICE
    name = service.name if subset is None else f"{service.name}/{subset}"
    pool, outliers = _SHARED, None
    if side == UPSTREAM:
        pool = policy.connection_pool or service.connection_pool
        outliers = policy.outlier_detection or service.outlier_detection
    return ClusterSpec(
        service.name,
        name,
        [endpoint for endpoint in service.endpoints if _in_subset(endpoint, service, subset)],
        policy.balance or service.balance,
        pool,
        outliers,
    )


class ClusterSet:
    """The clusters of one rules document; those that were the same in the ``former`` one are taken
    from it. ``close()`` when no request begins under it any more.
    """

    def __init__(self, rules: Rules, registry: Registry, former: ClusterSet | None = None) -> None:
        self.registry = registry
        self.services = {service.name: service for service in rules.services}
        self.former = former.sources if former is not None else {}
        self.sources: dict[ClusterKey, ClusterSource] = {}

    def get(self, service: str, subset: str | None) -> Cluster:
        """The cluster of a service's endpoints, or of one subset's."""
        key = (service, subset)
        source = self.sources.get(key)
        if source is None:
            spec = cluster_spec(self.services[service], subset, self.registry.side)
            source = self.former.get(key)
            if source is None or source.spec != spec:
                source = ClusterSource(spec, self.registry)
            source.use()
            self.sources[key] = source
        return source.cluster

    def close(self) -> None:
        """Its clusters are used no more, but for those that another set has taken over."""
        for source in self.sources.values():
            source.release()
        self.sources.clear()


class ClusterSource:
    """Gives a cluster its members, when it is made and when a name's addresses change."""

    def __init__(self, spec: ClusterSpec, registry: Registry) -> None:
        self.spec = spec
        self.registry = registry
        self.users = 0
        self.addresses = [parse_address(endpoint.address) for endpoint in spec.endpoints]
        self.cluster = Cluster(spec.name, spec.balance, registry.limits_of(spec))
        if spec.outlier_detection is not None:
            self.cluster.outliers = OutlierDetector(
                spec.name,
                spec.outlier_detection,
                registry.wheel,
                registry.service_counts(spec.service),
                self.cluster.use_well,
            )

    def use(self) -> None:
        """A set has it."""
        self.users += 1
        if self.users > 1:
            return
        for address in self.addresses:
            if address.is_name:
                self.registry.resolver.watch(address, self.refresh)
        self.refresh()

    def release(self) -> None:
        """A set has it no more."""
        self.users -= 1
        if self.users:
            return
        for address in self.addresses:
            if address.is_name:
                self.registry.resolver.unwatch(address, self.refresh)
        for member in self.cluster.members:
            self.registry.release(member.pool, self.spec)
        if self.cluster.outliers is not None:
            self.cluster.outliers.stop()

    def refresh(self) -> None:
        """Give the cluster its members anew."""
        members: dict[Address, Member] = {}
        for endpoint, address in zip(self.spec.endpoints, self.addresses, strict=True):
            found = self.registry.resolver.addresses(address) if address.is_name else (address,)
            for each in found:
                known = members.get(each)
                weight = endpoint.weight + (known.weight if known is not None else 0)
                pool = known.pool if known is not None else self.registry.pool(each, self.spec)
                members[each] = Member(pool, _host(address), weight)
        former = self.cluster.members
        self.cluster.set_members(list(members.values()))
        for member in former:
            self.registry.release(member.pool, self.spec)


def _host(address: Address) -> bytes:
    """The Host of requests to an endpoint by its own name, as nginx's $proxy_host."""
    if address.is_unix:
        return b"localhost"
    return str(address).removesuffix(":80").encode()


def _in_subset(endpoint: Endpoint, service: Service, subset: str | None) -> bool:
    wanted = service.subsets[subset] if subset is not None else {}
    return all(endpoint.labels.get(name) == value for name, value in wanted.items())
