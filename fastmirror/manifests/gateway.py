"""The Gateway API's HTTPRoute, of a Gateway or, as in a mesh, of a Service.

Invariant: every match of every rule is a draft of its own, ranked by the API's precedence, so that
the order of the files means nothing: an exact path, the longest prefix, a method, most headers,
most query parameters; then the oldest route, its name, its first rule.

A mirror whose backend is no valid reference is dropped with a warning, and the primary works. A
primary like that answers 500 for its share, and so does a rule that has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import structs

from fastmirror.manifests.addresses import is_host, service_host
from fastmirror.manifests.catalog import Catalog, Target
from fastmirror.manifests.drafts import (
    A_NAME,
    NAME,
    Actions,
    Draft,
    add_mirror,
    by_specificity,
    given,
)
from fastmirror.manifests.fields import Field
from fastmirror.manifests.gateway_filters import read_filters, read_header_filters, read_share
from fastmirror.manifests.gateway_match import EVERY_REQUEST, read_match
from fastmirror.manifests.source import Resource
from fastmirror.rules.model import Destination, Match, Mirror, PathMatch

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


def _with_path(match: Match, actions: Actions) -> Match:
    """The prefix "/" is said where it is replaced: by its elements, so that a slash is left."""
    if match.path is not None or not actions.by_prefix:
        return match
    return structs.replace(match, path=PathMatch(path_separated_prefix="/"))


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
            actions = self._actions(rule, name)
            matches = [read_match(item) for item in rule["matches"].items()] or [EVERY_REQUEST]
            for number, (match, precedence) in enumerate(matches):
                rank = (
                    1, *precedence, self.resource.created, self.resource.namespace,
                    self.resource.name, index, number,
                )  # fmt: skip
                for group in groups:
                    yield Draft(group, [_with_path(match, actions)], actions, rank)

    def _actions(self, rule: Field, name: str) -> Actions:
        filters = read_filters(rule)
        actions = Actions(
            name,
            [] if filters.redirect else self._backends(rule),
            self._mirrors(filters.mirrors),
            rule["timeouts"].knows("request")["request"].seconds(),
            redirect=filters.redirect,
            rewrite=filters.rewrite,
            headers=filters.headers,
            cors=filters.cors,
        )
        if actions.redirect and actions.mirrors:
            filters.mirrors[0].warn("has no effect: what the proxy answers itself is not copied")
        return actions

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
            item.knows("filters", "group", "kind", "name", "namespace", "port", "weight")
            weight = item["weight"].integer(0, 1_000_000, default=1)
            headers = read_header_filters(item["filters"])
            target = self._backend(item)
            if isinstance(target, str):
                item.warn(f"{target}: its share of the requests is answered with 500")
                destinations.append(Destination(status=500, weight=weight))
            else:
                destinations.append(
                    Destination(target.service, target.subset, weight, **given(headers=headers))
                )
        if any(destination.weight for destination in destinations):
            return destinations
        why = "the weights add up to 0" if destinations else "no backend"
        at = rule["backendRefs"] if destinations else rule
        at.warn(f"{why}: requests are answered with 500")
        return [Destination(status=500)]

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

    def _mirrors(self, filters: list[Field]) -> list[Mirror]:
        mirrors: list[Mirror] = []
        for mirror in filters:
            mirror.knows("backendRef", "fraction", "percent")
            percent, fraction = read_share(mirror)
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
