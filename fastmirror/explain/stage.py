"""The proxy itself, played without a network: one request through a client's connection, its
exchange, its route and its mirrors, up to where a connection to an endpoint would be opened.

Invariants: nothing is sent, resolved or waited for; each request meets a proxy that was just
started, so that rates, queues and breakers, which are about other requests, decide nothing.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import Any

from fastmirror.counts import (
    DROP_REASONS,
    MIRROR_DROPPED,
    MIRROR_NOT_SAMPLED,
    MIRROR_SENT,
    MIRROR_SLOTS,
    SharedCounts,
    SlotMap,
)
from fastmirror.mirror.copy import Copy
from fastmirror.options import Options
from fastmirror.proxy.downstream import Downstream
from fastmirror.proxy.exchange import Exchange
from fastmirror.rules.address import parse_address
from fastmirror.rules.model import Rules
from fastmirror.rules.validate import mirror_name
from fastmirror.runtime import Runtime
from fastmirror.timers import Wheel

COPIED, NOT_SAMPLED = "copied", "not_sampled"
_BODY = 65536  # bytes of a body that are played, since the proxy reads them before it answers


@dataclass
class Played:
    """What became of a request. ``answer``: the proxy's own, to the last byte; empty: it was sent
    on. ``fates``: COPIED, NOT_SAMPLED or a drop reason, by the route's mirrors.
    """

    exchange: Exchange
    answer: bytes
    copies: dict[str, Copy]
    fates: dict[str, str]


class Stage:
    """Where requests are played; ``close`` it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.shared = SharedCounts(1)

    def close(self) -> None:
        """Let go of everything."""
        self.loop.close()
        os.close(self.shared.fd)

    def play(self, rules: Rules, head: bytes, source: str, options: Options) -> Played:
        """One request, from its head's first byte until it is answered or sent on."""
        slots = SlotMap()
        runtime = Runtime(options, Wheel(self.loop), self.shared, 0, slots)
        for service in rules.services:
            for endpoint in service.endpoints:
                address = parse_address(endpoint.address)
                if address.is_name:  # it stands for what it will be resolved to
                    runtime.resolver.answers[address] = (address,)
        runtime.apply(rules)
        before = self._counts(slots)
        seen = _Seen()
        context: Any = runtime.context
        context.access_log = seen
        client = Downstream(runtime.context)
        transport = _Transport()
        client.connection_made(transport)
        client.source_ip = source.removeprefix("::ffff:").encode()
        client.data_received(head)
        if seen.ended is None:
            client.data_received(bytes(_announced(head)))
        fates = self._fates(rules, slots, before, seen.copies)
        client.connection_lost(None)
        runtime.close()
        self._cancel()
        if seen.ended is None:
            raise ValueError("the request's head is not whole")
        return Played(seen.ended, b"".join(transport.written), seen.copies, fates)

    def _counts(self, slots: SlotMap) -> dict[tuple[str, ...], list[int]]:
        """What the mirrors have counted; the slots are used for one request after the other."""
        region = self.shared.regions[0]
        return {
            key: [region.get(base + at) for at in range(MIRROR_SLOTS)]
            for key, base in slots.bases.items()
            if key[0] == "mirror"
        }

    def _fates(
        self,
        rules: Rules,
        slots: SlotMap,
        before: dict[tuple[str, ...], list[int]],
        copies: dict[str, Copy],
    ) -> dict[str, str]:
        fates = {}
        after = self._counts(slots)
        for route in rules.routes:
            for name in map(mirror_name, route.mirrors):
                key = ("mirror", route.name, name)
                more = [new - old for new, old in zip(after[key], before[key], strict=True)]
                dropped = more[MIRROR_DROPPED : MIRROR_DROPPED + len(DROP_REASONS)]
                if more[MIRROR_NOT_SAMPLED]:
                    fates[name] = NOT_SAMPLED
                elif any(dropped):
                    fates[name] = DROP_REASONS[dropped.index(1)]
                elif more[MIRROR_SENT] or name in copies:
                    fates[name] = COPIED
        return fates

    def _cancel(self) -> None:
        """The connections that would be opened, and the names that would be asked for."""
        while tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def _announced(head: bytes) -> int:
    """How long a body is, of one that is not long."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            size = int(value[:20])
            return size if size <= _BODY else 0
    return 0


@dataclass
class _Seen:
    """In the access log's place: it is told of every request and copy."""

    ended: Exchange | None = None
    copies: dict[str, Copy] = field(default_factory=dict)

    def exchange(self, exchange: Exchange) -> None:
        self.ended = exchange

    def watch(self, copy: Copy, exchange: Exchange) -> None:
        self.copies[copy.mirror_name()] = copy


class _Transport(asyncio.Transport):
    """A client's connection that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass
