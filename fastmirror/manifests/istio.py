"""Istio's VirtualService: its HTTP routes, in their order, with what they do and their mirrors.

Invariant: what Istio refuses is refused, what it accepts in silence although it cannot have been
meant is warned of, and every field that the rules cannot express is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastmirror.manifests.addresses import is_host
from fastmirror.manifests.catalog import Catalog, Target
from fastmirror.manifests.drafts import (
    A_NAME,
    NAME,
    Actions,
    Draft,
    add_mirror,
    by_specificity,
    covers,
    fewest,
    given,
)
from fastmirror.manifests.fields import Field
from fastmirror.manifests.istio_actions import (
    read_direct_response,
    read_headers,
    read_redirect,
    read_rewrite,
)
from fastmirror.manifests.istio_match import read_match
from fastmirror.manifests.policies import read_cors, read_fault
from fastmirror.manifests.source import Resource
from fastmirror.rules.model import Destination, Match, Mirror

_TOP = ("apiVersion", "kind", "metadata", "spec")
_HTTP = (
    "corsPolicy", "directResponse", "fault", "headers", "match", "mirror", "mirrorPercent",
    "mirrorPercentage", "mirror_percent", "mirrors", "name", "redirect", "rewrite", "route",
    "timeout",
)  # fmt: skip
_ANSWERS = ("redirect", "directResponse")  # instead of a route


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
        matches = _matches(rule)
        if matches is None:
            rule.warn("never runs: none of its matches can hold")
        elif _all_covered(matches, earlier):
            rule.warn("never runs: the rules before it take every request that it matches")
        earlier += [Match()] if matches == [] else matches or []
        actions = _actions(rule, name, resource.namespace, matches or [], catalog)
        if matches is not None and actions is not None:
            yield matches, actions


def _matches(rule: Field) -> list[Match] | None:
    """Empty: every request; None: no request at all."""
    items = rule["match"].items()
    by_prefix = bool(rule["rewrite"]["uri"].value)
    found = [read_match(item, by_prefix=by_prefix) for item in items]
    matches = [match for match in found if match is not None]
    if items and not matches:
        return None
    return fewest(matches, by_prefix=by_prefix)


def _all_covered(matches: list[Match], earlier: list[Match]) -> bool:
    return all(any(covers(wide, match) for wide in earlier) for match in matches or [Match()])


def _actions(
    rule: Field, name: str, namespace: str, matches: list[Match], catalog: Catalog
) -> Actions | None:
    """None: what it does instead of routing could not be read, and has been ignored or refused."""
    _check_together(rule)
    actions = Actions(
        name,
        _destinations(rule["route"], namespace, catalog),
        _mirrors(rule, namespace, catalog),
        rule["timeout"].seconds(),
        read_redirect(rule["redirect"]),
        read_direct_response(rule["directResponse"]),
        read_rewrite(rule["rewrite"], matches),
        read_headers(rule["headers"]),
        read_fault(rule["fault"]),
        read_cors(rule["corsPolicy"]) if rule["corsPolicy"].given else None,
    )
    if actions.to or actions.redirect or actions.direct_response:
        if actions.mirrors and not actions.to:
            at = rule["mirror"] if rule["mirror"].given else rule["mirrors"]
            at.warn("has no effect: what the proxy answers itself is not copied")
        return actions
    if rule.origin.report.lenient:
        rule.warn("has no destination: left out")
    elif not any(rule[other].given for other in _ANSWERS) and not rule["route"].items():
        rule["route"].expected("a list of destinations")
    return None


def _check_together(rule: Field) -> None:
    given = [answer for answer in _ANSWERS if rule[answer].given]
    if given and rule["route"].items():
        rule[given[0]].problem(f"route and {given[0]} cannot be used together")
    if len(given) > 1:
        rule[given[1]].problem(f"{given[0]} and {given[1]} cannot be used together")
    if given and rule["rewrite"].given:
        rule["rewrite"].problem(f"{given[0]} and rewrite cannot be used together")


# -- where requests go


def _destinations(route: Field, namespace: str, catalog: Catalog) -> list[Destination]:
    items = route.items()
    destinations = []
    for item in items:
        item.knows("destination", "headers", "weight")
        # A weight that is absent among several is 0; one destination takes all, whatever it says.
        weight = item["weight"].integer(0, 1_000_000, default=0)
        headers = read_headers(item["headers"])
        if target := _target(item["destination"], namespace, catalog):
            weight = weight if len(items) > 1 else 1
            destinations.append(
                Destination(target.service, target.subset, weight, **given(headers=headers))
            )
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
