"""The servers that the demo starts, each in a process group of its own.

Invariants: every wait is bounded; what was started is ended by its own process group's id, also
when the demo fails or is interrupted; nothing else is ever signalled.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fastmirror.demo.errors import UnmetError

POLL_INTERVAL = 0.02


class Process:
    """A server with its output in a file, so that a failure can show what it said.

    Its own session keeps a Ctrl-C at the terminal from reaching it: the demo ends it, in order.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        output: Path,
        *,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        inherit: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.output = output
        with output.open("ab") as sink:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=directory,
                env=environment,
                pass_fds=inherit,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def status(self) -> int | None:
        """The exit status, once there is one."""
        return self._popen.poll()

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def end(self, *, patience: float = 3.0) -> int:
        """Ask it to stop; after that time, kill it and what it started. Returns its status."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(patience)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._popen.wait()

    def kill(self) -> None:
        """End it and its workers at once, as a crash would."""
        if self._popen.poll() is None:  # not reaped yet, so its id is still its own
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def tail(self, count: int = 20) -> list[str]:
        return self.output.read_text(errors="replace").splitlines()[-count:]


def wait_until(
    what: str,
    holds: Callable[[], bool],
    *,
    seconds: float = 10.0,
    alive: Process | None = None,
) -> None:
    """Returns as soon as it holds; not within the time, or ``alive`` is dead: UnmetError."""
    deadline = time.monotonic() + seconds
    while not holds():
        if alive is not None and (status := alive.status()) is not None:
            raise UnmetError(f"{alive.name} ended with status {status} before {what}")
        if time.monotonic() > deadline:
            raise UnmetError(f"{what}: not within {seconds:g} seconds")
        time.sleep(POLL_INTERVAL)
