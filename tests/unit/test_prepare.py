"""What is prepared and not put in force leaves no trace; what is takes over what stays the same."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import msgspec
import pytest

from fastmirror.counts import SharedCounts, SlotMap
from fastmirror.options import Options
from fastmirror.proxy.context import RouteAction
from fastmirror.rules.load import decode_rules
from fastmirror.rules.model import Rules
from fastmirror.worker import Worker, undisturbed

OLD, NEW = "127.0.0.1:1", "localhost:2"


def rules(address: str, routes: int = 1) -> Rules:
    mirror = {"service": "shadow", "name": "m"}
    document = {
        "version": 1,
        "services": [
            {"name": "app", "endpoints": [{"address": address}]},
            {"name": "shadow", "endpoints": [{"address": "127.0.0.1:3"}]},
        ],
        "routes": [
            {"name": f"r{at}", "to": [{"service": "app"}], "mirrors": [mirror]}
            for at in range(routes)
        ],
    }
    return decode_rules(msgspec.msgpack.encode(document), "r")


def state(worker: Worker) -> tuple[Any, ...]:
    """All that is in force, by identity."""
    runtime = worker.runtime
    mirrors = [(mirror, mirror.cluster) for _, _, mirror in runtime.mirrors.values()]
    pools = [*runtime.primaries.pools.items(), *runtime.shadows.pools.items()]
    watched = sorted(map(str, runtime.resolver.listeners))
    return worker.context.table, mirrors, pools, watched, runtime.clusters, runtime.former


async def started() -> Worker:
    worker = Worker(Options(), SharedCounts(1), 0, SlotMap())
    await worker.prepare(rules(OLD))
    worker.commit()
    return worker


def test_what_is_discarded_leaves_no_trace() -> None:
    async def run() -> None:
        worker = await started()
        before = state(worker)
        await worker.prepare(rules(NEW))
        assert state(worker) != before  # its names are asked for, its addresses have pools
        worker.discard()
        assert state(worker) == before
        await worker.close()

    asyncio.run(run())


def test_what_cannot_be_prepared_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last route fails, when all before it were built."""

    def action(route: Any, *more: Any) -> RouteAction:
        if route.name == "r9":
            raise ZeroDivisionError
        return RouteAction(route, *more)

    async def run() -> None:
        worker = await started()
        before = state(worker)
        monkeypatch.setattr("fastmirror.runtime.RouteAction", action)
        with pytest.raises(ZeroDivisionError):
            await worker.prepare(rules(NEW, 10))
        assert state(worker) == before
        await worker.prepare(rules(NEW, 9))
        worker.commit()
        assert len(worker.runtime.mirrors) == 9
        await worker.close()

    asyncio.run(run())


def test_a_mirror_that_stays_keeps_its_cluster() -> None:
    async def run() -> None:
        worker = await started()
        [(mirror, cluster)] = state(worker)[1]
        await worker.prepare(rules(NEW))
        worker.commit()
        assert state(worker)[1] == [(mirror, cluster)]
        assert len(cluster.members) == 1
        await worker.close()

    asyncio.run(run())


def test_the_loop_has_its_turns_meanwhile() -> None:
    async def run() -> None:
        worker = await started()
        turns = 0
        preparing = asyncio.ensure_future(worker.prepare(rules(OLD, 3000)))
        while not preparing.done():
            turns += 1
            await asyncio.sleep(0)
        await preparing
        assert turns > 20
        await worker.close()

    asyncio.run(run())


def test_undisturbed_sets_all_back() -> None:
    interval = sys.getswitchinterval()
    seen = []

    def fails() -> None:
        with undisturbed():
            seen.append(gc.isenabled())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert seen == [False]
    assert gc.isenabled()
    assert sys.getswitchinterval() == interval
    gc.unfreeze()
