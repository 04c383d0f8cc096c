"""backendRefs of an HTTPRoute and of its mirrors, and the grants that references need.

Invariant: a mirror whose backend is no valid reference is dropped with a warning, and the primary
works. A primary like that answers 500 for its share, and so does a rule that has none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from fastmirror.manifests.addresses import service_host
from fastmirror.manifests.catalog import Catalog, Target
from fastmirror.manifests.drafts import add_mirror, given, is_all
from fastmirror.manifests.fields import Field
from fastmirror.manifests.gateway_filters import BACKEND_TYPES, read_filters, read_share
from fastmirror.manifests.gateway_listeners import GROUP
from fastmirror.manifests.source import Resource
from fastmirror.rules.model import Destination, Mirror

# What a Service's port speaks, where that is not HTTP/1.1 in plain text.
_OTHER_PROTOCOLS = {
    "kubernetes.io/h2c": "HTTP/2",
    "kubernetes.io/wss": "TLS",
    "https": "TLS",
    "grpc": "HTTP/2",
}

# Namespace that references, namespace that is referenced, service's name or "" for any.
Grants = set[tuple[str, str, str]]


def read_grants(resources: Sequence[Resource]) -> Grants:
    """The grants of HTTPRoutes' references to services; those of others mean nothing here."""
    return {grant for r in resources if r.kind == "ReferenceGrant" for grant in _grants(r)}


def _grants(resource: Resource) -> Iterator[tuple[str, str, str]]:
    root = resource.root.knows("apiVersion", "kind", "metadata", "spec")
    spec = root["spec"].knows("from", "to")
    for side in ("from", "to"):
        if not spec[side].items():
            spec[side].expected("a list of references")
    users = [user.knows("group", "kind", "namespace") for user in spec["from"].items()]
    sources = [(_kind(user), user["namespace"].text()) for user in users]
    for giver in spec["to"].items():
        kind, name = _kind(giver.knows("group", "kind", "name")), giver["name"].text("")
        for user, namespace in sources:
            if user == (GROUP, "HTTPRoute") and kind in (("", "Service"), ("core", "Service")):
                yield namespace, resource.namespace, name


def _kind(at: Field) -> tuple[str, str]:
    return at["group"].string(), at["kind"].text()


class Backends:
    """Reads what the rules of one HTTPRoute send requests and copies to."""

    def __init__(
        self, resource: Resource, catalog: Catalog, grants: Grants, parents: Collection[str]
    ) -> None:
        self.namespace = resource.namespace
        self.parents = (
            parents  # the services for whose clients the route is: it may send on to them
        )
        self.catalog = catalog
        self.grants = grants
        self._others: list[Mirror] = []  # of the same rule

    def destinations(self, rule: Field) -> list[Destination]:
        """Where the requests of a rule go."""
        self._others = []
        destinations = [self._destination(item, rule) for item in rule["backendRefs"].items()]
        if any(destination.weight for destination in destinations):
            return destinations
        why = "the weights add up to 0" if destinations else "no backend"
        at = rule["backendRefs"] if destinations else rule
        at.warn(f"{why}: requests are answered with 500")
        return [Destination(status=500)]

    def _destination(self, item: Field, rule: Field) -> Destination:
        item.knows("filters", "group", "kind", "name", "namespace", "port", "weight")
        weight = item["weight"].integer(0, 1_000_000, default=1)
        filters = read_filters(item, rule["matches"], BACKEND_TYPES)
        target = self._target(item)
        if isinstance(target, str):
            item.warn(f"{target}: its share of the requests is answered with 500")
        if isinstance(target, str) or filters.broken:
            return Destination(status=500, weight=weight)
        own = [Destination(target.service, target.subset)]
        return Destination(
            target.service,
            target.subset,
            weight,
            mirrors=self.mirrors(filters.mirrors, own),
            **given(headers=filters.headers, rewrite=filters.rewrite),
        )

    def mirrors(self, filters: list[Field], to: Sequence[Destination]) -> list[Mirror]:
        """The mirrors of requests that go ``to`` these."""
        mirrors: list[Mirror] = []
        for mirror in filters:
            mirror.knows("backendRef", "fraction", "percent")
            percent, fraction = read_share(mirror)
            backend = mirror["backendRef"].knows("group", "kind", "name", "namespace", "port")
            if not backend.given:
                backend.expected("a backend")
                continue
            target = self._target(backend)
            if isinstance(target, str):
                backend.warn(f"{target}: this mirror is dropped")
            elif is_all(to, target):
                backend.problem(
                    "is where the requests go themselves: each would be sent there twice"
                )
            else:
                add_mirror(mirrors, target, percent, fraction, self._others)
        self._others += mirrors
        return mirrors

    def _target(self, item: Field) -> Target | str:
        """The target, or why there is none."""
        group, kind = item["group"].string(""), item["kind"].text("Service")
        namespace = item["namespace"].text(self.namespace)
        name = item["name"].text()
        if (group, kind) not in (("", "Service"), ("core", "Service")):
            return f"invalid reference: kind {kind} in group {group!r} is not a Service"
        host = service_host(name, namespace)
        if host not in self.parents and not self._may_refer(name, namespace):
            return f"invalid reference: no ReferenceGrant in namespace {namespace} allows it"
        if not item["port"].given:
            return "invalid reference: a Service needs a port"
        port = item["port"].integer(1, 65535)
        if why := self.catalog.no_address(host):
            return why
        if why := self.catalog.no_port(host, port):
            return f"invalid reference: {why}"
        target = self.catalog.target(host, port, None, item)
        found = self.catalog.hosts[host].find_port(port)
        if found and (other := _OTHER_PROTOCOLS.get(found.app_protocol)):
            item.warn(
                f"port {port} of {host} says that it speaks {other}"
                f" (appProtocol {found.app_protocol}): it gets HTTP/1.1 in plain text"
            )
        return target

    def _may_refer(self, name: str, namespace: str) -> bool:
        own = self.namespace
        return namespace == own or bool(
            self.grants & {(own, namespace, ""), (own, namespace, name)}
        )
