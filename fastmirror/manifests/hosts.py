"""A host: its ports, its subsets, and how the endpoints of a port are found.

Invariant: --map wins over addresses in the manifests, and they over DNS; nothing is mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastmirror.manifests.addresses import Mapping, join
from fastmirror.manifests.traffic import Labels, Policy
from fastmirror.rules.model import Endpoint

DEFAULT_PORT = 80  # of a host about which nothing is known


@dataclass(frozen=True, slots=True)
class Port:
    number: int
    name: str = ""
    target: int | None = None  # the workload's port, if it is another and a number
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """One address, which serves the ports of its host each at one of its own."""

    address: str
    ports: dict[str, int] = field(default_factory=dict)  # by the name of the host's port
    labels: Labels = field(default_factory=dict)
    weight: int = 1
    only_ports: bool = False  # a port that `ports` has not is not served

    def port(self, port: Port) -> int | None:
        other = None if self.only_ports else port.target or port.number
        return self.ports.get(port.name, other)


@dataclass(slots=True)
class Host:
    name: str
    ports: list[Port]  # the first is the one that a request without a route gets
    workloads: list[Workload] = field(default_factory=list)
    resolve: str | None = None  # the name to resolve where there are no workloads
    direct: bool = False  # that name resolves to the workloads, not to a virtual address
    listed: bool = False  # the workloads are all there are, even if there are none
    any_port: bool = False  # nothing says which ports there are: those that are asked for

    def find_port(self, number: int | None = None) -> Port | None:
        """The port of that number, or the first; None: the host has no such port."""
        if number is None and self.ports:
            return self.ports[0]
        port = next((port for port in self.ports if port.number == number), None)
        if port is None and self.any_port:
            port = Port(number or DEFAULT_PORT)
            self.ports.append(port)
        return port

    def service_name(self, number: int) -> str:
        """What the rules call one of its ports."""
        first = self.find_port()
        return self.name if first and first.number == number else f"{self.name}:{number}"


def find_endpoints(
    host: Host, port: Port, mappings: Sequence[Mapping], policy: Policy, dns: bool
) -> list[Endpoint]:
    mapped = [m for m in mappings if m.port in (None, port.number) and m.names(host.name)]
    if mapped:
        return _mapped_endpoints(mapped, port.number, policy.subsets)
    if host.workloads or host.listed:
        return [
            Endpoint(join(workload.address, number), workload.labels, workload.weight)
            for workload in host.workloads
            if (number := workload.port(port))
        ]
    if host.resolve and dns:
        number = port.target if host.direct and port.target else port.number
        return [Endpoint(join(host.resolve, number))]
    return []


def _mapped_endpoints(
    mappings: Sequence[Mapping], port: int, subsets: dict[str, Labels]
) -> list[Endpoint]:
    """For each subset, and for none, the mappings of this port win over those of every port."""
    exact = {mapping.subset for mapping in mappings if mapping.port is not None}
    endpoints: list[tuple[str, Labels]] = []
    for mapping in mappings:
        if mapping.port is None and mapping.subset in exact:
            continue
        labels = subsets.get(mapping.subset or "", {})
        for address in mapping.endpoints(port):
            for known, have in endpoints:
                # The same address may be in several subsets, as long as their labels agree.
                if known == address and all(have.get(k, v) == v for k, v in labels.items()):
                    have.update(labels)
                    break
            else:
                endpoints.append((address, dict(labels)))
    return [Endpoint(address, labels) for address, labels in endpoints]
