"""What all mirrors of a worker share: the memory that copies may hold, the switch, and the share of
copies that the worker's load leaves room for.

Invariant: ``used`` is the sum of what the live copies have charged, and never goes above the
limit by more than one piece of a body; the switch is read from memory that all workers share, so
that it holds from the very next request in each of them.
"""

from __future__ import annotations

from fastmirror._counters import Counters


class MirrorControl:
    """``switch_at``: a slot of ``switch`` that is 0 while mirroring is on."""

    def __init__(self, limit: int, switch: Counters, switch_at: int) -> None:
        self.limit = limit
        self.used = 0
        self.switch = switch
        self.switch_at = switch_at
        self.share = 1.0
        self.shedding = False

    def off(self) -> bool:
        """Whether mirroring is switched off."""
        return self.switch.get(self.switch_at) != 0

    def admit_share(self, share: float) -> None:
        """So many of the copies are admitted from now on, from 0 to 1."""
        self.share = share
        self.shedding = share < 1.0

    def fits(self, size: int) -> bool:
        """Whether so many bytes more may be held."""
        return self.used + size <= self.limit

    def charge(self, change: int) -> int:
        """So many bytes more, or fewer, are held."""
        self.used += change
        return 0
