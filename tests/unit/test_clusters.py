"""Clusters, pools and limits over reloads: what is kept, what begins anew, what is dropped."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from fastmirror.counts import SHADOW, UPSTREAM, ServiceCounts, SharedCounts, SlotMap, WorkerCounts
from fastmirror.rules.load import decode_rules
from fastmirror.rules.model import ConnectionPool
from fastmirror.timers import Wheel
from fastmirror.upstream.dial import Dialer
from fastmirror.upstream.flows import Flows
from fastmirror.upstream.limited import LimitedPool, Limits
from fastmirror.upstream.registry import ClusterSet, Registry
from fastmirror.upstream.resolve import Resolver

ONE = {"name": "one", "endpoints": ["10.0.0.1:80", "10.0.0.2:80"]}


class Reloads:
    """A registry, and the rules in force."""

    def __init__(self, loop: asyncio.AbstractEventLoop, side: int = UPSTREAM) -> None:
        self.shared, self.slots = SharedCounts(1), SlotMap()
        counts = WorkerCounts(self.shared.regions[0])
        wheel, resolver = Wheel(loop), Resolver(loop)
        dialer = Dialer(loop, Flows(self.shared.regions, 0), 0)
        self.registry = Registry(wheel, counts, resolver, side, 60.0, 1, self.slots, dialer)
        self.current: ClusterSet | None = None

    def apply(self, *services: dict) -> ClusterSet:
        lines = []
        for service in services:
            ends = [{"address": each, "labels": {"at": each}} for each in service["endpoints"]]
            subsets = {each: {"at": each} for each in service["endpoints"]}
            lines.append({**service, "endpoints": ends, "subsets": subsets})
        text = repr({"version": 1, "services": lines}).replace("'", '"').replace("True", "true")
        former = self.current
        made = ClusterSet(decode_rules(text.encode(), "r.json"), self.registry, former)
        for service in services:
            for subset in (None, *service["endpoints"]):
                made.get(service["name"], subset)
        if former is not None:
            former.close()
        self.current = made
        return made

    def pools(self) -> dict:
        return dict(self.registry.pools)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_clusters_share_a_pool_unless_they_have_limits(loop):
    reloads = Reloads(loop)
    limited = {**ONE, "name": "limited", "connection_pool": {"max_retries": 3}}
    made = reloads.apply(ONE, {**ONE, "name": "two"}, limited)
    shared = {member.pool for name in ("one", "two") for member in made.get(name, None).members}
    assert len(shared) == 2
    own = {member.pool for member in made.get("limited", None).members}
    subset = {member.pool for member in made.get("limited", "10.0.0.1:80").members}
    assert {type(each) for each in own | subset} == {LimitedPool}
    assert not own & shared
    assert not own & subset  # a subset is another cluster, as in Envoy
    limits = made.get("limited", None).limits
    assert limits is not None
    assert limits is not made.get("limited", "10.0.0.1:80").limits
    assert made.get("one", None).limits is None


def test_shadows_have_the_limits_of_their_mirrors_alone(loop):
    reloads = Reloads(loop, SHADOW)
    limited = {**ONE, "connection_pool": {"max_requests": 3}, "outlier_detection": {}}
    cluster = reloads.apply(limited).get("one", None)
    assert cluster.limits is None
    assert cluster.outliers is None


def test_what_has_not_changed_is_the_same_after_a_reload(loop):
    reloads = Reloads(loop)
    with_policy = {
        **ONE,
        "outlier_detection": {"interval": 1},
        "connection_pool": {"max_retries": 1},
    }
    first = reloads.apply(with_policy)
    kept, before = first.get("one", None), reloads.pools()
    again = reloads.apply({**with_policy, "hosts": ["other"]}, {"name": "two", "endpoints": []})
    assert again.get("one", None) is kept
    assert reloads.pools() == before
    other = reloads.apply({**with_policy, "balance": "random"})
    assert other.get("one", None) is not kept
    assert reloads.pools() == before  # with the connections that are in them
    assert other.get("one", None).limits is kept.limits
    changed = reloads.apply({**with_policy, "connection_pool": {"max_retries": 2}})
    assert not set(reloads.pools()) & set(before)
    assert changed.get("one", None).limits is not kept.limits


def test_what_no_rule_names_is_dropped(loop):
    reloads = Reloads(loop)
    limited = {**ONE, "connection_pool": {"max_requests": 3}}
    for _ in range(3):
        reloads.apply(limited, {**ONE, "name": "two", "outlier_detection": {}})
        reloads.apply({**limited, "endpoints": ["10.0.0.2:80"]})
        assert {str(address) for address, _ in reloads.pools()} == {"10.0.0.2:80"}
        assert len(reloads.pools()) == 2  # of the service, and of the subset
        reloads.apply()
        assert reloads.pools() == {}
    gc.collect()
    assert len(reloads.registry.limits) == 0


@pytest.mark.parametrize(
    ("limit", "workers", "share"), [(5, 1, 5), (5, 2, 3), (1, 8, 1), (8, 8, 1)]
)
def test_each_worker_has_its_share_of_a_limit(limit, workers, share):
    counts = ServiceCounts(SharedCounts(1).regions[0], SlotMap(), "one")
    spec = ConnectionPool(limit, limit, limit, limit)
    limits = Limits(spec, workers, counts)
    found = (limits.max_connections, limits.max_pending, limits.max_requests, limits.max_retries)
    assert found == (share,) * 4
