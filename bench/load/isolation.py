"""The same load on the client's side, while the shadow is well, bad, or absent.

Invariants: each run has a proxy and a shadow of its own, so that nothing of an earlier one is left;
the rate is half of what this proxy reached without mirroring; and each state is compared with the
run without mirroring of its own round. ``off again`` is that run once more, at the end of the
round: how far it is from the first is what the machine alone does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from .bench import FAILURES
from .generators import Generators, Request
from .machine import APART, Watch, free_port
from .progress import Progress, say
from .proxies import OURS, Peer, Setting
from .results import Isolated, Results, Table, add, is_quiet, undisturbed
from .services import BAD, NginxService, OwnService, Service, bad_shadow

OFF, AGAIN, HEALTHY = "off", "off again", "healthy"
STATES = {OFF: "no mirroring", HEALTHY: "healthy", **BAD, AGAIN: "no mirroring, once more"}
STALLED = ("hole", "mute", "drip")

CONNECTIONS = 64
WARMUP = 0.5
EACH = WARMUP + 0.9  # seconds of a run besides its duration
BODY = 100 << 10


@dataclass(frozen=True)
class Load:
    """One of the two loads: with bodies, or without."""

    title: str
    request: Request

    def backend(self, root: Path) -> Service:
        if self.request.body:
            return OwnService("answer", root, APART.others)
        return NginxService(f"backend-{free_port()}", root, APART.others)


REQUESTS = Load("without bodies", Request())
BODIES = Load("uploads of 100 KB", Request(body=BODY))


def rounds(peer: Peer, repeats: int, *, quick: bool) -> int:
    """A quick run looks at the others once: they are there to be compared with, not judged."""
    return (2 if peer.name == OURS else 1) if quick else repeats


def planned(peers: list[Peer], repeats: int, seconds: float, *, quick: bool) -> float:
    runs = sum(rounds(peer, repeats, quick=quick) for peer in peers if peer.mirrors)
    return 2 * (runs * len(STATES) * (seconds + EACH) + 4.5 * len(peers))


def run(
    peers: list[Peer],
    generators: Generators,
    results: Results,
    progress: Progress,
    root: Path,
    *,
    repeats: int,
    seconds: float,
    quick: bool,
) -> None:
    """Both loads, into the results."""
    able = [peer for peer in peers if peer.mirrors]
    for load, table in ((REQUESTS, results.requests), (BODIES, results.bodies)):
        backend = load.backend(root)
        try:
            rates = {peer.name: _half(peer, load, backend, generators, root) for peer in able}
            for number in range(repeats):
                for peer in able:
                    if number < rounds(peer, repeats, quick=quick):
                        runner = Runner(peer, load, backend, generators, root, rates[peer.name])
                        runner.round(number, seconds, results, table, progress)
        finally:
            backend.stop()


def _half(peer: Peer, load: Load, backend: Service, generators: Generators, root: Path) -> float:
    """Half of what the proxy reaches without mirroring."""
    port = free_port()
    setting = Setting(root / f"{peer.name}-{port}", port, backend.port, shadow=backend.port)
    process = peer.start(setting)
    try:
        runs = [
            generators.closed(
                port, load.request, seconds=1, connections=CONNECTIONS, cores=APART.others
            )
            for _ in range(3)
        ]
    finally:
        process.stop()
    rate = median(run.requests / run.seconds for run in runs) / 2
    say(f"isolation, {load.title}, {peer.name}: {rate:,.0f}/s is half of what it reaches")
    return rate


@dataclass
class Runner:
    """One proxy under one of the loads."""

    peer: Peer
    load: Load
    backend: Service
    generators: Generators
    root: Path
    rate: float

    def round(
        self,
        number: int,
        seconds: float,
        results: Results,
        table: Table[Isolated],
        progress: Progress,
    ) -> None:
        for state, title in STATES.items():
            name = f"{self.load.title}, {self.peer.name}, shadow {title}"
            try:
                found = undisturbed(
                    partial(self.measure, state, number, seconds),
                    partial(progress.again, seconds + EACH),
                )
            except FAILURES as error:
                results.lost.append(f"{name}: {error}")
                text = "lost"
            else:
                add(table, state, self.peer.name, found)
                load = found.load
                text = f"{load.finished} of {load.due}, p99 {load.p99 * 1e3:.2f} ms"
                if not is_quiet(found):
                    text += f", disturbed: {found.disturbance:.0%}"
            progress.step(seconds + EACH, f"{name}: {text}")

    def measure(self, state: str, number: int, seconds: float) -> Isolated:
        off = state in (OFF, AGAIN)
        shadow = bad_shadow("answer" if off or state == HEALTHY else state, self.root, APART.others)
        port = free_port()
        setting = Setting(
            directory=self.root / f"{self.peer.name}-{port}",
            port=port,
            backend=self.backend.port,
            shadow=shadow.port,
            mirrors=0 if off else 1,
        )
        try:
            process = self.peer.start(setting)
            try:
                before = process.rss()
                cpu, begin = process.cpu(), time.monotonic()
                watch = Watch(process, (self.backend.process, shadow.process), alone=True)
                load = self.generators.open(
                    port,
                    self.load.request,
                    rate=self.rate,
                    warmup=WARMUP,
                    seconds=seconds,
                    connections=CONNECTIONS,
                    cores=APART.others,
                )
                disturbance = watch.disturbance()
                busy = (process.cpu() - cpu).total / (time.monotonic() - begin)
                growth = process.peak() - before
                if not process.is_running():
                    raise RuntimeError(f"{self.peer.name} ended under load")
                return Isolated(
                    number, self.rate, load, growth, shadow.requests(), busy, disturbance
                )
            finally:
                process.stop()
        finally:
            shadow.stop()
