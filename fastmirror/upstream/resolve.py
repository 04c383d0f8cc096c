"""Names to addresses, refreshed while running. Invariants: looking up never delays a request;
the last good answer holds until there is a better one; a name is asked for at most once per
REFRESH seconds however often it is used.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from fastmirror.rules.address import Address

REFRESH = 5.0  # seconds; the answer's own time to live is not known to getaddrinfo
TIMEOUT = 5.0  # seconds

_logger = logging.getLogger("fastmirror")


class Resolver:
    """Watches names; calls back with each new set of addresses."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.answers: dict[Address, tuple[Address, ...]] = {}
        self.listeners: dict[Address, list[Callable[[], None]]] = {}
        self.tasks: dict[Address, asyncio.Task[None]] = {}
        self.asked: dict[Address, asyncio.Event] = {}

    def watch(self, name: Address, changed: Callable[[], None]) -> None:
        """Call ``changed`` when the addresses of a name become known or others."""
        self.listeners.setdefault(name, []).append(changed)
        if name not in self.tasks:
            self.asked[name] = asyncio.Event()
            self.tasks[name] = self.loop.create_task(self._keep_resolving(name))

    def unwatch(self, name: Address, changed: Callable[[], None]) -> None:
        """The opposite of ``watch``; a name that nobody watches is not asked for any more."""
        listeners = self.listeners.get(name, [])
        if changed in listeners:
            listeners.remove(changed)
        if not listeners and name in self.tasks:
            self.tasks.pop(name).cancel()
            self.listeners.pop(name, None)
            self.answers.pop(name, None)
            self.asked.pop(name, None)

    def addresses(self, name: Address) -> tuple[Address, ...]:
        """What is known now."""
        return self.answers.get(name, ())

    async def first_answers(self, timeout: float) -> None:
        """Wait until every name was asked for once, at most so long."""
        pending = [event.wait() for event in self.asked.values()]
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*pending)
        except TimeoutError:
            _logger.warning("some names are not resolved yet")

    async def _keep_resolving(self, name: Address) -> None:
        failing = False
        asked = self.asked[name]
        while True:
            try:
                async with asyncio.timeout(TIMEOUT):
                    found = await self.loop.getaddrinfo(
                        name.host, name.port, type=socket.SOCK_STREAM
                    )
            except (OSError, UnicodeError) as error:
                if not failing:
                    _logger.warning("cannot resolve %s: %s", name.host, error)
                failing = True
            else:
                failing = False
                self._answer(
                    name, tuple(dict.fromkeys(Address(str(a[4][0]), name.port) for a in found))
                )
            asked.set()
            await asyncio.sleep(REFRESH)

    def _answer(self, name: Address, found: tuple[Address, ...]) -> None:
        if set(found) == set(self.answers.get(name, ())) or not found:
            return
        self.answers[name] = found
        for changed in list(self.listeners.get(name, ())):
            changed()

    def close(self) -> None:
        """Stop asking."""
        for task in self.tasks.values():
            task.cancel()
        self.tasks.clear()
