"""What was measured, as numbers: samples by scenario, proxy and round, and what to make of them.

Invariant: two things are compared by the ratios of the rounds that both have, and by their median:
what slows the machine for a while strikes both alike. Whether a run is made again, and whether its
round counts, goes by what others did on the cores meanwhile, never by what the run showed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

from .generators import Open


@dataclass(frozen=True)
class Sample:
    """One run as fast as it goes. CPU times are the proxy's, in microseconds a request."""

    round: int
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
    disturbance: float  # what others did on the cores meanwhile


@dataclass(frozen=True)
class Paced:
    """One run at a fixed rate."""

    round: int
    rate: float
    load: Open
    disturbance: float  # what others did on the cores meanwhile


@dataclass(frozen=True)
class Idle:
    """Memory of a proxy, in bytes, without load."""

    round: int
    at_rest: int
    per_connection: float


@dataclass(frozen=True)
class Isolated:
    """One run at a fixed rate while the shadow is in some state."""

    round: int
    rate: float
    load: Open
    growth: int  # bytes, at the most
    copies: int
    busy: float  # share of its core that the proxy used
    disturbance: float  # what others did on the cores meanwhile


@dataclass(frozen=True)
class Uploads:
    """10 MB uploads, one after the other on one connection."""

    round: int
    finished: int
    of: int
    seconds: float
    growth: int


Measured = TypeVar("Measured", Sample, Paced, Idle, Isolated, Uploads)
Timed = TypeVar("Timed", Sample, Paced, Isolated)
Table = dict[str, dict[str, list[Measured]]]  # scenario or state, proxy, rounds


@dataclass
class Results:
    """All there is; ``lost`` says what could not be measured, and why."""

    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    load: Table[Sample] = field(default_factory=dict)
    paced: Table[Paced] = field(default_factory=dict)
    idle: dict[str, list[Idle]] = field(default_factory=dict)
    requests: Table[Isolated] = field(default_factory=dict)  # by the shadow's state; no bodies
    bodies: Table[Isolated] = field(default_factory=dict)
    uploads: Table[Uploads] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def write(self, path: Path, **more: object) -> None:
        path.write_text(json.dumps({**asdict(self), **more}, indent=1) + "\n")


QUIET = 0.02  # others had so much of the cores' time at the most
TRIES = 3


def undisturbed(measure: Callable[[], Timed], again: Callable[[], bool]) -> Timed:
    """The least disturbed of up to three runs; no more than one if that was quiet."""
    best = measure()
    for _ in range(TRIES - 1):
        if best.disturbance <= QUIET or not again():
            break
        other = measure()
        if other.disturbance < best.disturbance:
            best = other
    return best


def add(table: Table[Measured], name: str, peer: str, sample: Measured) -> None:
    table.setdefault(name, {}).setdefault(peer, []).append(sample)


def value(sample: Sample | Paced | Idle | Isolated | Uploads, name: str) -> float:
    """A field of a sample, or of the load within it."""
    holder = sample if hasattr(sample, name) else getattr(sample, "load", sample)
    return float(getattr(holder, name))


def middle(samples: Sequence[Measured], name: str) -> float:
    return median(value(sample, name) for sample in samples)


def spread(samples: Sequence[Measured], name: str) -> tuple[float, float]:
    values = [value(sample, name) for sample in samples]
    return min(values), max(values)


@dataclass(frozen=True)
class Ratios:
    """Of one thing to another, round by round; ``quiet``: others left the cores alone."""

    rounds: list[float] = field(default_factory=list)
    quiet: bool = True


def compare(own: Sequence[Measured], other: Sequence[Measured], name: str = "cpu") -> Ratios:
    """Of each round that both have; of those in which both were quiet, if there are any."""
    by_round = {sample.round: sample for sample in other if value(sample, name)}
    pairs = [(sample, by_round[sample.round]) for sample in own if sample.round in by_round]
    quiet = [pair for pair in pairs if all(map(is_quiet, pair))]
    found = [value(one, name) / value(reference, name) for one, reference in quiet or pairs]
    return Ratios(found, quiet=bool(quiet) or not pairs)


def is_quiet(sample: object) -> bool:
    return getattr(sample, "disturbance", 0.0) <= QUIET
