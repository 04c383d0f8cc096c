"""One mirror of one route: which requests it copies, and how much that may cost.

Invariants: ``open`` never waits and never raises for anything a shadow does; for every request
that it is asked about exactly one of not_sampled, dropped and sent is counted, at once or when
the copy leaves the queue; ``in_flight`` is the number of copies sent and not ended.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from fastmirror._core import RequestHead, Sampler, now
from fastmirror.counts import (
    BODY_TOO_LARGE,
    BREAKER,
    BYTES_FULL,
    LOOP,
    NO_ENDPOINT,
    OFF,
    OVERLOAD,
    QUEUE_FULL,
    RATE,
    UNSAFE_METHOD,
    UPGRADE,
    MirrorCounts,
)
from fastmirror.http1.target import split_port
from fastmirror.mirror.batch import Batch
from fastmirror.mirror.control import MirrorControl
from fastmirror.mirror.copy import Copy, CopyOwner
from fastmirror.mirror.limits import HEALTH_BAD, HEALTH_GOOD, Breaker, CopyQueue, RateLimit
from fastmirror.rules.model import HostPolicy
from fastmirror.rules.model import Mirror as MirrorSpec
from fastmirror.rules.request import KeyReader, Request
from fastmirror.rules.units import seconds, size
from fastmirror.rules.validate import mirror_name
from fastmirror.timers import Wheel
from fastmirror.upstream.cluster import Cluster
from fastmirror.upstream.pool import Pool

# What a mirror may do at once, so that a crowd of copies never makes the primary's exchanges wait
# for all of it.
STARTS = 2  # copies that leave the queue for each one that enters it, and in each turn of the loop
CONNECTS = 32  # connections that are opened, before max_connect_rate counts
RETRY = 0.002  # seconds until a connection may be opened again, at the earliest

KEEP, TARGET, SUFFIX, LITERAL = range(4)
_MISSING = {"random": 0, "skip": 1, "always": 2}


def share_of(spec: MirrorSpec) -> Fraction:
    """Which share of its requests a mirror copies, exactly."""
    if spec.fraction is not None:
        return Fraction(spec.fraction.numerator, spec.fraction.denominator)
    return Fraction(100.0 if spec.percent is None else spec.percent) / 100


def sampler_of(route: str, spec: MirrorSpec) -> Sampler:
    """What decides for a mirror of a route."""
    salt = spec.salt if spec.salt is not None else f"{route}/{mirror_name(spec)}"
    return Sampler(share_of(spec), salt.encode())


class Mirror(CopyOwner):
    """``workers``: among how many processes the rate is shared."""

    def __init__(
        self,
        route: str,
        spec: MirrorSpec,
        cluster: Cluster,
        control: MirrorControl,
        counts: MirrorCounts,
        wheel: Wheel,
        workers: int,
    ) -> None:
        self.route = route
        self.name = mirror_name(spec)
        self.spec = spec
        self.cluster = cluster
        self.control = control
        self.counts = counts
        self.wheel = wheel
        self.sampler = sampler_of(route, spec)
        self.key = KeyReader(spec.sample_by) if spec.sample_by is not None else None
        self.missing = _MISSING[spec.missing]
        self.methods = (
            frozenset(method.encode() for method in spec.methods)
            if spec.methods is not None
            else None
        )
        self.rate = RateLimit(spec.rate / workers) if spec.rate is not None else None
        self.marker = self.name.encode()
        self.host_text = b""
        if isinstance(spec.host, HostPolicy):
            self.host_policy = SUFFIX if spec.host.suffix is not None else LITERAL
            self.host_text = (spec.host.suffix or spec.host.literal or "").encode()
        else:
            self.host_policy = KEEP if spec.host == "keep" else TARGET
        self.last_host: bytes | None = None
        self.last_copy_host = b""
        self.max_body = -1 if spec.max_body is None else size(spec.max_body)
        self.max_copy_bytes = size(spec.max_copy_bytes)
        self.max_response = size(spec.max_response)
        self.connect_timeout = seconds(spec.connect_timeout)
        self.response_timeout = seconds(spec.response_timeout)
        self.max_in_flight = spec.max_in_flight
        self.in_flight = self.stuck = 0
        self.queue = CopyQueue(spec.max_queued, size(spec.max_queued_bytes))
        self.connects = RateLimit(spec.max_connect_rate, CONNECTS)
        self.resuming = False
        self.pipeline = spec.pipeline
        self.batches: dict[Pool, Batch] = {}
        self.breaker = Breaker(spec.breaker.consecutive_failures, seconds(spec.breaker.open_time))
        self.live: set[Copy] = set()

    def open(
        self, request: Request, head: RequestHead, host: bytes, length: int, upgrade: bool
    ) -> Copy | None:
        """A copy of a request whose head was written, or None. ``length``: the body's, -1 where
        it is not known yet; ``host``: the Host that the primary got.
        """
        if not self._sampled(request):
            self.counts.not_sampled()
            return None
        reason = self._refusal(request, length, upgrade)
        if reason >= 0:
            self.counts.dropped(reason)
            return None
        member = self.cluster.pick(request, None)
        if member is None:
            self.counts.dropped(NO_ENDPOINT)
            return None
        data = head.copy(self._copy_host(host, member.name), self.marker)
        copy = Copy.__new__(Copy)
        copy.set_up(self, member, data, request.method == b"HEAD", length != 0)
        self.live.add(copy)
        if self.max_body >= 0 and length < 0:
            copy.held = True  # nobody knows yet whether it is too large
        else:
            self.admit(copy)
        return copy if copy.state != 3 else None

    def admit(self, copy: Copy) -> int:
        """Send a copy, or let it wait, or drop it."""
        if not self.queue.copies and self._may_start(copy):
            return self._start(copy)
        if self.breaker.is_open():
            return copy.drop(BREAKER)
        if not self.queue.has_room():
            return copy.drop(QUEUE_FULL)
        size = len(copy.head)
        if not (self.control.fits(size) and self.queue.has_room_for(size)):
            return copy.drop(BYTES_FULL)
        self.queue.push(copy)
        copy._charge(copy.charged + size)
        return self._send_waiting()

    def _may_start(self, copy: Copy) -> bool:
        """Whether there is room for a copy, and a connection for it may be had."""
        return self.in_flight < self.max_in_flight and (
            len(copy.member.pool.idle) > 0
            or (len(self.batches) > 0 and copy.member.pool in self.batches)
            or self.connects.has()
        )

    def _start(self, copy: Copy) -> int:
        """Send a copy that is not, or no longer, in the queue."""
        if self.breaker.refuses():
            return copy.drop(BREAKER)
        self.queue.size -= copy.charged
        self.in_flight += 1
        if self.pipeline > 1 and not copy.has_body and not copy.to_head and self._join(copy):
            return 0
        return copy.start()

    def _join(self, copy: Copy) -> bool:
        """Send a copy together with the others that this turn of the loop makes for its endpoint,
        if it can be sent so now.
        """
        pool = copy.member.pool
        batch = as_batch(self.batches.get(pool))
        if batch is None:
            if pool.pipeline_after != 0.0 and now() < pool.pipeline_after:
                return False
            connection = pool.take()
            if connection is None:
                return False
            if connection.exchanges == 0:  # not yet known to be kept alive
                pool.give_back(connection)
                return False
            batch = Batch(pool, connection, self.wheel, self.response_timeout)
            if not self.batches:
                self.wheel.loop.call_soon(self.dispatch)
            self.batches[pool] = batch
        copy.begin()
        if batch.add(copy) == self.pipeline:
            self.batches.pop(pool)
            batch.dispatch()
        return True

    def dispatch(self) -> None:
        """The turn is over: send what it made."""
        batches = self.batches
        self.batches = {}
        for batch in batches.values():
            dispatch_batch(batch)

    def refuse(self, request: Request, reason: int) -> int:
        """Count a request that cannot be copied for a reason of its route's."""
        if self._sampled(request):
            self.counts.dropped(reason)
        else:
            self.counts.not_sampled()
        return 0

    def _sampled(self, request: Request) -> bool:
        if self.key is None:
            return self.sampler.decide_random()
        key = self.key.read(request)
        if key is not None:
            return self.sampler.decide(key)
        if self.missing == 0:
            return self.sampler.decide_random()
        return self.missing == 2

    def _refusal(self, request: Request, length: int, upgrade: bool) -> int:
        """Why the request is not copied although it was sampled; -1: it is."""
        if self.control.off():
            return OFF
        if request.fields.is_copy:
            return LOOP
        if upgrade:
            return UPGRADE
        if self.methods is not None and request.method not in self.methods:
            return UNSAFE_METHOD
        if self.max_body >= 0 and length > self.max_body:
            return BODY_TOO_LARGE
        # What admit() would find too, when the copy had been made.
        if self.breaker.is_open():
            return BREAKER
        if self.control.shedding and self._sheds(request):
            return OVERLOAD
        if self.queue.copies and not self.queue.has_room():
            self._send_waiting()
            if not self.queue.has_room():
                return QUEUE_FULL
        if self.rate is not None and not self.rate.take():
            return RATE
        return -1

    def _sheds(self, request: Request) -> bool:
        """Whether a request that was sampled is beyond the share that the load leaves room for."""
        key = self.key.read(request) if self.key is not None else None
        return not self.sampler.keeps(key, self.control.share)

    def _copy_host(self, host: bytes, target: bytes) -> bytes:
        if self.host_policy == KEEP:
            return host
        if self.host_policy == TARGET:
            return target
        if self.host_policy == LITERAL:
            return self.host_text
        if host != self.last_host:
            name, port = split_port(host)
            # An IPv6 literal cannot carry a suffix: Envoy's [::1]-shadow is no valid Host.
            self.last_copy_host = host if name.startswith(b"[") else name + self.host_text + port
            self.last_host = host
        return self.last_copy_host

    def ended(self, copy: Copy, health: int) -> int:
        """A copy that was sent has ended: the next may begin."""
        self.in_flight -= 1
        if health == HEALTH_GOOD:
            self.breaker.succeeded()
        elif health == HEALTH_BAD:
            self.breaker.failed()
        else:
            self.breaker.inconclusive()
        return self._resume_later(0.0) if self.queue.copies else 0

    def _resume_later(self, delay: float) -> int:
        """``resume`` in the next turn of the loop, or later."""
        if not self.resuming:
            self.resuming = True
            self.wheel.loop.call_later(delay, self.resume)
        return 0

    def resume(self) -> None:
        """Send copies that wait, as far as there is room: a few, and more in the next turn."""
        self.resuming = False
        self._send_waiting()

    def _send_waiting(self) -> int:
        started = 0
        copy = as_copy(self.queue.first())
        while copy is not None and self.in_flight < self.max_in_flight:
            if self.control.off():
                copy.drop(OFF)
            elif self.breaker.is_open():
                copy.drop(BREAKER)
            elif started == STARTS or not self._may_start(copy):
                return self._resume_later(0.0 if started == STARTS else RETRY)
            else:
                started += 1
                self.queue.remove(copy)
                self._start(copy)
            copy = as_copy(self.queue.first())
        return 0

    def pending(self) -> int:
        """How many copies wait or are in flight."""
        return len(self.live)

    def stop(self, drop_reason: int, failure_kind: int) -> None:
        """Give up every copy, those that wait for one reason and those sent for another."""
        copies = list(self.live)
        for copy in copies:  # first those that wait, or the others' ends would send them
            drop_copy(copy, drop_reason)
        for copy in copies:
            abandon_copy(copy, failure_kind)


def as_copy(item: Any) -> Copy | None:
    """What the queue gave, with a C type."""
    return item  # type: ignore[no-any-return]


def as_batch(item: Any) -> Batch | None:
    """What a map of batches gave, with a C type."""
    return item  # type: ignore[no-any-return]


def dispatch_batch(batch: Batch) -> int:
    """``batch.dispatch()``, with a C type."""
    return batch.dispatch()


def drop_copy(copy: Copy, reason: int) -> int:
    """Drop a copy if it waits."""
    return copy.drop(reason) if copy.state == 0 else 0


def abandon_copy(copy: Copy, kind: int) -> int:
    """Abandon a copy if it was sent and has not ended."""
    return copy.abandon(kind) if copy.state in (1, 2) else 0
