"""The targets, and whether they are met.

Invariant: a figure is the median of its rounds, with the least and the most of them beside it; what
was not measured has no figure, and is not met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .isolation import AGAIN, BODIES, HEALTHY, OFF, REQUESTS, STALLED
from .proxies import OURS
from .results import Isolated, Ratios, Results, Table, compare
from .services import BAD
from .uploads import HOLE, PLAIN

MEBI = 1 << 20
ALL = 0.99  # copies a request, where each is to be copied
MIRROR_MEMORY = 64  # MiB, the default of --mirror-memory


@dataclass(frozen=True)
class Target:
    """One row; ``ratios`` may be other figures of the rounds too."""

    what: str
    goal: float
    dream: float
    ratios: Ratios
    at_most: bool = True
    unit: str = ""
    note: str = ""
    holds: bool = True  # what must hold besides

    @property
    def figure(self) -> float | None:
        return median(self.ratios.rounds) if self.ratios.rounds else None

    def verdict(self) -> str:
        if self.figure is None:
            return "not measured"
        if not self._within(self.goal) or not self.holds:
            found = "not met"
        else:
            found = "met, and the dream" if self._within(self.dream) else "met"
        return found if self.ratios.quiet else f"{found}; disturbed"

    def _within(self, bound: float) -> bool:
        assert self.figure is not None
        return self.figure <= bound if self.at_most else self.figure >= bound


def targets(results: Results) -> list[Target]:
    """All rows, in their order."""
    load = results.load

    def of(own: str, other: str, peer: str = OURS, name: str = "cpu") -> Ratios:
        return compare(load.get(own, {}).get(OURS, []), load.get(other, {}).get(peer, []), name)

    def cpu(scenario: str, peer: str) -> Ratios:
        return of(scenario, scenario, peer)

    def rate(scenario: str, peer: str) -> Ratios:
        return of(scenario, scenario, peer, "rate")

    def all_copied(scenario: str) -> dict[str, Any]:
        """A copy that is dropped costs next to nothing, and is no merit."""
        samples = load.get(scenario, {}).get(OURS, [])
        copies = min((sample.copies for sample in samples), default=1.0)
        short = copies < ALL
        return {"holds": not short, "note": f"only {copies:.3f} copies a request" if short else ""}

    mirrored = of("mirror-100", "plain")
    added = Ratios([ratio - 1 for ratio in mirrored.rounds], mirrored.quiet)
    shared = of("mirror-100-pipelined", "plain")
    added_shared = Ratios([ratio - 1 for ratio in shared.rounds], shared.quiet)
    return [
        Target("plain proxy, CPU per request, of nginx's", 1.20, 1.00, cpu("plain", "nginx")),
        Target("plain proxy, CPU per request, of Envoy's", 0.55, 0.45, cpu("plain", "envoy")),
        Target(
            "mirror 100 %, CPU per request, of Envoy's",
            *(0.45, 0.35, cpu("mirror-100", "envoy")),
            **all_copied("mirror-100"),
        ),
        Target(
            "mirror 100 %, CPU per request, of nginx's",
            *(0.35, 0.25, cpu("mirror-100", "nginx")),
            **all_copied("mirror-100"),
        ),
        Target(
            "what a 100 % mirror adds, of our plain proxy",
            *(0.65, 0.30, added),
            **all_copied("mirror-100"),
        ),
        Target(
            "mirror 100 %, `pipeline: 16`, CPU per request, of nginx's",
            *(0.35, 0.25, of("mirror-100-pipelined", "mirror-100", "nginx")),
            **all_copied("mirror-100-pipelined"),
        ),
        Target("what a 100 % mirror adds, `pipeline: 16`", 0.65, 0.30, added_shared),
        Target("mirror configured at 0 %, of our plain proxy", 1.03, 1.00, of("mirror-0", "plain")),
        Target(
            "10 MB upload with mirror, throughput, of Envoy's",
            *(1.0, 1.5, rate("upload-10m-mirror", "envoy")),
            at_most=False,
        ),
        Target(
            "10 MB download, throughput, of nginx's",
            *(0.8, 1.0, rate("download-10m", "nginx")),
            at_most=False,
        ),
        _worst(results.requests, REQUESTS.title),
        _worst(results.bodies, BODIES.title),
        _uploads(results),
        Target(
            "memory per idle kept-alive connection",
            *(4.0, 2.0, Ratios([one.per_connection / 1024 for one in results.idle.get(OURS, [])])),
            unit=" KB",
        ),
        _growth(results),
        Target("10,000 routes, CPU of 10 routes", 1.05, 1.00, of("routes-10000", "routes-10")),
    ]


def p99_ratios(table: Table[Isolated], state: str, peer: str) -> Ratios:
    """With the shadow in a state, of mirroring off, of each round."""
    return compare(table.get(state, {}).get(peer, []), table.get(OFF, {}).get(peer, []), "p99")


def _worst(table: Table[Isolated], title: str) -> Target:
    found = {state: p99_ratios(table, state, OURS) for state in BAD}
    found = {state: listed for state, listed in found.items() if listed.rounds}
    what = f"p99 at half of saturation, {title}, any bad shadow, of mirroring off"
    if not found:
        return Target(what, 1.10, 1.00, Ratios())
    worst = max(found, key=lambda state: median(found[state].rounds))
    notes = [f"worst: {BAD[worst]}"]
    for state, name in ((HEALTHY, "healthy"), (AGAIN, "mirroring off once more")):
        other = p99_ratios(table, state, OURS)
        if other.rounds:
            notes.append(f"{name}: {median(other.rounds):.2f}")
    return Target(what, 1.10, 1.00, found[worst], note="; ".join(notes))


def _uploads(results: Results) -> Target:
    plain = {one.round: one for one in results.uploads.get(PLAIN, {}).get(OURS, [])}
    hole = results.uploads.get(HOLE, {}).get(OURS, [])
    rates = [
        one.finished / one.seconds / (plain[one.round].finished / plain[one.round].seconds)
        for one in hole
        if one.round in plain and plain[one.round].finished
    ]
    finished, of = sum(one.finished for one in hole), sum(one.of for one in hole)
    return Target(
        "10 MB uploads with a black-holed shadow: all, at a rate of the plain one's",
        *(0.9, 1.0, Ratios(rates)),
        at_most=False,
        note=f"{finished} of {of} finished" if hole else "",
        holds=finished == of,
    )


def _growth(results: Results) -> Target:
    """The worst of all runs, since a bound is a bound."""
    found = [
        (one.growth / MEBI, BAD[state], title)
        for table, title in ((results.requests, REQUESTS.title), (results.bodies, BODIES.title))
        for state in STALLED
        for one in table.get(state, {}).get(OURS, [])
    ]
    hole = results.uploads.get(HOLE, {}).get(OURS, [])
    found += [(one.growth / MEBI, HOLE, "10 MB uploads") for one in hole]
    worst = max(found, default=None)
    return Target(
        f"memory growth with a stalled shadow (--mirror-memory is {MIRROR_MEMORY} MiB)",
        MIRROR_MEMORY + 10,
        MIRROR_MEMORY + 10,
        Ratios([worst[0]] if worst else []),
        unit=" MB",
        note=f"worst of all runs: {worst[1]}, {worst[2]}" if worst else "",
    )


def comparison(results: Results, peers: Sequence[str]) -> list[tuple[str, dict[str, float]]]:
    """For each scenario, our CPU per request of each other's."""
    found = []
    for scenario, by_peer in results.load.items():
        own = by_peer.get(OURS, [])
        row = {
            peer: median(listed.rounds)
            for peer in peers
            if peer != OURS and (listed := compare(own, by_peer.get(peer, []))).rounds
        }
        found.append((scenario, row))
    return found
