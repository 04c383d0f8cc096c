"""Kubernetes' own Service, EndpointSlice and Endpoints: hosts, their ports and their addresses.

Invariant: an address is used for a port only where Kubernetes would send traffic to it: it is
ready, and its slice has the port of that name.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastmirror.manifests.addresses import is_host, read_address, service_host
from fastmirror.manifests.catalog import Catalog
from fastmirror.manifests.fields import Field
from fastmirror.manifests.hosts import Host, Port, Workload
from fastmirror.manifests.source import Resource
from fastmirror.manifests.traffic import Labels

_TOP = ("apiVersion", "kind", "metadata")
_SERVICE_OF_SLICE = "kubernetes.io/service-name"
# How a cluster provides the service; what clients of its name see does not depend on it.
_SERVICE_OVER = (
    "allocateLoadBalancerNodePorts", "clusterIPs", "externalIPs", "externalTrafficPolicy",
    "healthCheckNodePort", "internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy",
    "loadBalancerClass", "loadBalancerIP", "loadBalancerSourceRanges",
    "publishNotReadyAddresses", "sessionAffinity", "sessionAffinityConfig",
    "trafficDistribution",
)  # fmt: skip
_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_ENDPOINT_OVER = ("deprecatedTopology", "hints", "hostname", "nodeName", "zone")

Pods = dict[tuple[str, str], Labels]
# The workloads that a selector picks, in a namespace.
Selectable = Sequence[tuple[str, Workload]]


def read_kubernetes(
    resources: Sequence[Resource], catalog: Catalog, selectable: Selectable
) -> None:
    """Adds every Service, and every host that only an EndpointSlice or Endpoints knows."""
    pods: Pods = {}
    for resource in resources:
        if resource.kind == "Pod":
            labels = resource.root["metadata"]["labels"].labels()
            pods[resource.namespace, resource.name] = labels
    for resource in resources:
        if resource.kind == "Service":
            catalog.add(_service(resource, selectable), resource.root["metadata"]["name"])
    for resource in resources:
        if resource.kind == "EndpointSlice":
            _endpoint_slice(resource, catalog, pods)
        elif resource.kind == "Endpoints":
            _endpoints(resource, catalog, pods)


def select(selectable: Selectable, namespace: str, selector: Labels) -> list[Workload]:
    """What the selector picks; an empty one picks nothing."""
    return [
        workload
        for where, workload in selectable
        if selector and where == namespace and selector.items() <= workload.labels.items()
    ]


def _service(resource: Resource, selectable: Selectable) -> Host:
    resource.root.knows(*_TOP, "spec", over=("status",))
    spec = resource.root["spec"].knows(
        "clusterIP", "externalName", "ports", "selector", "type", over=_SERVICE_OVER
    )
    if not spec.given:
        spec.expected("a mapping")
    ports = []
    for item in spec["ports"].items():
        item.knows("appProtocol", "name", "port", "protocol", "targetPort", over=("nodePort",))
        number = item["port"].integer(1, 65535)
        if _is_tcp(item):
            target = item["targetPort"]
            # A named target is resolved by the pod: endpoints carry its number.
            is_name = isinstance(target.value, str)
            ports.append(
                Port(
                    number,
                    item["name"].string(""),
                    None if is_name or not target.given else target.integer(1, 65535),
                    item["appProtocol"].string(""),
                )
            )
    name = service_host(resource.name, resource.namespace)
    kind = spec["type"].text("ClusterIP")
    if kind not in _SERVICE_TYPES:
        spec["type"].expected(f"one of {', '.join(_SERVICE_TYPES)}")
    if kind == "ExternalName":
        return Host(name, ports, resolve=spec["externalName"].text(), any_port=not ports)
    selector = spec["selector"].labels()
    return Host(
        name,
        ports,
        workloads=select(selectable, resource.namespace, selector),
        resolve=name,
        direct=spec["clusterIP"].value == "None",
    )


def _endpoint_slice(resource: Resource, catalog: Catalog, pods: Pods) -> None:
    root = resource.root.knows(*_TOP, "addressType", "endpoints", "ports")
    if root["addressType"].text() not in ("IPv4", "IPv6", "FQDN", ""):
        root["addressType"].expected("IPv4, IPv6 or FQDN")
    labels = root["metadata"]["labels"]
    service = labels.labels().get(_SERVICE_OF_SLICE)
    if service is None or not is_host(service):
        labels[_SERVICE_OF_SLICE].expected("the name of the slice's service")
        return
    ports = _ports(root["ports"])
    workloads = []
    for item in root["endpoints"].items():
        item.knows("addresses", "conditions", "targetRef", over=_ENDPOINT_OVER)
        pod_labels = _pod_labels(item["targetRef"], resource.namespace, pods)
        # One that is ending is not ready: it still serves, but only what it has begun.
        conditions = item["conditions"].knows("ready", "serving", "terminating")
        ready, *_ = [
            conditions[name].boolean(name == "ready")
            for name in ("ready", "serving", "terminating")
        ]
        if ready:
            workloads += [
                Workload(read_address(address), ports, pod_labels, only_ports=True)
                for address in item["addresses"].items()
            ]
    _extend(catalog, service_host(service, resource.namespace), ports, workloads, root)


def _endpoints(resource: Resource, catalog: Catalog, pods: Pods) -> None:
    root = resource.root.knows(*_TOP, "subsets")
    host = service_host(resource.name, resource.namespace)
    subsets = root["subsets"].items()
    if not subsets:
        _extend(catalog, host, {}, [], root)
    for subset in subsets:
        subset.knows("addresses", "ports", over=("notReadyAddresses",))
        ports = _ports(subset["ports"])
        workloads = []
        for item in subset["addresses"].items():
            item.knows("ip", "targetRef", over=("hostname", "nodeName"))
            labels = _pod_labels(item["targetRef"], resource.namespace, pods)
            workloads.append(Workload(read_address(item["ip"]), ports, labels, only_ports=True))
        _extend(catalog, host, ports, workloads, root)


def _ports(ports: Field) -> dict[str, int]:
    """Numbers by name; a service with one port need not name it."""
    numbers = {}
    for item in ports.items():
        item.knows("name", "port", "protocol", over=("appProtocol",))
        if _is_tcp(item):
            numbers[item["name"].string("")] = item["port"].integer(1, 65535)
    return numbers


def _is_tcp(item: Field) -> bool:
    protocol = item["protocol"].text("TCP")
    if protocol not in ("TCP", "UDP", "SCTP"):
        item["protocol"].expected("TCP, UDP or SCTP")
    return protocol == "TCP"


def _pod_labels(reference: Field, namespace: str, pods: Pods) -> Labels:
    return pods.get((namespace, str(reference["name"].value)), {})


def _extend(
    catalog: Catalog, name: str, ports: dict[str, int], workloads: list[Workload], where: Field
) -> None:
    """Adds addresses to a service; without its manifest, its ports are the endpoints' own."""
    if name not in catalog.hosts:
        numbers = [Port(number, port) for port, number in ports.items()]
        catalog.add(Host(name, numbers, resolve=name), where)
    catalog.hosts[name].listed = True
    known = catalog.hosts[name].workloads
    known += [workload for workload in workloads if workload not in known]
