"""The Gateway API's HTTPRoute, of a Gateway or, as in a mesh, of a Service.

Invariant: every match of every rule is a draft of its own, ranked by the API's precedence, so that
the order of the files means nothing: an exact path, the longest prefix, a method, most headers,
most query parameters; then the oldest route, its name, its first rule.

A mirror whose backend is no valid reference is dropped with a warning, and the primary works. A
primary like that would answer 500 for its share, which the rules cannot say: it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastmirror.manifests.addresses import is_host, service_host
from fastmirror.manifests.catalog import Catalog, Target
from fastmirror.manifests.drafts import A_NAME, NAME, Actions, Draft, add_mirror, by_specificity
from fastmirror.manifests.fields import Field
from fastmirror.manifests.gateway_match import EVERY_REQUEST, read_match
from fastmirror.manifests.source import Resource
from fastmirror.rules.model import Destination, Fraction, Mirror

_TOP = ("apiVersion", "kind", "metadata", "spec")
_GROUP = "gateway.networking.k8s.io"

# Namespace that references, namespace that is referenced, service's name or "" for any.
Grants = set[tuple[str, str, str]]


def read_http_routes(resources: Sequence[Resource], catalog: Catalog) -> Iterator[Draft]:
    """The routes of every HTTPRoute, ranked."""
    grants = {grant for r in resources if r.kind == "ReferenceGrant" for grant in _grants(r)}
    for resource in resources:
        if resource.kind == "HTTPRoute":
            yield from _Route(resource, catalog, grants).drafts()


def _grants(resource: Resource) -> Iterator[tuple[str, str, str]]:
    """The grants of an HTTPRoute's references to services; those of others mean nothing here."""
    spec = resource.root.knows(*_TOP)["spec"].knows("from", "to")
    for giver in spec["to"].items():
        giver.knows("group", "kind", "name")
        for user in spec["from"].items():
            user.knows("group", "kind", "namespace")
            kinds = (user["group"].value, user["kind"].value, giver["group"].value or "")
            if (*kinds, giver["kind"].value) == (_GROUP, "HTTPRoute", "", "Service"):
                yield user["namespace"].text(), resource.namespace, giver["name"].text("")


