"""Istio's VirtualService: its HTTP routes, in their order, with what they do.

Invariant: what Istio refuses is refused, what it accepts in silence although it cannot have been
meant is warned of, and every field that the rules cannot express is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastmirror.manifests.addresses import is_host
from fastmirror.manifests.catalog import Catalog
from fastmirror.manifests.drafts import Actions, Draft, by_specificity, fewest
from fastmirror.manifests.fields import Field
from fastmirror.manifests.hidden import Taken
from fastmirror.manifests.istio_actions import (
    read_direct_response,
    read_headers,
    read_redirect,
    read_rewrite,
)
from fastmirror.manifests.istio_delegates import Delegates, Rule, check_delegate, is_delegate
from fastmirror.manifests.istio_match import read_match
from fastmirror.manifests.istio_retries import read_retries
from fastmirror.manifests.istio_targets import read_destinations, read_mirrors
from fastmirror.manifests.policies import read_cors, read_fault
from fastmirror.manifests.selection import Selection, bound_to
from fastmirror.manifests.source import Resource
from fastmirror.rules.model import Match

_TOP = ("apiVersion", "kind", "metadata", "spec")
_SPEC = ("exportTo", "gateways", "hosts", "http")
_HTTP = (
    "corsPolicy", "delegate", "directResponse", "fault", "headers", "match", "mirror",
    "mirrorPercent", "mirrorPercentage", "mirror_percent", "mirrors", "name", "redirect", "retries",
    "rewrite", "route", "timeout",
)  # fmt: skip
_ANSWERS = ("redirect", "directResponse")  # instead of a route


def read_virtual_services(
    resources: Sequence[Resource], catalog: Catalog, selection: Selection
) -> Iterator[Draft]:
    """The routes of every VirtualService for the proxy that is selected; those that tie on a host
    are in the files' order.
    """
    services = [resource for resource in resources if resource.kind == "VirtualService"]
    reader = _Reader(catalog, selection, Delegates(services))
    bound: set[str] = set()
    for number, service in enumerate(services):
        spec = service.root["spec"]
        if is_delegate(service):
            reader.check(service)
            check_delegate(service)
            continue
        bound |= bound_to(spec)
        if selection.is_for(spec):
            reader.check(service)
            yield from reader.drafts(service, number)
    for service in reader.delegates.unused():
        service.root["spec"].warn("has no hosts, and no rule delegates to it: never used")
    if services:
        selection.warn_of_unused(bound, catalog.report)


class _Reader:
    def __init__(self, catalog: Catalog, selection: Selection, delegates: Delegates) -> None:
        self.catalog = catalog
        self.selection = selection
        self.delegates = delegates
        self._owners: dict[str, str] = {}  # of a host
        self._taken: dict[str, Taken] = {}  # of a host

    def check(self, service: Resource) -> None:
        """What is wrong with each rule alone: what a delegate overrides, and what nobody uses, is
        not read again.
        """
        spec = service.root.knows(*_TOP, over=("status",))["spec"].knows(*_SPEC)
        if not spec["http"].items() and not self._has_other_routes(spec):
            spec["http"].expected("a list of HTTP routes")
        for item in spec["http"].items():
            item.knows(*_HTTP)
            if is_delegate(service) or item["delegate"].given:
                self._own_actions(item, "", None)
                for match in item["match"].items():
                    read_match(match, by_prefix=False)

    def _has_other_routes(self, spec: Field) -> bool:
        """Routes of connections alone, which have been refused, or ignored."""
        return any(spec[kind].items() for kind in ("tcp", "tls"))

    def drafts(self, service: Resource, number: int) -> Iterator[Draft]:
        hosts = list(self._hosts(service))
        found = []
        for rule in self.delegates.rules(service):
            matches = self._matches(rule)
            actions = self._actions(rule, matches or [])
            if matches is None:
                continue
            self._warn_if_hidden(rule, hosts, matches)
            if actions is not None:
                found.append((matches, actions))
        # One without any rule is discarded, as in Istio: the default policy holds for its hosts.
        for host in hosts if found else ():
            self.catalog.claim(host)
        for group in by_specificity(hosts):
            for index, (matches, actions) in enumerate(found):
                yield Draft(group, matches, actions, (0, number, index))

    def _hosts(self, service: Resource) -> Iterator[str]:
        for item in service.root["spec"]["hosts"].items():
            text = item.text()
            if not is_host(text):
                if text:
                    item.expected("a host name, *.suffix or *, without a port")
                continue
            host = self.catalog.canonical(text, service.namespace)
            owner = self._owners.setdefault(host, service.full_name)
            if owner != service.full_name:
                item.warn(f"VirtualService {owner} is for {host} as well, and comes first")
            yield host

    # -- which requests

    def _matches(self, rule: Rule) -> list[Match] | None:
        """Empty: every request; None: no request at all."""
        by_prefix = bool(rule.item["rewrite"]["uri"].value)
        matches, selected = [], False
        for item in rule.matches:
            match = read_match(item, by_prefix=by_prefix)
            if self.selection.holds(item):
                selected = True
                if match is not None:
                    matches.append(match)
        if rule.matches and not matches:
            if selected:
                rule.item.warn("never runs: none of its matches can hold")
            return None
        return fewest(matches, by_prefix=by_prefix)

    def _warn_if_hidden(self, rule: Rule, hosts: list[str], matches: list[Match]) -> None:
        """A rule is hidden if it is so for each of its hosts; also by other VirtualServices."""
        wanted = matches or [Match()]
        found = [self._taken.setdefault(host, Taken()) for host in dict.fromkeys(hosts)]
        if found and all(taken.covers(match) for taken in found for match in wanted):
            rule.item.warn("never runs: the rules before it take every request that it matches")
        for taken in found:
            taken.add(wanted)

    # -- what is done with them

    def _actions(self, rule: Rule, matches: list[Match]) -> Actions | None:
        """None: what it does instead of routing could not be read, and was ignored or refused."""
        item = rule.item
        _check_together(item)
        actions = self._own_actions(item, rule.name, matches)
        actions.to = read_destinations(item["route"], self.catalog)
        actions.mirrors = read_mirrors(item, actions.to, self.catalog)
        actions.redirect = read_redirect(item["redirect"])
        if actions.to or actions.redirect or actions.direct_response:
            if actions.mirrors and not actions.to:
                at = item["mirror"] if item["mirror"].given else item["mirrors"]
                at.warn("has no effect: what the proxy answers itself is not copied")
            return actions
        if item.origin.report.lenient:
            item.warn("has no destination: left out")
        elif not any(item[other].given for other in _ANSWERS) and not item["route"].items():
            item["route"].expected("a list of destinations")
        return None

    def _own_actions(self, item: Field, name: str, matches: list[Match] | None) -> Actions:
        """Those that name no other host; ``matches``: None where they are not known."""
        return Actions(
            name,
            [],
            timeout=item["timeout"].seconds(),
            direct_response=read_direct_response(item["directResponse"]),
            rewrite=read_rewrite(item["rewrite"], matches),
            headers=read_headers(item["headers"]),
            fault=read_fault(item["fault"]),
            cors=read_cors(item["corsPolicy"]) if item["corsPolicy"].given else None,
            retries=read_retries(item["retries"]),
        )


def _check_together(rule: Field) -> None:
    given = [answer for answer in _ANSWERS if rule[answer].given]
    if given and rule["route"].items():
        rule[given[0]].problem(f"route and {given[0]} cannot be used together")
    if len(given) > 1:
        rule[given[1]].problem(f"{given[0]} and {given[1]} cannot be used together")
    if given and rule["rewrite"].given:
        rule["rewrite"].problem(f"{given[0]} and rewrite cannot be used together")
    if rule["redirect"].given and rule["fault"].given:
        rule["fault"].problem("redirect and fault cannot be used together")
    if rule["rewrite"]["authority"].value:
        for name, at in rule["headers"]["request"]["set"].entries().items():
            if name.lower() in ("host", ":authority"):
                at.problem("rewrite.authority and another Host cannot be used together")
