"""HTTPRetry: when a VirtualService's rule has a request sent again.

Invariant: a condition that is dropped is one that cannot come about over HTTP/1.1; every other one
is kept, or refused by name.
"""

from __future__ import annotations

from typing import get_args

from fastmirror.manifests.fields import Field
from fastmirror.rules.model import Retries, RetryOn, Status

_KEPT: dict[str, RetryOn] = {word: word for word in get_args(RetryOn)}
# Of HTTP/2 and 3 and of gRPC; and what stands for the numbers, which are given beside it.
_NEVER = frozenset((
    "cancelled", "deadline-exceeded", "http3-post-connect-failure", "internal", "refused-stream",
    "resource-exhausted", "retriable-status-codes", "unavailable",
))  # fmt: skip
_UNSUPPORTED = ("envoy-ratelimited", "retriable-headers")
_OFF = Retries(attempts=0)


def read_retries(at: Field) -> Retries:
    """The retries of a rule. Without any, Istio's own hold, which over HTTP/1.1 are the rules'
    default: two, after a failure to connect (since Istio 1.24, no more after an answer of 503).
    """
    if not at.given:
        return Retries()
    # Localities are not known here, and a retry goes to another endpoint, wherever that is.
    at.knows(
        "attempts", "backoff", "perTryTimeout", "retryIgnorePreviousHosts", "retryOn",
        "retryRemoteLocalities",
    )  # fmt: skip
    attempts = at["attempts"].integer(0, 100, default=0)
    timeout = at["perTryTimeout"].seconds(least=0.001)
    backoff = at["backoff"].seconds(least=0.001)
    retry_on = _read_retry_on(at["retryOn"])
    at["retryRemoteLocalities"].boolean(False)
    if not at["retryIgnorePreviousHosts"].boolean(True):
        at["retryIgnorePreviousHosts"].unsupported("a retry at the same endpoint")
    if attempts == 0:
        for name in ("perTryTimeout", "retryOn", "retryRemoteLocalities"):
            if at[name].given and not at["attempts"].value:
                at[name].problem("attempts is 0, or absent: nothing is tried again")
        return _OFF
    if at["retryOn"].value and not retry_on:
        at["retryOn"].warn("nothing of this comes about over HTTP/1.1: no retries")
        return _OFF
    default = Retries()
    return Retries(
        attempts=attempts,
        per_try_timeout=timeout,
        retry_on=retry_on or default.retry_on,
        backoff=backoff or default.backoff,
    )


def _read_retry_on(at: Field) -> list[RetryOn | Status]:
    found: list[RetryOn | Status] = []
    for word in map(str.strip, at.string("").split(",")):
        if word in _KEPT:
            found.append(_KEPT[word])
        elif word.isdecimal() and len(word) == 3 and 200 <= int(word) <= 599:
            found.append(int(word))
        elif word in _UNSUPPORTED:
            at.unsupported(word)
        elif word and word not in _NEVER:
            at.expected(f"conditions of retries ({word} is none)")
    return list(dict.fromkeys(found))
