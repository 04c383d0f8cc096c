"""What becomes of connections that are not read for now, or were to their end: an event loop does
not hear of a reset there, which is not to wait until somebody takes the bytes.

Invariants: nothing is read here; a descriptor is watched until it is hung up, or ``remove`` (which
comes before it is closed), and each kind of end is told once.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

# RDHUP: the peer sends no more. HUP and ERR, for a reset, come unasked.
_ENDED = select.EPOLLRDHUP
_RESET = select.EPOLLHUP | select.EPOLLERR


class Watch:
    """One for each worker: an epoll of its own, which the loop looks at as one descriptor."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.epoll = select.epoll()
        self.watched: dict[int, Callable[[bool], None]] = {}
        loop.add_reader(self.epoll.fileno(), self._look)

    def add(self, descriptor: int, left: Callable[[bool], None]) -> None:
        """``left(False)``: the peer sends no more; ``left(True)``: the connection was reset."""
        self.epoll.register(descriptor, _ENDED)
        self.watched[descriptor] = left

    def remove(self, descriptor: int) -> None:
        """Not any more; nothing where it was not."""
        if self.watched.pop(descriptor, None) is not None:
            self.epoll.unregister(descriptor)

    def _look(self) -> None:
        for descriptor, events in self.epoll.poll(0):
            left = self.watched.get(descriptor)
            if left is None:
                continue  # one that was told before removed it
            if events & _RESET:
                self.remove(descriptor)
                left(True)
            else:
                self.epoll.modify(descriptor, 0)  # or it would be told for ever
                left(False)
