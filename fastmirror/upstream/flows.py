"""Which TCP connections are this proxy's own, in any of its workers: a connection of ours that is
intercepted on its way comes back to us, and would go round for ever.

Invariants: bounded memory, a slot for each local port and worker; a connection is known from the
moment when it is begun until it is closed. Of two with one local port (and other destinations)
the later one is known: a loop ends at its first connection that is.
"""

from __future__ import annotations

from fastmirror._core import xxh64
from fastmirror._counters import Counters
from fastmirror.counts import FIRST_FLOW

Ends = tuple[str, int, str, int]  # local address and port, remote address and port
Flow = tuple[int, int]  # slot, key


class Flows:
    """``regions``: every worker's counts; ``index``: which of them is ours to write."""

    def __init__(self, regions: list[Counters], index: int) -> None:
        self.regions = regions
        self.own = regions[index]

    def add(self, ends: Ends) -> Flow:
        """A connection is begun; what comes back is for ``forget``."""
        flow = (FIRST_FLOW + ends[1], _key(ends))
        self.own.put(*flow)
        return flow

    def forget(self, flow: Flow) -> None:
        """It is closed."""
        slot, key = flow
        if self.own.get(slot) == key:
            self.own.put(slot, 0)

    def __contains__(self, ends: Ends) -> bool:
        """Whether the client's end of a connection is ours: its address, and where it was going."""
        slot, key = FIRST_FLOW + ends[1], _key(ends)
        return any(region.get(slot) == key for region in self.regions)


def _key(ends: Ends) -> int:
    return xxh64(" ".join(map(str, ends)).encode()) or 1
