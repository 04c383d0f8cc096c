"""Listener isolation: which of the listeners a request belongs to.

Invariant: a request belongs to one listener, the one with the most specific hostname among those of
its port; what is attached to others does not see it, even if that would match.

Requests come here in plain text: one for an HTTPS listener is taken to have passed what ends TLS,
so that its port cannot be seen.
"""

from __future__ import annotations

from fastmirror.manifests.drafts import specificity
from fastmirror.manifests.gateway_listeners import Listener, intersection, within


class Isolation:
    """Which hosts of a listener a request can come to, and by which port.

    ``attached`` are all listeners that count, each with the hosts of the routes attached to it,
    by the name of the route.
    """

    def __init__(self, attached: dict[Listener, set[tuple[str, str]]]) -> None:
        self._ports = _ports(attached)
        self._names: dict[int | None, dict[str, Listener]] = {}
        for listener in attached:
            self._names.setdefault(self.port(listener), {}).setdefault(listener.hostname, listener)
        # The hostnames, of a port, behind which others would see what is not for them.
        self.fences: dict[tuple[int | None, str], Listener] = {}
        for listener, hosts in attached.items():
            for host in {host for _, host in hosts if self.better(listener, host) is None}:
                for name, other in self._names[self.port(listener)].items():
                    if name != host and within(name, host) and name != listener.hostname:
                        self.fences[self.port(listener), name] = other

    @property
    def ports(self) -> list[int]:
        """Those at which other routes are attached than at the rest."""
        return sorted({port for port in self._ports.values() if port is not None})

    def port(self, listener: Listener) -> int | None:
        """The port that a request must have; None: any that no other listener is for."""
        return self._ports.get(listener)

    def isolates(self, port: int | None) -> bool:
        """Whether the listeners of a port have to be asked one after the other."""
        return any(port == fenced for fenced, _ in self.fences)

    def better(self, listener: Listener, host: str) -> Listener | None:
        """The listener that gets all requests for a host of this one's."""
        names = self._names[self.port(listener)]
        found = [
            name
            for name in names
            if within(host, name) and within(name, listener.hostname) and name != listener.hostname
        ]
        return names[min(found, key=specificity)] if found else None


def _ports(attached: dict[Listener, set[tuple[str, str]]]) -> dict[Listener, int | None]:
    """A gateway's ports matter only where other routes are attached for the same hosts; requests of
    any port that is not its listeners' belong to 80 then, or to the first.
    """
    gateways: dict[str, dict[int, list[Listener]]] = {}
    for listener in attached:
        if listener.protocol == "HTTP":
            ports = gateways.setdefault(listener.gateway, {})
            ports.setdefault(listener.port, []).append(listener)
    result: dict[Listener, int | None] = {}
    for ports in gateways.values():
        whole = {port: set().union(*(attached[one] for one in ports[port])) for port in ports}
        rest = 80 if 80 in ports else next(iter(ports))
        if any(
            intersection(host, one.hostname)
            for port in ports
            for other in ports
            for _, host in whole[port] - whole[other]
            for one in ports[other]
        ):
            for port, listeners in ports.items():
                result |= dict.fromkeys(listeners, None if port == rest else port)
    return result
