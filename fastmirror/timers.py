"""Timers that cost nothing per request: arming one again is an assignment.

Invariants: ``expired()`` is never called early, and late by at most a tick and a loop turn; a
connection that was closed is forgotten within LOOK_AHEAD seconds; an idle process wakes only
for what is due.

A Timed sits in one bucket, no later than its deadline. Moving the deadline leaves it there: when
its bucket comes up, the wheel looks at the deadline and puts it back or calls it.
"""

from __future__ import annotations

import asyncio

from fastmirror._core import now

TICK = 0.05  # seconds
LOOK_AHEAD = 5.0  # seconds


class Timed:
    """Something with a deadline."""

    def __init__(self) -> None:
        self.deadline = 0.0
        self.looked_at = 0

    def expired(self) -> int:
        """The deadline has passed."""
        return 0


class Wheel:
    """One for each event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.buckets: dict[int, list[Timed]] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.timer_tick = 0

    def arm(self, timed: Timed, seconds: float) -> int:
        """Call ``timed.expired()`` in so many seconds, instead of whenever it was to be called."""
        timed.deadline = now() + seconds
        if timed.looked_at == 0 or timed.deadline < (timed.looked_at - 1) * 0.05:
            self._place(timed, int(min(timed.deadline, now() + LOOK_AHEAD) / TICK) + 1)
        return 0

    def _place(self, timed: Timed, tick: int) -> int:
        timed.looked_at = tick
        bucket = self.buckets.get(tick)
        if bucket is None:
            self.buckets[tick] = [timed]
            if self.timer is None or tick < self.timer_tick:
                self._schedule(tick)
        else:
            bucket.append(timed)
        return 0

    def _schedule(self, tick: int) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer_tick = tick
        self.timer = self.loop.call_later(max(0.0, tick * TICK - now()), self._turn)

    def _turn(self) -> None:
        """Look at every bucket that is due."""
        self.timer = None
        time = now()
        due = sorted(tick for tick in self.buckets if tick * TICK <= time)
        for tick in due:
            for timed in self.buckets.pop(tick):
                self._look_at(timed, tick, time)
        if self.buckets:
            earliest = min(self.buckets)
            if self.timer is None or earliest < self.timer_tick:
                self._schedule(earliest)

    def _look_at(self, timed: Timed, tick: int, time: float) -> int:
        if timed.looked_at != tick:
            return 0  # placed earlier since
        timed.looked_at = 0
        if timed.deadline == 0.0:
            return 0
        if timed.deadline > time:
            return self._place(timed, int(min(timed.deadline, time + LOOK_AHEAD) / TICK) + 1)
        timed.deadline = 0.0
        return timed.expired()

    def close(self) -> None:
        """Forget everything."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None
        self.buckets.clear()
