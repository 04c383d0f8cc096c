"""Istio's ServiceEntry, WorkloadEntry and DestinationRule: hosts, their addresses and subsets.

Invariant: a subset is a set of labels, no more; what a DestinationRule could say beyond that and
the balancing of a host is refused by name, not lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastmirror.manifests.addresses import is_host, read_address
from fastmirror.manifests.catalog import Catalog
from fastmirror.manifests.drafts import A_NAME, NAME
from fastmirror.manifests.fields import Field
from fastmirror.manifests.hosts import Host, Policy, Port, Workload
from fastmirror.manifests.kubernetes import Selectable, select
from fastmirror.manifests.source import Resource
from fastmirror.rules.model import Balance

_TOP = ("apiVersion", "kind", "metadata", "spec")
_BALANCE: dict[str, Balance | None] = {
    "UNSPECIFIED": None,  # ours to choose, as it is Istio's
    "ROUND_ROBIN": "round_robin",
    "LEAST_REQUEST": "least_request",
    "LEAST_CONN": "least_request",  # its deprecated name
    "RANDOM": "random",
}
_WORKLOAD = ("address", "labels", "ports", "weight")
_WORKLOAD_OVER = ("locality", "network", "serviceAccount")


def read_workload_entries(resources: Sequence[Resource]) -> Selectable:
    """Each with its namespace, for the selectors of ServiceEntry and Service."""
    return [
        (
            resource.namespace,
            _workload(
                resource.root.knows(*_TOP, over=("status",))["spec"],
                resource.root["metadata"]["labels"].labels(),
            ),
        )
        for resource in resources
        if resource.kind == "WorkloadEntry"
    ]


def read_service_entries(
    resources: Sequence[Resource], catalog: Catalog, selectable: Selectable
) -> None:
    for resource in resources:
        if resource.kind == "ServiceEntry":
            _service_entry(resource, catalog, selectable)


def _service_entry(resource: Resource, catalog: Catalog, selectable: Selectable) -> None:
    spec = resource.root.knows(*_TOP, over=("status",))["spec"].knows(
        "endpoints", "hosts", "ports", "resolution", "workloadSelector",
        over=("addresses", "exportTo", "location", "subjectAltNames"),
    )  # fmt: skip
    ports = []
    for item in spec["ports"].items():
        item.knows("name", "number", "targetPort", over=("protocol",))
        target = item["targetPort"]
        ports.append(
            Port(
                item["number"].integer(1, 65535),
                item["name"].text(),
                target.integer(1, 65535) if target.given else None,
            )
        )
    workloads = [_workload(item, {}) for item in spec["endpoints"].items()]
    selector = spec["workloadSelector"].knows("labels")["labels"].labels()
    workloads += select(selectable, resource.namespace, selector)
    resolution = spec["resolution"]
    if resolution.text("NONE") not in ("STATIC", "DNS", "DNS_ROUND_ROBIN"):
        resolution.expected(
            "STATIC, DNS or DNS_ROUND_ROBIN"
            " (NONE, also where it is absent, forwards to the caller's own choice of address)"
        )
    by_name = resolution.value != "STATIC"
    if not spec["hosts"].items():
        spec["hosts"].expected("a list of hosts")
    for item in spec["hosts"].items():
        host = item.text().lower().rstrip(".")
        if not is_host(host) or "*" in host:
            item.expected("a host name without wildcard")
            continue
        # Each host is a service of its own, as in Istio; the workloads are the same.
        resolve = host if by_name else None
        catalog.add(Host(host, list(ports), list(workloads), resolve, direct=True), item)


def _workload(spec: Field, labels: dict[str, str]) -> Workload:
    """The same in a ServiceEntry's endpoints and as a WorkloadEntry."""
    spec.knows(*_WORKLOAD, over=_WORKLOAD_OVER)
    return Workload(
        address=read_address(spec["address"]),
        ports={name: port.integer(1, 65535) for name, port in spec["ports"].entries().items()},
        labels=labels | spec["labels"].labels(),
        weight=spec["weight"].integer(1, 1_000_000, default=1),
    )


def read_destination_rules(resources: Sequence[Resource], catalog: Catalog) -> None:
    """After every host is known: a name of two labels is a service only if one has it."""
    owners: dict[str, str] = {}
    for resource in resources:
        if resource.kind != "DestinationRule":
            continue
        spec = resource.root.knows(*_TOP, over=("status",))["spec"].knows(
            "host", "subsets", "trafficPolicy", over=("exportTo",)
        )
        at = spec["host"]
        text = at.text()
        if text and not is_host(text):
            at.expected("a host name, *.suffix or *")
        host = catalog.canonical(text, resource.namespace)
        if host in owners:
            at.problem(f"DestinationRule {owners[host]} is for {host} as well: merge the two")
            continue
        owners[host] = resource.full_name
        catalog.policies[host] = _policy(spec)
        if catalog.is_mapped(host):
            catalog.imply(host)
        elif "*" not in host and host not in catalog.hosts:
            at.warn(f"nothing defines {host}")


def _policy(spec: Field) -> Policy:
    balancer = spec["trafficPolicy"].knows("loadBalancer")["loadBalancer"].knows("simple")
    simple = balancer["simple"]
    name = simple.text("UNSPECIFIED")
    if name not in _BALANCE:
        simple.unsupported(f"load balancer {name}")
    subsets: dict[str, dict[str, str]] = {}
    for item in spec["subsets"].items():
        item.knows("name", "labels")
        subset = item["name"].matching(NAME, A_NAME)
        if subset in subsets:
            item["name"].problem(f"subset {subset} is given twice")
        subsets[subset] = item["labels"].labels()
    return Policy(_BALANCE.get(name), subsets)
