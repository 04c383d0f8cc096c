"""A VirtualService's retries into the rules' own."""

from __future__ import annotations

import pytest
from compiling import ROUTE, VS, WEB, compiled, refused

KEPT = [
    ("{attempts: 3}", {"attempts": 3}),
    # What the rules do anyway is not written.
    ("{attempts: 2, retryOn: connect-failure}", None),
    ("{attempts: 2, retryOn: 'connect-failure,refused-stream,unavailable,cancelled'}", None),
    ("{}", {"attempts": 0}),
    ("{attempts: 0}", {"attempts": 0}),
    ("{attempts: 3, perTryTimeout: 2s}", {"attempts": 3, "per_try_timeout": 2.0}),
    ("{attempts: 3, backoff: 100ms}", {"attempts": 3, "backoff": 0.1}),
    (
        "{attempts: 3, retryOn: '5xx, gateway-error,reset,reset-before-request,retriable-4xx'}",
        {
            "attempts": 3,
            "retry_on": ["5xx", "gateway-error", "reset", "reset-before-request", "retriable-4xx"],
        },
    ),
    ("{attempts: 1, retryOn: '503,retriable-status-codes,429,503'}",
     {"attempts": 1, "retry_on": [503, 429]}),
    ("{attempts: 1, retryOn: 'refused-stream,reset'}", {"attempts": 1, "retry_on": ["reset"]}),
    ("{attempts: 3, retryRemoteLocalities: true, retryIgnorePreviousHosts: true}",
     {"attempts": 3}),
]  # fmt: skip


def retries_of(rules):
    """Without the default condition, which an encoder always writes."""
    found = rules["routes"][0].get("retries")
    if found and found["retry_on"] == ["connect-failure"]:
        del found["retry_on"]
    return found


@pytest.mark.parametrize(("retries", "expected"), KEPT)
def test_retries(retries, expected):
    rules, warnings = compiled(WEB, VS + ROUTE + f"    retries: {retries}\n")
    assert warnings == []
    assert retries_of(rules) == expected


@pytest.mark.parametrize("words", ["unavailable", "http3-post-connect-failure,internal"])
def test_conditions_that_never_come_about_are_no_retries(words):
    rules, (warning,) = compiled(
        WEB, VS + ROUTE + f"    retries: {{attempts: 3, retryOn: '{words}'}}\n"
    )
    assert retries_of(rules) == {"attempts": 0}
    assert warning.startswith("f1.yaml:8: VirtualService/web: spec.http[0].retries.retryOn: ")


MISTAKES = [
    ("{attempts: -1}", "attempts", "from 0 to 100"),
    ("{attempts: 101}", "attempts", "from 0 to 100"),
    ("{attempts: '3'}", "attempts", "from 0 to 100"),
    ("{attempts: 1, perTryTimeout: 2}", "perTryTimeout", "duration"),
    ("{attempts: 1, perTryTimeout: 0s}", "perTryTimeout", "0.001s or more"),
    ("{attempts: 1, backoff: 0ms}", "backoff", "0.001s or more"),
    ("{attempts: 1, retryOn: sometimes}", "retryOn", "sometimes is none"),
    ("{attempts: 1, retryOn: '999'}", "retryOn", "999 is none"),
    ("{attempts: 1, retryOn: [5xx]}", "retryOn", "a string"),
    ("{attempts: 1, retryOn: envoy-ratelimited}", "retryOn", "envoy-ratelimited is not supported"),
    ("{attempts: 1, retryOn: 'reset,retriable-headers'}", "retryOn", "retriable-headers is not"),
    ("{attempts: 1, retryIgnorePreviousHosts: false}", "retryIgnorePreviousHosts", "not supported"),
    ("{attempts: 1, retryRemoteLocalities: 1}", "retryRemoteLocalities", "true or false"),
    ("{attempts: 1, budget: {}}", "budget", "not supported"),
    # As Istio refuses it.
    ("{attempts: 0, retryOn: 5xx}", "retryOn", "nothing is tried again"),
    ("{perTryTimeout: 1s}", "perTryTimeout", "nothing is tried again"),
]


@pytest.mark.parametrize(("retries", "path", "words"), MISTAKES)
def test_what_are_no_retries(retries, path, words):
    (problem,) = refused(WEB, VS + ROUTE + f"    retries: {retries}\n")
    assert problem.startswith(f"f1.yaml:8: VirtualService/web: spec.http[0].retries.{path}: ")
    assert words in problem
