"""The workers, as the server sees them: one in this process, or several processes of their own.

Invariants: whatever the server says to the fleet holds in every worker when the call returns;
rules are put in force when every worker has prepared them, and in none when one could not; a
worker process that dies is started again with the rules that hold; worker processes end with
this one, whatever ends it (the far end of their socket closes).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from itertools import islice
from typing import Any, Protocol

import msgspec

from fastmirror.counts import Key, SharedCounts, SlotMap
from fastmirror.options import Options
from fastmirror.rules.load import decode_valid, encode_rules
from fastmirror.rules.model import Rules
from fastmirror.runtime import declare_slots
from fastmirror.upstream.survey import Survey
from fastmirror.worker import Worker, uncollected, undisturbed

ANSWER_TIME = 30.0  # seconds for a worker to do as it was told
SURVEY_TIME = 10.0  # and to look at its endpoints: it is not to be ended for being busy
RESTART_PAUSE = 0.5  # seconds between starts of a worker that keeps dying

_logger = logging.getLogger("fastmirror")


class ApplyError(Exception):
    """Rules that are valid, and that a worker could not prepare."""


class Fleet(Protocol):
    """What the server, the signals and the admin listener ask for."""

    async def start(self, rules: Rules) -> None:
        """Serve."""

    async def apply(self, rules: Rules) -> None:
        """Put other rules in force, in every worker or in none.

        Raises ApplyError or whatever building them raises; then all is as it was.
        """

    async def mirroring_switched(self, off: bool) -> None:
        """The switch in the shared counts was set."""

    async def reopen_logs(self) -> None:
        """After a rotation."""

    async def survey(self) -> list[Survey]:
        """How the endpoints stand, in each worker; one that does not answer is left out."""

    async def leave(self) -> None:
        """Serve on, and ask clients to go: the end is near."""

    async def drain(self) -> None:
        """Finish what is in flight, and end."""

    def pids(self) -> list[int]:
        """The processes."""


class LocalFleet:
    """One worker, in this process."""

    def __init__(
        self, options: Options, shared: SharedCounts, slots: SlotMap, sockets: list[socket.socket]
    ) -> None:
        self.worker = Worker(options, shared, 0, slots)
        self.sockets = sockets

    async def start(self, rules: Rules) -> None:
        self.worker.open_log()
        await self.apply(rules)
        await self.worker.listen(self.sockets)

    async def apply(self, rules: Rules) -> None:
        await self.worker.prepare(rules)
        self.worker.commit()

    async def mirroring_switched(self, off: bool) -> None:
        self.worker.mirroring_switched(off)

    async def reopen_logs(self) -> None:
        self.worker.reopen_logs()

    async def survey(self) -> list[Survey]:
        return [await self.worker.survey()]

    async def leave(self) -> None:
        self.worker.leave()

    async def drain(self) -> None:
        await self.worker.drain()
        await self.worker.close()

    def pids(self) -> list[int]:
        return [os.getpid()]


# Messages between the server and a worker process: MessagePack, each behind its length.
# To a worker: {"do": NAME, ...}; from it, when it is done: {"done": NAME, "value": what it was
# asked for} or {"error": TEXT}.


async def send_message(writer: asyncio.StreamWriter, message: Any) -> None:
    """Raises ConnectionError."""
    data = msgspec.msgpack.encode(message)
    writer.write(len(data).to_bytes(4, "big") + data)
    await writer.drain()


async def read_message(reader: asyncio.StreamReader) -> Any:
    """Raises IncompleteReadError at the end."""
    length = int.from_bytes(await reader.readexactly(4), "big")
    return msgspec.msgpack.decode(await reader.readexactly(length))


class ProcessFleet:
    """Several workers that share the port."""

    def __init__(
        self,
        options: Options,
        arguments: list[str],
        shared: SharedCounts,
        slots: SlotMap,
        sockets: list[list[socket.socket]],
    ) -> None:
        self.members = [_Member(self, index, each) for index, each in enumerate(sockets)]
        self.options = options
        self.arguments = arguments
        self.shared = shared
        self.slots = slots
        self.rules: Rules | None = None
        self.leaving = self.draining = False
        self.busy = asyncio.Lock()

    async def start(self, rules: Rules) -> None:
        declare_slots(rules, self.slots)
        self.rules = rules
        await asyncio.gather(*(member.start() for member in self.members))

    async def apply(self, rules: Rules) -> None:
        async with self.busy:
            known = len(self.slots.bases)
            declare_slots(rules, self.slots)
            problems = await self._tell(self.rules_message("prepare", rules, known))
            if any(problems):
                await self._tell({"do": "discard"})
                raise ApplyError("; ".join(filter(None, problems)))
            self.rules = rules  # of a worker that is started from now on
            problems = await self._tell({"do": "commit"})
            for member, problem in zip(self.members, problems, strict=True):
                if problem:  # there is no way back, and a new process has the new rules
                    member.kill()

    def rules_message(self, what: str, rules: Rules, known: int = 0) -> dict[str, Any]:
        """Rules, and the slots of everything that was ever counted, but for the ``known`` first."""
        slots = islice(self.slots.bases.items(), known, None)
        return {
            "do": what,
            "rules": encode_rules(rules),
            "slots": [[list(key), base] for key, base in slots],
        }

    async def mirroring_switched(self, off: bool) -> None:
        await self._tell({"do": "mirroring_switched", "off": off})

    async def reopen_logs(self) -> None:
        await self._tell({"do": "reopen_logs"})

    async def survey(self) -> list[Survey]:
        asked = (member.ask({"do": "survey"}, ANSWER_TIME) for member in self.members)
        return [each["value"] for each in await asyncio.gather(*asked) if "value" in each]

    async def leave(self) -> None:
        self.leaving = True  # of a worker that is started from now on, too
        await self._tell({"do": "leave"})

    async def drain(self) -> None:
        self.draining = True
        for member in self.members:
            member.close_sockets()  # they listen for as long as one process holds them
        await self._tell({"do": "drain"}, self.options.drain_time + ANSWER_TIME)
        await asyncio.gather(*(member.ended() for member in self.members))

    def kill(self) -> None:
        """End every worker at once."""
        for member in self.members:
            member.kill()

    async def _tell(self, message: dict[str, Any], time: float = ANSWER_TIME) -> list[str | None]:
        """Each member's problem."""
        return await asyncio.gather(*(member.tell(message, time) for member in self.members))

    def pids(self) -> list[int]:
        alive = [member.process.pid for member in self.members if member.process is not None]
        return [os.getpid(), *alive]


