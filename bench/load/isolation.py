"""Uploads over one reused connection while the shadow accepts and reads nothing."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from .machine import LOOPBACK, free_port
from .proxies import Peer, Service, Setting
from .scenarios import Cores

UPLOADS = 20
SIZE = 10 << 20


@dataclass(frozen=True)
class Outcome:
    """How many uploads were answered in time, and what the proxy's memory grew by."""

    finished: int
    of: int
    seconds: float
    grown: int


class BlackHole:
    """Accepts connections, and never reads from one."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                self._held.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for sock in self._held:
            sock.close()


def upload(port: int, *, patience: float) -> tuple[int, float]:
    """Uploads one after the other on one connection: how many finished, and in what time.

    One that is not answered in time is given up with its connection, as a client would.
    """
    body = bytes(SIZE)
    finished, begin = 0, time.monotonic()
    connection: http.client.HTTPConnection | None = None
    for _ in range(UPLOADS):
        if connection is None:
            connection = http.client.HTTPConnection(LOOPBACK, port, timeout=patience)
        try:
            connection.request("POST", "/upload", body, {"Host": "app.test"})
            response = connection.getresponse()
            response.read()
            finished += response.status == 200
        except (OSError, http.client.HTTPException):
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
    return finished, time.monotonic() - begin


def measure(
    peer: Peer, backend: Service, root: Path, cores: Cores, *, mirror: bool, patience: float
) -> Outcome:
    directory = root / f"{peer.name}-{'black-hole' if mirror else 'no-mirror'}"
    directory.mkdir()
    hole = BlackHole()
    setting = Setting(directory, free_port(), backend.port, hole.port, mirror, cores.proxy)
    process = peer.start(setting)
    own = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cores.others})
        before = process.rss()
        finished, elapsed = upload(setting.port, patience=patience)
        return Outcome(finished, UPLOADS, elapsed, process.rss() - before)
    finally:
        os.sched_setaffinity(0, own)
        process.stop()
        hole.close()
