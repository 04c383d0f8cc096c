"""Rules made to run: clusters, mirrors and route actions of a document, for one worker.

Invariants: what is prepared changes nothing that is in force, and putting it in force cannot
fail: a document holds as a whole or not at all; what is in flight ends with the objects that it
began with; a mirror that a new document leaves as it was keeps its queue, its breaker and what it
has in flight, and a service its connections, its limits and its ejections.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastmirror._counters import Counters
from fastmirror.counts import (
    FAILED_SHUTDOWN,
    GLOBAL_MIRROR_OFF,
    MIRROR_SLOTS,
    OFF,
    ROUTE_SLOTS,
    SERVICE_SLOTS,
    SHADOW,
    UPSTREAM,
    MirrorCounts,
    RouteCounts,
    SharedCounts,
    SlotMap,
    WorkerCounts,
)
from fastmirror.mirror.control import MirrorControl
from fastmirror.mirror.mirror import Mirror
from fastmirror.mirror.overload import LoadGuard
from fastmirror.options import Options
from fastmirror.proxy.context import ProxyContext, RouteAction, Target
from fastmirror.rules.model import Destination, Route, Rules, Service
from fastmirror.rules.model import Mirror as MirrorSpec
from fastmirror.rules.table import RouteTable, default_route_name
from fastmirror.rules.validate import all_mirrors, mirror_name
from fastmirror.timers import Wheel
from fastmirror.upstream.dial import Dialer
from fastmirror.upstream.flows import Flows
from fastmirror.upstream.registry import ClusterSet, Registry
from fastmirror.upstream.resolve import Resolver

NO_ROUTE = "none"


def declare_slots(rules: Rules, slots: SlotMap) -> None:
    """Give every route, mirror and service of a document its slots, in the document's order."""
    slots.base(("route", NO_ROUTE), ROUTE_SLOTS)
    for route in rules.routes:
        slots.base(("route", route.name), ROUTE_SLOTS)
        for mirror in all_mirrors(route):
            slots.base(("mirror", route.name, mirror_name(mirror)), MIRROR_SLOTS)
    for service in rules.services:
        slots.base(("route", default_route_name(service.name)), ROUTE_SLOTS)
        slots.base(("service", service.name), SERVICE_SLOTS)


class Prepared:
    """A document on its way into force: its table, and what its requests and copies will use."""

    def __init__(self, table: RouteTable, primaries: ClusterSet, shadows: ClusterSet) -> None:
        self.table = table
        self.primaries = primaries
        self.shadows = shadows
        self.mirrors: dict[tuple[str, str], tuple[MirrorSpec, Service, Mirror]] = {}


