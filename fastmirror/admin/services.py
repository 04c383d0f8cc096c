"""``GET /services``: the services of the rules in force, and how their endpoints stand.

Invariant: every service and endpoint of the rules is listed, in their order, whatever the workers
know of it; connections and ejections are those of all workers at about the same moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fastmirror.counts import SHADOW, SIDES, UPSTREAM
from fastmirror.rules.model import Rules
from fastmirror.upstream.survey import Survey

HEALTHY, EJECTED, UNRESOLVED = "healthy", "ejected", "unresolved"


def services(rules: Rules, found: Survey, workers: int) -> Iterator[bytes]:
    """The document as JSON, a service at each step."""
    separator = b'{"workers":%d,"services":[' % workers
    for service in rules.services:
        known = found.get(service.name, {})
        endpoints = []
        for endpoint in service.endpoints:
            addresses = [_address(*each) for each in known.get(endpoint.address, {}).items()]
            well = [each for each in addresses if each["health"] == HEALTHY]
            endpoints.append(
                {
                    "address": endpoint.address,
                    "labels": endpoint.labels,
                    "weight": endpoint.weight,
                    "health": HEALTHY if well else EJECTED if addresses else UNRESOLVED,
                    "addresses": addresses,
                }
            )
        one = {
            "service": service.name,
            "hosts": service.hosts or [service.name],
            "balance": service.balance,
            "endpoints": endpoints,
        }
        yield separator + msgspec.json.encode(one)
        separator = b","
    yield b"]}" if rules.services else separator + b"]}"


def _address(address: str, row: dict[str, Any]) -> dict[str, Any]:
    sides = {"primary": SIDES[UPSTREAM], "shadow": SIDES[SHADOW]}
    return {
        "address": address,
        "health": EJECTED if row["ejected_by"] else HEALTHY,
        "ejected_by": row["ejected_by"],
        "connections": {
            name: dict(zip(("open", "active"), row.get(side, (0, 0)), strict=True))
            for name, side in sides.items()
        },
    }
