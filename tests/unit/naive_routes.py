"""Routes as section 3 of the specification reads aloud: plain documents, asked one after the other.
An oracle for tables, which shares nothing with them; and random routes that have much in common.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

PARTS = ["", "a", "b", "ab", "a/b", "a/", "a/b/c", "aa", "aaa", "b/a", "a.b", "c"]
HOSTS = ["app", "x.example", "a.b.example", "b.example", "other"]
PATTERNS = [*HOSTS[:-1], "*.example", "*.b.example", "*"]
METHODS = ["GET", "POST", "PUT"]
VALUES = ["one", "two", "three", "on"]
PORTS = [80, 8080, 81]
REGEXES = [
    "/a.*",
    "/a+",
    "/[ab]/.*",
    ".*/c",
    "/a|/b",
    "^/a/b?",
    "/ab*",
    "/(a|b)/",
    "(?i)/A",
    "/a\\.b",
]


@dataclass
class Asked:
    """A request, as an oracle sees it."""

    host: str
    port: int
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


def value_holds(match: dict, value: str | None) -> bool:
    [(kind, wanted)] = match.items()
    if kind == "present":
        return (value is not None) is wanted
    if value is None:
        return False
    if kind == "exact":
        return value == wanted
    if kind == "prefix":
        return value[: len(wanted)] == wanted
    if kind == "regex":
        return re.fullmatch(wanted, value) is not None
    elements = wanted.rstrip("/").split("/")
    return value.split("/")[: len(elements)] == elements


def block_holds(block: dict, asked: Asked) -> bool:
    method = block.get("method", {"prefix": ""})
    return (
        value_holds(block.get("path", {"prefix": ""}), asked.path)
        and value_holds({"exact": method} if isinstance(method, str) else method, asked.method)
        and block.get("port", asked.port) == asked.port
        and all(value_holds(m, asked.headers.get(n)) for n, m in block.get("headers", {}).items())
        and not any(
            value_holds(m, asked.headers.get(n))
            for n, m in block.get("without_headers", {}).items()
        )
        and all(value_holds(m, asked.query.get(n)) for n, m in block.get("query", {}).items())
    )


def host_holds(pattern: str, host: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def taking(routes: list[dict], asked: Asked) -> int | None:
    """Which of the routes takes a request."""
    for index, route in enumerate(routes):
        blocks = route.get("match") or [{}]
        if any(host_holds(pattern, asked.host) for pattern in route.get("hosts", ["*"])) and any(
            block_holds(block, asked) for block in blocks
        ):
            return index
    return None


class Source:
    """Random routes and requests of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        # Some rule sets are of one kind; in others a route for all hides most of what follows.
        self.kinds = self.random.choice(
            [["exact"], ["prefix"], ["path_separated_prefix"], ["regex"], None]
        )
        self.hosts = self.random.choice([["*"], ["app"], PATTERNS])
        self.rarely = self.random.choice([0.0, 0.02])

    def path(self) -> str:
        return "/" + "/".join(self.random.choice(PARTS) for _ in range(self.random.randint(1, 3)))

    def _value(self) -> dict:
        kind = self.random.choice(["exact"] * 6 + ["prefix", "regex", "present"])
        if kind == "present":
            return {kind: self.random.random() < 0.5}
        return {kind: "o.*" if kind == "regex" else self.random.choice(VALUES)}

    def block(self) -> dict:
        if self.random.random() < self.rarely:
            return {}
        kind = self.random.choice(
            self.kinds or ["exact", "prefix", "path_separated_prefix"] * 3 + ["regex", ""]
        )
        block: dict = {}
        if kind:
            block["path"] = {kind: self.random.choice(REGEXES) if kind == "regex" else self.path()}
        chance = self.random.random
        if chance() < 0.3:
            block["method"] = self.random.choice([*METHODS, {"regex": "P.*"}])
        if chance() < 0.3:
            block["port"] = self.random.choice(PORTS)
        if chance() < 0.6 or not kind:
            block["headers"] = {self.random.choice(["X-A", "x-a", "x-b"]): self._value()}
        if chance() < 0.2:
            block["without_headers"] = {self.random.choice(["x-a", "X-B"]): self._value()}
        if chance() < 0.1:
            block["query"] = {"q": {"exact": self.random.choice(VALUES)}}
        return block

    def routes(self, count: int) -> list[dict]:
        return [
            {
                "hosts": self.random.choices(self.hosts, k=self.random.choice([1, 1, 2])),
                "match": [self.block() for _ in range(self.random.choice([1, 1, 1, 2, 3]))],
            }
            for _ in range(count)
        ]

    def asked(self) -> Asked:
        choice, chance = self.random.choice, self.random.random
        headers = {name: choice(VALUES) for name in ("x-a", "x-b") if chance() < 0.6}
        query = {"q": choice(VALUES)} if chance() < 0.3 else {}
        return Asked(choice(HOSTS), choice(PORTS), choice(METHODS), self.path(), query, headers)
