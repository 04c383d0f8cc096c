"""10 MB uploads, one after the other on one connection: without a mirror, and into a black hole.

Invariant: one that is not answered in time is given up with its connection, as a client would,
and counts as not finished.
"""

from __future__ import annotations

import http.client
import os
import time
from pathlib import Path

from .machine import APART, LOOPBACK, free_port
from .progress import Progress
from .proxies import Peer, Setting
from .results import Results, Uploads, add
from .saturation import FAILURES
from .services import OwnService

COUNT = 10
SIZE = 10 << 20
PATIENCE = 1.0  # seconds; one takes some hundredths
PLAIN, HOLE = "no mirroring", "black-holed shadow"
EACH = 1.2  # seconds of one run that goes well


def planned(peers: list[Peer], repeats: int) -> float:
    """Others are expected to lose all that meet the black hole."""
    return repeats * sum(2 * EACH + COUNT * PATIENCE * 0.6 for peer in peers if peer.mirrors)


def run(
    peers: list[Peer], results: Results, progress: Progress, root: Path, *, repeats: int
) -> None:
    """Rounds of both, into the results."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(APART.others)})
    backend = OwnService("answer", root, APART.others)
    able = [peer for peer in peers if peer.mirrors]
    try:
        for number in range(repeats):
            for peer in able:
                for state in (PLAIN, HOLE):
                    try:
                        found = _measure(peer, backend, root, number, mirror=state == HOLE)
                    except FAILURES as error:
                        results.lost.append(f"uploads, {peer.name}, {state}: {error}")
                        continue
                    add(results.uploads, state, peer.name, found)
                    text = f"{found.finished} of {found.of} in {found.seconds:.1f} s"
                    expected = EACH + (COUNT * PATIENCE * 0.6 if state == HOLE else 0)
                    progress.step(expected, f"10 MB uploads, {peer.name}, {state}: {text}")
    finally:
        backend.stop()
        os.sched_setaffinity(0, own)


def _measure(peer: Peer, backend: OwnService, root: Path, number: int, *, mirror: bool) -> Uploads:
    shadow = OwnService("hole", root, APART.others)
    port = free_port()
    setting = Setting(
        directory=root / f"{peer.name}-{port}",
        port=port,
        backend=backend.port,
        shadow=shadow.port,
        mirrors=int(mirror),
    )
    try:
        process = peer.start(setting)
        try:
            _upload(port, 2)  # not counted
            before = process.rss()
            finished, seconds = _upload(port, COUNT)
            return Uploads(number, finished, COUNT, seconds, process.peak() - before)
        finally:
            process.stop()
    finally:
        shadow.stop()


def _upload(port: int, count: int) -> tuple[int, float]:
    """How many of them finished, and in what time."""
    body = bytes(SIZE)
    finished, begin = 0, time.monotonic()
    connection: http.client.HTTPConnection | None = None
    for _ in range(count):
        if connection is None:
            connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
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
