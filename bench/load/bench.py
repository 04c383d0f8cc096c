"""A proxy in a scenario, with the services behind it: started, warmed, measured once.

Invariant: the proxies of a family all run at once, and one that cannot be started is reported as
lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError

from .generators import Generators
from .machine import APART, Process, Watch, free_port
from .proxies import Peer, Setting
from .results import Paced, Results, Sample
from .scenarios import Scenario
from .services import NginxService, OwnService, Service

WARMUP = 0.5  # seconds of a run at a fixed rate that do not count
FAILURES = (RuntimeError, ValueError, OSError, CalledProcessError)  # what a run may end with


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
                if not scenario.suits(peer):
                    continue
                port = free_port()
                setting = Setting(
                    directory=root / f"{peer.name}-{scenario.name}",
                    port=port,
                    backend=backend.port,
                    shadow=shadow.port,
                    mirrors=scenario.mirrors,
                    pipeline=scenario.pipeline,
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
