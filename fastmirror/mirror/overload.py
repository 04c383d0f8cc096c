"""Copies give way to the primary when a worker's core is nearly used up: ``--mirror-max-load``.

Invariants: the share of copies that are admitted is from 0 to 1, and follows from the measured
loads alone; the load is measured by a timer and never by a request; what was admitted goes on.
"""

from __future__ import annotations

import asyncio
import os
import time

from fastmirror.counts import WorkerCounts
from fastmirror.mirror.control import MirrorControl

PERIOD = 0.1  # seconds from one measurement to the next

# Fast down and slow up, as TCP shares a link: while a core is full, every request waits longer from
# turn to turn; a copy that is missed a second more harms nobody.
DECREASE = 0.7  # of the share, for each measurement above the limit: to a tenth in 0.7 seconds
INCREASE = 0.02  # of all copies, for each one below: from none to all in 5 seconds
# What is between this part of the limit and the limit changes nothing. It is wider than what a load
# that stays the same differs from one measurement to the next.
CALM = 0.9
LEAST = 0.01  # a smaller share is none


class ThreadLoad:
    """Which share of the time its thread ran or waited for a core, since it was last asked.

    A thread that shares its core is short of time although it runs little: that is why the waiting
    counts.
    """

    def __init__(self) -> None:
        self.file = -1  # without the file, the time that the thread ran must do
        try:
            self.file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            counts = self._busy() > 0  # a kernel that does not count says 0 0 0
        except (OSError, ValueError):
            counts = False
        if not counts:
            self.close()
        self.at = time.monotonic_ns()
        self.busy = self._busy()

    def _busy(self) -> int:
        """Nanoseconds so far."""
        if self.file < 0:
            return time.thread_time_ns()
        ran, waited, _ = os.pread(self.file, 100, 0).split()
        return int(ran) + int(waited)

    def measure(self) -> float:
        """To be called by the thread that made it."""
        at, busy = time.monotonic_ns(), self._busy()
        load = (busy - self.busy) / max(1, at - self.at)
        self.at, self.busy = at, busy
        return load

    def close(self) -> None:
        """Let go of the file."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


class Admission:
    """Which share of the copies keeps the load at a limit; both from 0 to 1."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.share = 1.0

    def measured(self, load: float) -> float:
        """The share from now on."""
        if load >= self.limit:
            self.share *= DECREASE
            if self.share < LEAST:
                self.share = 0.0
        elif load < self.limit * CALM:
            self.share = min(1.0, self.share + INCREASE)
        return self.share


class LoadGuard:
    """Measures while it is not closed. ``percent``: the load that copies may bring a worker to."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        control: MirrorControl,
        counts: WorkerCounts,
        percent: int,
    ) -> None:
        self.loop = loop
        self.control = control
        self.counts = counts
        self.load = ThreadLoad()
        self.admission = Admission(percent / 100)
        self.timer = loop.call_later(PERIOD, self._measure)

    def _measure(self) -> None:
        self.timer = self.loop.call_later(PERIOD, self._measure)
        share = self.admission.measured(self.load.measure())
        self.control.admit_share(share)
        self.counts.copies_admitted(share)

    def close(self) -> None:
        """Measure no more."""
        self.timer.cancel()
        self.load.close()
