"""What keeps a mirror within bounds: its queue, its breaker, its rate.

Invariants: nothing here waits or does I/O; push, pop and every question are O(1); the queue's
``size`` is the sum of what its copies hold.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from fastmirror._core import now

# What the end of a copy says about its shadow.
HEALTH_UNKNOWN, HEALTH_GOOD, HEALTH_BAD = range(3)


class CopyQueue:
    """Copies that wait for a connection, the oldest first; bounded in number and in bytes."""

    def __init__(self, max_copies: int, max_bytes: int) -> None:
        self.max_copies = max_copies
        self.max_bytes = max_bytes
        self.size = 0
        self.copies: OrderedDict[object, None] = OrderedDict()  # for O(1) removal from within

    def has_room(self) -> bool:
        """Whether one copy more may wait."""
        return len(self.copies) < self.max_copies

    def has_room_for(self, size: int) -> bool:
        """Whether the copies that wait may hold so many bytes more."""
        return self.size + size <= self.max_bytes

    def push(self, copy: object) -> int:
        """The caller has asked ``has_room``; the copy charges its bytes itself."""
        self.copies[copy] = None
        return 0

    def pop(self) -> object:
        """The oldest copy, which is then no longer here; its bytes are."""
        if not self.copies:
            return None
        return self.copies.popitem(last=False)[0]

    def first(self) -> object:
        """The oldest copy, which stays; None: there is none."""
        for copy in self.copies:
            return copy
        return None

    def remove(self, copy: object) -> int:
        """A copy that is dropped while it waits."""
        self.copies.pop(copy, None)
        return 0


class Breaker:
    """Keeps a dead shadow from costing a connection a request."""

    def __init__(self, threshold: int, open_time: float) -> None:
        self.threshold = threshold
        self.open_time = open_time
        self.failures = 0
        self.open_until = 0.0
        self.probing = False

    def is_open(self) -> bool:
        """Whether copies are refused now."""
        return self.open_until != 0.0 and (self.probing or now() < self.open_until)

    def refuses(self) -> bool:
        """Whether this copy is refused; where not, and the breaker was open, it is the probe."""
        if self.open_until == 0.0:
            return False
        if self.probing or now() < self.open_until:
            return True
        self.probing = True
        return False

    def inconclusive(self) -> int:
        """A copy ended without a word on the shadow: if it was the probe, the next one is."""
        self.probing = False
        return 0

    def succeeded(self) -> int:
        """The shadow answered."""
        self.failures = 0
        self.open_until = 0.0
        self.probing = False
        return 0

    def failed(self) -> int:
        """It could not be reached, did not answer, or did not keep up."""
        self.failures += 1
        if self.threshold and (self.probing or self.failures >= self.threshold):
            self.open_until = now() + self.open_time
        self.probing = False
        return 0


class RateLimit:
    """A token bucket. ``burst``: how many it holds; absent: a second's worth."""

    def __init__(self, rate: float, burst: float = math.inf) -> None:
        self.rate = rate
        self.burst = max(1.0, min(rate, burst))
        self.tokens = self.burst
        self.at = now()

    def has(self) -> bool:
        """Whether one more is allowed now."""
        time = now()
        self.tokens = min(self.burst, self.tokens + (time - self.at) * self.rate)
        self.at = time
        return self.tokens >= 1.0

    def spend(self) -> int:
        """One more was done, allowed or not."""
        self.tokens -= 1.0
        return 0

    def take(self) -> bool:
        """Whether one more is allowed now, and then it counts as done."""
        if not self.has():
            return False
        self.tokens -= 1.0
        return True
