"""Long pages, which are made once for all who ask at about the same time.

Invariants: of each page no more than one is being made, so that however many ask, the loop is held
for a page's turn alone; nobody gets a page of which something was read before they asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from fastmirror.worker import uncollected

Made = TypeVar("Made")


class Shared(Generic[Made]):
    """One page. Those who ask while it is being made share the next."""

    def __init__(self) -> None:
        self.busy = asyncio.Lock()
        self.waiting: asyncio.Task[Made] | None = None

    async def get(self, make: Callable[[], Awaitable[Made]]) -> Made:
        """Raises what ``make`` raises."""
        if self.waiting is None:
            self.waiting = asyncio.get_running_loop().create_task(self._make(make))
        return await self.waiting

    async def _make(self, make: Callable[[], Awaitable[Made]]) -> Made:
        async with self.busy:
            self.waiting = None
            with uncollected():
                return await make()
