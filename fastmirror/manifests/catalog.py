"""Every host that the manifests know, and what the routes use of it.

Invariant: a route's target is a service of the rules, and every service that a target names is
written. Nothing about a host depends on the order of the files: hosts and policies are all read
before the first route asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fastmirror.manifests.addresses import Mapping, canonical, forms, split_service_host
from fastmirror.manifests.fields import Field, Report
from fastmirror.manifests.hosts import DEFAULT_PORT, Host, Port, find_endpoints
from fastmirror.manifests.traffic import DEFAULT_BALANCE, Policy
from fastmirror.rules.model import ConnectionPool, Endpoint, Service


@dataclass(frozen=True, slots=True)
class Target:
    """A destination, as the rules name it."""

    host: str
    service: str
    subset: str | None


@dataclass(slots=True)
class Catalog:
    report: Report
    mappings: list[Mapping]
    dns: bool
    hosts: dict[str, Host] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)  # by host, *.suffix or *
    # Hosts that routes answer for: the default policy does not hold for them.
    claimed: dict[str, None] = field(default_factory=dict)
    # What manifests define, as against what is only named: forms of names are told apart by it.
    _defined: set[str] = field(default_factory=set)
    # What targets name: host, port, and the subsets that nothing defines.
    used: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    _endpoints: dict[tuple[str, Port], list[Endpoint]] = field(default_factory=dict)
    _namespaces: dict[str, set[str]] = field(default_factory=dict)  # by a service's short name
    _places: dict[str, Field] = field(default_factory=dict)  # where a host is defined
    _warned: set[tuple[object, ...]] = field(default_factory=set)

    # -- what is known

    def canonical(self, name: str, namespace: str) -> str:
        return canonical(name, namespace, self._defined)

    def add(self, host: Host, where: Field) -> None:
        if host.name in self.hosts:
            where.problem(f"{host.name} is already defined by another manifest")
        self.hosts[host.name] = host
        self._defined.add(host.name)
        self._places[host.name] = where
        self._note(host.name)

    def imply(self, host: str) -> Host:
        """The host; one that nothing defines is known by its name alone."""
        if host not in self.hosts:
            ports = [m.port for m in self.mappings if m.port is not None and m.names(host)]
            self.hosts[host] = Host(host, [Port(p) for p in ports], resolve=host, any_port=True)
            self._note(host)
        return self.hosts[host]

    def claim(self, host: str) -> None:
        """A route answers for the host."""
        self.claimed[host] = None
        self._note(host)

    def _note(self, host: str) -> None:
        if parts := split_service_host(host):
            self._namespaces.setdefault(parts[0], set()).add(parts[1])

    def is_mapped(self, host: str) -> bool:
        return any(mapping.names(host) for mapping in self.mappings)

    def policy(self, host: str) -> Policy:
        """The policy of the most specific name."""
        labels = host.split(".")
        suffixes = (".".join(["*", *labels[i:]]) for i in range(1, len(labels) + 1))
        for pattern in (host, *suffixes):
            if pattern in self.policies:
                return self.policies[pattern]
        return Policy()

    def endpoints(self, host: Host, port: Port) -> list[Endpoint]:
        key = (host.name, port)
        if key not in self._endpoints:
            policy = self.policy(host.name)
            self._endpoints[key] = find_endpoints(host, port, self.mappings, policy, self.dns)
        return self._endpoints[key]

    # -- what routes use

    def no_address(self, host: str) -> str | None:
        """Why a reference to the host is worth nothing, now and while running."""
        known = self.hosts.get(host)
        if self.dns or self.is_mapped(host) or (known and (known.workloads or known.listed)):
            return None
        return f"invalid reference: neither the manifests nor --map give {host} an address"

    def no_port(self, host: str, port: int | None) -> str | None:
        """Why the host has not that port."""
        known = self.hosts.get(host)
        if known is None or known.find_port(port):
            return None
        has = ", ".join(str(port.number) for port in known.ports) or "none"
        return f"{host} has no port {port or 'at all'} (it has: {has})"

    def target(self, host: str, port: int | None, subset: str | None, at: Field) -> Target:
        """What a route's destination is in the rules; warns, at ``at``, where it has no endpoint.

        A port that the host has not, or a subset that nothing defines, is a target without
        endpoints: as in Istio, the requests that it gets are answered with 503.
        """
        if host not in self.hosts and not self.is_mapped(host):
            at.warn(f"nothing defines {host}: its name is resolved while running")
        known = self.imply(host)
        found = known.find_port(port)
        if port is None and found and len(known.ports) > 1 and self._first_time(host):
            at.warn(f"{host} has several ports: {found.number}, its first, is taken")
        number = found.number if found else port or DEFAULT_PORT
        why = self._why_empty(known, port, subset)
        if why and self._first_time(host, number, subset):
            at.warn(f"{why}: requests to it are answered with 503, and copies dropped")
        undefined = self.used.setdefault(host, {}).setdefault(number, set())
        if subset is not None and subset not in self.policy(host).subsets:
            undefined.add(subset)
        return Target(host, known.service_name(number), subset)

    def _first_time(self, *what: object) -> bool:
        first = what not in self._warned
        self._warned.add(what)
        return first

    def _why_empty(self, host: Host, number: int | None, subset: str | None) -> str | None:
        port = host.find_port(number)
        if port is None:
            return self.no_port(host.name, number)
        endpoints = self.endpoints(host, port)
        if not endpoints:
            return f"{host.name} has no endpoint for port {port.number}"
        if subset is None:
            return None
        labels = self.policy(host.name).subsets.get(subset)
        if labels is None:
            return f"no DestinationRule gives {host.name} a subset {subset}"
        if not any(labels.items() <= endpoint.labels.items() for endpoint in endpoints):
            return (
                f"no endpoint of {host.name} has the labels of subset {subset} "
                f"(--map HOST/{subset}=ADDR gives it some)"
            )
        return None

    # -- what the rules say of it all

    def forms(self, host: str) -> list[str]:
        """The names that clients use, without those that are another host's own, and the short
        one only if a single namespace has it.
        """
        parts = split_service_host(host)
        short = parts is not None and len(self._namespaces[parts[0]]) == 1
        return [form for form in forms(host, short=short) if form == host or form not in self.hosts]

    def services(self) -> list[Service]:
        """The services that routes use, and those that are reached by their own name."""
        self._check_mappings()
        for name, namespaces in self._namespaces.items():
            if len(namespaces) > 1:
                self._say(f"{name} is in several namespaces: its short form is nobody's name")
        return [service for host in self.hosts.values() for service in self._services(host)]

    def _services(self, host: Host) -> Iterator[Service]:
        numbers = list(self.used.get(host.name, ()))
        first = host.find_port()
        if first and host.name not in self.claimed:
            if len(host.ports) > 1:
                self._say(
                    f"{host.name} has several ports: without a route, {first.number} is taken",
                    host.name,
                )
            if first.number not in numbers and self.endpoints(host, first):
                numbers.insert(0, first.number)
            elif not numbers:
                self._say(f"{host.name} has no address, and is left out", host.name)
        for number in numbers:
            port, policy = host.find_port(number), self.policy(host.name)
            # A label that no endpoint has stands for a subset that nothing defines.
            undefined = {
                name: {"undefined-subset": name}
                for name in sorted(self.used.get(host.name, {}).get(number, ()))
            }
            traffic = policy.traffic.at(number)
            pool = traffic.pool or ConnectionPool()
            yield Service(
                name=host.service_name(number),
                hosts=self.forms(host.name) if first and first.number == number else [],
                balance=traffic.balance or DEFAULT_BALANCE,
                endpoints=self.endpoints(host, port) if port else [],
                subsets=policy.subsets | undefined,
                outlier_detection=traffic.outliers,
                subset_policies=policy.subset_policies(number),
                # An encoder leaves out a struct only where nobody has given it.
                **({} if pool == ConnectionPool() else {"connection_pool": pool}),
            )

    def _check_mappings(self) -> None:
        """A name that only --map knows has addresses too, but most likely it is a slip."""
        for mapping in self.mappings:
            named = [host for host in {**self.hosts, **self.claimed} if mapping.names(host)]
            if not named:
                self._say(f"--map {mapping.option}: nothing in the manifests has this name")
                named = [self.imply(self.canonical(mapping.name, "default")).name]
            subsets = {subset for host in named for subset in self.policy(host).subsets}
            if mapping.subset and mapping.subset not in subsets:
                self._say(
                    f"--map {mapping.option}: no DestinationRule defines subset {mapping.subset}, "
                    "so that its addresses have no label"
                )

    def _say(self, what: str, host: str = "") -> None:
        """``host``: at the place where that is defined, if it is."""
        if host in self._places:
            self._places[host].warn(what)
        else:
            self.report.warnings.append(what)
