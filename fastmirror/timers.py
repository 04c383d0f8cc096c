"""Timers that cost nothing per request: arming one again is an assignment.

Invariants: ``expired()`` is never called early, and late by at most a tick and a loop turn; what
was forgotten is not held here any more; an idle process wakes only for what is due.

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
        self.place = 0

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
        self.tick = TICK
        self.ahead = LOOK_AHEAD

    def arm(self, timed: Timed, seconds: float) -> int:
        """Call ``timed.expired()`` in so many seconds, instead of whenever it was to be called."""
        time = now()
        timed.deadline = time + seconds
        if timed.looked_at == 0:
            self._place(timed, time)
        elif timed.deadline < (timed.looked_at - 1) * self.tick:
            self._take_out(timed)
            self._place(timed, time)
        return 0

    def forget(self, timed: Timed) -> int:
        """It is over: let go of it. A connection for each request would be thousands of them, had
        each to wait until its bucket comes up.
        """
        timed.deadline = 0.0
        return self._take_out(timed) if timed.looked_at else 0

    def _place(self, timed: Timed, time: float) -> int:
        tick = int(min(timed.deadline, time + self.ahead) / self.tick) + 1
        timed.looked_at = tick
        bucket = self.buckets.get(tick)
        if bucket is None:
            timed.place = 0
            self.buckets[tick] = [timed]
            if self.timer is None or tick < self.timer_tick:
                self._schedule(tick)
        else:
            timed.place = len(bucket)
            bucket.append(timed)
        return 0

    def _take_out(self, timed: Timed) -> int:
        bucket = self.buckets.get(timed.looked_at)
        place = timed.place
        timed.looked_at = 0
        # Not there any more: its bucket is being looked at.
        if bucket is not None and place < len(bucket) and bucket[place] is timed:
            last = bucket.pop()
            if last is not timed:
                bucket[place] = last
                last.place = place
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
            return 0  # forgotten, or placed anew, by what was called before it
        timed.looked_at = 0
        if timed.deadline == 0.0:
            return 0
        if timed.deadline > time:
            return self._place(timed, time)
        timed.deadline = 0.0
        return timed.expired()

    def close(self) -> None:
        """Forget everything."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None
        self.buckets.clear()
