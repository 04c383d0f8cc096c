"""How the endpoints of one worker stand. Invariant: looking changes nothing, and is done a cluster
at a time, since there may be thousands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastmirror.counts import SIDES
from fastmirror.upstream.registry import ClusterSet, ClusterSource

# {service: {endpoint: {address: {side: [open, active], "ejected_by": [cluster]}}}}: an endpoint as
# the rules have it, the addresses that it stands for, connections that are open, and exchanges
# under way or waiting for one that is being opened.
Survey = dict[str, dict[str, dict[str, dict[str, list[Any]]]]]


def survey(clusters: ClusterSet, found: Survey) -> Iterator[None]:
    """Add the clusters of one side to what was found, one at each step."""
    side = SIDES[clusters.registry.side]
    seen: set[tuple[str, str, int]] = set()  # a pool may be in several clusters of a service
    for source in list(clusters.sources.values()):
        service = found.setdefault(source.spec.service, {})
        for endpoint, address, member in _members(source):
            row = service.setdefault(endpoint, {}).setdefault(address, {})
            ejected = row.setdefault("ejected_by", [])
            if member.health is not None and member.health.ejected:
                ejected.append(source.spec.name)
            if (source.spec.service, address, id(member.pool)) not in seen:
                seen.add((source.spec.service, address, id(member.pool)))
                numbers = row.setdefault(side, [0, 0])
                numbers[0] += member.pool.open
                numbers[1] += member.pool.active
        yield


def _members(source: ClusterSource) -> Iterator[tuple[str, str, Any]]:
    """Each endpoint with each of its addresses, and what the cluster has for it."""
    members = {member.pool.address: member for member in source.cluster.members}
    for endpoint, address in zip(source.spec.endpoints, source.addresses, strict=True):
        known = source.registry.resolver.addresses(address) if address.is_name else (address,)
        for each in known:
            if each in members:
                yield endpoint.address, str(each), members[each]


def merge(surveys: list[Survey], merged: Survey) -> Iterator[None]:
    """All workers' together, a service at each step; ``ejected_by`` has numbers of workers then."""
    for each in surveys:
        for service, endpoints in each.items():
            for endpoint, addresses in endpoints.items():
                rows = merged.setdefault(service, {}).setdefault(endpoint, {})
                for address, row in addresses.items():
                    _add(rows.setdefault(address, {}), row)
            yield


def _add(total: dict[str, Any], row: dict[str, list[Any]]) -> None:
    for name, value in row.items():
        if name == "ejected_by":
            ejected = total.setdefault(name, {})
            for cluster in value:
                ejected[cluster] = ejected.get(cluster, 0) + 1
        else:
            numbers = total.setdefault(name, [0] * len(value))
            total[name] = [one + more for one, more in zip(numbers, value, strict=True)]
