"""Where a VirtualService's rule sends requests, and their copies.

Invariant: a mirror goes somewhere else than the requests themselves: that each is sent twice to
where all of them go cannot have been meant, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastmirror.manifests.addresses import is_host
from fastmirror.manifests.catalog import Catalog, Target
from fastmirror.manifests.drafts import A_NAME, NAME, add_mirror, given, is_all
from fastmirror.manifests.fields import Field
from fastmirror.manifests.istio_actions import read_headers
from fastmirror.rules.model import Destination, Mirror


def read_destinations(route: Field, catalog: Catalog) -> list[Destination]:
    items = route.items()
    destinations = []
    for item in items:
        item.knows("destination", "headers", "weight")
        # A weight that is absent among several is 0; one destination takes all, whatever it says.
        weight = item["weight"].integer(0, 1_000_000, default=0)
        headers = read_headers(item["headers"])
        if target := _target(item["destination"], catalog):
            weight = weight if len(items) > 1 else 1
            destinations.append(
                Destination(target.service, target.subset, weight, **given(headers=headers))
            )
    if destinations and not any(destination.weight for destination in destinations):
        route.problem("the weights add up to 0: nothing would be sent anywhere")
    return destinations


def _target(at: Field, catalog: Catalog) -> Target | None:
    if not at.given:
        at.expected("a destination with a host")
        return None
    at.knows("host", "port", "subset")
    host = at["host"].text()
    subset = at["subset"].matching(NAME, A_NAME, "") or None
    number = at["port"].knows("number")["number"]
    port = number.integer(1, 65535) if at["port"].given else None
    if host and (not is_host(host) or "*" in host):
        at["host"].expected("a host name without a port")
        return None
    if not host:
        return None
    host = catalog.canonical(host, at.origin.namespace)
    if why := catalog.no_address(host):
        at["host"].problem(why)
        return None
    return catalog.target(host, port, subset, at)


def read_mirrors(rule: Field, to: Sequence[Destination], catalog: Catalog) -> list[Mirror]:
    """The mirrors of a rule whose requests go ``to`` these."""
    mirrors: list[Mirror] = []
    single, several = rule["mirror"], rule["mirrors"].items()
    # One of them may be a delegate's, and the other the root's.
    if single.given and several and single.origin is rule["mirrors"].origin:
        rule["mirrors"].problem("mirror and mirrors cannot be used together")
    wanted = [(single, _old_percent(rule))] if single.given else []
    if not single.given:
        _old_percent(rule)
    for item in several:
        item.knows("destination", "percentage")
        wanted.append((item["destination"], _percent(item["percentage"])))
    for at, percent in wanted:
        target = _target(at, catalog)
        if target and is_all(to, target):
            at.problem("is where the requests go themselves: each would be sent there twice")
        elif target:
            add_mirror(mirrors, target, percent)
    return mirrors


def _old_percent(rule: Field) -> float:
    """mirrorPercentage, or what is deprecated: mirrorPercent, a whole number."""
    old = rule["mirror_percent"] if rule["mirror_percent"].given else rule["mirrorPercent"]
    new = rule["mirrorPercentage"]
    percent = float(old.integer(0, 100, default=100))
    if new.given:
        if old.given:
            old.warn("deprecated, and ignored beside mirrorPercentage")
        percent = _percent(new)
    elif old.given and percent == 0:
        old.warn("0: nothing is mirrored")
    for at in (old, new):
        if at.given and not rule["mirror"].given:
            at.warn("has no effect without mirror")
    return percent


def _percent(at: Field) -> float:
    """Absent: 100; but an empty Percent is 0, as its value's default is."""
    at.knows("value")
    percent = at["value"].number(0, 100, default=0 if at.given else 100)
    if percent == 0:
        at.warn("0: nothing is mirrored")
    return percent
