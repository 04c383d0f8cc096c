"""The proxy's own figures, read the way Prometheus reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "fastmirror_mirror_"


@dataclass(frozen=True)
class Counters:
    """What became of the copies of one mirror of one route."""

    matched: int = 0
    not_sampled: int = 0
    sent: int = 0
    in_flight: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    completed: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)

    def assert_adds_up(self) -> None:
        made_or_not = self.not_sampled + sum(self.dropped.values()) + self.sent
        assert self.matched == made_or_not, f"matched != not_sampled + dropped + sent: {self}"
        ended_or_not = sum(self.completed.values()) + sum(self.failed.values()) + self.in_flight
        assert self.sent == ended_or_not, f"sent != completed + failed + in_flight: {self}"


class Metrics:
    """One scrape. The parser refuses what is not the Prometheus text format."""

    def __init__(self, text: str) -> None:
        self.samples: list[tuple[str, dict[str, str], float]] = []
        seen = set()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                assert key not in seen, f"the same series twice: {key}"
                seen.add(key)
                self.samples.append((sample.name, sample.labels, sample.value))

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of that name that carry these labels."""
        return sum(
            value
            for sample, has, value in self.samples
            if sample == name and labels.items() <= has.items()
        )

    def names(self) -> set[str]:
        return {name for name, _, _ in self.samples}

    def _by(self, name: str, label: str, where: Mapping[str, str]) -> dict[str, int]:
        # Series that stand at 0 say the same as absent ones.
        return {
            has[label]: int(value)
            for sample, has, value in self.samples
            if sample == PREFIX + name and where.items() <= has.items() and value
        }

    def counters(self, route: str = "app", mirror: str = "app/v2") -> Counters:
        where = {"route": route, "mirror": mirror}

        def total(name: str) -> int:
            return int(self.total(PREFIX + name, **where))

        return Counters(
            matched=total("matched_total"),
            not_sampled=total("not_sampled_total"),
            sent=total("sent_total"),
            in_flight=total("in_flight"),
            dropped=self._by("dropped_total", "reason", where),
            completed=self._by("completed_total", "code_class", where),
            failed=self._by("failed_total", "kind", where),
        )