class Runtime:
    """One worker's; ``index`` is its region among the shared counts."""

    def __init__(
        self,
        options: Options,
        wheel: Wheel,
        shared: SharedCounts,
        index: int,
        slots: SlotMap,
    ) -> None:
        self.options = options
        self.wheel = wheel
        self.slots = slots
        self.counters: Counters = shared.regions[index]
        counts = WorkerCounts(self.counters)
        self.resolver = Resolver(wheel.loop)
        self.dialer = Dialer(wheel.loop, Flows(shared.regions, index), options.mark)
        idle = options.upstream_idle_timeout
        self.primaries, self.shadows = (
            Registry(wheel, counts, self.resolver, side, idle, options.workers, slots, self.dialer)
            for side in (UPSTREAM, SHADOW)
        )
        self.control = MirrorControl(
            options.mirror_memory // options.workers, shared.regions[0], GLOBAL_MIRROR_OFF
        )
        self.guard: LoadGuard | None = None
        if options.mirror_max_load is not None:
            self.guard = LoadGuard(wheel.loop, self.control, counts, options.mirror_max_load)
        nothing = Rules(version=1)
        self.context = ProxyContext(
            options,
            wheel,
            counts,
            RouteCounts(self.counters, slots, NO_ROUTE),
            RouteTable(nothing),
        )
        self.clusters = (ClusterSet(nothing, self.primaries), ClusterSet(nothing, self.shadows))
        self.mirrors: dict[tuple[str, str], tuple[MirrorSpec, Service, Mirror]] = {}
        self.former: list[Mirror] = []  # of earlier documents, with copies still under way

    def apply(self, rules: Rules) -> None:
        """Put a valid document in force for the requests that come from now on."""
        prepared = self.begin(rules, RouteTable(rules))
        try:
            for _ in self.steps(rules, prepared):
                pass
        except BaseException:
            self.discard(prepared)
            raise
        self.commit(prepared)

    def begin(self, rules: Rules, table: RouteTable) -> Prepared:
        """The first step of preparing a document; ``steps``, then ``commit`` or ``discard``.

        Raises MemoryError when there are no slots left for its counts.
        """
        declare_slots(rules, self.slots)
        primaries, shadows = self.clusters
        return Prepared(
            table,
            ClusterSet(rules, self.primaries, primaries),
            ClusterSet(rules, self.shadows, shadows),
        )

    def steps(self, rules: Rules, prepared: Prepared) -> Iterator[None]:
        """Prepare a route or a service at each step: thousands take longer than a turn may."""
        services = {service.name: service for service in rules.services}
        entries = iter(prepared.table.entries)
        for route in rules.routes:
            next(entries).action = self._action(route, services, prepared)
            yield
        for service in rules.services:
            next(entries).action = self._default_action(service, prepared.primaries)
            yield

    def commit(self, prepared: Prepared) -> None:
        """Put what is prepared in force."""
        self.context.table = prepared.table
        kept = {id(mirror) for _, _, mirror in prepared.mirrors.values()}
        self.former = [mirror for mirror in self._all_mirrors() if id(mirror) not in kept]
        self.mirrors = prepared.mirrors
        old, self.clusters = self.clusters, (prepared.primaries, prepared.shadows)
        for clusters in old:
            clusters.close()

    def discard(self, prepared: Prepared) -> None:
        """Forget what was prepared, be it complete or not."""
        prepared.primaries.close()
        prepared.shadows.close()

    def _action(
        self, route: Route, services: dict[str, Service], prepared: Prepared
    ) -> RouteAction:
        for spec in all_mirrors(route):
            key = (route.name, mirror_name(spec))
            service = services[spec.service]
            cluster = prepared.shadows.get(spec.service, spec.subset)
            known = self.mirrors.get(key)
            if known is not None and known[0] == spec and known[1] == service:
                mirror = known[2]  # and the cluster is the one that it has
            else:
                mirror = Mirror(
                    route.name,
                    spec,
                    cluster,
                    self.control,
                    MirrorCounts(self.counters, self.slots, *key),
                    self.wheel,
                    self.options.workers,
                )
            prepared.mirrors[key] = (spec, service, mirror)

        def made(specs: list[MirrorSpec]) -> list[Mirror]:
            return [prepared.mirrors[(route.name, mirror_name(spec))][2] for spec in specs]

        targets = [
            Target(
                prepared.primaries.get(to.service, to.subset) if to.service is not None else None,
                made([*route.mirrors, *to.mirrors]),
                to,
                route,
            )
            for to in route.to
        ]
        return RouteAction(
            route,
            targets,
            made(route.mirrors),
            RouteCounts(self.counters, self.slots, route.name),
        )

    def _default_action(self, service: Service, primaries: ClusterSet) -> RouteAction:
        name = default_route_name(service.name)
        to = Destination(service=service.name)
        route = Route(name=name, to=[to])
        target = Target(primaries.get(service.name, None), [], to, route)
        counts = RouteCounts(self.counters, self.slots, name)
        return RouteAction(route, [target], [], counts)

    async def resolved(self, timeout: float) -> None:
        """Wait until every name was asked for once, at most so long."""
        await self.resolver.first_answers(timeout)

    def _all_mirrors(self) -> list[Mirror]:
        """Those of the rules in force, and former ones that still have copies."""
        mirrors = [mirror for _, _, mirror in self.mirrors.values()]
        return mirrors + [mirror for mirror in self.former if mirror.pending()]

    def stop_copies(self) -> None:
        """Give up every copy: mirroring was switched off, or the process stops."""
        for mirror in self._all_mirrors():
            mirror.stop(OFF, FAILED_SHUTDOWN)

    def copies(self) -> int:
        """How many copies wait or are in flight."""
        return sum(mirror.pending() for mirror in self._all_mirrors())

    def close(self) -> None:
        """Close every idle connection and stop every timer."""
        if self.guard is not None:
            self.guard.close()
        self.primaries.close()
        self.shadows.close()
        self.resolver.close()
        self.wheel.close()
