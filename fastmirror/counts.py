"""What is counted, and where: each worker has a region of shared memory, each count a slot in it.

Invariants: a slot means the same in every worker (slots are given in the order of the document,
and every worker sees the same documents), so that totals are sums over the regions; a count is
written by one process alone; ``matched`` and ``in_flight`` are not stored but are the sums that
they stand for, so that no moment can show numbers that do not add up.
"""

from __future__ import annotations

import mmap
import os

from fastmirror._counters import DURATION_BUCKETS, Counters

CODE_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
DROP_REASONS = (
    "queue_full",
    "bytes_full",
    "body_too_large",
    "rate",
    "off",
    "loop",
    "unsafe_method",
    "upgrade",
    "client_abort",
    "no_endpoint",
    "breaker",
    "not_routed",
    "overflow",
    "overload",
)
(
    QUEUE_FULL,
    BYTES_FULL,
    BODY_TOO_LARGE,
    RATE,
    OFF,
    LOOP,
    UNSAFE_METHOD,
    UPGRADE,
    CLIENT_ABORT,
    NO_ENDPOINT,
    BREAKER,
    NOT_ROUTED,
    OVERFLOW,
    OVERLOAD,
) = range(len(DROP_REASONS))
FAILURE_KINDS = ("connect", "timeout", "reset", "protocol", "slow", "client_abort", "shutdown")
(
    FAILED_CONNECT,
    FAILED_TIMEOUT,
    FAILED_RESET,
    FAILED_PROTOCOL,
    FAILED_SLOW,
    FAILED_CLIENT_ABORT,
    FAILED_SHUTDOWN,
) = range(len(FAILURE_KINDS))
SIDES = ("downstream", "upstream", "shadow")
DOWNSTREAM, UPSTREAM, SHADOW = range(len(SIDES))
TUNNEL_KINDS = ("upgrade", "connect", "passthrough", "tls", "http2", "opaque", "server_first")
UPGRADED, CONNECTED, PASSED_THROUGH, TLS, HTTP2, OPAQUE, SERVER_FIRST = range(len(TUNNEL_KINDS))

BUCKETS = len(DURATION_BUCKETS) + 1  # and +Inf

# The layout of a region. Global slots first, then what is given out by SlotMap.
GLOBAL_DURATION = 0
GLOBAL_DURATION_MICROS = GLOBAL_DURATION + BUCKETS
GLOBAL_CONNECTIONS = GLOBAL_DURATION_MICROS + 1
GLOBAL_TUNNELS = GLOBAL_CONNECTIONS + len(SIDES)
GLOBAL_ACCESS_LOST = GLOBAL_TUNNELS + len(TUNNEL_KINDS)
GLOBAL_MIRROR_OFF = GLOBAL_ACCESS_LOST + 1  # in the first region alone
GLOBAL_REFUSED = GLOBAL_MIRROR_OFF + 1
GLOBAL_MIRROR_SHED = GLOBAL_REFUSED + 1  # millionths of the copies that a worker does not admit
GLOBAL_SLOTS = 64
MILLION = 1_000_000

ROUTE_RETRIES = len(CODE_CLASSES)
ROUTE_SLOTS = ROUTE_RETRIES + 1

SERVICE_EJECTIONS, SERVICE_OVERFLOWS = range(2)
SERVICE_SLOTS = 2

# A mirror's slots. What ends a copy lies before what begins it: a reader that goes upwards while
# a worker writes may see a copy twice begun, never one ended that had not begun.
MIRROR_COMPLETED = 0
MIRROR_FAILED = MIRROR_COMPLETED + len(CODE_CLASSES)
MIRROR_SENT = MIRROR_FAILED + len(FAILURE_KINDS)
MIRROR_DROPPED = MIRROR_SENT + 1
MIRROR_NOT_SAMPLED = MIRROR_DROPPED + len(DROP_REASONS)
MIRROR_BUFFERED = MIRROR_NOT_SAMPLED + 1
MIRROR_DURATION = MIRROR_BUFFERED + 1
MIRROR_DURATION_MICROS = MIRROR_DURATION + BUCKETS
MIRROR_SLOTS = MIRROR_DURATION_MICROS + 1

REGION_BYTES = 1 << 28  # virtual: a page is taken when it is first written
# At a region's end, by local port, what is no count: see upstream/flows.py.
FLOW_SLOTS = 65536
FIRST_FLOW = REGION_BYTES // 8 - FLOW_SLOTS

Key = tuple[str, ...]


class SlotMap:
    """Which slots a route, mirror or service has; the same for every worker, kept over reloads."""

    def __init__(self, capacity: int = FIRST_FLOW) -> None:
        self.capacity = capacity
        self.next = GLOBAL_SLOTS
        self.bases: dict[Key, int] = {}

    def base(self, key: Key, slots: int) -> int:
        """The first slot of what ``key`` names.

        Raises MemoryError where more names were used than there is room for: every name that a
        route ever had keeps its counts, as Prometheus wants it.
        """
        base = self.bases.get(key)
        if base is None:
            base = self.next
            if base + slots > self.capacity:
                raise MemoryError("too many different routes, mirrors and services since the start")
            self.next = base + slots
            self.bases[key] = base
        return base


