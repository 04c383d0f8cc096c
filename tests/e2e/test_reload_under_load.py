"""Reloads each 100 ms while requests come: none fails, and each is wholly of one rule set."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
import uvloop

from .conftest import StartProxy
from .procs import Proxy, wait_until
from .two_sets import SETS, Traffic, document

SECONDS = float(os.environ.get("E2E_RELOAD_SECONDS", "4"))
KINDS = ["kept"] * 24 + ["new"] * 6 + ["slow"] * 4 + ["upload"] * 4


def counted(proxy: Proxy) -> dict[tuple[str, ...], float]:
    """Every counter that only ever rises."""
    return {
        (name, *sorted(labels.values())): value
        for name, labels, value in proxy.metrics().samples
        if name.startswith("fastmirror_") and name.endswith(("_total", "_count", "_bucket"))
    }


async def alternate(proxy: Proxy, traffic: Traffic, reload: bool) -> int:
    """Another rule set each 100 ms, for SECONDS; how many reloads were asked for."""
    before: dict[tuple[str, ...], float] = {}
    count, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        count += 1
        proxy.write_rules(document(SETS[count % 2], traffic.ports))
        if reload:
            status, text = await asyncio.to_thread(proxy.ask, "/rules/reload", "POST")
            assert status == 200, text
        await asyncio.sleep(0.1)
        if count % 5 == 0:
            now = await asyncio.to_thread(counted, proxy)
            fallen = {key: (was, now.get(key)) for key, was in before.items() if now[key] < was}
            assert not fallen
            before = now
    return count


@pytest.mark.parametrize("reload", [True, False], ids=["asked", "watched"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_request_fails_and_none_is_of_two_sets(
    start_proxy: StartProxy, workers: str, reload: bool
) -> None:
    async def run() -> tuple[Proxy, Traffic, int]:
        traffic = Traffic()
        await traffic.start()
        rules = document("A", traffic.ports)
        proxy: Proxy = await asyncio.to_thread(start_proxy, rules, "--workers", workers)
        senders = [asyncio.ensure_future(traffic.send(proxy.port, kind)) for kind in KINDS]
        try:
            reloads = await alternate(proxy, traffic, reload)
        finally:
            traffic.over = True
            await asyncio.gather(*senders)
        assert not traffic.problems, traffic.problems[:5]
        for route, requests in traffic.routes.items():
            await asyncio.to_thread(proxy.settled, requests, route=route, mirror="m")
        await traffic.stop()
        return proxy, traffic, reloads

    proxy, traffic, reloads = uvloop.run(run())
    assert min(traffic.answers[each] for each in SETS) > 0
    metrics = proxy.metrics()
    done = metrics.total("fastmirror_rules_reloads_total", result="success")
    assert metrics.total("fastmirror_rules_reloads_total", result="failure") == 0
    assert done >= (reloads * 0.9 if reload else 2)
    sent = 0
    for route, requests in traffic.routes.items():
        counters = metrics.counters(route, "m")
        counters.assert_adds_up()
        assert not counters.failed
        assert metrics.total("fastmirror_requests_total", route=route, code_class="2xx") == requests
        sent += counters.sent
    assert sum(traffic.copies.values()) == sent
    print(f"{sum(traffic.answers.values()) / SECONDS:,.0f} requests a second, {done:.0f} reloads")


def open_files(proxy: Proxy) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in proxy.tree())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_600_reloads_leave_nothing_behind(start_proxy: StartProxy, workers: str) -> None:
    async def some_requests(traffic: Traffic, proxy: Proxy) -> None:
        senders = [
            asyncio.ensure_future(traffic.send(proxy.port, kind)) for kind in ("kept", "new")
        ]
        await asyncio.sleep(0.02)
        traffic.over = True
        await asyncio.gather(*senders)
        traffic.over = False

    async def run() -> None:
        traffic = Traffic()
        await traffic.start()
        documents = [document(tag, traffic.ports) for tag in SETS]
        for each in documents:  # so many routes that a set left behind would be seen
            each["routes"] = [
                {**each["routes"][-1], "name": f"r{at}", "hosts": [f"h{at}.test"]}
                for at in range(50)
            ] + each["routes"]
        proxy = await asyncio.to_thread(start_proxy, documents[0], "--workers", workers)
        seen = []
        for count in range(1, 601):
            proxy.write_rules(documents[count % 2])
            status, text = await asyncio.to_thread(proxy.ask, "/rules/reload", "POST")
            assert status == 200, text
            if count % 20 == 0:
                await some_requests(traffic, proxy)
            if count in (100, 600):
                await asyncio.to_thread(
                    wait_until, lambda: proxy.metrics().total("fastmirror_connections") < 10, "idle"
                )
                seen.append((proxy.rss(), open_files(proxy)))
        assert not traffic.problems, traffic.problems[:5]
        (memory, files), (memory_after, files_after) = seen
        print(f"RSS {memory >> 10} KiB after 100 reloads, {memory_after >> 10} after 600")
        assert memory_after - memory < (4 << 20) * int(workers)
        assert abs(files_after - files) <= 8
        await traffic.stop()

    uvloop.run(run())
