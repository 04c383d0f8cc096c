"""Istio's VirtualService: its HTTP routes, in their order, with their mirrors.

Invariant: what Istio refuses is refused, what it accepts in silence although it cannot have been
meant is warned of, and every field that the rules cannot express is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastmirror.manifests.addresses import is_host
from fastmirror.manifests.catalog import Catalog, Target
from fastmirror.manifests.drafts import (
    A_NAME,
    NAME,
    TOKEN,
    Actions,
    Draft,
    add_mirror,
    by_specificity,
    covers,
    regex,
)
from fastmirror.manifests.fields import Field
from fastmirror.manifests.source import Resource
from fastmirror.rules.model import Destination, HeaderMatch, Match, Mirror, PathMatch, StringMatch

_TOP = ("apiVersion", "kind", "metadata", "spec")
_HTTP = (
    "match", "mirror", "mirrorPercent", "mirrorPercentage", "mirror_percent", "mirrors", "name",
    "route", "timeout",
)  # fmt: skip


def read_virtual_services(resources: Sequence[Resource], catalog: Catalog) -> Iterator[Draft]:
    """The routes of every VirtualService; those that tie on a host are in the files' order."""
    owners: dict[str, str] = {}
    services = [resource for resource in resources if resource.kind == "VirtualService"]
    for number, resource in enumerate(services):
        # The gateways say at which proxy a rule holds: here there is one.
        spec = resource.root.knows(*_TOP, over=("status",))["spec"].knows(
            "hosts", "http", over=("exportTo", "gateways")
        )
        hosts = []
        for item in spec["hosts"].items():
            if host := _host(item, resource.namespace, catalog):
                hosts.append(host)
                owner = owners.setdefault(host, resource.full_name)
                if owner != resource.full_name:
                    item.warn(f"VirtualService {owner} is for {host} as well, and comes first")
        if not spec["hosts"].items():
            spec["hosts"].expected("a list of hosts")
        if not spec["http"].items():
            spec["http"].expected("a list of HTTP routes")
        rules = list(_rules(spec["http"].items(), resource, catalog))
        for group in by_specificity(hosts):
            for index, (matches, actions) in enumerate(rules):
                yield Draft(group, matches, actions, (0, number, index))


def _host(item: Field, namespace: str, catalog: Catalog) -> str | None:
    text = item.text()
    if not is_host(text):
        if text:
            item.expected("a host name, *.suffix or *, without a port")
        return None
    host = catalog.canonical(text, namespace)
    catalog.claim(host)
    return host


def _rules(
    items: list[Field], resource: Resource, catalog: Catalog
) -> Iterator[tuple[list[Match], Actions]]:
    earlier: list[Match] = []
    for index, rule in enumerate(items):
        rule.knows(*_HTTP)
        name = resource.full_name
        if len(items) > 1:
            name = f"{name}/{rule['name'].matching(NAME, A_NAME, str(index))}"
        matches = [_match(item) for item in rule["match"].items()]
        if Match() in matches:
            matches = []
        if all(any(covers(wide, match) for wide in earlier) for match in matches or [Match()]):
            rule.warn("never runs: the rules before it take every request that it matches")
        earlier += matches or [Match()]
        destinations = _destinations(rule["route"], resource.namespace, catalog)
        mirrors = _mirrors(rule, resource.namespace, catalog)
        if destinations:
            yield matches, Actions(name, destinations, mirrors, rule["timeout"].seconds())
        elif rule.origin.report.lenient:
            # What it does instead of routing has been ignored.
            rule.warn("has no destination: left out")
        elif not rule["route"].items():
            rule["route"].expected("a list of destinations")


# -- where requests go


def _destinations(route: Field, namespace: str, catalog: Catalog) -> list[Destination]:
    items = route.items()
    destinations = []
    for item in items:
        item.knows("destination", "weight")
        # A weight that is absent among several is 0; one destination takes all, whatever it says.
        weight = item["weight"].integer(0, 1_000_000, default=0)
        if target := _target(item["destination"], namespace, catalog):
            weight = weight if len(items) > 1 else 1
            destinations.append(Destination(target.service, target.subset, weight))
    if destinations and not any(destination.weight for destination in destinations):
        route.problem("the weights add up to 0: nothing would be sent anywhere")
    return destinations


