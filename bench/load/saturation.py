"""Runs as fast as it goes, and at a fixed rate: CPU time, requests a second, latency.

Invariant: the proxies of a family all run at once and are loaded in turn, over and over; one that
fails is reported as lost, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import CalledProcessError

from .generators import Generators
from .machine import APART, Process, Watch, free_port
from .progress import Progress
from .proxies import Peer, Setting
from .results import Paced, Results, Sample, add, middle, undisturbed
from .scenarios import Scenario
from .services import NginxService, OwnService, Service

OVERHEAD = 0.35  # seconds that a run takes beyond its duration
START = 1.0  # seconds to start a proxy and to warm it
WARMUP = 0.5
PACED_OVERHEAD = WARMUP + 0.2
FAILURES = (RuntimeError, ValueError, OSError, CalledProcessError)


@dataclass
class Bench:
    """A proxy in a scenario, running and idle between its turns."""

    peer: Peer
    scenario: Scenario
    process: Process
    port: int
    backend: Service
    shadow: Service

    def warm(self, generators: Generators) -> None:
        """Fills pools and caches; not counted."""
        rate = 100 if self.scenario.size > 1 << 20 else 1000
        generators.open(
            self.port,
            self.scenario.request,
            rate=rate,
            warmup=0,
            seconds=0.3,
            connections=self.scenario.connections,
            cores=self.scenario.cores.others,
        )

    def measure(self, generators: Generators, number: int, seconds: float) -> Sample:
        scenario = self.scenario
        copies = self.shadow.requests()
        watch = self._watch()
        before = self.process.cpu()
        load = generators.closed(
            self.port,
            scenario.request,
            seconds=seconds,
            connections=scenario.connections,
            cores=scenario.cores.others,
        )
        disturbance = watch.disturbance()
        copied = self._settled() if scenario.mirrors else copies
        spent = self.process.cpu() - before
        if not load.requests:
            raise RuntimeError(f"no request finished, {load.errors} errors")
        each = 1e6 / load.requests
        user, kernel = spent.parts()
        return Sample(
            round=number,
            cpu=spent.total * each,
            user=user * each,
            kernel=kernel * each,
            rate=load.requests / load.seconds,
            busy=spent.total / load.seconds,
            copies=(copied - copies) / load.requests,
            p50=load.p50,
            p99=load.p99,
            errors=load.errors,
            rss=self.process.rss(),
            disturbance=disturbance,
        )

    def pace(self, generators: Generators, number: int, rate: float, seconds: float) -> Paced:
        watch = self._watch()
        load = generators.open(
            self.port,
            self.scenario.request,
            rate=rate,
            warmup=WARMUP,
            seconds=seconds,
            connections=self.scenario.connections,
            cores=self.scenario.cores.others,
        )
        return Paced(number, rate, load, watch.disturbance())

    def _watch(self) -> Watch:
        services = (self.backend.process, self.shadow.process)
        return Watch(self.process, services, alone=self.scenario.cores == APART)

    def _settled(self) -> int:
        """Copies still on their way belong to the run that made them."""
        seen = self.shadow.requests()
        for _ in range(40):
            time.sleep(0.05)
            now = self.shadow.requests()
            if now == seen:
                break
            seen = now
        return seen


class Services:
    """The backends and shadows of a family, each started when it is first wanted."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self._started: dict[str, Service] = {}

    def get(self, role: str, scenario: Scenario) -> Service:
        """Uploads go to a service of our own, which reads them at next to no cost."""
        cores = scenario.cores.others
        if scenario.request.body:
            name = f"{role}-{cores}-own"
        else:
            name = f"{role}-{cores}{'-empty' if scenario.empty else ''}"
        if name not in self._started:
            service: Service
            if scenario.request.body:
                service = OwnService("answer", self._directory, cores)
            else:
                service = NginxService(name, self._directory, cores, empty=scenario.empty)
            self._stack.callback(service.stop)
            self._started[name] = service
        return self._started[name]


