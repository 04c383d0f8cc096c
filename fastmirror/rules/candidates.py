"""The routes for a host, and the first of them that holds for a request. Invariant: it is the one
that asking all of them in the document's order would find; where they are many, those that cannot
hold for the request's path are not asked.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace

from fastmirror.rules.entry import RouteEntry
from fastmirror.rules.index import FEW, Index
from fastmirror.rules.request import Request


class RouteList:
    """Routes in order, with an index if they are many. Hosts of the same routes share one."""

    def __init__(self, routes: list[RouteEntry]) -> None:
        self.routes = routes
        self.index = Index(routes) if len(routes) > FEW else None


class Candidates:
    """What may take the requests of a host: lists that are merged at once if they are few, and
    otherwise with each request, as far as it takes. So no host has many routes of its own copy.
    """

    def __init__(self, parts: list[RouteList]) -> None:
        self.parts = parts
        self.few: list[RouteEntry] | None = None
        if sum(len(part.routes) for part in parts) <= FEW:
            self.few = self.all()

    def all(self) -> list[RouteEntry]:
        """Each of them once, in order."""
        entries = {entry.index: entry for part in self.parts for entry in part.routes}
        return [entries[index] for index in sorted(entries)]

    def lists(self, request: Request) -> list[list[RouteEntry]]:
        """Those that are asked of a request, each list in order; some may be in several."""
        if self.few is not None:
            return [self.few]
        found: list[list[RouteEntry]] = []
        for part in self.parts:
            give(part, request, found)
        return found

    def find(self, request: Request) -> RouteEntry | None:
        """The first that holds."""
        routes = self.few
        if routes is None:
            lists = self.lists(request)
            if len(lists) != 1:
                return first_of_all(lists, request)
            routes = lists[0]
        for entry in routes:
            if entry.holds(request):
                return entry
        return None


def give(part: RouteList, request: Request, lists: list[list[RouteEntry]]) -> int:
    """Add the lists of a part's routes that may hold."""
    if part.index is not None:
        part.index.give(request, lists)
    elif part.routes:
        lists.append(part.routes)
    return 0


def first_of_all(lists: list[list[RouteEntry]], request: Request) -> RouteEntry | None:
    """The first in the document's order, with a heap of where each list is: ``index * count +
    number`` of its next route.
    """
    count = len(lists)
    heap = [place(lists, number, 0) for number in range(count)]
    heapify(heap)
    at = [0] * count
    last: RouteEntry | None = None
    while heap:
        number = heap[0] % count
        routes = lists[number]
        entry = routes[at[number]]
        if entry is not last and entry.holds(request):
            return entry
        last = entry  # it may be in another list too
        at[number] += 1
        if at[number] < len(routes):
            heapreplace(heap, place(lists, number, at[number]))
        else:
            heappop(heap)
    return None


def place(lists: list[list[RouteEntry]], number: int, at: int) -> int:
    """A route of a list, in the order of ``first_of_all``."""
    entry = lists[number][at]
    return entry.index * len(lists) + number
