"""How often a request is tried, and what is kept of it for that.

Invariants: of a body no more is kept than the route's ``max_body``, and once more has come the
request is not sent again; the route's timeout bounds all attempts together, and the time between.
"""

from __future__ import annotations

from typing import Protocol

from fastmirror._core import random64
from fastmirror.rules.model import Retries
from fastmirror.rules.units import seconds, size
from fastmirror.timers import Timed, Wheel

# What they stand for, as in Envoy; each but the last takes resets as well.
_STATUSES = {
    "5xx": range(500, 600),
    "gateway-error": range(502, 505),
    "reset": range(0),
    "retriable-4xx": range(409, 410),
}
_RESETS = ("5xx", "gateway-error", "reset")
# A request is on its way as soon as there is a connection: a reset before is a failure to connect.
_CONNECTS = (*_RESETS, "connect-failure", "reset-before-request")
_MOST_BACKOFF = 10  # times the first


class RetryPolicy:
    """What a route's requests are retried on."""

    def __init__(self, spec: Retries) -> None:
        words = [word for word in spec.retry_on if isinstance(word, str)]
        self.attempts = spec.attempts
        self.per_try = seconds(spec.per_try_timeout) if spec.per_try_timeout is not None else 0.0
        self.on_connect = spec.attempts > 0 and any(word in _CONNECTS for word in words)
        self.on_reset = spec.attempts > 0 and any(word in _RESETS for word in words)
        self.statuses = frozenset(
            status
            for word in spec.retry_on
            for status in (_STATUSES.get(word, range(0)) if isinstance(word, str) else (word,))
        )
        # The default only looks for an endpoint that is there: what fails is not asked again.
        default = Retries()
        self.same_endpoint = (spec.attempts, spec.retry_on) != (default.attempts, default.retry_on)
        self.backoff = seconds(spec.backoff)
        self.max_body = size(spec.max_body)
        self.replays = self.on_reset or (spec.attempts > 0 and bool(self.statuses))

    def wanted(self, status: int) -> bool:
        """Whether an answer is one to be retried."""
        return status in self.statuses

    def wait(self, attempts: int) -> float:
        """Seconds before another attempt, after so many: "full jitter", as Envoy has it."""
        most = self.backoff * min(2.0**attempts - 1, _MOST_BACKOFF)
        return most * (random64() / 2**64)


class Overdue(Protocol):
    """Who is told that the time for all attempts is up."""

    def timed_out(self) -> object: ...


class Attempts(Timed):
    """Of one request."""

    def __init__(self, exchange: Overdue, policy: RetryPolicy, has_body: bool) -> None:
        self.exchange: Overdue | None = exchange
        self.policy = policy
        self.kept: list[bytes] | None = [] if has_body and policy.replays else None
        self.left = policy.max_body
        self.whole = not has_body or policy.replays
        self.started = False
        self.deadline = 0.0
        self.looked_at = 0

    def keep(self, data: bytes) -> int:
        """Some of the body, as it goes on the wire."""
        if self.kept is not None:
            self.left -= len(data)
            if self.left < 0:
                self.kept = None
                self.whole = False
            else:
                self.kept.append(data)
        return 0

    def start(self, wheel: Wheel, timeout: float) -> int:
        """The request is complete: the time for its answer begins, once."""
        if not self.started and timeout != 0.0:
            self.started = True
            wheel.arm(self, timeout)
        return 0

    def stop(self) -> int:
        """The request is over."""
        self.deadline = 0.0
        self.exchange = None
        self.kept = None
        return 0

    def expired(self) -> int:
        exchange = self.exchange
        if exchange is not None:
            exchange.timed_out()
        return 0
