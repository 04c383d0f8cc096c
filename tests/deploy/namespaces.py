"""Network namespaces for tests: an application's host, and a server beyond it.

Invariant: what is made here is gone when the test ends, by name, and touches no other namespace.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PEERS = Path(__file__).with_name("peers.py")
HERE, THERE = ("10.77.0.1", "fd77::1"), ("10.77.0.2", "fd77::2")


def expect_namespaces() -> None:
    """Skips where namespaces cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    for program in ("ip", "iptables-save", "ip6tables-save"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    name = f"fmt{os.getpid()}probe"
    made = _try("ip", "netns", "add", name)
    if made.returncode != 0:
        pytest.skip(f"network namespaces are not permitted here: {made.stderr.strip()}")
    tables = _try("ip", "netns", "exec", name, "iptables", "-t", "nat", "-S")
    _ip("netns", "del", name)
    if tables.returncode != 0:
        pytest.skip(f"iptables does not work here: {tables.stderr.strip()}")


def _try(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


class Namespace:
    """One, by name, with what runs in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.started: list[subprocess.Popen[str]] = []
        _ip("netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def command(self, *words: str) -> list[str]:
        return [shutil.which("ip") or "ip", "netns", "exec", self.name, *words]

    def ip(self, *words: str) -> str:
        return _ip("-n", self.name, *words)

    def run(
        self, *words: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=60, env=env, check=False
        )

    def fastmirror(
        self, *words: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "fastmirror", *words, env=env)

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(self.command(*words), stdout=subprocess.PIPE, text=True)
        self.started.append(process)
        return process

    def peer(self, *words: str) -> subprocess.Popen[str]:
        """A peer of peers.py that has said that it listens."""
        process = self.start(sys.executable, str(PEERS), *words)
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        return process

    def ask(self, address: str, port: int, *, uid: int = 1000, gid: int = 1000) -> str:
        """What a connection from an application got to read."""
        words = [sys.executable, str(PEERS), "ask", str(uid), str(gid), address, str(port)]
        return self.run(*words).stdout.strip()

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.name)


@contextmanager
def two_hosts() -> Iterator[tuple[Namespace, Namespace]]:
    """An application's host and a server's, each with an IPv4 and an IPv6 address."""
    expect_namespaces()
    here, there = Namespace(f"fmt{os.getpid()}a"), Namespace(f"fmt{os.getpid()}b")
    try:
        here.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", there.name)
        for each, (four, six) in ((here, HERE), (there, THERE)):
            each.ip("addr", "add", f"{four}/24", "dev", "eth0")
            each.ip("addr", "add", f"{six}/64", "dev", "eth0", "nodad")
            each.ip("link", "set", "eth0", "up")
        yield here, there
    finally:
        here.close()
        there.close()


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
    return done.stdout