class _Route:
    """Reads one HTTPRoute."""

    def __init__(self, resource: Resource, catalog: Catalog, grants: Grants) -> None:
        self.resource = resource
        self.catalog = catalog
        self.grants = grants
        self.spec = resource.root.knows(*_TOP, over=("status",))["spec"].knows(
            "hostnames", "parentRefs", "rules"
        )

    def drafts(self) -> Iterator[Draft]:
        groups = list(by_specificity(self._hosts()))
        rules = self.spec["rules"].items()
        if not rules:
            self.spec["rules"].expected("a list of rules")
        for index, rule in enumerate(rules):
            rule.knows("backendRefs", "filters", "matches", "name", "timeouts")
            name = self.resource.full_name
            if len(rules) > 1:
                name = f"{name}/{rule['name'].matching(NAME, A_NAME, str(index))}"
            actions = Actions(
                name,
                self._backends(rule),
                self._mirrors(rule["filters"]),
                rule["timeouts"].knows("request")["request"].seconds(),
            )
            matches = [read_match(item) for item in rule["matches"].items()] or [EVERY_REQUEST]
            for number, (match, precedence) in enumerate(matches if actions.to else ()):
                rank = (
                    1, *precedence, self.resource.created, self.resource.namespace,
                    self.resource.name, index, number,
                )  # fmt: skip
                for group in groups:
                    yield Draft(group, [match], actions, rank)

    def _hosts(self) -> list[str]:
        """The services that are its parents; for a Gateway, the hostnames, or every host."""
        services, gateways = [], 0
        for item in self.spec["parentRefs"].items():
            item.knows("group", "kind", "name", "namespace", "port", over=("sectionName",))
            kind, name = item["kind"].text("Gateway"), item["name"].text()
            group = item["group"].string(_GROUP if kind == "Gateway" else "")
            namespace = item["namespace"].text(self.resource.namespace)
            if (group, kind) in (("", "Service"), ("core", "Service")):
                services.append(self._parent_service(item, service_host(name, namespace)))
            elif (group, kind) == (_GROUP, "Gateway"):
                gateways += 1
            else:
                item.unsupported(f"a parent of kind {kind} in group {group!r}")
        hostnames = [
            host.text().lower()
            for host in self.spec["hostnames"].items()
            if self._is_hostname(host)
        ]
        if services and not gateways:
            if hostnames:
                self.spec["hostnames"].warn("has no effect: the parents are services")
            return services
        if not services and not gateways:
            self.spec["parentRefs"].warn("no parent: taken as if it were a Gateway's")
        return [*services, *(hostnames or ["*"])]

    def _parent_service(self, item: Field, host: str) -> str:
        port = item["port"].integer(1, 65535, default=1)
        known = self.catalog.hosts.get(host)
        if known is None and not self.catalog.is_mapped(host):
            item.warn(f"nothing defines {host}")
        elif known and item["port"].given and known.find_port(port) is None:
            item["port"].warn(f"{host} has no such port")
        elif known and item["port"].given and len(known.ports) > 1:
            item["port"].warn("the route is for every port: rules go by the host alone")
        self.catalog.claim(host)
        return host

    def _is_hostname(self, item: Field) -> bool:
        text = item.text()
        if is_host(text) and text != "*":
            self.catalog.claim(text.lower())
            return True
        item.expected("a host name or *.suffix, without a port")
        return False

    # -- where requests go

    def _backends(self, rule: Field) -> list[Destination]:
        destinations = []
        for item in rule["backendRefs"].items():
            item.knows("group", "kind", "name", "namespace", "port", "weight")
            weight = item["weight"].integer(0, 1_000_000, default=1)
            target = self._backend(item)
            if isinstance(target, str):
                item.problem(f"{target} (requests for it would be answered with 500)")
            else:
                destinations.append(Destination(target.service, target.subset, weight))
        if not rule["backendRefs"].items():
            if rule.origin.report.lenient:
                # What it does instead of routing has been ignored.
                rule.warn("has no backend: left out")
            else:
                rule["backendRefs"].expected("a list of backends")
        elif destinations and not any(destination.weight for destination in destinations):
            rule["backendRefs"].problem("the weights add up to 0: nothing would be sent anywhere")
        return destinations

    def _backend(self, item: Field) -> Target | str:
        """The target, or why there is none."""
        group, kind = item["group"].string(""), item["kind"].text("Service")
        namespace = item["namespace"].text(self.resource.namespace)
        name = item["name"].text()
        if (group, kind) not in (("", "Service"), ("core", "Service")):
            return f"invalid reference: kind {kind} in group {group!r} is not a Service"
        own = self.resource.namespace
        if namespace != own and not self.grants & {(own, namespace, ""), (own, namespace, name)}:
            return f"invalid reference: no ReferenceGrant in namespace {namespace} allows it"
        if not item["port"].given:
            return "invalid reference: a Service needs a port"
        port = item["port"].integer(1, 65535)
        host = service_host(name, namespace)
        if why := self.catalog.no_address(host):
            return why
        if why := self.catalog.no_port(host, port):
            return f"invalid reference: {why}"
        return self.catalog.target(host, port, None, item)

    # -- mirrors

    def _mirrors(self, filters: Field) -> list[Mirror]:
        mirrors: list[Mirror] = []
        for item in filters.items():
            kind = item["type"].text()
            if kind != "RequestMirror":
                if kind:
                    item.unsupported(f"filter {kind}")
                continue
            mirror = item.knows("requestMirror", "type")["requestMirror"]
            mirror.knows("backendRef", "fraction", "percent")
            percent, fraction = _share(mirror)
            backend = mirror["backendRef"].knows("group", "kind", "name", "namespace", "port")
            if not backend.given:
                backend.expected("a backend")
                continue
            target = self._backend(backend)
            if isinstance(target, str):
                backend.warn(f"{target}: this mirror is dropped")
            else:
                add_mirror(mirrors, target, percent, fraction)
        return mirrors


def _share(mirror: Field) -> tuple[int | None, Fraction | None]:
    """How much is mirrored; all, if nothing says so."""
    at, percent = mirror["fraction"].knows("denominator", "numerator"), mirror["percent"]
    if at.given and percent.given:
        at.problem("percent and fraction cannot be used together")
        return None, None
    if not at.given:
        share = percent.integer(0, 100, default=100)
        if share == 0:
            percent.warn("0: nothing is mirrored")
        return share, None
    denominator = at["denominator"].integer(1, 2**31 - 1, default=100)
    numerator = at["numerator"].integer(0, denominator)
    if numerator == 0:
        at.warn("0: nothing is mirrored")
    return None, Fraction(numerator, denominator)
