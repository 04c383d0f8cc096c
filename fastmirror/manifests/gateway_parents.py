"""The parents of an HTTPRoute: which listeners and services it is attached to, for which hosts.

Invariant: a route is attached only where the Gateway API attaches it; where it is not, and nothing
else would say so, a warning does. A Gateway that is not among the manifests takes every route, at a
listener for every host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastmirror.manifests.addresses import service_host, split_service_host
from fastmirror.manifests.catalog import Catalog
from fastmirror.manifests.fields import Field
from fastmirror.manifests.gateway_listeners import (
    GROUP,
    Listener,
    Namespaces,
    intersection,
    read_hostname,
)
from fastmirror.manifests.selection import MESH, Selection
from fastmirror.manifests.source import Resource


@dataclass(frozen=True, slots=True)
class ParentService:
    """A service whose clients a route is for; with a port, those of that one alone."""

    host: str
    port: int | None
    at: Field
    consumers: bool  # a consumer's route, of another namespace than the service


@dataclass(slots=True)
class Parents:
    """Where one route is attached."""

    listeners: dict[Listener, list[str]] = field(default_factory=dict)  # with its hosts there
    services: list[ParentService] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.listeners or self.services)


def prefer_consumers(all_parents: Sequence[Parents]) -> None:
    """Of a service that has consumers' routes, which are for this proxy, no others hold."""
    services = [service for parents in all_parents for service in parents.services]
    consumed = {service.host for service in services if service.consumers}
    for parents in all_parents:
        parents.services = [
            each for each in parents.services if each.consumers or each.host not in consumed
        ]


class ParentReader:
    """Reads the parents of HTTPRoutes, those that are selected."""

    def __init__(
        self,
        catalog: Catalog,
        selection: Selection,
        gateways: dict[str, list[Listener]],
        namespaces: Namespaces,
    ) -> None:
        self.catalog = catalog
        self.selection = selection
        self.gateways = gateways
        self.namespaces = namespaces
        self._named: set[str] = set()  # gateways that routes name, and mesh
        self._strangers: dict[str, Listener] = {}  # of gateways that have no manifest

    def counts(self, gateway: str) -> bool:
        """Whether what is attached to a gateway, or to mesh, is compiled."""
        self._named.add(gateway)
        chosen = self.selection.gateways
        return chosen is None or gateway in chosen

    def warn_of_unused(self) -> None:
        for gateway, option in (self.selection.gateways or {}).items():
            if gateway not in self._named:
                self._say(f"--gateway {option}: no HTTPRoute has this parent")

    def read(self, resource: Resource) -> Parents:
        spec = resource.root["spec"]
        route = _Reading(spec, resource)
        refs = spec["parentRefs"].items()
        for item in refs:
            item.knows("group", "kind", "name", "namespace", "port", "sectionName")
            kind, name = item["kind"].text("Gateway"), item["name"].text()
            group = item["group"].string(GROUP if kind == "Gateway" else "")
            namespace = item["namespace"].text(resource.namespace)
            if (group, kind) in (("", "Service"), ("core", "Service")):
                if self.counts(MESH):
                    self._add_service(route, item, service_host(name, namespace))
            elif (group, kind) != (GROUP, "Gateway"):
                item.unsupported(f"a parent of kind {kind} in group {group!r}")
            elif self.counts(f"{namespace}/{name}"):
                self._add_listeners(route, item, f"{namespace}/{name}")
        if not refs and self.selection.gateways is None:
            spec["parentRefs"].warn("no parent: taken as if it were a Gateway's")
            route.attach(self._stranger(""))
        route.warn()
        return route.parents

    def _add_listeners(self, route: _Reading, item: Field, gateway: str) -> None:
        refusals, attached = [], False
        for listener in self._listeners(item, gateway):
            if why := listener.refuses(route.namespace, self.namespaces):
                refusals.append(f"listener {listener.name}: {why}")
            elif route.attach(listener):
                attached = True
            else:
                refusals.append(f"listener {listener.name}: its hostname is {listener.hostname}")
        if refusals and not attached:
            item.warn(f"not attached: {', '.join(refusals)}")

    def _listeners(self, item: Field, gateway: str) -> list[Listener]:
        """Those that a reference selects."""
        port = item["port"].integer(1, 65535, default=1) if item["port"].given else None
        section = item["sectionName"].text("")
        if gateway not in self.gateways:
            if self.gateways:
                item.warn(f"nothing defines Gateway {gateway}: taken to be for every host")
            return [self._stranger(gateway)]
        found = [
            listener
            for listener in self.gateways[gateway]
            if section in ("", listener.name) and port in (None, listener.port)
        ]
        if not found:
            named, at = f" {section}" if section else "", f" at port {port}" if port else ""
            item.warn(f"not attached: Gateway {gateway} has no listener{named}{at}")
        return found

    def _stranger(self, gateway: str) -> Listener:
        return self._strangers.setdefault(gateway, Listener(gateway, "every-host"))

    # -- services

    def _add_service(self, route: _Reading, item: Field, host: str) -> None:
        port = item["port"].integer(1, 65535) if item["port"].given else None
        if item["sectionName"].given:
            item["sectionName"].unsupported("a section of a Service")
        known = self.catalog.hosts.get(host)
        if known is None and not self.catalog.is_mapped(host):
            item.warn(f"nothing defines {host}")
        elif known and port and known.find_port(port) is None:
            item["port"].warn(f"{host} has no such port")
        elif known and len(known.ports) == 1:
            port = None  # a request for its only port need not say so
        parts = split_service_host(host)
        consumers = parts is not None and parts[1] != route.namespace
        if not consumers or self._is_client(route.namespace, item):
            route.parents.services.append(ParentService(host, port, item, consumers))

    def _is_client(self, namespace: str, item: Field) -> bool:
        """Whether a consumer's route is for this proxy."""
        if self.selection.namespace is None:
            item.warn(
                f"only for clients in namespace {namespace} (--workload-namespace says where the"
                " proxy's is): taken to be for this one"
            )
        return self.selection.namespace in (None, namespace)

    def _say(self, what: str) -> None:
        self.catalog.report.warnings.append(what)


class _Reading:
    """A route while its parents are read."""

    def __init__(self, spec: Field, resource: Resource) -> None:
        self.namespace = resource.namespace
        self.parents = Parents()
        self._refs, self._at = spec["parentRefs"], spec["hostnames"]
        items = self._at.items()
        self._hostnames = {host: item for item in items if (host := read_hostname(item))}
        self._matched: set[str] = set()
        self._asked = False

    def attach(self, listener: Listener) -> bool:
        """Whether the hostnames of both have names in common."""
        self._asked = True
        hosts: dict[str, None] = {}
        for own in self._hostnames:
            if common := intersection(own, listener.hostname):
                hosts[common] = None
                self._matched.add(own)
        if not self._at.given:
            hosts[listener.hostname] = None
        if hosts:
            self.parents.listeners[listener] = list(hosts)
        return bool(hosts)

    def warn(self) -> None:
        """Of hostnames that are given in vain, and of requests that come in another way."""
        if self._asked:
            for host, item in self._hostnames.items():
                if host not in self._matched:
                    item.warn("has no effect: no listener that takes the route is for it")
        elif self._hostnames and self.parents.services:
            self._at.warn("has no effect: the parents are services")
        listeners = self.parents.listeners
        if listeners and all(listener.protocol == "HTTPS" for listener in listeners):
            self._refs.warn(
                "HTTPS listeners alone: requests are expected in plain text, from what ends TLS"
            )
