"""Endpoints that fail again and again, as Envoy's outlier detection finds them.

Invariants: what an endpoint answers is counted in O(1) and changes nothing but at a limit; no more
endpoints are ejected at a time than the rules allow; each that is ejected comes back; the timer
runs only while one is ejected, or was of late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastmirror._core import now
from fastmirror.counts import ServiceCounts
from fastmirror.rules.model import OutlierDetection
from fastmirror.rules.units import seconds
from fastmirror.timers import Timed, Wheel

MAX_TIME = 300.0  # seconds of an ejection, where base_ejection_time is not longer

_logger = logging.getLogger("fastmirror")


class Health:
    """What one endpoint did of late."""

    def __init__(self, detector: OutlierDetector, address: str) -> None:
        self.detector = detector
        self.address = address
        self.errors = self.gateway_errors = self.local_failures = 0
        self.ejected = False
        self.ejections = 0
        self.ejected_at = 0.0

    def answered(self, status: int) -> int:
        """It gave this answer."""
        detector = self.detector
        self.local_failures = 0
        if status < 500:
            self.errors = self.gateway_errors = 0
            return 0
        self.errors += 1
        self.gateway_errors = self.gateway_errors + 1 if 502 <= status <= 504 else 0
        if self.gateway_errors and self.gateway_errors == detector.max_gateway_errors:
            self.gateway_errors = 0  # where it may not be ejected now, it may when it fails on
            detector.suspect(self, f"{detector.max_gateway_errors} gateway errors in a row")
        if self.errors == detector.max_errors:
            self.errors = 0
            detector.suspect(self, f"{detector.max_errors} answers of 5xx in a row")
        return 0

    def failed(self, status: int) -> int:
        """It gave no answer; ``status``: what is answered in its place, 502, 503 or 504."""
        detector = self.detector
        if not detector.split:
            return self.answered(status)
        self.local_failures += 1
        if self.local_failures == detector.max_local_failures:
            self.local_failures = 0
            detector.suspect(self, f"{detector.max_local_failures} failures in a row")
        return 0


class OutlierDetector(Timed):
    """A cluster's. ``changed`` is called when an endpoint is ejected or comes back."""

    def __init__(
        self,
        cluster: str,
        spec: OutlierDetection,
        wheel: Wheel,
        counts: ServiceCounts,
        changed: Callable[[], None],
    ) -> None:
        super().__init__()
        self.cluster = cluster
        self.wheel = wheel
        self.counts = counts
        self.changed = changed
        self.max_errors = spec.consecutive_5xx_errors
        self.max_gateway_errors = spec.consecutive_gateway_errors
        self.max_local_failures = spec.consecutive_local_origin_failures
        self.split = spec.split_external_local_origin_errors
        self.interval = seconds(spec.interval)
        self.base_time = seconds(spec.base_ejection_time)
        self.max_percent = spec.max_ejection_percent
        self.min_health_percent = spec.min_health_percent
        self.healths: dict[str, Health] = {}
        self.ejected = 0

    def watch(self, addresses: list[str]) -> None:
        """The cluster has these endpoints from now on; those that it had keep their health."""
        former = self.healths
        self.healths = {
            address: former[address] if address in former else Health(self, address)
            for address in addresses
        }
        self.ejected = sum([health.ejected for health in self.healths.values()])

    def health(self, address: str) -> Health:
        """Of an endpoint that the cluster has."""
        return self.healths[address]

    def suspect(self, health: Health, why: str) -> int:
        """Eject an endpoint, unless too many are."""
        if health.ejected or self.healths.get(health.address) is not health:
            return 0
        allowed = len(self.healths) * self.max_percent // 100
        if self.max_percent == 0 or self.ejected >= max(1, allowed):
            return 0
        health.ejected = True
        health.ejected_at = now()
        health.ejections += 1
        self.ejected += 1
        self.counts.ejected()
        _logger.warning(
            "service %s: %s is ejected for %g s: %s",
            self.cluster,
            health.address,
            self._time_of(health.ejections),
            why,
        )
        self.changed()
        return self.wheel.arm(self, self.interval) if self.deadline == 0.0 else 0

    def _time_of(self, ejections: int) -> float:
        return min(self.base_time * ejections, max(MAX_TIME, self.base_time))

    def expired(self) -> int:
        """An interval is over."""
        busy, ejected, time = False, self.ejected, now()
        for health in self.healths.values():
            busy = self.tend(health, time) or busy
        if self.ejected != ejected:
            self.changed()
        return self.wheel.arm(self, self.interval) if busy else 0

    def tend(self, health: Health, time: float) -> bool:
        """Let an endpoint come back whose time is over, or forget one ejection of a well one; gives
        whether there is more to do.
        """
        if not health.ejected:
            health.ejections = max(0, health.ejections - 1)
            return health.ejections > 0
        if time - health.ejected_at >= self._time_of(health.ejections):
            self.bring_back(health)
        return True

    def bring_back(self, health: Health) -> int:
        """Requests go to it again."""
        health.ejected = False
        health.errors = health.gateway_errors = health.local_failures = 0
        self.ejected -= 1
        _logger.info("service %s: %s gets requests again", self.cluster, health.address)
        return 0

    def stop(self) -> None:
        """The cluster is used no more."""
        self.deadline = 0.0
        self.healths = {}
