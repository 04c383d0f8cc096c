"""Runs as fast as it goes, and at a fixed rate: CPU time, requests a second, latency.

Invariant: the proxies of a family are loaded in turn, over and over; one that fails is reported as
lost, and the others go on.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .bench import FAILURES, WARMUP, Bench, running
from .generators import Generators
from .progress import Progress
from .proxies import Peer
from .results import Results, add, middle, undisturbed
from .scenarios import Scenario

OVERHEAD = 0.35  # seconds that a run takes beyond its duration
START = 1.0  # seconds to start a proxy and to warm it
PACED_OVERHEAD = WARMUP + 0.2


def planned(peers: list[Peer], scenarios: list[Scenario], repeats: int, seconds: float) -> float:
    """How long ``run`` will take."""
    total = 0.0
    for scenario in scenarios:
        able = sum(scenario.suits(peer) for peer in peers)
        total += able * (START + repeats * (seconds + OVERHEAD))
    return total


def planned_paced(
    peers: list[Peer], scenarios: list[Scenario], repeats: int, seconds: float
) -> float:
    """How long the runs at a fixed rate will take besides."""
    paced = [scenario for scenario in scenarios if scenario.latency]
    able = sum(scenario.suits(peer) for scenario in paced for peer in peers)
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
