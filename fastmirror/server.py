"""The composition root: options in, a running proxy out.

Invariants: nothing listens before the rules are valid and every address is bound; a reload that
fails leaves everything as it was; the exit code is 0 only after a clean stop.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time

import uvloop

from fastmirror.admin.listener import AdminServer
from fastmirror.counts import GLOBAL_MIRROR_OFF, SharedCounts, SlotMap
from fastmirror.fleet import Fleet, LocalFleet, ProcessFleet
from fastmirror.listeners import bind, raise_descriptor_limit, unlink_unix
from fastmirror.metrics import MetricsPage
from fastmirror.options import Options, add_arguments
from fastmirror.rules.load import RulesError, load_rules
from fastmirror.rules.model import Rules
from fastmirror.rules.watch import FileWatch
from fastmirror.systemd import Notifier

WATCH_INTERVAL = 1.0  # seconds

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
        self, options: Options, fleet: Fleet, shared: SharedCounts, slots: SlotMap, rules: Rules
    ) -> None:
        self.options = options
        self.fleet = fleet
        self.shared = shared
        self.rules = rules
        self.rules_since = time.time()
        self.rules_error: str | None = None
        self.notifier = Notifier()
        self.metrics = MetricsPage(shared, slots, time.time())
        self.ready = False
        self.draining = False
        self.stopped = asyncio.Event()
        self.reloading = asyncio.Lock()
        self.watch = FileWatch(options.rules)
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, admin: AdminServer | None) -> None:
        """Until stopped."""
        loop = asyncio.get_running_loop()
        await self.fleet.start(self.rules)
        loop.add_signal_handler(signal.SIGHUP, self._spawn_reload)
        loop.add_signal_handler(signal.SIGUSR1, self._spawn_reopen)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        if admin is not None:
            await admin.start(self)
        self.ready = True
        where = ", ".join(map(str, self.options.listen))
        _logger.info("serving on %s with %d routes", where, len(self.rules.routes))
        self.notifier.ready()
        keeping_alive = loop.create_task(self.notifier.keep_alive())
        watching = loop.create_task(self._watch_rules())
        await self.stopped.wait()
        self.notifier.stopping()
        watching.cancel()
        await self.fleet.drain()
        keeping_alive.cancel()
        if admin is not None:
            await admin.close()

    def stop(self) -> None:
        """Drain and end; the second time, end at once."""
        if self.draining:
            if isinstance(self.fleet, ProcessFleet):
                self.fleet.kill()
            os._exit(1)
        self.draining = True
        self.ready = False
        self.stopped.set()

    async def reload(self) -> str | None:
        """Read the rules again; the error, and everything as it was, or None."""
        async with self.reloading:
            loop = asyncio.get_running_loop()
            self.watch.changed()  # what is read now is not a change later
            try:
                # Reading and validating take time: not in the loop that serves.
                rules = await loop.run_in_executor(None, load_rules, self.options.rules)
                await self.fleet.apply(rules)
            except (RulesError, MemoryError) as error:
                self.rules_error = error.first if isinstance(error, RulesError) else str(error)
                self.metrics.reloads["failure"] += 1
                _logger.error("rules not reloaded: %s", self.rules_error)
            else:
                self.rules = rules
                self.rules_since = time.time()
                self.rules_error = None
                self.metrics.reloads["success"] += 1
                _logger.info("rules reloaded: %d routes", len(rules.routes))
            return self.rules_error

    async def switch_mirroring(self, off: bool) -> None:
        """In every worker, from the next request on."""
        self.shared.set(GLOBAL_MIRROR_OFF, int(off))
        await self.fleet.mirroring_switched(off)

    def _spawn_reload(self) -> None:
        async def reload() -> None:
            with self.notifier.reloading():
                await self.reload()

        self._spawn(asyncio.get_running_loop().create_task(reload()))

    def _spawn_reopen(self) -> None:
        self._spawn(asyncio.get_running_loop().create_task(self.fleet.reopen_logs()))

    def _spawn(self, task: asyncio.Task[None]) -> None:
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _watch_rules(self) -> None:
        """Reload when the file changes, also behind a symbolic link (a mounted ConfigMap)."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            if self.watch.changed():
                await self.reload()


def run(options: Options, arguments: list[str]) -> int:
    """Serve; the exit code. ``arguments``: the command line, for the worker processes."""
    set_up_logging(options.log_level)
    try:
        rules = load_rules(options.rules)
    except RulesError as error:
        print(f"fastmirror: {error.first}", file=sys.stderr)
        return 1
    raise_descriptor_limit()
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
        await Server(options, fleet, shared, slots, rules).serve(admin)

    try:
        uvloop.run(main())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"fastmirror: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    finally:
        unlink_unix(options)
    return 0