def _target(at: Field, namespace: str, catalog: Catalog) -> Target | None:
    if not at.given:
        at.expected("a destination with a host")
        return None
    at.knows("host", "port", "subset")
    host = at["host"].text()
    subset = at["subset"].matching(NAME, A_NAME, "") or None
    number = at["port"].knows("number")["number"]
    port = number.integer(1, 65535) if at["port"].given else None
    if host and (not is_host(host) or "*" in host):
        at["host"].expected("a host name without a port")
        return None
    if not host:
        return None
    host = catalog.canonical(host, namespace)
    if why := catalog.no_address(host):
        at["host"].problem(why)
        return None
    return catalog.target(host, port, subset, at)


# -- mirrors


def _mirrors(rule: Field, namespace: str, catalog: Catalog) -> list[Mirror]:
    mirrors: list[Mirror] = []
    single, several = rule["mirror"], rule["mirrors"].items()
    if single.given and several:
        rule["mirrors"].problem("mirror and mirrors cannot be used together")
    percent = _old_percent(rule)
    if single.given and (target := _target(single, namespace, catalog)):
        add_mirror(mirrors, target, percent)
    for item in several:
        item.knows("destination", "percentage")
        percent = _percent(item["percentage"])
        if target := _target(item["destination"], namespace, catalog):
            add_mirror(mirrors, target, percent)
    return mirrors


def _old_percent(rule: Field) -> float:
    """mirrorPercentage, or what is deprecated: mirrorPercent, a whole number."""
    old = rule["mirror_percent"] if rule["mirror_percent"].given else rule["mirrorPercent"]
    new = rule["mirrorPercentage"]
    percent = float(old.integer(0, 100, default=100))
    if new.given:
        if old.given:
            old.warn("deprecated, and ignored beside mirrorPercentage")
        percent = _percent(new)
    elif old.given and percent == 0:
        old.warn("0: nothing is mirrored")
    for at in (old, new):
        if at.given and not rule["mirror"].given:
            at.warn("has no effect without mirror")
    return percent


def _percent(at: Field) -> float:
    """Absent: 100; but an empty Percent is 0, as its value's default is."""
    at.knows("value")
    percent = at["value"].number(0, 100, default=0 if at.given else 100)
    if percent == 0:
        at.warn("0: nothing is mirrored")
    return percent


# -- which requests


def _match(item: Field) -> Match:
    item.knows("headers", "method", "queryParams", "uri", "withoutHeaders", over=("name",))
    if not item.given:
        item.expected("a mapping")
    method = _strings(item["method"]) if item["method"].given else None
    headers: dict[str, HeaderMatch] = {}
    for name, at in item["withoutHeaders"].entries().items():
        _check_header(at, name)
        if _strings(at):
            at.unsupported("a value in withoutHeaders")
        headers[name] = HeaderMatch(present=False)
    for name, at in item["headers"].entries().items():
        _check_header(at, name)
        if name in headers:
            at.problem("is in withoutHeaders as well")
        headers[name] = HeaderMatch(**(_strings(at) or {"present": True}))
    return Match(
        path=_path(item["uri"]),
        method=_method(item["method"], method) if method else None,
        headers=headers,
        query={
            # Present, whatever its value.
            name: StringMatch(**(_strings(at) or {"prefix": ""}))
            for name, at in item["queryParams"].entries().items()
        },
    )


def _strings(at: Field) -> dict[str, Any]:
    """A StringMatch: exact, prefix or regex; none of them is for the caller to understand."""
    given = list(at.knows("exact", "prefix", "regex").entries())
    if len(given) > 1:
        at.expected("one of exact, prefix, regex")
    for kind in given:
        if kind == "regex":
            regex(at[kind])
        else:
            at[kind].string()
    return {kind: at[kind].value for kind in given[:1] if isinstance(at[kind].value, str)}


def _path(at: Field) -> PathMatch | None:
    kinds = _strings(at)
    for kind in ("exact", "prefix"):
        text = kinds.get(kind)
        if text is not None and not text.startswith("/") and (kind, text) != ("prefix", ""):
            at[kind].expected("a path that begins with /")
    # An empty prefix matches every request.
    return PathMatch(**kinds) if kinds not in ({}, {"prefix": ""}) else None


def _method(at: Field, kinds: dict[str, str]) -> str | StringMatch:
    exact = kinds.get("exact")
    if exact is None:
        return StringMatch(**kinds)
    return at["exact"].matching(TOKEN, "a method such as GET")


def _check_header(at: Field, name: str) -> None:
    if TOKEN.fullmatch(name) is None:
        at.problem("expected the name of a header")
