"""A whole proxy with transports that are fed from the input: two clients, a primary, a shadow.

Invariant: whatever comes from any side, in any order and pieces, what the primary and the shadow
are sent is whole requests (the last may be cut), what a client is sent is whole answers (the last
may be cut), every count adds up, and nothing is raised.

An input is pieces, with FE between them, or FD where both come in one turn of the loop. The first
octet of a piece says what it is:

    c, d   octets from the first or the second client        e, f   ... it sends no more
    C, D   ... it is gone
    p, s   octets from the primary, the shadow               P, S   ... it closes
    r, t   ... it resets                                     w, v   the first client reads no more,
                                                                    or again
"""

from __future__ import annotations

import asyncio
import atexit
import re
from collections.abc import Callable
from typing import Any

import harness
import msgspec

from fastmirror import counts
from fastmirror.counts import SharedCounts, SlotMap
from fastmirror.options import Options
from fastmirror.proxy.downstream import Downstream
from fastmirror.rules.load import decode_rules
from fastmirror.runtime import Runtime
from fastmirror.timers import Wheel
from fuzz import strict

PRIMARY, SHADOW = 7001, 7002
RULES = decode_rules(
    msgspec.msgpack.encode(
        {
            "version": 1,
            "services": [
                {"name": name, "endpoints": [{"address": f"127.0.0.1:{port}"}]}
                for name, port in (("primary", PRIMARY), ("shadow", SHADOW))
            ],
            "routes": [
                {
                    "name": "r",
                    "to": [{"service": "primary"}],
                    "mirrors": [
                        {"service": "shadow", "name": "m", "pipeline": 16, "max_response": "1KiB"},
                        {"service": "shadow", "name": "n", "max_body": 20},
                    ],
                }
            ],
        }
    ),
    "r",
)
SHARED = SharedCounts(1)
STEPS = 40  # pieces, at most


class Transport:
    """What is written is kept; what comes while reading is paused waits."""

    def __init__(self, loop: Loop, protocol: Any) -> None:
        self.loop, self.protocol = loop, protocol
        self.written = b""
        self.waiting: list[Callable[[], object]] = []
        self.closing = self.paused = False
        protocol.connection_made(self)

    def get_extra_info(self, name: str) -> object:
        return ("192.0.2.1", 1) if name == "peername" else None

    def comes(self, event: Callable[[], object]) -> None:
        """From the peer, once it is read."""
        self.waiting.append(event)
        while self.waiting and not self.paused and not self.closing:
            self.waiting.pop(0)()

    def data(self, data: bytes) -> None:
        self.comes(lambda: self.protocol.data_received(data))

    def eof(self) -> None:
        self.comes(lambda: self.protocol.eof_received() or self.close())

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written += data

    def write_eof(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self, error: Exception | None = None) -> None:
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self.protocol.connection_lost, error)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        if self.waiting:
            self.loop.call_soon(self.comes, lambda: None)


class Loop(asyncio.SelectorEventLoop):
    """Its connections are made of nothing."""

    def begin(self) -> None:
        self.made: dict[int, list[Transport]] = {PRIMARY: [], SHADOW: []}
        self.unexpected: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, what: self.unexpected.append(what))

    async def create_connection(self, factory: Any, host: Any, port: Any, **_: Any) -> Any:
        protocol = factory()
        transport = Transport(self, protocol)
        self.made[port].append(transport)
        return transport, protocol


LOOP = Loop()
atexit.register(LOOP.close)


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def do(loop: Loop, clients: list[Transport], piece: bytes) -> None:
    if not piece:
        return
    what, data = piece[:1], piece[1:]
    if what in b"cdefCDwv":
        client = clients[what in b"dfD"]
        if client.closing:
            return
        if what in b"cd":
            client.data(data)
        elif what in b"ef":
            client.eof()
        elif what in b"CD":
            client.close()
        elif what == b"w":
            client.protocol.pause_writing()
        else:
            client.protocol.resume_writing()
    elif what in b"psPSrt":
        made = loop.made[SHADOW if what in b"sSt" else PRIMARY]
        peers = [each for each in made if not each.closing]
        if not peers:
            return
        if what in b"ps":
            peers[-1].data(data)
        elif what in b"PS":
            peers[-1].eof()
        else:
            peers[-1].close(ConnectionResetError())


async def talk(data: bytes) -> tuple[list[Transport], Runtime, SlotMap]:
    slots = SlotMap()
    runtime = Runtime(Options(), Wheel(LOOP), SHARED, 0, slots)
    runtime.apply(RULES)
    for slot in range(slots.next):
        SHARED.set(slot, 0)
    clients = [Transport(LOOP, Downstream(runtime.context)) for _ in range(2)]
    for part in re.split(rb"\xfe", data)[:STEPS]:
        for piece in part.split(b"\xfd")[:STEPS]:
            do(LOOP, clients, piece)
        await turn()
    for client in clients:
        client.close()
    await turn()
    runtime.stop_copies()
    await turn()
    runtime.close()
    await turn()
    return clients, runtime, slots


def check_counts(runtime: Runtime, slots: SlotMap) -> None:
    def total(base: int, first: int, size: int) -> int:
        return sum(SHARED.total(base + first + at) for at in range(size))

    routed = total(slots.bases[("route", "r")], 0, counts.ROUTE_SLOTS)
    for name in ("m", "n"):
        base = slots.bases[("mirror", "r", name)]
        assert total(base, counts.MIRROR_SENT, 1) == total(base, 0, counts.MIRROR_SENT)
        begun = counts.MIRROR_NOT_SAMPLED + 1 - counts.MIRROR_SENT
        assert total(base, counts.MIRROR_SENT, begun) == routed
        assert total(base, counts.MIRROR_BUFFERED, 1) == 0
    assert runtime.control.used == 0
    for side in range(len(counts.SIDES)):
        assert SHARED.total(counts.GLOBAL_CONNECTIONS + side) == 0


def one_input(data: bytes) -> None:
    LOOP.begin()
    clients, runtime, slots = LOOP.run_until_complete(talk(data))
    assert LOOP.unexpected == [], LOOP.unexpected
    check_counts(runtime, slots)
    tunnel = re.search(rb"HTTP/1\.1 101 ", clients[0].written + clients[1].written)
    for transports in LOOP.made.values():
        for each in transports:
            if not (tunnel and b"upgrade" in each.written):
                found, _ = strict.read_requests(each.written)
                strict.check_requests(each.written, found)
    if b"HEAD" in data or tunnel:
        return  # which answer is to HEAD only the proxy knows
    for client in clients:
        answers, end = strict.read_answers(client.written, lambda *_: b"GET")
        for answer in answers:
            strict.check_answer(client.written[answer.begin : answer.end], answer, b"GET")
        if end < len(client.written):
            strict.check_answer(client.written[end:], None, b"GET")


if __name__ == "__main__":
    harness.run(one_input)