@contextmanager
def running(
    peers: list[Peer], scenarios: list[Scenario], root: Path, results: Results
) -> Iterator[list[Bench]]:
    """Every proxy in every scenario that it knows."""
    benches: list[Bench] = []
    with ExitStack() as stack:
        services = Services(root, stack)
        for scenario in scenarios:
            backend = services.get("backend", scenario)
            shadow = services.get("shadow", scenario)
            for peer in peers:
                if scenario.mirrors and not peer.mirrors:
                    continue
                port = free_port()
                setting = Setting(
                    directory=root / f"{peer.name}-{scenario.name}",
                    port=port,
                    backend=backend.port,
                    shadow=shadow.port,
                    mirrors=scenario.mirrors,
                    percent=scenario.percent,
                    routes=scenario.routes,
                    workers=scenario.workers,
                    cores=scenario.cores.proxy,
                )
                try:
                    process = peer.start(setting)
                except RuntimeError as error:
                    results.lost.append(f"{scenario.title}, {peer.name}: {error}")
                    continue
                stack.callback(process.stop)
                benches.append(Bench(peer, scenario, process, port, backend, shadow))
        yield benches


def planned(peers: list[Peer], scenarios: list[Scenario], repeats: int, seconds: float) -> float:
    """How long ``run`` will take."""
    total = 0.0
    for scenario in scenarios:
        able = sum(peer.mirrors or not scenario.mirrors for peer in peers)
        total += able * (START + repeats * (seconds + OVERHEAD))
    return total


def planned_paced(
    peers: list[Peer], scenarios: list[Scenario], repeats: int, seconds: float
) -> float:
    """How long the runs at a fixed rate will take besides."""
    paced = [scenario for scenario in scenarios if scenario.latency]
    able = sum(peer.mirrors or not scenario.mirrors for scenario in paced for peer in peers)
    return able * repeats * (seconds + PACED_OVERHEAD)


def run(
    peers: list[Peer],
    scenarios: list[Scenario],
    generators: Generators,
    results: Results,
    progress: Progress,
    root: Path,
    *,
    repeats: int,
    seconds: float,
    paced: float | None,
) -> None:
    """A family, into the results; ``paced``: seconds of the runs at a fixed rate, if wanted."""
    with running(peers, scenarios, root, results) as benches:
        for bench in benches:
            bench.warm(generators)
            progress.step(START, f"{bench.scenario.title}, {bench.peer.name}: started")
        for number in range(repeats):
            for bench in list(benches):
                name = f"{bench.scenario.title}, {bench.peer.name}"
                try:
                    sample = undisturbed(
                        partial(bench.measure, generators, number, seconds),
                        partial(progress.again, seconds + OVERHEAD),
                    )
                except FAILURES as error:
                    results.lost.append(f"{name}: {error}")
                    benches.remove(bench)
                    continue
                add(results.load, bench.scenario.name, bench.peer.name, sample)
                progress.step(
                    seconds + OVERHEAD,
                    f"{name}: {sample.cpu:,.1f} us/request, {sample.rate:,.0f}/s",
                )
        if paced is not None:
            some = [bench for bench in benches if bench.scenario.latency]
            run_paced(some, generators, results, progress, repeats, paced)


def run_paced(
    benches: list[Bench],
    generators: Generators,
    results: Results,
    progress: Progress,
    repeats: int,
    seconds: float,
) -> None:
    """At half of what the slowest proxy of a scenario reached, for all of them."""
    rates: dict[str, float] = {}
    for bench in benches:
        name = bench.scenario.name
        reached = middle(results.load[name][bench.peer.name], "rate")
        rates[name] = min(rates.get(name, reached), reached / 2)
    for number in range(repeats):
        for bench in benches:
            name = bench.scenario.name
            paced = undisturbed(
                partial(bench.pace, generators, number, rates[name], seconds),
                partial(progress.again, seconds + PACED_OVERHEAD),
            )
            add(results.paced, name, bench.peer.name, paced)
            progress.step(
                seconds + PACED_OVERHEAD,
                f"{bench.scenario.title}, {bench.peer.name}, {rates[name]:,.0f}/s: "
                f"p99 {paced.load.p99 * 1e3:.2f} ms",
            )
