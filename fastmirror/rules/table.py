"""From a request to its route. Invariants: the first route in the document's order whose hosts
and match hold is the one; finding it costs the same however many hosts there are, and however
many routes have other paths.

What could take a host is put together when that host is first asked for; only hosts and suffixes
that the document names are kept, so that clients cannot grow the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastmirror.rules.address import parse_host_pattern
from fastmirror.rules.candidates import Candidates, RouteList
from fastmirror.rules.conditions import MatchBlock
from fastmirror.rules.entry import RouteEntry
from fastmirror.rules.model import Rules, Service
from fastmirror.rules.request import Request


class RouteTable:
    """The routes of a document, and the default policy: a service whose hosts no route names is
    reached by its own name.
    """

    def __init__(self, rules: Rules) -> None:
        self.entries: list[RouteEntry] = []
        self.defaults: dict[bytes, RouteEntry] = {}
        self.default_suffixes: dict[bytes, RouteEntry] = {}
        self.merged: dict[bytes, Candidates] = {}
        self.merged_suffixes: dict[bytes, Candidates] = {}
        exact: dict[bytes, list[RouteEntry]] = {}
        suffixes: dict[bytes, list[RouteEntry]] = {}
        everything: list[RouteEntry] = []
        for route in rules.routes:
            entry = self._entry(route.name, [MatchBlock(match) for match in route.match])
            for host in dict.fromkeys(parse_host_pattern(text) for text in route.hosts):
                if host == "*":
                    everything.append(entry)
                elif host.startswith("*."):
                    suffixes.setdefault(host[1:].encode(), []).append(entry)
                else:
                    exact.setdefault(host.encode(), []).append(entry)
        for service in rules.services:
            self._add_default(service)
        made: dict[tuple[RouteEntry, ...], RouteList] = {}
        self.exact = _listed(exact, made)
        self.suffixes = _listed(suffixes, made)
        self.everything = Candidates([RouteList(everything)])

    def _entry(self, name: str, blocks: Iterable[MatchBlock] = ()) -> RouteEntry:
        entry = RouteEntry(len(self.entries), name, list(blocks))
        self.entries.append(entry)
        return entry

    def _add_default(self, service: Service) -> None:
        entry = self._entry(default_route_name(service.name))
        for text in service.hosts if service.hosts is not None else [service.name]:
            host = parse_host_pattern(text)
            if host.startswith("*."):
                self.default_suffixes.setdefault(host[1:].encode(), entry)
            elif host != "*":
                self.defaults.setdefault(host.encode(), entry)

    def _suffix(self, host: bytes, suffixes: Mapping[bytes, object]) -> bytes | None:
        """The longest of the suffixes that the host ends with."""
        at = _first_dot(host)
        while at >= 0:
            if host[at:] in suffixes and at > 0:
                return host[at:]
            at = host.find(b".", at + 1)
        return None

    def _merge(self, host: bytes, known: bool) -> Candidates:
        """All that are for the host, kept for the next time."""
        parts = list(self.everything.parts)
        if known:
            parts.append(self.exact[host])
        at = 0 if host.startswith(b".") else host.find(b".")
        while at >= 0:
            if host[at:] in self.suffixes:
                parts.append(self.suffixes[host[at:]])
            at = host.find(b".", at + 1)
        found = Candidates(parts)
        (self.merged if known else self.merged_suffixes)[host] = found
        return found

    def _candidates(self, host: bytes) -> Candidates:
        found = self.merged.get(host)
        if found is not None:
            return found
        if host in self.exact:
            return self._merge(host, True)
        if self.suffixes:
            suffix = self._suffix(host, self.suffixes)
            if suffix is not None:
                found = self.merged_suffixes.get(suffix)
                return found if found is not None else self._merge(suffix, False)
        return self.everything

    def candidates(self, host: bytes) -> list[RouteEntry]:
        """The routes that are for a host, in order."""
        return self._candidates(host).all()

    def asked(self, request: Request) -> list[RouteEntry]:
        """The routes of which ``find`` asks one after the other, until one holds."""
        lists = self._candidates(request.host).lists(request)
        entries = {entry.index: entry for routes in lists for entry in routes}
        return [entries[index] for index in sorted(entries)]

    def is_named(self, host: bytes) -> bool:
        """Whether a route names the host, so that the default policy does not hold for it."""
        return self._candidates(host) is not self.everything

    def takes(self, host: bytes) -> bool:
        """Whether some request for the host would be taken: by a route or by the default policy."""
        if self.candidates(host) or host in self.defaults:
            return True
        return self._suffix(host, self.default_suffixes) is not None

    def find(self, request: Request) -> RouteEntry | None:
        """The route that takes the request; None: no route, and no service of that name."""
        candidates = self._candidates(request.host)
        entry = candidates.find(request)
        if entry is not None:
            return entry
        if candidates is not self.everything:
            return None  # a route names this host, so that the default policy does not hold
        if request.host in self.defaults:
            return self.defaults[request.host]
        suffix = self._suffix(request.host, self.default_suffixes)
        return self.default_suffixes[suffix] if suffix is not None else None


def _listed(
    hosts: dict[bytes, list[RouteEntry]], made: dict[tuple[RouteEntry, ...], RouteList]
) -> dict[bytes, RouteList]:
    """The lists of hosts, one for all hosts of the same routes; ``made``: those so far."""
    found = {}
    for host, routes in hosts.items():
        key = tuple(routes)
        if key not in made:
            made[key] = RouteList(routes)
        found[host] = made[key]
    return found


def _first_dot(host: bytes) -> int:
    """Where the longest suffix begins that a document can name: hosts in it are 253 bytes at most,
    while a client may send thousands of dots.
    """
    return host.find(b".", max(0, len(host) - 254))


def default_route_name(service: str) -> str:
    """What metrics and logs call the default policy's route to a service."""
    return f"service/{service}"
