"""``GET /stats.json``: the counts of all workers, for programs that read no Prometheus text.

Invariant: it says what ``/metrics`` says, from the same slots; what never happened is left out of
the objects that go by reason, kind or class, and nothing else is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from fastmirror import __version__, counts
from fastmirror._counters import DURATION_BUCKETS
from fastmirror.snapshot import MirrorSnapshot
from fastmirror.usage import Usage

if TYPE_CHECKING:
    from fastmirror.server import Server


def stats(server: Server) -> Iterator[bytes]:
    """The document as JSON, a route or a service at each step. Times are Unix seconds, durations
    seconds; a histogram's ``counts`` are of one bucket each, ``bounds`` their upper ends, and the
    last count is of what is above them all.
    """
    shared, total = server.shared, server.shared.total
    usage = Usage(server.fleet.pids())
    for _ in usage.read():
        yield b""
    head = {
        "version": __version__,
        "state": server.state,
        "time": time.time(),
        "started": server.metrics.started,
        "workers": shared.workers,
        "mirroring": "off" if total(counts.GLOBAL_MIRROR_OFF) else "on",
        "mirror_admitted_share": shared.admitted(),
        "rules": {
            "since": server.reloader.since,
            "routes": len(server.reloader.rules.routes),
            "services": len(server.reloader.rules.services),
            "problem": server.reloader.problem,
            "reloads": dict(server.metrics.reloads),
        },
        "process": {
            "cpu_seconds": usage.cpu_seconds,
            "resident_bytes": usage.resident_bytes,
            "open_fds": usage.open_fds,
        },
        "connections": {
            side: max(0, total(counts.GLOBAL_CONNECTIONS + at))
            for at, side in enumerate(counts.SIDES)
        },
        "connections_refused": total(counts.GLOBAL_REFUSED),
        "tunnels": _known(shared, counts.GLOBAL_TUNNELS, counts.TUNNEL_KINDS),
        "request_duration": _histogram(
            [total(counts.GLOBAL_DURATION + at) for at in range(counts.BUCKETS)],
            total(counts.GLOBAL_DURATION_MICROS),
        ),
    }
    yield msgspec.json.encode(head)[:-1]
    for name, rows in (("routes", _routes(server)), ("services", _services(server))):
        separator = b',"%s":[' % name.encode()
        for row in rows:
            if row is None:
                yield b""
            else:
                yield separator + msgspec.json.encode(row)
                separator = b","
        yield b"]" if separator == b"," else separator + b"]"
    yield b"}"


# Where there is None, something was looked at and nothing is to be said: there may be thousands.
Rows = Iterator[dict[str, Any] | None]


def _services(server: Server) -> Rows:
    for key, base in list(server.slots.bases.items()):
        if key[0] != "service":
            yield None
        else:
            yield {
                "service": key[1],
                "ejections": server.shared.total(base + counts.SERVICE_EJECTIONS),
                "overflows": server.shared.total(base + counts.SERVICE_OVERFLOWS),
            }


def _routes(server: Server) -> Rows:
    """Every route that ever was, in the order of the slots, with its mirrors."""
    mirrors: dict[str, list[tuple[str, int]]] = {}
    bases = list(server.slots.bases.items())
    for key, base in bases:
        if key[0] == "mirror":
            mirrors.setdefault(key[1], []).append((key[2], base))
        yield None
    for key, base in bases:
        if key[0] != "route":
            yield None
        else:
            yield {
                "route": key[1],
                "requests": _known(server.shared, base, counts.CODE_CLASSES),
                "retries": server.shared.total(base + counts.ROUTE_RETRIES),
                "mirrors": [
                    _mirror(name, MirrorSnapshot(server.shared, at))
                    for name, at in mirrors.get(key[1], ())
                ],
            }


def _mirror(name: str, mirror: MirrorSnapshot) -> dict[str, Any]:
    return {
        "mirror": name,
        "matched": mirror.matched,
        "not_sampled": mirror.not_sampled,
        "dropped": _happened(mirror.dropped),
        "sent": mirror.sent,
        "completed": _happened(mirror.completed),
        "failed": _happened(mirror.failed),
        "in_flight": mirror.in_flight,
        "buffered_bytes": mirror.buffered,
        "duration": _histogram(mirror.buckets, mirror.micros),
    }


def _known(shared: counts.SharedCounts, first: int, names: tuple[str, ...]) -> dict[str, int]:
    return _happened({name: shared.total(first + at) for at, name in enumerate(names)})


def _happened(numbers: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in numbers.items() if number}


def _histogram(buckets: list[int], micros: int) -> dict[str, Any]:
    return {
        "bounds": list(DURATION_BUCKETS),
        "counts": buckets,
        "count": sum(buckets),
        "sum": micros / 1e6,
    }
