"""Processes, cores and CPU time, as the kernel tells them."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"
TICKS = os.sysconf("SC_CLK_TCK")


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


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        port: int = sock.getsockname()[1]
        return port


def wait_for(check: Callable[[], bool], what: str, timeout: float = 15.0) -> None:
    end = time.monotonic() + timeout
    while not check():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {timeout} s: {what}")
        time.sleep(0.02)


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((LOOPBACK, port)) == 0


class Process:
    """A child process that runs on one core."""

    def __init__(self, argv: Sequence[str], directory: Path, core: int) -> None:
        self.log = directory / "output"
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                ["taskset", "-c", str(core), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_open(self, port: int) -> None:
        def check() -> bool:
            if self.popen.poll() is not None:
                raise RuntimeError(f"{self.popen.args!r} ended: {self.log.read_text()[-2000:]}")
            return is_open(port)

        wait_for(check, f"{self.popen.args!r} listening")

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

    def rss(self) -> int:
        return sum(self._memory(pid, "VmRSS") for pid in self.tree())

    @staticmethod
    def _memory(pid: int, field: str) -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        match = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
        return int(match.group(1)) * 1024 if match else 0

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(10)


def first_line(*argv: str) -> str:
    """What a program says of its version."""
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def describe() -> dict[str, str]:
    """The machine, for the report."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
