"""What no HTTPRoute says and yet holds: where a listener's routes end, the ports of a service that
no route is for, and which matches never run.

Invariant: nothing here takes a request that a route of its listener or service would take.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from fastmirror.manifests.catalog import Catalog
from fastmirror.manifests.drafts import Actions, Draft
from fastmirror.manifests.gateway_isolation import Isolation
from fastmirror.manifests.gateway_listeners import EVERY_HOST
from fastmirror.manifests.gateway_parents import ParentService
from fastmirror.rules.model import Destination, DirectResponse, Match

ROUTE, REST, NO_ROUTE = 1, 2, 3  # how ranks begin


def fences(isolation: Isolation, drafts: Sequence[Draft]) -> Iterator[Draft]:
    """What a listener's routes do not take is not for those of others."""
    whole = {
        (draft.port, host)
        for draft in drafts
        if draft.matches == [Match(port=draft.port)]
        for host in draft.hosts
    }
    for (port, hostname), listener in isolation.fences.items():
        if (port, hostname) not in whole:
            yield _no_route(f"{listener.gateway}/{listener.name}", hostname, port)
    for port in isolation.ports:
        yield _no_route(f"port/{port}", EVERY_HOST, port)


def _no_route(name: str, hostname: str, port: int | None) -> Draft:
    actions = Actions(f"no-route/{name}", [], direct_response=DirectResponse(404))
    return Draft([hostname], [Match(port=port)], actions, (NO_ROUTE,), hostname, port)


def rest_of_services(parents: Sequence[ParentService], catalog: Catalog) -> Iterator[Draft]:
    """Where routes are for some ports of a service, the default policy for the others."""
    ports: dict[str, set[int | None]] = {}
    for service in parents:
        ports.setdefault(service.host, set()).add(service.port)
    for service in {parent.host: parent for parent in parents}.values():
        known = catalog.hosts.get(service.host)
        for port in known.ports if known and None not in ports[service.host] else ():
            if port.number not in ports[service.host]:
                target = catalog.target(service.host, port.number, None, service.at)
                to = [Destination(target.service)]
                actions = Actions(f"default/{service.host}:{port.number}", to)
                yield Draft([service.host], [Match(port=port.number)], actions, (REST, port.number))


def warn_of_hidden(drafts: Sequence[Draft]) -> None:
    """Of two drafts for one host the later is hidden if it matches the same, and only then: what
    matches less comes first.
    """
    taken: dict[tuple[object, ...], Draft] = {}
    reached: set[int] = set()
    hidden: dict[int, tuple[Draft, Draft]] = {}
    for draft in sorted(drafts, key=lambda draft: draft.place):
        match = msgspec.json.encode(draft.matches, order="sorted")
        for host in draft.hosts:
            first = taken.setdefault((draft.port, draft.listener, host, match), draft)
            if first.actions is draft.actions:
                reached.add(id(draft.at))
            else:
                hidden.setdefault(id(draft.at), (draft, first))
    for at, (draft, first) in hidden.items():
        if at not in reached and draft.at:
            draft.at.warn(f"never runs: {first.actions.name} takes every request that it matches")
