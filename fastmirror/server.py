"""The composition root: options in, a running proxy out.

Invariants: nothing listens before the rules are valid and every address is bound; the exit code
is 0 only after a clean stop.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable
from typing import Any

import uvloop

from fastmirror.admin.listener import AdminServer
from fastmirror.counts import GLOBAL_MIRROR_OFF, SharedCounts, SlotMap
from fastmirror.fleet import Fleet, LocalFleet, ProcessFleet
from fastmirror.intercept.marks import comes_back
from fastmirror.listeners import bind, raise_descriptor_limit, unlink_unix
from fastmirror.metrics import MetricsPage
from fastmirror.options import Options, add_arguments
from fastmirror.reload import FAILURE, Outcome, Reloader, RulesFile
from fastmirror.rules.address import Address
from fastmirror.rules.load import RulesError
from fastmirror.rules.model import Rules
from fastmirror.systemd import Notifier
from fastmirror.upstream.dial import new_socket
from fastmirror.worker import undisturbed

_logger = logging.getLogger("fastmirror")


def option_parser(prog: str = "fastmirror run") -> argparse.ArgumentParser:
    """The parser of ``fastmirror run``."""
    parser = argparse.ArgumentParser(prog=prog, allow_abbrev=False)
    add_arguments(parser)
    return parser


def set_up_logging(level: str) -> None:
    """Our own log, on standard error."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


class Server:
    """What the admin listener and the signals act on."""

    def __init__(
        self,
        options: Options,
        fleet: Fleet,
        shared: SharedCounts,
        slots: SlotMap,
        file: RulesFile,
        rules: Rules,
    ) -> None:
        self.options = options
        self.fleet = fleet
        self.shared = shared
        self.slots = slots
        self.notifier = Notifier()
        self.metrics = MetricsPage(shared, slots, time.time())
        self.reloader = Reloader(file, rules, fleet.apply, self.metrics.reloads)
        self.ready = False
        self.leaving = self.draining = False
        self.stopped = asyncio.Event()
        self.tasks: set[asyncio.Future[Any]] = set()
        self.pages: dict[str, Any] = {}  # of the admin listener, those that are long

    async def serve(self, admin: AdminServer | None) -> None:
        """Until stopped."""
        loop = asyncio.get_running_loop()
        with undisturbed():
            await self.fleet.start(self.reloader.rules)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self.reload()))
        loop.add_signal_handler(signal.SIGUSR1, lambda: self._spawn(self.fleet.reopen_logs()))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        if admin is not None:
            await admin.start(self)
        self.ready = True
        where = ", ".join(map(str, self.options.listen))
        _logger.info("serving on %s with %d routes", where, len(self.reloader.rules.routes))
        self.notifier.ready()
        keeping_alive = loop.create_task(self.notifier.keep_alive())
        watching = loop.create_task(self.reloader.watch())
        await self.stopped.wait()
        self.notifier.stopping()
        watching.cancel()
        await self.fleet.drain()
        keeping_alive.cancel()
        if admin is not None:
            await admin.close()

    @property
    def state(self) -> str:
        """``starting``, ``ready`` or ``draining``."""
        if self.leaving or self.draining:
            return "draining"
        return "ready" if self.ready else "starting"

    async def leave(self) -> None:
        """Serve on until stopped, but be ready for no more, and ask clients to go."""
        self.leaving = True
        await self.fleet.leave()

    def stop(self) -> None:
        """Drain and end; the second time, end at once."""
        if self.draining:
            if isinstance(self.fleet, ProcessFleet):
                self.fleet.kill()
            os._exit(1)
        self.draining = True
        self.ready = False
        self.stopped.set()

    async def reload(self) -> Outcome:
        """Read the rules again, unless the end has begun."""
        if self.draining:
            return Outcome(FAILURE, 503, "not reloaded: draining")
        with self.notifier.reloading():
            return await self.reloader.reload()

    async def switch_mirroring(self, off: bool) -> None:
        """In every worker, from the next request on."""
        self.shared.set(GLOBAL_MIRROR_OFF, int(off))
        await self.fleet.mirroring_switched(off)

    def _spawn(self, what: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(what)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def run(options: Options, arguments: list[str]) -> int:
    """Serve; the exit code. ``arguments``: the command line, for the worker processes."""
    set_up_logging(options.log_level)
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # or they would end what is only starting
    file = RulesFile(options.rules)
    try:
        rules = file.first()
    except RulesError as error:
        print(f"fastmirror: {error.first}", file=sys.stderr)
        return 1
    raise_descriptor_limit()
    try:
        new_socket(Address("127.0.0.1", 0), options.mark).close()
    except OSError as error:
        print(f"fastmirror: --mark needs CAP_NET_ADMIN: {error.strerror}", file=sys.stderr)
        return 1
    if options.mark and comes_back(options.mark):
        what = "what has it is routed to this host, as with the mark of fastmirror iptables"
        print(f"fastmirror: --mark {options.mark}: {what}: expected another", file=sys.stderr)
        return 1
    try:
        sockets = bind(options, options.workers)
        admin = AdminServer(options.admin) if options.admin is not None else None
    except OSError as error:
        print(f"fastmirror: cannot listen on {error.filename}: {error.strerror}", file=sys.stderr)
        return 1

    async def main() -> None:
        shared, slots = SharedCounts(options.workers), SlotMap()
        fleet: Fleet
        if options.workers == 1:
            fleet = LocalFleet(options, shared, slots, sockets[0])
        else:
            fleet = ProcessFleet(options, arguments, shared, slots, sockets)
        await Server(options, fleet, shared, slots, file, rules).serve(admin)

    try:
        uvloop.run(main())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"fastmirror: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    finally:
        unlink_unix(options)
    return 0
