"""A client's connection in the soak, and the tally of all.

Invariants: every answer is checked to be that of the request whose turn it is; of each request it
is known whether the proxy must have counted it: ``answered``, ``aborted`` (the proxy had it, and it
got no whole answer), or never read. What fits neither is in ``unexpected``.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

HEAD, LENGTH, CHUNKED = range(3)
FIELDS = b"host: app.test\r\naccept: */*\r\nuser-agent: soak\r\n"
CUT = ((b"GET", b"cut"), (b"POST", b"cut"))
SMALL, MIDDLE = b"x" * 40, b"x" * 100_000


@dataclass
class Tally:
    """Of all sessions."""

    answered: int = 0
    aborted: int = 0
    made: int = 0  # numbers given to requests
    statuses: Counter[int] = field(default_factory=Counter)
    sessions: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        if len(self.unexpected) < 20:
            self.unexpected.append(text)

    @property
    def counted(self) -> int:
        return self.answered + self.aborted


class Client(asyncio.Protocol):
    """A connection; ``asks``: number, method and style of each request without a whole answer."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.asks: deque[tuple[int, bytes, bytes]] = deque()
        self.state, self.left = HEAD, 0
        self.rest = b""
        self.lost = self.continued = self.last = False
        self.wake: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._wake()

    def _wake(self) -> None:
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)

    async def heard(self) -> None:
        """Something has happened that may be waited for."""
        self.wake = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(30):
            await self.wake

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        at = 0
        while self.asks:
            if self.state == HEAD:
                end = data.find(b"\r\n\r\n", at)
                if end < 0:
                    break
                self._head(data[at : end + 2])
                at = end + 4
            elif self.state == LENGTH:
                taken = min(self.left, len(data) - at)
                self.left -= taken
                at += taken
                if self.left:
                    break
                self._answered()
            else:
                end = data.find(b"0\r\n\r\n", at)
                if end < 0:
                    at = max(at, len(data) - 4)
                    break
                at = end + 5
                self._answered()
        self.rest = data[at:]
        if self.rest and not self.asks:
            self.tally.complain(f"what nobody asked for: {self.rest[:80]!r}")

    def _head(self, head: bytes) -> None:
        status = int(head[9:12])
        if status < 200:
            self.continued = True
            self._wake()
            return
        number, method, _ = self.asks[0]
        self.tally.statuses[status] += 1
        own = b"\r\nserver: fastmirror\r\n" in head
        if (not own and b"\r\nx-n: %d\r\n" % number not in head) or b"\r\nx-shadow: " in head:
            self.tally.complain(f"not the answer to {number}: {head!r}")
        self.last = b"\r\nconnection: close\r\n" in head
        found = head.find(b"\r\ncontent-length: ")
        if method == b"HEAD" or status == 204:
            self._answered()
        elif found >= 0:
            self.left = int(head[found + 18 : head.index(b"\r\n", found + 18)])
            self.state = LENGTH
        else:
            self.state = CHUNKED

    def _answered(self) -> None:
        self.state = HEAD
        self.asks.popleft()
        self.tally.answered += 1
        if not self.asks:
            self._wake()

    def request(self, style: bytes, method: bytes = b"", more: bytes = b"") -> bytes:
        """One to be answered so; its octets."""
        self.tally.made += 1
        number = self.tally.made
        dice = random.random()
        method = method or (b"GET" if dice < 0.72 else b"HEAD" if dice < 0.77 else b"POST")
        body = b""
        if method == b"POST" and not more:
            if dice > 0.9:
                more, body = b"transfer-encoding: chunked\r\n", b"a;b=c\r\nxxxxxxxxxx\r\n0\r\n\r\n"
            else:
                body = MIDDLE if dice > 0.898 else SMALL
                more = b"content-length: %d\r\n" % len(body)
        self.asks.append((number, method, style))
        route = b"ab"[number % 2 : number % 2 + 1]
        head = b"%b /%b/%b/%d HTTP/1.1\r\n%b%b\r\n"
        return head % (method, route, style, number, FIELDS, more) + body

    async def all_answered(self) -> bool:
        """False: the connection was lost before."""
        while self.asks and not self.lost:
            await self.heard()
        if not self.asks:
            return True
        # The primary cut an answer short, or the proxy said that an answer was the last: what is
        # behind it was never begun.
        cut = [at for at, ask in enumerate(self.asks) if ask[1:] in CUT]
        if cut and not self.last:
            self.tally.aborted += cut[0] + 1
        elif not self.last:
            self.tally.complain(f"lost with {len(self.asks)} unanswered: {self.asks[0]}")
        return False

    async def end(self) -> None:
        while not self.lost:
            await self.heard()
