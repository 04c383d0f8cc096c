"""From a request to its route. Invariants: the first route in the document's order whose hosts
and match hold is the one; finding a host's routes costs the same however many hosts there are.

The routes that could take a host are merged, in order, when that host is first asked for; only
hosts and suffixes that the document names are kept, so that clients cannot grow the table.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from fastmirror.rules.address import parse_host_pattern
from fastmirror.rules.conditions import MatchBlock
from fastmirror.rules.model import Route, Rules, Service
from fastmirror.rules.request import Request


class RouteEntry:
    """A route, ready to be asked. ``action`` is what serves it, set by whoever does."""

    def __init__(self, index: int, name: str, blocks: list[MatchBlock]) -> None:
        self.index = index
        self.name = name
        self.all_blocks = blocks
        self.blocks = [] if any(block.always() for block in blocks) else blocks
        self.action: object = None

    def matched(self, request: Request) -> MatchBlock | None:
        """The block that took a request; None: there is none to hold."""
        for block in self.all_blocks:
            if block_holds(block, request):
                return block
        return None

    def holds(self, request: Request) -> bool:
        """Whether one of its blocks matches."""
        if not self.blocks:
            return True
        for block in self.blocks:
            if block_holds(block, request):
                return True
        return False


def block_holds(block: MatchBlock, request: Request) -> bool:
    """``block.holds(request)``, with a C type."""
    return block.holds(request)


def _in_order(*lists: list[RouteEntry]) -> list[RouteEntry]:
    return list(heapq.merge(*lists, key=lambda entry: entry.index))


class RouteTable:
    """The routes of a document, and the default policy: a service whose hosts no route names is
    reached by its own name.
    """

    def __init__(self, rules: Rules) -> None:
        self.exact: dict[bytes, list[RouteEntry]] = {}
        self.suffixes: dict[bytes, list[RouteEntry]] = {}
        self.everything: list[RouteEntry] = []
        self.merged: dict[bytes, list[RouteEntry]] = {}
        self.merged_suffixes: dict[bytes, list[RouteEntry]] = {}
        self.defaults: dict[bytes, RouteEntry] = {}
        self.default_suffixes: dict[bytes, RouteEntry] = {}
        self.entries: list[RouteEntry] = []
        for route in rules.routes:
            self._add_route(route)
        for service in rules.services:
            self._add_default(service)

    def _entry(self, name: str, blocks: Iterable[MatchBlock] = ()) -> RouteEntry:
        entry = RouteEntry(len(self.entries), name, list(blocks))
        self.entries.append(entry)
        return entry

    def _add_route(self, route: Route) -> None:
        entry = self._entry(route.name, [MatchBlock(match) for match in route.match])
        for host in dict.fromkeys(parse_host_pattern(text) for text in route.hosts):
            if host == "*":
                self.everything.append(entry)
            elif host.startswith("*."):
                self.suffixes.setdefault(host[1:].encode(), []).append(entry)
            else:
                self.exact.setdefault(host.encode(), []).append(entry)

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
        at = host.find(b".")
        while at >= 0:
            if host[at:] in suffixes and at > 0:
                return host[at:]
            at = host.find(b".", at + 1)
        return None

    def _merge(self, host: bytes, known: bool) -> list[RouteEntry]:
        """All that hold for the host, in order, kept for the next time."""
        lists = [self.everything]
        if known:
            lists.append(self.exact[host])
        at = 0 if host.startswith(b".") else host.find(b".")
        while at >= 0:
            lists.append(self.suffixes.get(host[at:], []))
            at = host.find(b".", at + 1)
        found = _in_order(*lists)
        (self.merged if known else self.merged_suffixes)[host] = found
        return found

    def _candidates(self, host: bytes) -> list[RouteEntry]:
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
        """The routes that ``find`` asks of a host's requests, in order."""
        return self._candidates(host)

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
        for entry in candidates:
            if entry_holds(entry, request):
                return entry
        if candidates is not self.everything:
            return None  # a route names this host, so that the default policy does not hold
        if request.host in self.defaults:
            return self.defaults[request.host]
        suffix = self._suffix(request.host, self.default_suffixes)
        return self.default_suffixes[suffix] if suffix is not None else None


def entry_holds(entry: RouteEntry, request: Request) -> bool:
    """``entry.holds(request)``, with a C type."""
    return entry.holds(request)


def default_route_name(service: str) -> str:
    """What metrics and logs call the default policy's route to a service."""
    return f"service/{service}"
