"""The Gateway API's HTTPRoute, of a Gateway or, as in a mesh, of a Service.

Invariant: every match of every rule is a draft of its own, ranked by the API's precedence, so that
the order of the files means nothing: an exact path, the longest prefix, a method, most headers,
most query parameters; then the oldest route, its name, its first rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from msgspec import structs

from fastmirror.manifests.catalog import Catalog
from fastmirror.manifests.drafts import A_NAME, NAME, Actions, Draft, by_specificity
from fastmirror.manifests.fields import Field
from fastmirror.manifests.gateway_backends import Backends, Grants, read_grants
from fastmirror.manifests.gateway_filters import read_filters
from fastmirror.manifests.gateway_isolation import Isolation
from fastmirror.manifests.gateway_listeners import Listener, read_gateways, read_namespaces
from fastmirror.manifests.gateway_match import EVERY_REQUEST, read_match
from fastmirror.manifests.gateway_parents import ParentReader, Parents, prefer_consumers
from fastmirror.manifests.gateway_rest import ROUTE, fences, rest_of_services, warn_of_hidden
from fastmirror.manifests.gateway_retries import read_retries, read_timeouts
from fastmirror.manifests.selection import Selection
from fastmirror.manifests.source import Resource
from fastmirror.rules.model import Destination, Match, PathMatch

_TOP = ("apiVersion", "kind", "metadata", "spec")
_RULE = ("backendRefs", "filters", "matches", "name", "retry", "timeouts")

# A match, its precedence and where it stands.
Ranked = tuple[Match, tuple[int, ...], Field]


def read_http_routes(
    resources: Sequence[Resource], catalog: Catalog, selection: Selection
) -> list[Draft]:
    """The routes of every HTTPRoute that is attached to a parent, ranked; and what keeps listeners
    apart.
    """
    grants = read_grants(resources)
    gateways = read_gateways(resources)
    parents = ParentReader(catalog, selection, gateways, read_namespaces(resources))
    found = [r for r in resources if r.kind == "HTTPRoute"]
    if not found:
        return []
    places = [parents.read(resource) for resource in found]
    parents.warn_of_unused()
    if selection.namespace is not None:
        prefer_consumers(places)
    routes = [
        _Route(resource, place, catalog, grants)
        for resource, place in zip(found, places, strict=True)
    ]
    attached: dict[Listener, set[tuple[str, str]]] = {
        listener: set()
        for gateway, listeners in gateways.items()
        for listener in listeners
        if parents.counts(gateway) and listener.protocol in ("HTTP", "HTTPS")
    }
    for route in routes:
        for listener, hosts in route.parents.listeners.items():
            pairs = attached.setdefault(listener, set())
            pairs.update((route.resource.full_name, host) for host in hosts)
    isolation = Isolation(attached)
    used = {one.gateway for one, pairs in attached.items() if pairs and one.gateway}
    if len(used) > 1:
        catalog.report.warnings.append(
            f"routes of several gateways are put together: {', '.join(sorted(used))}"
            " (--gateway says for which ones)"
        )
    drafts = [draft for route in routes for draft in route.drafts(isolation)]
    warn_of_hidden(drafts)
    services = [service for place in places for service in place.services]
    return [*drafts, *rest_of_services(services, catalog), *fences(isolation, drafts)]


class _Route:
    """Reads one HTTPRoute."""

    def __init__(
        self, resource: Resource, parents: Parents, catalog: Catalog, grants: Grants
    ) -> None:
        self.resource = resource
        self.parents = parents
        self.catalog = catalog
        services = {service.host for service in parents.services}
        self.backends = Backends(resource, catalog, grants, services)
        self.spec = resource.root.knows(*_TOP, over=("status",))["spec"].knows(
            "hostnames", "parentRefs", "rules"
        )
        self._secure: dict[int, Actions] = {}
        # What is attached nowhere uses no service, and warns of none.
        self.rules = list(self._rules()) if parents else []

    def _rules(self) -> Iterator[tuple[Actions, list[Ranked]]]:
        rules = self.spec["rules"].items()
        if not self.spec["rules"].given:
            rules = [self.spec["rules"]]  # the API's default is one for every request
        elif not rules:
            self.spec["rules"].expected("a list of rules")
        names: set[str] = set()
        for index, rule in enumerate(rules):
            rule.knows(*_RULE)
            name = self.resource.full_name
            given = rule["name"].matching(NAME, A_NAME, str(index))
            if given in names:
                rule["name"].problem("another rule has this name")
            if rule["name"].given:
                names.add(given)
            if len(rules) > 1:
                name = f"{name}/{given}"
            actions = self._actions(rule, name)
            matches = [(*read_match(item), item) for item in rule["matches"].items()]
            yield actions, matches or [(*EVERY_REQUEST, rule)]

    def _actions(self, rule: Field, name: str) -> Actions:
        filters = read_filters(rule, rule["matches"])
        to = [] if filters.redirect else self.backends.destinations(rule)
        timeout, per_try = read_timeouts(rule["timeouts"])
        actions = Actions(
            name,
            to,
            self.backends.mirrors(filters.mirrors, to),
            timeout,
            redirect=filters.redirect,
            rewrite=filters.rewrite,
            headers=filters.headers,
            cors=filters.cors,
            retries=read_retries(rule["retry"], per_try),
        )
        if filters.broken:
            return Actions(name, [Destination(status=500)])
        if actions.redirect and actions.mirrors:
            filters.mirrors[0].warn("has no effect: what the proxy answers itself is not copied")
        return actions

    # -- for whom

    def drafts(self, isolation: Isolation) -> Iterator[Draft]:
        for port, listener, https, hosts in self._places(isolation):
            for host in hosts:
                self.catalog.claim(host)
            for group in by_specificity(hosts):
                yield from self._drafts(group, port, listener, https=https)
        for port in dict.fromkeys(service.port for service in self.parents.services):
            hosts = [service.host for service in self.parents.services if service.port == port]
            for host in hosts:
                self.catalog.claim(host)
            for draft in self._drafts(hosts, None, None, https=False):
                draft.matches = [structs.replace(match, port=port) for match in draft.matches]
                yield draft

    def _places(
        self, isolation: Isolation
    ) -> Iterator[tuple[int | None, str | None, bool, list[str]]]:
        """Port, listener's hostname if that counts, whether only HTTPS leads there, and hosts."""
        places: dict[tuple[int | None, str | None], dict[str, bool]] = {}
        for listener, hosts in self.parents.listeners.items():
            port = isolation.port(listener)
            hostname = listener.hostname if isolation.isolates(port) else None
            found = places.setdefault((port, hostname), {})
            for host in hosts:
                if better := isolation.better(listener, host):
                    self._warn_of_better(better, host)
                else:
                    found[host] = found.get(host, True) and listener.protocol == "HTTPS"
        for (port, hostname), hosts_https in places.items():
            for https in (False, True):
                if hosts := [host for host, only in hosts_https.items() if only == https]:
                    yield port, hostname, https, hosts

    def _warn_of_better(self, better: Listener, host: str) -> None:
        if better not in self.parents.listeners:
            at = self.spec["hostnames"] if self.spec["hostnames"].given else self.spec["parentRefs"]
            at.warn(
                f"never gets requests for {host}: they go to listener {better.name} of Gateway"
                f" {better.gateway}, whose hostname is {better.hostname}"
            )

    def _drafts(
        self, hosts: list[str], port: int | None, listener: str | None, *, https: bool
    ) -> Iterator[Draft]:
        resource = self.resource
        for index, (plain, matches) in enumerate(self.rules):
            actions = self._over_tls(plain) if https else plain
            for number, (match, precedence, at) in enumerate(matches):
                rank = (
                    ROUTE, *precedence, not https, resource.created,
                    f"{resource.namespace}/{resource.name}", index, number,
                )  # fmt: skip
                whole = structs.replace(_with_path(match, actions), port=port)
                yield Draft(hosts, [whole], actions, rank, listener, port, at)

    def _over_tls(self, actions: Actions) -> Actions:
        """A redirect keeps the scheme of the request, as the client knows it."""
        if actions.redirect is None or actions.redirect.scheme is not None:
            return actions
        if id(actions) not in self._secure:
            redirect = structs.replace(actions.redirect, scheme="https")
            self._secure[id(actions)] = replace(actions, redirect=redirect)
        return self._secure[id(actions)]


def _with_path(match: Match, actions: Actions) -> Match:
    """The prefix "/" is said where it is replaced: by its elements, so that a slash is left."""
    if match.path is not None or not actions.by_prefix:
        return match
    return structs.replace(match, path=PathMatch(path_separated_prefix="/"))
