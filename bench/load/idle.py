"""Memory of a proxy at rest, and of each client connection that is kept alive and does nothing.

Invariant: the connections have each sent one request, one after the other, so that there is one
connection to the backend; and what the first of them make the proxy set up once is not counted.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

from .bench import FAILURES
from .generators import Request
from .machine import APART, LOOPBACK, free_port
from .progress import Progress
from .proxies import Peer, Setting
from .results import Idle, Results
from .services import NginxService

FIRST, COUNT = 200, 4000
EACH = 3.2


def planned(peers: list[Peer], repeats: int) -> float:
    return repeats * len(peers) * EACH


def run(
    peers: list[Peer], results: Results, progress: Progress, root: Path, *, repeats: int
) -> None:
    """A new process of each, repeatedly, into the results."""
    backend = NginxService("idle-backend", root, APART.others)
    try:
        for number in range(repeats):
            for peer in peers:
                try:
                    found = _measure(peer, backend, root, number)
                except FAILURES as error:
                    results.lost.append(f"idle connections, {peer.name}: {error}")
                    continue
                results.idle.setdefault(peer.name, []).append(found)
                progress.step(
                    EACH,
                    f"{COUNT:,} idle connections, {peer.name}: "
                    f"{found.per_connection / 1024:.2f} KB each",
                )
    finally:
        backend.stop()


def _measure(peer: Peer, backend: NginxService, root: Path, number: int) -> Idle:
    port = free_port()
    setting = Setting(root / f"{peer.name}-idle-{port}", port, backend.port, backend.port)
    process = peer.start(setting)
    held: list[socket.socket] = []
    try:
        held.append(_connection(port))
        time.sleep(0.3)
        at_rest = process.pss()
        held += [_connection(port) for _ in range(FIRST)]
        time.sleep(0.3)
        before = process.pss()
        held += [_connection(port) for _ in range(COUNT)]
        time.sleep(0.5)
        return Idle(number, at_rest, (process.pss() - before) / COUNT)
    finally:
        for sock in held:
            sock.close()
        process.stop()


def _connection(port: int) -> socket.socket:
    """One that has had its answer. Raises RuntimeError if that is no 200."""
    sock = socket.create_connection((LOOPBACK, port), timeout=10)
    sock.sendall(Request().text())
    received = b""
    while b"\r\n\r\n" not in received or not received.endswith(b"x" * 207):
        piece = sock.recv(4096)
        if not piece:
            raise RuntimeError("a connection was closed instead of kept alive")
        received += piece
    if not received.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"answered {received[:40]!r}")
    return sock
