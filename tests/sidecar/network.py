"""Hosts of a test: network namespaces on one bridge, with addresses of IPv4 and IPv6.

Invariant: every namespace has a name of this run alone, and is deleted by that name when its
network is closed, with all that runs in it ended before; nothing of the machine's own network is
touched. Where namespaces or iptables are not permitted, ``need_network`` skips, and says why.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from e2e.procs import Process

T = TypeVar("T")

PROXY_ID = 1337  # user and group of the proxy, as Istio's
TIMEOUT = 60.0
_CLONE_NEWNET = 0x40000000
_SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
_numbers = itertools.count()


def program(name: str) -> str:
    """Where it is; skips the test where it is not."""
    found = shutil.which(name, path=_SEARCHED)
    if found is None:
        pytest.skip(f"{name} is not installed; tools/bootstrap.sh test installs it on Debian")
    return found


def run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """To its end, which must be a good one."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert not check or done.returncode == 0, (argv, done.stderr)
    return done


@functools.cache
def why_not() -> str:
    """What keeps this machine from having such a network; empty: nothing."""
    for name in ("ip", "iptables", "ip6tables", "setpriv"):
        if shutil.which(name, path=_SEARCHED) is None:
            return f"{name} is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"fm{os.getpid()}x{next(_numbers)}"
    try:
        for argv in (
            ("ip", "netns", "add", name),
            ("ip", "-n", name, "link", "add", "name", "va", "type", "veth", "peer", "name", "vb"),
            ("ip", "-n", name, "link", "add", "name", "br", "type", "bridge"),
            ("ip", "netns", "exec", name, "iptables", "-t", "nat", "-L", "-n"),
            ("ip", "netns", "exec", name, "ip6tables", "-t", "nat", "-L", "-n"),
        ):
            done = run(*argv, check=False)
            if done.returncode != 0:
                return f"{' '.join(argv)}: {done.stderr.strip()}"
    finally:
        run("ip", "netns", "delete", name, check=False)
    return ""


def need_network() -> None:
    """Skips the test where there can be none."""
    if why_not():
        pytest.skip(f"no network namespaces with iptables here: {why_not()}")


def as_user(uid: int | None, gid: int | None = None, net_admin: bool = False) -> list[str]:
    """What runs a command as somebody, with no capabilities but, if at all, CAP_NET_ADMIN."""
    kept = "-all,+net_admin" if net_admin else "-all"
    user = [f"--reuid={uid}"] if uid is not None else []
    user += [f"--regid={uid if gid is None else gid}", "--clear-groups"]
    # In this order: root's are bounded, a user's are the ambient ones.
    caps = [f"--bounding-set={kept}", f"--inh-caps={kept}", f"--ambient-caps={kept}"]
    return ["setpriv", *user, *caps, "--"]


