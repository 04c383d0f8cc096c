"""What is measured as fast as it goes: the scenarios, in families that run together.

Invariant: scenarios that a target compares are of one family, so that their runs are of the same
rounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatch

from .generators import Request
from .machine import APART, SHARED, Cores
from .proxies import Peer, host


@dataclass(frozen=True)
class Scenario:
    """One load, and how the proxies are set up for it."""

    name: str
    title: str
    request: Request = field(default_factory=Request)
    connections: int = 64
    mirrors: int = 0
    percent: float = 100.0
    pipeline: int = 1  # copies that may share a connection, where the proxy can
    routes: int = 0
    workers: int = 1
    cores: Cores = APART
    empty: bool = False  # services answer 204, without a body
    latency: bool = False  # measured at a fixed rate too
    quick: bool = False  # part of --quick: a target needs it

    @property
    def size(self) -> int:
        """Bytes of a body, where bodies are what the scenario is about."""
        return self.request.body or SIZES.get(self.request.path.removeprefix("/"), 0)

    def suits(self, peer: Peer) -> bool:
        """Whether a proxy can do it."""
        return (peer.mirrors or not self.mirrors) and (peer.pipelines or self.pipeline == 1)


SIZES = {"1k": 1 << 10, "100k": 100 << 10, "10m": 10 << 20}
NAMES = {"1k": "1 KB", "100k": "100 KB", "10m": "10 MB"}
FEW = 8  # connections for 10 MB bodies


def _download(size: str) -> Scenario:
    return Scenario(
        f"download-{size}",
        f"download of {NAMES.get(size, 'no bytes')}",
        Request(f"/{size}"),
        connections=FEW if size == "10m" else 64,
        quick=size == "10m",
    )


def _upload(size: str, mirrors: int) -> Scenario:
    return Scenario(
        f"upload-{size}{'-mirror' if mirrors else ''}",
        f"upload of {NAMES[size]}{', mirror 100 %' if mirrors else ''}",
        Request(body=SIZES[size]),
        connections=FEW if size == "10m" else 64,
        mirrors=mirrors,
        quick=size == "10m" and mirrors > 0,
    )


def _routes(count: int) -> Scenario:
    asked = Request(host=host(count - 2))
    return Scenario(f"routes-{count}", f"{count:,} routes", asked, routes=count, quick=True)


def _workers(count: int, mirrors: int) -> Scenario:
    return Scenario(
        f"workers-{count}{'-mirror' if mirrors else ''}",
        f"{count} worker{'s' * (count > 1)}{', mirror 100 %' if mirrors else ''}, "
        "both cores shared by all",
        mirrors=mirrors,
        workers=count,
        cores=SHARED,
    )


FAMILIES: dict[str, list[Scenario]] = {
    "mirror": [
        Scenario("plain", "plain proxy", latency=True, quick=True),
        Scenario("mirror-0", "mirror configured at 0 %", mirrors=1, percent=0, quick=True),
        Scenario("mirror-1", "mirror 1 %", mirrors=1, percent=1),
        Scenario("mirror-10", "mirror 10 %", mirrors=1, percent=10),
        Scenario("mirror-100", "mirror 100 %", mirrors=1, latency=True, quick=True),
        Scenario(
            "mirror-100-pipelined",
            "mirror 100 %, 16 copies may share a connection",
            mirrors=1,
            pipeline=16,
            quick=True,
        ),
        Scenario("mirror-100-empty", "mirror 100 %, answers without a body", mirrors=1, empty=True),
        Scenario("mirror-two", "two mirrors of 100 %", mirrors=2),
    ],
    "headers": [
        Scenario(f"headers-{count}", f"{count} request headers", Request(headers=count))
        for count in (5, 10, 30)
    ],
    "download": [_download(size) for size in ("empty", *SIZES)],
    "upload": [_upload(size, mirrors) for mirrors in (0, 1) for size in SIZES],
    "connections": [
        Scenario("connections-1", "1 connection", connections=1),
        Scenario("connections-64", "64 connections"),
        Scenario("connections-1000", "1,000 connections", connections=1000),
        Scenario("connection-each", "a connection for each request", Request(close=True)),
    ],
    "routes": [_routes(10), _routes(10_000)],
    "workers": [_workers(1, 0), _workers(2, 0), _workers(1, 1), _workers(2, 1)],
}

TITLES = {scenario.name: scenario.title for family in FAMILIES.values() for scenario in family}
# Parts that are no scenarios of this list, and are chosen in the same way.
PARTS = ("latency", "idle", "isolation", "uploads")


def chosen(patterns: str, *, quick: bool) -> tuple[dict[str, list[Scenario]], list[str]]:
    """Families cut to what the patterns (families, scenarios or parts) name; and the parts.

    ``quick``: of what is named by "*" alone, only what a target needs.

    Raises ValueError for a pattern that names nothing.
    """
    wanted = patterns.split(",")
    cut = quick and patterns == "*"

    def fits(*names: str) -> bool:
        return any(fnmatch(name, pattern) for name in names for pattern in wanted)

    known = [*FAMILIES, *TITLES, *PARTS]
    for pattern in wanted:
        if not any(fnmatch(name, pattern) for name in known):
            raise ValueError(f'"{pattern}" is none of {", ".join(known)}')
    families = {
        family: [
            one
            for one in listed
            if fits(family, one.name, *["latency"] * one.latency) and (one.quick or not cut)
        ]
        for family, listed in FAMILIES.items()
    }
    return {family: some for family, some in families.items() if some}, list(filter(fits, PARTS))
