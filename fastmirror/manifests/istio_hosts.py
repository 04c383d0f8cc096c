"""Istio's ServiceEntry and WorkloadEntry: hosts and their addresses.

Invariant: a host's addresses are those of its own entry and of the workloads that this selects.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastmirror.manifests.addresses import is_host, read_address
from fastmirror.manifests.catalog import Catalog
from fastmirror.manifests.fields import Field
from fastmirror.manifests.hosts import Host, Port, Workload
from fastmirror.manifests.kubernetes import Selectable, select
from fastmirror.manifests.source import Resource

_TOP = ("apiVersion", "kind", "metadata", "spec")
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
