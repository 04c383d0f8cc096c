"""What is measured: one proxy, one scenario, one run at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from . import wrk
from .machine import Process, free_port
from .proxies import Peer, Service, Setting


@dataclass(frozen=True)
class Cores:
    """Everything else on one core, the proxy alone on the other."""

    others: int = 0
    proxy: int = 1


@dataclass(frozen=True)
class Sample:
    """One run. CPU times are the proxy's, in microseconds a request."""

    cpu: float
    user: float
    kernel: float
    rate: float
    busy: float  # share of its core that the proxy used
    copies: float  # requests at the shadow, a request
    p50: float
    p99: float
    errors: int
    rss: int

    def asdict(self) -> dict[str, float]:
        return asdict(self)


SCENARIOS = {"plain": False, "mirror 100 %": True}


@dataclass
class Bench:
    """A proxy in a scenario, running and idle between its turns."""

    peer: Peer
    scenario: str
    process: Process
    port: int

    def measure(self, shadow: Service, *, duration: int, connections: int, cores: Cores) -> Sample:
        copies = shadow.requests()
        before = self.process.cpu()
        load = wrk.run(self.port, duration=duration, connections=connections, core=cores.others)
        copied = self._settle(shadow)
        spent = self.process.cpu() - before
        each = 1e6 / load.requests
        ticked = spent.user + spent.kernel or 1.0
        return Sample(
            cpu=spent.total * each,
            user=spent.total * each * spent.user / ticked,
            kernel=spent.total * each * spent.kernel / ticked,
            rate=load.requests / load.seconds,
            busy=spent.total / load.seconds,
            copies=(copied - copies) / load.requests,
            p50=load.p50,
            p99=load.p99,
            errors=load.errors,
            rss=self.process.rss(),
        )

    @staticmethod
    def _settle(shadow: Service) -> int:
        """Copies still on their way belong to the run that made them."""
        seen = shadow.requests()
        for _ in range(40):
            time.sleep(0.05)
            now = shadow.requests()
            if now == seen:
                break
            seen = now
        return seen


@contextmanager
def running(
    peers: list[Peer], names: list[str], services: tuple[Service, Service], root: Path, cores: Cores
) -> Iterator[list[Bench]]:
    """Every proxy in every scenario that it knows, started before (backend, shadow)."""
    backend, shadow = services
    benches: list[Bench] = []
    try:
        for name in names:
            for peer in peers:
                mirror = SCENARIOS[name]
                if mirror and not peer.mirrors:
                    continue
                directory = root / f"{peer.name}-{'mirror' if mirror else 'plain'}"
                directory.mkdir()
                setting = Setting(
                    directory, free_port(), backend.port, shadow.port, mirror, cores.proxy
                )
                benches.append(Bench(peer, name, peer.start(setting), setting.port))
        yield benches
    finally:
        for bench in benches:
            bench.process.stop()
