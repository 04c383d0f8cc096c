"""fastmirror itself, as its users run it: compile manifests, start, reload, ask the admin listener.

Invariant: a reload has happened when the proxy's own counter says so; nothing sleeps and hopes.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fastmirror.demo.counters import Counters, parse, total
from fastmirror.demo.errors import UnmetError
from fastmirror.demo.processes import Process, wait_until

START_ATTEMPTS = 3
FASTMIRROR = [sys.executable, "-m", "fastmirror"]
# The options' environment twins would make it another proxy than the one that is shown.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("FASTMIRROR_")}

Command = list[str]


class Proxy:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rules = directory / "rules.msgpack"
        self.listen = ""
        self.admin = ""
        self.process: Process | None = None

    def compile(self, manifests: Sequence[Path], addresses: dict[str, str]) -> Command:
        """Compiles, and returns the command as a person would type it."""
        maps = [w for name, where in addresses.items() for w in ("--map", f"{name}={where}")]
        done = subprocess.run(
            [*FASTMIRROR, "compile", *map(str, manifests), "-o", str(self.rules), *maps],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        if done.returncode:
            raise UnmetError(f"compile ended with status {done.returncode}: {done.stderr.strip()}")
        names = [manifest.name for manifest in manifests]
        return ["fastmirror", "compile", *names, "-o", self.rules.name, *maps]

    def start(self) -> Command:
        """A port can be taken between finding it free and its use: then others are tried."""
        for attempt in range(START_ATTEMPTS):
            self.listen, self.admin = free_addresses(2)
            where = ["--listen", self.listen, "--admin", self.admin]
            self.process = Process(
                "fastmirror",
                [*FASTMIRROR, *where, "--rules", str(self.rules)],
                self.directory / "fastmirror.log",
                environment=ENVIRONMENT,
            )
            try:
                wait_until("fastmirror is ready", self._ready, alive=self.process)
            except UnmetError:
                if self.process.status() is None or attempt == START_ATTEMPTS - 1:
                    raise
            else:
                break
        return ["fastmirror", *where, "--rules", self.rules.name]

    def apply(self, manifests: Sequence[Path], addresses: dict[str, str]) -> list[Command]:
        """Compile, reload, and return when the new rules hold. The proxy sees the file change
        too, and may be faster than the signal: so the counter is read before both.
        """
        assert self.process is not None
        before = self._reloads()
        compiled = self.compile(manifests, addresses)
        self.process.signal(signal.SIGHUP)
        wait_until(
            "fastmirror has reloaded its rules",
            lambda: self._reloads() > before,
            alive=self.process,
        )
        return [compiled, ["kill", "-HUP", str(self.process.pid)]]

    def counters(self) -> Counters:
        return Counters.read(self._get("/metrics")[1])

    def wait_settled(self) -> Counters:
        """The counters once no copy is queued or under way."""

        def settled() -> bool:
            now = self.counters()
            return now.in_flight == 0 and now.add_up()

        wait_until("no copy is in flight", settled, seconds=20, alive=self.process)
        return self.counters()

    def _reloads(self) -> int:
        samples = parse(self._get("/metrics")[1])
        name = "fastmirror_rules_reloads_total"
        return sum(total(samples, name, result=each) for each in ("success", "unchanged"))

    def _ready(self) -> bool:
        try:
            return self._get("/readyz")[0] == http.HTTPStatus.OK
        except UnmetError:
            return False

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.admin, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise UnmetError(f"fastmirror's admin listener does not answer: {error!r}") from None
        finally:
            connection.close()


def free_addresses(count: int) -> list[str]:
    """Held all together before any is let go, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = ["{}:{}".format(*s.getsockname()) for s in sockets]
    for s in sockets:
        s.close()
    return addresses
