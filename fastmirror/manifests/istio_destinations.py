"""Istio's DestinationRule: the subsets of a host, and how it takes requests.

Invariant: of several rules for one host, the oldest wins and the others add subsets, as in Istio;
no rule is lost in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastmirror.manifests.addresses import is_host
from fastmirror.manifests.catalog import Catalog
from fastmirror.manifests.drafts import A_NAME, NAME
from fastmirror.manifests.fields import Field
from fastmirror.manifests.istio_traffic import read_traffic_policy
from fastmirror.manifests.selection import Selection
from fastmirror.manifests.source import Resource
from fastmirror.manifests.traffic import Labels, Policy, TrafficPolicy

_TOP = ("apiVersion", "kind", "metadata", "spec")


@dataclass(frozen=True, slots=True)
class _Rule:
    """A DestinationRule that holds for the workload."""

    resource: Resource
    host: str
    subsets: dict[str, Labels]
    traffic: TrafficPolicy
    of_subsets: dict[str, TrafficPolicy]

    @property
    def spec(self) -> Field:
        return self.resource.root["spec"]

    @property
    def selects(self) -> bool:
        return self.spec["workloadSelector"].given


def read_destination_rules(
    resources: Sequence[Resource], catalog: Catalog, selection: Selection
) -> None:
    """After every host is known: a name of two labels is a service only if one has it."""
    found: dict[str, list[_Rule]] = {}
    for resource in sorted(resources, key=lambda resource: resource.created):
        if resource.kind == "DestinationRule":
            rule = _read(resource, catalog)
            selector = rule.spec["workloadSelector"]
            if not selector.given or selection.selects(selector, resource.namespace):
                found.setdefault(rule.host, []).append(rule)
    for host, rules in found.items():
        catalog.policies[host] = _merge(rules)
        if catalog.is_mapped(host):
            catalog.imply(host)
        elif "*" not in host and host not in catalog.hosts:
            rules[0].spec["host"].warn(f"nothing defines {host}")
        for rule in rules:
            _warn_of_ports(rule, catalog)


def _read(resource: Resource, catalog: Catalog) -> _Rule:
    spec = resource.root.knows(*_TOP, over=("status",))["spec"].knows(
        "host", "subsets", "trafficPolicy", "workloadSelector", over=("exportTo",)
    )
    text = spec["host"].text()
    if text and not is_host(text):
        spec["host"].expected("a host name, *.suffix or *")
    subsets: dict[str, Labels] = {}
    policies: dict[str, TrafficPolicy] = {}
    for item in spec["subsets"].items():
        item.knows("name", "labels", "trafficPolicy")
        name = item["name"].matching(NAME, A_NAME)
        if name in subsets:
            item["name"].problem(f"subset {name} is given twice")
        subsets[name] = item["labels"].labels()
        policies[name] = read_traffic_policy(item["trafficPolicy"])
    return _Rule(
        resource,
        catalog.canonical(text, resource.namespace),
        subsets,
        read_traffic_policy(spec["trafficPolicy"]),
        policies,
    )


def _merge(rules: list[_Rule]) -> Policy:
    """Rules of one host, the oldest first; those that select the workload go before all others."""
    selecting = [rule for rule in rules if rule.selects]
    used = selecting or rules
    first = used[0]
    for rule in rules:
        if rule not in used:
            rule.spec["host"].warn(
                f"has no effect: DestinationRule {_name(first)} selects the workload"
            )
    subsets, of_subsets = dict(first.subsets), dict(first.of_subsets)
    traffic = first.traffic if first.spec["trafficPolicy"].given else None
    for rule in used[1:]:
        rule.spec["host"].warn(
            f"DestinationRule {_name(first)} is for {rule.host} as well, and goes first: "
            "this one only adds what that has not"
        )
        for item in rule.spec["subsets"].items():
            name = item["name"].string("")
            if name in subsets:
                item["name"].warn(f"has no effect: subset {name} was given before")
            elif name in rule.subsets:
                subsets[name], of_subsets[name] = rule.subsets[name], rule.of_subsets[name]
        if rule.spec["trafficPolicy"].given:
            if traffic is not None:
                rule.spec["trafficPolicy"].warn("has no effect: a trafficPolicy was given before")
            traffic = traffic or rule.traffic
    return Policy(subsets, traffic or TrafficPolicy(), of_subsets)


def _name(rule: _Rule) -> str:
    return rule.resource.full_name


def _warn_of_ports(rule: _Rule, catalog: Catalog) -> None:
    known = catalog.hosts.get(rule.host)
    if known is None or known.any_port:
        return
    policies = [rule.spec["trafficPolicy"]]
    policies += [item["trafficPolicy"] for item in rule.spec["subsets"].items()]
    for policy in policies:
        for item in policy["portLevelSettings"].items():
            number = item["port"]["number"]
            if isinstance(number.value, int) and (why := catalog.no_port(rule.host, number.value)):
                number.warn(f"has no effect: {why}")
