"""Timeouts and retries of an HTTPRoute's rule.

Invariant: durations are the Gateway API's (GEP-2257: whole numbers of h, m, s and ms), and 0s is
no bound at all.
"""

from __future__ import annotations

import re

from fastmirror.manifests.fields import Field
from fastmirror.rules.model import Retries
from fastmirror.rules.units import seconds

_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")


def read_timeouts(at: Field) -> tuple[float | None, float | None]:
    """Of a request, and of each attempt to have a backend answer it."""
    at.knows("backendRequest", "request")
    whole, single = _duration(at["request"]), _duration(at["backendRequest"])
    if whole and single and single > whole:
        at["backendRequest"].problem("is longer than request, which bounds all attempts together")
    return whole, single


def read_retries(at: Field, per_try: float | None) -> Retries:
    """What is tried again: connections that fail (GEP-1731), and answers with one of the codes."""
    default = Retries(per_try_timeout=per_try)
    if not at.given:
        return default
    at.knows("attempts", "backoff", "codes")
    codes = [item.integer(400, 599) for item in at["codes"].items()]
    return Retries(
        attempts=at["attempts"].integer(0, 100, default=default.attempts),
        per_try_timeout=per_try,
        retry_on=["reset", *dict.fromkeys(codes)],
        backoff=_duration(at["backoff"]) or default.backoff,
    )


def _duration(at: Field) -> float | None:
    """Seconds; absent, or 0: None."""
    text = at.matching(_DURATION, "a duration such as 10s, 250ms or 1h30m", "")
    try:
        return seconds(text) or None if text else None
    except ValueError:
        at.expected("a duration of a year at most")
        return None
