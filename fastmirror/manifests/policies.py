"""Faults and cross-origin policies, of Istio's VirtualService and the Gateway API's HTTPRoute.

Invariant: as everywhere here, what cannot be said in the rules is refused by name, and a share that
is nothing is warned of.
"""

from __future__ import annotations

import re

from fastmirror.manifests.drafts import TOKEN, regex
from fastmirror.manifests.fields import Field
from fastmirror.rules.model import Abort, Cors, Delay, Fault, StringMatch

# A name or "*", which stands for all.
_A_NAME = "the name of a header or of a method"


def read_fault(at: Field) -> Fault:
    """``fault`` of an HTTPRoute of Istio's; without a percentage a fault is never injected."""
    at.knows("abort", "delay")
    delay, abort = at["delay"], at["abort"]
    found = Fault()
    if delay.given:
        delay.knows("fixedDelay", "percent", "percentage")
        seconds = delay["fixedDelay"].seconds()
        if not delay["fixedDelay"].given:
            delay["fixedDelay"].expected("a duration such as 5s")
        percent = _percent(delay)
        if seconds is not None and percent:
            found = Fault(delay=Delay(duration=seconds, percent=percent))
    if abort.given:
        abort.knows("httpStatus", "percentage")
        status = abort["httpStatus"].integer(200, 599)
        percent = _percent(abort)
        if percent:
            found = Fault(delay=found.delay, abort=Abort(status=status, percent=percent))
    return found


def _percent(at: Field) -> float:
    share = at["percentage"].knows("value")
    old = at["percent"]
    if share.given:
        percent = share["value"].number(0, 100, default=0)
    else:
        percent = float(old.integer(0, 100, default=0))
    if percent == 0:
        at.warn("never injected: the percentage is 0, or absent")
    return percent


def read_cors(at: Field) -> Cors | None:
    """``corsPolicy`` of an HTTPRoute of Istio's; None: it allows no origin."""
    at.knows(
        "allowCredentials", "allowHeaders", "allowMethods", "allowOrigin", "allowOrigins",
        "exposeHeaders", "maxAge", "unmatchedPreflights",
    )  # fmt: skip
    origins = [_origin(item) for item in at["allowOrigins"].items()]
    for item in at["allowOrigin"].items():  # deprecated; "*" is all
        text = item.text()
        origins.append(StringMatch(regex=".*") if text == "*" else StringMatch(exact=text))
    unmatched = at["unmatchedPreflights"]
    if unmatched.text("UNSPECIFIED") not in ("UNSPECIFIED", "FORWARD"):
        unmatched.unsupported("answering preflights of other origins")
    return _policy(at, [origin for origin in origins if origin], at["maxAge"].seconds())


def read_gateway_cors(at: Field) -> Cors | None:
    """``cors`` of a filter of the Gateway API's; None: it allows no origin."""
    at.knows(
        "allowCredentials",
        "allowHeaders",
        "allowMethods",
        "allowOrigins",
        "exposeHeaders",
        "maxAge",
    )
    origins = [_wildcard(item.text()) for item in at["allowOrigins"].items()]
    return _policy(at, origins, float(at["maxAge"].integer(1, 2**31 - 1, default=5)))


def _origin(item: Field) -> StringMatch | None:
    item.knows("exact", "prefix", "regex")
    given = [kind for kind in item.entries() if kind in ("exact", "prefix", "regex")]
    if len(given) != 1:
        item.expected("one of exact, prefix, regex")
        return None
    kind = given[0]
    text = regex(item[kind]) if kind == "regex" else item[kind].string()
    return StringMatch(**{kind: text})


def _wildcard(origin: str) -> StringMatch:
    """``*``, or an origin in whose host ``*`` stands for one label or more."""
    if origin == "*":
        return StringMatch(regex=".*")
    if "*" not in origin:
        return StringMatch(exact=origin)
    return StringMatch(regex="[A-Za-z0-9.-]+".join(map(re.escape, origin.split("*"))))


def _policy(at: Field, origins: list[StringMatch], max_age: float | None) -> Cors | None:
    names = {
        kind: [item.matching(TOKEN, _A_NAME) for item in at[kind].items()]
        for kind in ("allowHeaders", "allowMethods", "exposeHeaders")
    }
    credentials = at["allowCredentials"].boolean(False)
    if not origins:
        at.warn("allows no origin: has no effect")
        return None
    return Cors(
        allow_origins=origins,
        allow_methods=names["allowMethods"],
        allow_headers=names["allowHeaders"],
        expose_headers=names["exposeHeaders"],
        max_age=max_age,
        allow_credentials=credentials,
    )
