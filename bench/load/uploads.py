"""10 MB uploads, one after the other on one connection: without a mirror, and into a black hole.

Invariant: one that is not answered in time is given up with its connection, as a client would,
and counts as not finished; so do those that are left when three in a row were not answered.
"""

from __future__ import annotations

import http.client
import os
import time
from pathlib import Path

from .bench import FAILURES
from .isolation import rounds
from .machine import APART, LOOPBACK, free_port
from .progress import Progress
from .proxies import OURS, Peer, Setting
from .results import Results, Uploads, add
from .services import OwnService

COUNT = 30
IN_A_ROW = 3
SIZE = 10 << 20
PATIENCE = 1.0  # seconds; one takes some hundredths
PLAIN, HOLE = "no mirroring", "black-holed shadow"
EACH = 1.5  # seconds of one run that goes well


def planned(peers: list[Peer], repeats: int, *, quick: bool) -> float:
    able = [peer for peer in peers if peer.mirrors]
    states = (PLAIN, HOLE)
    return sum(
        rounds(peer, repeats, quick=quick) * _expected(peer, state)
        for peer in able
        for state in states
    )


def _expected(peer: Peer, state: str) -> float:
    """Seconds; the others have been seen to wait for the black hole."""
    return EACH + (COUNT * PATIENCE / 4 if state == HOLE and peer.name != OURS else 0)


def run(
    peers: list[Peer],
    results: Results,
    progress: Progress,
    root: Path,
    *,
    repeats: int,
    quick: bool,
) -> None:
    """Rounds of both, into the results."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(APART.others)})
    backend = OwnService("answer", root, APART.others)
    able = [peer for peer in peers if peer.mirrors]
    try:
        for number in range(repeats):
            for peer in able:
                if number >= rounds(peer, repeats, quick=quick):
                    continue
                for state in (PLAIN, HOLE):
                    try:
                        found = _measure(peer, backend, root, number, mirror=state == HOLE)
                    except FAILURES as error:
                        results.lost.append(f"uploads, {peer.name}, {state}: {error}")
                        continue
                    add(results.uploads, state, peer.name, found)
                    text = f"{found.finished} of {found.of} in {found.seconds:.1f} s"
                    progress.step(
                        _expected(peer, state), f"10 MB uploads, {peer.name}, {state}: {text}"
                    )
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
    finished, lost, begin = 0, 0, time.monotonic()
    connection: http.client.HTTPConnection | None = None
    for _ in range(count):
        if lost == IN_A_ROW:
            break
        if connection is None:
            connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
        try:
            connection.request("POST", "/upload", body, {"Host": "app.test"})
            response = connection.getresponse()
            response.read()
            finished += response.status == 200
            lost = 0
        except (OSError, http.client.HTTPException):
            lost += 1
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
    return finished, time.monotonic() - begin