class _Member:
    """One worker process."""

    def __init__(self, fleet: ProcessFleet, index: int, sockets: list[socket.socket]) -> None:
        self.fleet = fleet
        self.index = index
        self.sockets = sockets
        self.process: asyncio.subprocess.Process | None = None
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.turn = asyncio.Lock()
        self.watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process, and wait until it serves.

        Raises ConnectionError when it does not.
        """
        ours, theirs = socket.socketpair()
        fds = [theirs.fileno(), self.fleet.shared.fd, *(each.fileno() for each in self.sockets)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "fastmirror.worker_process",
            str(self.index),
            ",".join(map(str, fds)),
            *self.fleet.arguments,
            pass_fds=fds,
            stdin=asyncio.subprocess.DEVNULL,
        )
        theirs.close()
        self.reader, self.writer = await asyncio.open_connection(sock=ours)
        assert self.fleet.rules is not None
        messages = [self.fleet.rules_message("apply", self.fleet.rules)]  # from then on it serves
        if self.fleet.leaving:
            messages.insert(0, {"do": "leave"})
        for message in messages:
            problem = await self.tell(message, ANSWER_TIME)
            if problem is not None:
                raise ConnectionError(problem)
        self.watcher = asyncio.get_running_loop().create_task(self._watch())

    async def tell(self, message: dict[str, Any], time: float) -> str | None:
        """What kept the worker from doing it; None: it has, or there is none now."""
        problem = (await self.ask(message, time)).get("error")
        if problem is None:
            return None
        _logger.error("worker %d: %s", self.index, problem)
        return f"worker {self.index}: {problem}"

    async def ask(self, message: dict[str, Any], time: float) -> dict[str, Any]:
        """Its answer; empty: there is no worker now, or one that listens no more."""
        if self.fleet.draining and message["do"] != "drain":
            return {}  # its turn would come when the worker has ended
        async with self.turn:
            if self.reader is None or self.writer is None:
                return {}
            try:
                async with asyncio.timeout(time):
                    await send_message(self.writer, message)
                    answer: dict[str, Any] = await read_message(self.reader)
                    return answer
            except (OSError, EOFError) as error:
                # Whatever it does now, nobody could tell its late answer from the next one: the
                # worker is started again, with the rules that hold.
                self.kill()
                why = f"no answer in {time:g} s" if isinstance(error, TimeoutError) else "it ended"
                return {"error": f"cannot {message['do']}: {why}"}

    async def _watch(self) -> None:
        """Start the process again when it dies."""
        assert self.process is not None
        code = await self.process.wait()
        self.process = self.reader = self.writer = None
        self.fleet.shared.worker_died(self.index, self.fleet.slots)
        while not self.fleet.draining:
            _logger.error("worker %d ended with %s: starting it again", self.index, code)
            await asyncio.sleep(RESTART_PAUSE)
            try:
                async with self.fleet.busy:
                    await self.start()
            except (OSError, EOFError) as error:
                _logger.error("worker %d cannot be started: %r", self.index, error)
            else:
                return

    async def ended(self) -> None:
        """Wait for the end of a process that drains."""
        if self.watcher is not None:
            await self.watcher

    def close_sockets(self) -> None:
        for each in self.sockets:
            each.close()

    def kill(self) -> None:
        if self.process is not None:
            try:
                self.process.send_signal(signal.SIGKILL)
            except ProcessLookupError:
                pass


class WorkerEnd:
    """The worker's end of the socket: does what it is told, and drains when the server is gone."""

    def __init__(self, worker: Worker, slots: SlotMap, sockets: list[socket.socket]) -> None:
        self.worker = worker
        self.slots = slots
        self.sockets = sockets

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Returns when the worker has drained."""
        while not self.worker.drained:
            try:
                message = await read_message(reader)
            except (OSError, EOFError):
                await self.worker.drain()
                break
            try:
                answer = {"done": message["do"], "value": await self._do(message)}
            except OSError as error:
                answer = {"error": str(error)}
            except Exception as error:  # ours; but it must not end what is being served
                _logger.exception("cannot %s", message["do"])
                answer = {"error": f"cannot {message['do']}: {error!r}"}
            try:
                await send_message(writer, answer)
            except OSError:
                continue  # the next read finds the end
        await self.worker.close()

    async def _do(self, message: dict[str, Any]) -> Any:
        what = message["do"]
        if what == "survey":
            with uncollected():
                async with asyncio.timeout(SURVEY_TIME):
                    found = await self.worker.survey()
                return msgspec.Raw(msgspec.msgpack.encode(found))
        if what in ("apply", "prepare"):
            for parts, base in message["slots"]:
                key: Key = tuple(parts)
                self.slots.bases[key] = base
            with undisturbed():
                loop = asyncio.get_running_loop()
                rules = await loop.run_in_executor(None, decode_valid, message["rules"])
                await self.worker.prepare(rules)
        if what == "apply":
            self.worker.commit()
            self.worker.open_log()
            await self.worker.listen(self.sockets)
        elif what == "commit":
            self.worker.commit()
        elif what == "discard":
            self.worker.discard()
        elif what == "mirroring_switched":
            self.worker.mirroring_switched(message["off"])
        elif what == "reopen_logs":
            self.worker.reopen_logs()
        elif what == "leave":
            self.worker.leave()
        elif what == "drain":
            await self.worker.drain()
        return None
