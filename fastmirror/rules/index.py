"""An index of many routes: by their paths and, where many have the same, by a header.

Invariants: a route that holds for a request is in one of the lists that the index gives for it;
each of these is in the document's order; giving them costs what the path is long, and what there
are of prefixes that it begins with, however many routes have others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter

from fastmirror.rules.conditions import ELEMENTS, EXACT, PREFIX, MatchBlock, header_value
from fastmirror.rules.entry import RouteEntry
from fastmirror.rules.request import Request

FEW = 16  # routes that are asked one after the other in no more time than an index takes

Waiting = list[tuple[RouteEntry, MatchBlock | None]]  # under one key: routes, and why they do


class Bucket:
    """The routes of one key. Of many, those that want exact values of the same header are apart."""

    def __init__(self, text: bytes, parent: Bucket | None, waiting: Waiting) -> None:
        self.text = text
        self.parent = parent
        self.routes: list[RouteEntry] = []
        self.header = b""
        self.by_value: dict[bytes, list[RouteEntry]] | None = None
        if len(waiting) > FEW:
            self.header = _common_header(waiting)
            self.by_value = {} if self.header else None
        for entry, block in waiting:
            value = _exact_headers(block).get(self.header) if self.header else None
            if value is None or self.by_value is None:
                routes = self.routes
            else:
                routes = self.by_value.setdefault(value, [])
            if not routes or routes[-1] is not entry:
                routes.append(entry)

    def give(self, request: Request, lists: list[list[RouteEntry]]) -> int:
        """Add the lists of those that may hold."""
        if self.routes:
            lists.append(self.routes)
        if self.by_value is not None:
            value = header_value(request, self.header)
            found = self.by_value.get(value) if value is not None else None
            if found is not None:
                lists.append(found)
        return 0


class Index:
    """Buckets by whole paths, and by what paths begin with: ``b""`` for the routes that say
    nothing of it. All prefixes of one path are a chain, from the longest by its ``parent``.
    """

    def __init__(self, routes: list[RouteEntry]) -> None:
        exact: dict[bytes, Waiting] = {}
        prefixes: dict[bytes, Waiting] = {}
        for entry in routes:
            for block in entry.blocks or (None,):
                for whole, text in _keys(block):
                    (exact if whole else prefixes).setdefault(text, []).append((entry, block))
        self.exact = {text: Bucket(text, None, waiting) for text, waiting in exact.items()}
        self.texts = sorted(prefixes)
        self.prefixes: list[Bucket] = []
        last: Bucket | None = None
        for text in self.texts:
            while last is not None and not text.startswith(last.text):
                last = last.parent
            last = Bucket(text, last, prefixes[text])
            self.prefixes.append(last)

    def give(self, request: Request, lists: list[list[RouteEntry]]) -> int:
        """Add the lists of the routes that may hold for a request."""
        bucket = self.exact.get(request.path)
        if bucket is not None:
            bucket.give(request, lists)
        bucket = self._longest(request.path)
        while bucket is not None:
            bucket.give(request, lists)
            bucket = bucket.parent
        return 0

    def _longest(self, path: bytes) -> Bucket | None:
        """The bucket of the longest prefix that a path begins with. Between it and the path, in
        their order, is nothing but what begins with it too.
        """
        at = bisect_right(self.texts, path)
        if at == 0:
            return None
        bucket: Bucket | None = self.prefixes[at - 1]
        same = shared(self.texts[at - 1], path)
        while bucket is not None and len(bucket.text) > same:
            bucket = bucket.parent
        return bucket


def shared(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    size = min(len(one), len(other))
    at = 0
    while at < size and one[at] == other[at]:
        at += 1
    return at


def _keys(block: MatchBlock | None) -> list[tuple[bool, bytes]]:
    """What of a path a block needs: all of it (True), or its beginning."""
    path = block.path if block is not None else None
    if path is None:
        return [(False, b"")]
    if path.kind == EXACT:
        return [(True, path.text)]
    if path.kind == PREFIX:
        return [(False, path.text)]
    if path.kind == ELEMENTS:
        return [(True, path.text), (False, path.text + b"/")]
    assert path.pattern is not None
    return [(False, path.pattern.prefix)]


def _exact_headers(block: MatchBlock | None) -> dict[bytes, bytes]:
    """The values that a block wants of headers."""
    headers = block.headers if block is not None else []
    return {name: condition.text for name, condition in headers if condition.kind == EXACT}


def _common_header(waiting: Waiting) -> bytes:
    """The header that most want an exact value of; empty: too few do."""
    names = Counter(name for _, block in waiting for name in _exact_headers(block))
    name, count = max(names.items(), key=lambda item: item[1], default=(b"", 0))
    return name if count > FEW else b""
