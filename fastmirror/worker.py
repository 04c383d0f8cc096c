"""One process that serves: its event loop, listeners, rules and drain.

Invariants: what is in flight when a drain begins is finished or, when its time is up, cut; rules
are prepared beside the serving, and hold from one turn of the loop to the next; the worker obeys
whoever holds it (the server in its own process, or the far end of a socket) and reads no signals.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from fastmirror._counters import keep_memory
from fastmirror.counts import SharedCounts, SlotMap
from fastmirror.eventloop import track_no_transports
from fastmirror.intercept.front import take
from fastmirror.intercept.interception import Interception
from fastmirror.options import Options
from fastmirror.proxy.access_log import AccessLog, LogWriter
from fastmirror.proxy.downstream import LAST_WORD, Downstream
from fastmirror.rules.model import Rules
from fastmirror.rules.table import RouteTable
from fastmirror.runtime import Prepared, Runtime
from fastmirror.timers import Wheel
from fastmirror.upstream.survey import Survey, survey

BACKLOG = 4096
KEPT = 32 << 20  # bytes of freed memory
RESOLVE_TIME = 2.0  # seconds that new rules wait for their names' first answers
TURNS_TO_BE_MADE = 3  # of the loop, until a connection that was accepted is a client
SWITCH = 0.0001  # seconds until a thread gives way to the loop
TURN = 0.001  # seconds of the loop's time that one turn of a long work takes


@contextmanager
def undisturbed() -> Iterator[None]:
    """While thousands of rules are made, beside the serving: no search for garbage, which would
    look at all of them again and again (nor ever after: none of it is garbage in cycles), and
    threads give the loop its turn at once.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(interval)


@contextmanager
def uncollected() -> Iterator[None]:
    """While hundreds of thousands of objects are made that are gone at the end, none of them in a
    cycle: to search them for garbage holds the loop, the more of them the longer. What the serving
    left in cycles meanwhile goes at the end, also where one page follows another.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
            gc.collect(1)


async def in_turns(steps: Iterator[Any]) -> None:
    """Do what has thousands of steps, beside the serving."""
    loop = asyncio.get_running_loop()
    turn = loop.time()
    for _ in steps:
        if loop.time() - turn > TURN:
            await asyncio.sleep(0)
            turn = loop.time()


class Worker:
    """``index``: its region among the shared counts."""

    def __init__(self, options: Options, shared: SharedCounts, index: int, slots: SlotMap) -> None:
        keep_memory(KEPT)
        self.options = options
        self.loop = asyncio.get_running_loop()
        track_no_transports(self.loop)
        self.runtime = Runtime(options, Wheel(self.loop), shared, index, slots)
        self.context = self.runtime.context
        self.interception = Interception(options, self.context, self.runtime.dialer)
        self.servers: list[asyncio.Server] = []
        self.log: LogWriter | None = None
        self.drained = False
        self.prepared: Prepared | None = None

    def open_log(self) -> None:
        """Raises OSError."""
        if self.options.access_log != "off":
            self.log = LogWriter(self.options.access_log)
            self.log.start()
            self.context.access_log = AccessLog(
                self.log,
                self.options.access_log_format,
                self.context.counts,
                self.options.x_forwarded_for,
            )

    async def prepare(self, rules: Rules) -> None:
        """Make rules ready to be put in force, in short turns, and resolve their names; what is in
        force is untouched, also when this raises.
        """
        self.discard()
        # Building the table asks for no turns: a thread gives them.
        table = await self.loop.run_in_executor(None, RouteTable, rules)
        prepared = self.prepared = self.runtime.begin(rules, table)
        try:
            await in_turns(self.runtime.steps(rules, prepared))
            await self.runtime.resolved(RESOLVE_TIME)
        except BaseException:
            self.discard()
            raise

    def commit(self) -> None:
        """Put in force what was prepared."""
        assert self.prepared is not None
        self.runtime.commit(self.prepared)
        self.prepared = None

    def discard(self) -> None:
        """Forget what was prepared."""
        if self.prepared is not None:
            self.runtime.discard(self.prepared)
            self.prepared = None

    async def listen(self, sockets: list[socket.socket]) -> None:
        """Serve on sockets that are bound."""
        for each in sockets:
            # No function of Python's: it is called for each connection.
            made: Any = partial(Downstream, self.context)
            if each.family == socket.AF_UNIX:
                server = await self.loop.create_unix_server(made, sock=each, backlog=BACKLOG)
            else:
                if self.options.intercept != "off":
                    kernel = self.interception.kernel(each, partial(take, self.interception))
                    made = partial(Downstream, self.context, kernel.take)
                server = await self.loop.create_server(made, sock=each, backlog=BACKLOG)
            self.servers.append(server)

    async def survey(self) -> Survey:
        """How the endpoints stand."""
        found: Survey = {}
        for clusters in self.runtime.clusters:
            await in_turns(survey(clusters, found))
        return found

    def mirroring_switched(self, off: bool) -> None:
        """The switch was set; what is under way stops too."""
        if off:
            self.runtime.stop_copies()

    def reopen_logs(self) -> None:
        """After a rotation."""
        if self.log is not None:
            self.log.reopen()

    def leave(self) -> None:
        """Serve on, and ask clients to go: each answer is its connection's last."""
        self.context.leaving = True

    async def drain(self) -> None:
        """Accept no more, finish what is in flight, at most for the drain time."""
        self.context.leaving = self.context.draining = True
        for server in self.servers:
            server.close()
        begun = self.loop.time()
        deadline = begun + self.options.drain_time
        for _ in range(TURNS_TO_BE_MADE):
            await asyncio.sleep(0)
        # A connection that was taken just now, or is kept alive, may bear a request already.
        while self.context.clients and self.loop.time() < min(begun + LAST_WORD, deadline):
            await asyncio.sleep(0.01)
        for client in list(self.context.clients):
            client.drain()  # type: ignore[attr-defined]
        while self.loop.time() < deadline and (self.context.clients or self.runtime.copies()):
            await asyncio.sleep(0.02)
        self.runtime.stop_copies()
        for client in list(self.context.clients):
            client.cut()  # type: ignore[attr-defined]
        self.drained = True

    async def close(self) -> None:
        """Close everything at once."""
        self.runtime.close()
        await asyncio.sleep(0)  # connections that were closed say so in the next turn
        if self.log is not None:
            self.log.close()
