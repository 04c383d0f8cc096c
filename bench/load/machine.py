"""Processes, cores, CPU time and memory, as the kernel tells them.

Invariant: a process that was started here is pinned from its first instruction, and is ended by its
own pid.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

LOOPBACK = "127.0.0.1"
TICKS = os.sysconf("SC_CLK_TCK")

# Below the range that the kernel takes ports for outgoing connections from.
_ports = cycle(range(18000, 32000))


@dataclass(frozen=True)
class Cores:
    """The proxy alone on one core, everything else on the other; or all of them on both."""

    proxy: str = "1"
    others: str = "0"


CORES = ("cpu0", "cpu1")  # as /proc/stat calls them
APART = Cores()
SHARED = Cores("0,1", "0,1")


@dataclass(frozen=True)
class Cpu:
    """CPU seconds of a process and its descendants.

    ``total`` is what the scheduler measured, to the nanosecond; user and kernel come from the
    clock ticks, so their ratio is what they are good for.
    """

    total: float
    user: float
    kernel: float

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.total - other.total, self.user - other.user, self.kernel - other.kernel)

    def parts(self) -> tuple[float, float]:
        """User and kernel: ``total``, divided as the ticks say."""
        ticked = self.user + self.kernel or 1.0
        return self.total * self.user / ticked, self.total * self.kernel / ticked


def free_port() -> int:
    """One that nobody has, and that is not given again soon."""
    for port in _ports:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise AssertionError("a cycle has no end")


def wait_for(check: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    end = time.monotonic() + timeout
    while not check():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {timeout:.0f} s: {what}")
        time.sleep(0.02)


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((LOOPBACK, port)) == 0


class Process:
    """A child process on the cores that it is given; ``yielding``: when nobody else wants them."""

    def __init__(
        self, argv: Sequence[str], directory: Path, cores: str, *, yielding: bool = False
    ) -> None:
        self.argv = argv
        nice = ["nice", "-n", "19"] if yielding else []
        self.log = directory / "output"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                ["taskset", "-c", cores, *nice, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_open(self, port: int) -> None:
        def check() -> bool:
            if self.popen.poll() is not None:
                raise RuntimeError(f"{self.argv[0]} ended: {self.log.read_text()[-2000:]}")
            return is_open(port)

        wait_for(check, f"{self.argv[0]} listening on {port}")

    def tree(self) -> list[int]:
        found = [self.popen.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def cpu(self) -> Cpu:
        total = user = kernel = 0.0
        for pid in self.tree():
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0]) / 1e9
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            user += int(fields[11]) / TICKS
            kernel += int(fields[12]) / TICKS
        return Cpu(total, user, kernel)

    def waited(self) -> float:
        """Seconds that its threads were ready to run, and had no core."""
        tasks = [Path(f"/proc/{pid}/task").iterdir() for pid in self.tree()]
        files = [task / "schedstat" for listed in tasks for task in listed]
        return sum(int(file.read_text().split()[1]) for file in files) / 1e9

    def pss(self) -> int:
        """Bytes in memory, those that several processes share divided among them."""
        return sum(_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in self.tree())

    def rss(self) -> int:
        return sum(_kilobytes(Path(f"/proc/{pid}/status"), "VmRSS") for pid in self.tree())

    def peak(self) -> int:
        """The most that ``rss`` ever was."""
        return sum(_kilobytes(Path(f"/proc/{pid}/status"), "VmHWM") for pid in self.tree())

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def stop(self) -> None:
        """At once: nothing is measured of how a proxy ends, and some would wait for a shadow."""
        if self.is_running():
            for pid in self.tree():  # the first of them first: a master would start another worker
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
            self.popen.wait(10)


class Watch:
    """What others do on the cores while something is measured.

    Two signs of it, of which the larger counts: the share of the cores' time that went to others or
    was taken by the machine's owner (steal; exact to two percent or so, since it is counted in
    ticks), and the share of the time that the proxy, alone on its core, had to wait for it.
    """

    def __init__(self, proxy: Process, ours: Iterable[Process | None], *, alone: bool) -> None:
        """``ours``: those that run all the while; what is started and ended meanwhile is known.

        Where the proxy is not alone on its core, that it waits says nothing.
        """
        self._proxy, self._alone = proxy, alone
        self._ours = [proxy, *(one for one in ours if one is not None)]
        self._begin = self._now()

    def disturbance(self) -> float:
        """Since this was made."""
        begin, now = self._begin, self._now()
        elapsed, busy, ours, waited = (b - a for a, b in zip(begin, now, strict=True))
        return max((busy - ours) / elapsed / len(CORES), waited / elapsed)

    def _now(self) -> tuple[float, float, float, float]:
        lines = Path("/proc/stat").read_text().splitlines()
        fields = [line.split() for line in lines if line.split()[0] in CORES]
        # user, nice, system, then behind idle and iowait: irq, softirq, steal
        busy = sum(int(ticks) for line in fields for ticks in [*line[1:4], *line[6:9]]) / TICKS
        ours = sum(process.cpu().total for process in self._ours)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            ours += usage.ru_utime + usage.ru_stime
        waited = self._proxy.waited() if self._alone else 0.0
        return time.monotonic(), busy, ours, waited


def _kilobytes(path: Path, field: str) -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0


def stop_all(processes: Iterable[Process]) -> None:
    for process in processes:
        process.stop()


def raise_file_limit() -> int:
    """As many open files as the system allows, for this process and its children."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def first_line(*argv: str) -> str:
    """What a program says of its version."""
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def describe() -> dict[str, str]:
    """The machine, for the report."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    memory = _kilobytes(Path("/proc/meminfo"), "MemTotal")
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / (1 << 30):.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load average at the end": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }
