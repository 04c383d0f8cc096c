"""The counts of all workers as Prometheus text (exposition format 0.0.4).

Invariants: one snapshot per scrape; ``matched`` and ``in_flight`` are sums of the same snapshot,
so that what is scraped always adds up; a label's values come from the rules, never from clients.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence

from fastmirror import __version__, counts
from fastmirror._counters import DURATION_BUCKETS
from fastmirror.snapshot import MirrorSnapshot
from fastmirror.usage import Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _line(name: str, labels: Labels, value: float) -> str:
    text = ",".join(f'{key}="{_escape(each)}"' for key, each in labels)
    number = f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f"{name}{{{text}}} {number}" if text else f"{name} {number}"


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for suffix, labels, value in samples:
        yield _line(name + suffix, labels, value)


class MetricsPage:
    """Reads what the workers write. ``pids``: the processes whose resources are added up."""

    def __init__(self, shared: counts.SharedCounts, slots: counts.SlotMap, started: float) -> None:
        self.shared = shared
        self.slots = slots
        self.started = started
        self.reloads = {"success": 0, "unchanged": 0, "failure": 0}

    def render(self, pids: Sequence[int]) -> str:
        """The whole page at once."""
        return "".join(f"{line}\n" for line in self.lines(pids) if line)

    def lines(self, pids: Sequence[int]) -> Iterator[str]:
        """A line at each step, since thousands of mirrors take seconds. Where a line is
        empty, something was counted and nothing is to be said.
        """
        routes: list[tuple[str, int]] = []
        mirrors: list[tuple[Labels, MirrorSnapshot]] = []
        for key, base in list(self.slots.bases.items()):
            if key[0] == "route":
                routes.append((key[1], base))
            elif key[0] == "mirror":
                labels = (("route", key[1]), ("mirror", key[2]))
                mirrors.append((labels, MirrorSnapshot(self.shared, base)))
                yield ""
        yield from _family(
            "fastmirror_requests_total",
            "counter",
            "Requests by route and class of the answer's status (none: no answer).",
            (
                ("", (("route", name), ("code_class", code)), self.shared.total(base + at))
                for name, base in routes
                for at, code in enumerate(counts.CODE_CLASSES)
            ),
        )
        yield from _family(
            "fastmirror_retries_total",
            "counter",
            "Attempts beside the first, by route.",
            (
                ("", (("route", name),), self.shared.total(base + counts.ROUTE_RETRIES))
                for name, base in routes
            ),
        )
        yield from _family(
            "fastmirror_request_duration_seconds",
            "histogram",
            "From a request's head to the end of its answer.",
            self._histogram(counts.GLOBAL_DURATION, ()),
        )
        yield from self._service_families()
        yield from self._mirror_families(mirrors)
        yield from self._process_families(pids)

    def _service_families(self) -> Iterator[str]:
        services = [(key[1], base) for key, base in self.slots.bases.items() if key[0] == "service"]

        def each(slot: int) -> Iterator[Sample]:
            for name, base in services:
                yield "", (("service", name),), self.shared.total(base + slot)

        yield from _family(
            "fastmirror_endpoint_ejections_total",
            "counter",
            "Endpoints that got no requests for a while because they failed.",
            each(counts.SERVICE_EJECTIONS),
        )
        yield from _family(
            "fastmirror_upstream_overflow_total",
            "counter",
            "Requests and retries that were refused by the limits of a service.",
            each(counts.SERVICE_OVERFLOWS),
        )

    def _mirror_families(self, mirrors: list[tuple[Labels, MirrorSnapshot]]) -> Iterator[str]:
        def listed(suffix: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
            return _family(f"fastmirror_mirror_{suffix}", kind, text, samples)

        def each(label: str, part: str) -> Iterator[Sample]:
            for labels, mirror in mirrors:
                for name, value in getattr(mirror, part).items():
                    yield "", (*labels, (label, name)), value

        yield from listed(
            "matched_total",
            "counter",
            "Requests of a mirror's route: not_sampled + dropped + sent.",
            (("", labels, mirror.matched) for labels, mirror in mirrors),
        )
        yield from listed(
            "not_sampled_total",
            "counter",
            "Requests that were not chosen for a copy.",
            (("", labels, mirror.not_sampled) for labels, mirror in mirrors),
        )
        yield from listed(
            "dropped_total",
            "counter",
            "Requests that were chosen, and not copied, by reason.",
            each("reason", "dropped"),
        )
        yield from listed(
            "sent_total",
            "counter",
            "Copies for which a connection was taken: completed + failed + in_flight.",
            (("", labels, mirror.sent) for labels, mirror in mirrors),
        )
        yield from listed(
            "completed_total",
            "counter",
            "Copies that were answered, by class of the answer's status.",
            each("code_class", "completed"),
        )
        yield from listed(
            "failed_total",
            "counter",
            "Copies that were sent and not answered, by kind.",
            each("kind", "failed"),
        )
        yield from listed(
            "in_flight",
            "gauge",
            "Copies that were sent and have not ended.",
            (("", labels, mirror.in_flight) for labels, mirror in mirrors),
        )
        yield from listed(
            "buffered_bytes",
            "gauge",
            "Bytes that are held for the shadow.",
            (("", labels, mirror.buffered) for labels, mirror in mirrors),
        )
        yield from listed(
            "duration_seconds",
            "histogram",
            "From taking a connection for a copy to the end of its answer.",
            (
                sample
                for labels, mirror in mirrors
                for sample in self._buckets(mirror.buckets, mirror.micros, labels)
            ),
        )

    def _histogram(self, first: int, labels: Labels) -> Iterator[Sample]:
        return self._buckets(
            [self.shared.total(first + at) for at in range(counts.BUCKETS)],
            self.shared.total(first + counts.BUCKETS),
            labels,
        )

    def _buckets(self, buckets: list[int], micros: int, labels: Labels) -> Iterator[Sample]:
        total = 0
        for value, bound in zip(buckets, (*map(str, DURATION_BUCKETS), "+Inf"), strict=True):
            total += value
            yield "_bucket", (*labels, ("le", bound)), total
        yield "_sum", labels, micros / 1e6
        yield "_count", labels, total

    def _process_families(self, pids: Sequence[int]) -> Iterator[str]:
        def one(name: str, kind: str, text: str, value: float) -> Iterator[str]:
            return _family(name, kind, text, [("", (), value)])

        total = self.shared.total
        yield from _family(
            "fastmirror_connections",
            "gauge",
            "Open connections: with clients, with primaries, with shadows.",
            (
                ("", (("side", side),), max(0, total(counts.GLOBAL_CONNECTIONS + at)))
                for at, side in enumerate(counts.SIDES)
            ),
        )
        yield from one(
            "fastmirror_connections_refused_total",
            "counter",
            "Clients that were turned away: --max-connections were open.",
            total(counts.GLOBAL_REFUSED),
        )
        yield from _family(
            "fastmirror_tunnels_total",
            "counter",
            "Connections that became tunnels.",
            (
                ("", (("kind", kind),), total(counts.GLOBAL_TUNNELS + at))
                for at, kind in enumerate(counts.TUNNEL_KINDS)
            ),
        )
        yield from one(
            "fastmirror_access_log_lines_lost_total",
            "counter",
            "Access log lines dropped because their reader was too slow.",
            total(counts.GLOBAL_ACCESS_LOST),
        )
        yield from one(
            "fastmirror_mirror_off",
            "gauge",
            "1 while mirroring is switched off.",
            total(counts.GLOBAL_MIRROR_OFF),
        )
        yield from one(
            "fastmirror_mirror_admitted_share",
            "gauge",
            "Share of the copies that the load leaves room for, in the worker with the least.",
            self.shared.admitted(),
        )
        yield from _family(
            "fastmirror_rules_reloads_total",
            "counter",
            "Reloads of the rules, by result.",
            (("", (("result", result),), value) for result, value in self.reloads.items()),
        )
        yield from _family(
            "fastmirror_build_info",
            "gauge",
            "What runs: always 1.",
            [("", (("version", __version__), ("python", platform.python_version())), 1)],
        )
        usage = Usage(pids)
        for _ in usage.read():
            yield ""
        yield from one(
            "process_cpu_seconds_total",
            "counter",
            "Processor time, user and system, all processes.",
            usage.cpu_seconds,
        )
        yield from one(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory, all processes.",
            usage.resident_bytes,
        )
        yield from one(
            "process_open_fds",
            "gauge",
            "Open file descriptors, all processes.",
            usage.open_fds,
        )
        yield from one(
            "process_start_time_seconds", "gauge", "Unix time of the start.", self.started
        )
