"""The mirror's counters as the admin listener tells them, and the sums that must hold.

Invariant: ``matched = not_sampled + dropped + sent`` and ``sent = completed + failed + in_flight``.
"""

import math
import re
from dataclasses import dataclass, field

SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    name: str
    labels: dict[str, str]
    value: float


def parse(text: str) -> list[Sample]:
    """Prometheus' text form, as far as counters and gauges need it."""
    return [
        Sample(name, dict(LABEL.findall(labels)), float(value))
        for name, labels, value in SAMPLE.findall(text)
    ]


def total(samples: list[Sample], name: str, **labels: str) -> int:
    return sum(
        int(sample.value)
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def by_label(samples: list[Sample], name: str, label: str) -> dict[str, int]:
    values = sorted({s.labels[label] for s in samples if s.name == name and label in s.labels})
    counts = {value: total(samples, name, **{label: value}) for value in values}
    return {value: count for value, count in counts.items() if count}


def minus(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {key: n - b.get(key, 0) for key, n in a.items() if n != b.get(key, 0)}


@dataclass(frozen=True)
class Counters:
    """All mirrors together: the demo never has more than one."""

    matched: int = 0
    not_sampled: int = 0
    sent: int = 0
    in_flight: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    completed: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> "Counters":
        samples = parse(text)
        return cls(
            matched=total(samples, "fastmirror_mirror_matched_total"),
            not_sampled=total(samples, "fastmirror_mirror_not_sampled_total"),
            sent=total(samples, "fastmirror_mirror_sent_total"),
            in_flight=total(samples, "fastmirror_mirror_in_flight"),
            dropped=by_label(samples, "fastmirror_mirror_dropped_total", "reason"),
            completed=by_label(samples, "fastmirror_mirror_completed_total", "code_class"),
            failed=by_label(samples, "fastmirror_mirror_failed_total", "kind"),
        )

    def since(self, before: "Counters") -> "Counters":
        return Counters(
            matched=self.matched - before.matched,
            not_sampled=self.not_sampled - before.not_sampled,
            sent=self.sent - before.sent,
            in_flight=self.in_flight - before.in_flight,
            dropped=minus(self.dropped, before.dropped),
            completed=minus(self.completed, before.completed),
            failed=minus(self.failed, before.failed),
        )

    def add_up(self) -> bool:
        dropped, completed = sum(self.dropped.values()), sum(self.completed.values())
        return (
            self.matched == self.not_sampled + dropped + self.sent
            and self.sent == completed + sum(self.failed.values()) + self.in_flight
        )

    def rows(self) -> list[tuple[str, int, str]]:
        return [
            ("matched", self.matched, "= not sampled + dropped + sent"),
            ("  not sampled", self.not_sampled, ""),
            ("  dropped", sum(self.dropped.values()), named(self.dropped)),
            ("  sent", self.sent, "= completed + failed + in flight"),
            ("    completed", sum(self.completed.values()), named(self.completed)),
            ("    failed", sum(self.failed.values()), named(self.failed)),
            ("    in flight", self.in_flight, ""),
        ]


def named(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def plausible(count: int, trials: int, percent: float, sigmas: float = 4) -> bool:
    """Whether so many of so many is what that percentage gives: at four standard deviations an
    honest coin is called a cheat once in 16,000 runs.
    """
    low, high = expected_range(trials, percent, sigmas)
    return low <= count <= high


def expected_range(trials: int, percent: float, sigmas: float = 4) -> tuple[int, int]:
    p = percent / 100
    spread = sigmas * math.sqrt(trials * p * (1 - p))
    return math.ceil(trials * p - spread), math.floor(trials * p + spread)
