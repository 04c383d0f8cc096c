"""The rules that hold, and how others come to hold: read, validated, put in force.

Invariants: a reload that fails leaves the rules as they were, is counted once and says why until a
good file is read; whoever asks for a reload is answered by one that began to read after that; what
goes wrong in one reload never ends the watching.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastmirror.fleet import ApplyError
from fastmirror.rules.load import RulesError, decode_rules, read_rules
from fastmirror.rules.model import Rules
from fastmirror.rules.watch import FileWatch
from fastmirror.worker import undisturbed

SUCCESS, UNCHANGED, FAILURE = "success", "unchanged", "failure"

_logger = logging.getLogger("fastmirror")


@dataclass(frozen=True)
class Outcome:
    """How a reload ended; ``status``: of the HTTP answer to who asked for it."""

    result: str
    status: int
    text: str


class RulesFile:
    """The rules file, and what of it was last used."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.watch = FileWatch(path)
        self.used = b""  # the digest of the bytes whose rules hold

    def read(self) -> tuple[bytes, Rules | None]:
        """The digest of its bytes, and its rules: None where they are those that hold.

        Raises RulesError.
        """
        data = read_rules(self.path)
        digest = hashlib.sha256(data).digest()
        return digest, None if digest == self.used else decode_rules(data, self.path)

    def first(self) -> Rules:
        """The rules to begin with.

        Raises RulesError.
        """
        self.used, rules = self.read()
        assert rules is not None
        return rules


class Reloader:
    """``apply`` puts rules in force or raises; ``counts``: the reloads, by result."""

    def __init__(
        self,
        file: RulesFile,
        rules: Rules,
        apply: Callable[[Rules], Awaitable[None]],
        counts: dict[str, int],
    ) -> None:
        self.file = file
        self.rules = rules
        self.since = time.time()
        self.problem: str | None = None
        self.apply = apply
        self.counts = counts
        self.busy = asyncio.Lock()
        self.waiting: asyncio.Task[Outcome] | None = None

    async def reload(self) -> Outcome:
        """Read the file again. All who ask while one reload is under way share the next."""
        if self.waiting is None:
            self.waiting = asyncio.get_running_loop().create_task(self._reload())
        return await asyncio.shield(self.waiting)

    async def _reload(self) -> Outcome:
        async with self.busy:
            self.waiting = None
            self.file.watch.take()
            outcome = await self._outcome()
            failed = outcome.result == FAILURE
            self.problem = outcome.text if failed else None
            self.counts[outcome.result] += 1
            _logger.log(logging.ERROR if failed else logging.INFO, "rules %s", outcome.text)
            return outcome

    async def _outcome(self) -> Outcome:
        loop = asyncio.get_running_loop()
        try:
            with undisturbed():
                # Reading and validating take time: not in the loop that serves.
                digest, rules = await loop.run_in_executor(None, self.file.read)
                if rules is None:
                    return Outcome(UNCHANGED, 200, "unchanged: the file has what is in force")
                await self.apply(rules)
        except RulesError as error:
            return Outcome(FAILURE, 400, f"not reloaded: {error.first}")
        except (ApplyError, ImportError, MemoryError) as error:
            return Outcome(FAILURE, 500, f"not reloaded: {error}")
        except Exception as error:  # ours
            _logger.exception("rules not reloaded")
            return Outcome(FAILURE, 500, f"not reloaded: {error!r}")
        self.file.used, self.rules, self.since = digest, rules, time.time()
        return Outcome(SUCCESS, 200, f"reloaded: {len(rules.routes)} routes")

    async def watch(self) -> None:
        """Reload when the file changes, also behind a symbolic link (a mounted ConfigMap)."""
        while True:
            await asyncio.sleep(self.file.watch.next_look())
            if self.file.watch.changed(time.monotonic()):
                await self.reload()