class SharedCounts:
    """The regions of all workers, made before they start; ``fd`` is inherited by them."""

    def __init__(self, workers: int, fd: int = -1) -> None:
        self.workers = workers
        if fd < 0:
            fd = os.memfd_create("fastmirror-counts")
            os.ftruncate(fd, workers * REGION_BYTES)
        self.fd = fd
        self.memory = mmap.mmap(fd, workers * REGION_BYTES, mmap.MAP_SHARED)
        view = memoryview(self.memory)
        self.regions = [
            Counters(view[index * REGION_BYTES : (index + 1) * REGION_BYTES])
            for index in range(workers)
        ]

    def set(self, slot: int, value: int) -> None:
        """Set a slot of the first region, for what all workers read and one process writes."""
        self.regions[0].put(slot, value)

    def worker_died(self, index: int, slots: SlotMap) -> None:
        """None of its connections is open any more, and what it had in flight has failed. (What
        waited in its queues was never counted as matched.)
        """
        region = self.regions[index]
        for key, base in slots.bases.items():
            if key[0] == "mirror":
                ended = sum(region.get(base + at) for at in range(MIRROR_SENT))
                in_flight = region.get(base + MIRROR_SENT) - ended
                region.add(base + MIRROR_FAILED + FAILED_SHUTDOWN, in_flight)
                region.put(base + MIRROR_BUFFERED, 0)
        for slot in range(GLOBAL_CONNECTIONS, GLOBAL_CONNECTIONS + len(SIDES)):
            region.put(slot, 0)
        region.put(GLOBAL_MIRROR_SHED, 0)
        for slot in range(FIRST_FLOW, FIRST_FLOW + FLOW_SLOTS):
            region.put(slot, 0)

    def admitted(self) -> float:
        """Which share of the copies every worker admits at least."""
        return 1.0 - max(region.get(GLOBAL_MIRROR_SHED) for region in self.regions) / MILLION

    def total(self, slot: int) -> int:
        """A slot's sum over all workers (gauges may be negative in one: 64-bit wrap-around)."""
        value = sum(region.get(slot) for region in self.regions) & (2**64 - 1)
        return value - 2**64 if value >> 63 else value


class RouteCounts:
    """The counts of one route, and the duration of every request."""

    def __init__(self, counters: Counters, slots: SlotMap, route: str) -> None:
        self.counters = counters
        self.codes = slots.base(("route", route), ROUTE_SLOTS)
        self.durations = GLOBAL_DURATION

    def request(self, status: int, seconds: float) -> int:
        """A request has ended; status 0: without an answer."""
        self.counters.add(self.codes + status // 100, 1)
        self.counters.observe(self.durations, seconds)
        return 0

    def retried(self) -> int:
        """Another attempt is made for a request."""
        self.counters.add(self.codes + ROUTE_RETRIES, 1)
        return 0


class ServiceCounts:
    """The counts of one service, all subsets together."""

    def __init__(self, counters: Counters, slots: SlotMap, service: str) -> None:
        self.counters = counters
        self.base = slots.base(("service", service), SERVICE_SLOTS)

    def ejected(self) -> int:
        """An endpoint was ejected."""
        self.counters.add(self.base + SERVICE_EJECTIONS, 1)
        return 0

    def overflowed(self) -> int:
        """A request, or another attempt of one, was refused: a limit is reached."""
        self.counters.add(self.base + SERVICE_OVERFLOWS, 1)
        return 0


class MirrorCounts:
    """The counts of one route's mirror."""

    def __init__(self, counters: Counters, slots: SlotMap, route: str, mirror: str) -> None:
        self.counters = counters
        base = slots.base(("mirror", route, mirror), MIRROR_SLOTS)
        self.completed_at = base + MIRROR_COMPLETED
        self.failed_at = base + MIRROR_FAILED
        self.sent_at = base + MIRROR_SENT
        self.dropped_at = base + MIRROR_DROPPED
        self.not_sampled_at = base + MIRROR_NOT_SAMPLED
        self.buffered_at = base + MIRROR_BUFFERED
        self.durations = base + MIRROR_DURATION

    def not_sampled(self) -> int:
        """The sampler said no."""
        self.counters.add(self.not_sampled_at, 1)
        return 0

    def dropped(self, reason: int) -> int:
        """No copy was sent."""
        self.counters.add(self.dropped_at + reason, 1)
        return 0

    def sent(self) -> int:
        """A connection was taken or opened for a copy."""
        self.counters.add(self.sent_at, 1)
        return 0

    def completed(self, status: int, seconds: float) -> int:
        """The shadow answered, and was heard to the end."""
        self.counters.add(self.completed_at + status // 100, 1)
        self.counters.observe(self.durations, seconds)
        return 0

    def failed(self, kind: int) -> int:
        """A copy that was sent did not complete."""
        self.counters.add(self.failed_at + kind, 1)
        return 0

    def buffered(self, change: int) -> int:
        """So many bytes more, or fewer, are held for the shadow."""
        self.counters.add(self.buffered_at, change)
        return 0


class WorkerCounts:
    """What a worker counts that belongs to no route."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters

    def connection(self, side: int, change: int) -> int:
        """A connection was opened (1) or closed (-1)."""
        self.counters.add(GLOBAL_CONNECTIONS + side, change)
        return 0

    def tunnel(self, kind: int) -> int:
        """A connection became a tunnel."""
        self.counters.add(GLOBAL_TUNNELS + kind, 1)
        return 0

    def connection_refused(self) -> int:
        """A client's connection was closed at once: there are too many."""
        self.counters.add(GLOBAL_REFUSED, 1)
        return 0

    def copies_admitted(self, share: float) -> int:
        """Which share of the copies is admitted from now on."""
        self.counters.put(GLOBAL_MIRROR_SHED, round((1.0 - share) * MILLION))
        return 0

    def access_lines_lost(self) -> int:
        """An access log line was dropped: its reader is too slow."""
        self.counters.add(GLOBAL_ACCESS_LOST, 1)
        return 0