@functools.cache
def anyone_can_run_python() -> bool:
    """Whether this Python and its modules are where any user may read them."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    return run(*as_user(PROXY_ID), sys.executable, "-c", code, check=False).returncode == 0


class Host:
    """One namespace. ``address`` and ``address6`` are its own on the bridge."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.network = network
        self.name = f"{network.name}-{name}"
        self.address, self.address6 = f"10.99.0.{number}", f"fd99::{number:x}"
        self.processes: list[Process] = []

    def addresses(self) -> tuple[str, str]:
        return self.address, self.address6

    def argv(self, *argv: str, uid: int | None = None) -> list[str]:
        """A command as it runs here; ``uid``: user and group, without capabilities."""
        inside = ["ip", "netns", "exec", self.name]
        return [*inside, *(as_user(uid) if uid is not None else ()), *argv]

    def proxy_argv(self, *argv: str, net_admin: bool = False) -> list[str]:
        """The same for the proxy: of group 1337 alone where its Python is one that only root can
        run; its connections are spared for the group, then.
        """
        user = as_user(PROXY_ID if anyone_can_run_python() else None, PROXY_ID, net_admin)
        return ["ip", "netns", "exec", self.name, *user, *argv]

    def run(self, *argv: str, uid: int | None = None, check: bool = True) -> str:
        """A program's output."""
        done = run(*self.argv(program(argv[0]), *argv[1:], uid=uid), check=check)
        return done.stdout

    def start(self, *argv: str, uid: int | None = None) -> Process:
        """A program that runs until the network is closed."""
        place = self.network.directory / f"{self.name}-{next(_numbers)}"
        process = Process(self.argv(program(argv[0]), *argv[1:], uid=uid), place)
        self.processes.append(process)
        return process

    def inside(self, call: Callable[[], T]) -> T:
        """Call something in a thread that is in the namespace: sockets that it makes stay there."""
        found: list[Any] = []

        def enter() -> None:
            try:
                with open(f"/run/netns/{self.name}") as file:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(file.fileno(), _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                found.append((call(), None))
            except BaseException as error:
                found.append((None, error))

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        value, error = found[0]
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]

    def connect(self, address: str, port: int, timeout: float = 20.0) -> socket.socket:
        """A connection from here; of root, whom rules for the proxy's user do not spare."""
        return self.inside(lambda: socket.create_connection((address, port), timeout))

    def listen(self, port: int, address: str = "::") -> socket.socket:
        """A listening socket here, for IPv4 and IPv6."""

        def make() -> socket.socket:
            if ":" not in address:
                return socket.create_server((address, port), backlog=1024)
            both = address == "::"
            return socket.create_server(
                (address, port), family=socket.AF_INET6, dualstack_ipv6=both, backlog=1024
            )

        return self.inside(make)

    def is_open(self, port: int, address: str = "127.0.0.1") -> bool:
        """Whether somebody listens. Asked for at loopback, which no rule of a test redirects."""
        try:
            self.connect(address, port, 5.0).close()
        except OSError:
            return False
        return True

    def tables(self, *rule: str, version: int | None = None) -> None:
        """iptables, ip6tables, or both."""
        for each in (4, 6) if version is None else (version,):
            self.run("iptables" if each == 4 else "ip6tables", "-w", *rule)

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.popen.poll() is None:
                process.kill()
        run("ip", "netns", "delete", self.name, check=False)


class Network:
    """``host`` makes hosts; each can reach each."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = f"fm{os.getpid()}n{next(_numbers)}"
        self.hosts: list[Host] = []
        self.switch = f"{self.name}-lan"
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "link", "add", "name", "br0", "type", "bridge")
        run("ip", "-n", self.switch, "link", "set", "br0", "up")

    def host(self, name: str) -> Host:
        """Another one."""
        host = Host(self, name, len(self.hosts) + 2)
        self.hosts.append(host)
        run("ip", "netns", "add", host.name)
        port = f"p{len(self.hosts)}"
        link = ("type", "veth", "peer", "name", "eth0", "netns", host.name)
        run("ip", "-n", self.switch, "link", "add", "name", port, *link)
        run("ip", "-n", self.switch, "link", "set", port, "master", "br0", "up")
        run("ip", "-n", host.name, "link", "set", "lo", "up")
        run("ip", "-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
        inet6 = (f"{host.address6}/64", "dev", "eth0", "nodad")
        run("ip", "-n", host.name, "address", "add", *inet6)
        run("ip", "-n", host.name, "link", "set", "eth0", "up")
        return host

    def close(self) -> None:
        for host in reversed(self.hosts):
            host.close()
        run("ip", "netns", "delete", self.switch, check=False)


def redirect_outbound(host: Host, to: int = 15001, exclude_ports: Sequence[int] = ()) -> None:
    """Send what programs of the host connect to, to the proxy; but not what the proxy does, nor
    what stays on the loopback, nor these ports.
    """
    host.tables("-t", "nat", "-N", "FASTMIRROR")
    host.tables("-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "FASTMIRROR")
    for owner in ("--uid-owner", "--gid-owner"):
        rule = ("-m", "owner", owner, str(PROXY_ID), "-j", "RETURN")
        host.tables("-t", "nat", "-A", "FASTMIRROR", *rule)
    host.tables("-t", "nat", "-A", "FASTMIRROR", "-o", "lo", "-j", "RETURN")
    for port in exclude_ports:
        rule = ("-p", "tcp", "--dport", str(port), "-j", "RETURN")
        host.tables("-t", "nat", "-A", "FASTMIRROR", *rule)
    rule = ("-p", "tcp", "-j", "REDIRECT", "--to-ports", str(to))
    host.tables("-t", "nat", "-A", "FASTMIRROR", *rule)
