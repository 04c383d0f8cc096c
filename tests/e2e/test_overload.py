"""A worker whose core is nearly used up makes fewer copies, and all again when it is not."""

from __future__ import annotations

from collections import Counter

import pytest

from .client import Client, blast, gets, request_bytes
from .conftest import StartNginx, StartProxy
from .documents import rules
from .procs import Proxy, wait_until

# A client that goes as fast as it can brings the proxy above it on any machine, and what the proxy
# does at rest is far below.
LIMIT = "10"
UPLOADS = [request_bytes("POST", f"/u/{at}", (), bytes(20_000)) for at in range(100)]
ROUND = gets(300) + UPLOADS


def admitted(proxy: Proxy) -> float:
    return proxy.metrics().total("fastmirror_mirror_admitted_share")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_copies_give_way_and_come_back(
    start_proxy: StartProxy, start_nginx: StartNginx, workers: str
) -> None:
    v1, v2 = start_nginx("v1"), start_nginx("v2")
    proxy = start_proxy(
        rules({"v1": v1.port, "v2": v2.port}, {}), "--mirror-max-load", LIMIT, "--workers", workers
    )
    assert admitted(proxy) == 1.0
    asked = 0

    def overloaded() -> bool:
        nonlocal asked
        answers = Counter(blast(proxy.port, ROUND, connections=32))
        assert answers == {b"200 v1\n": len(ROUND)}
        asked += len(ROUND)
        return proxy.metrics().counters().dropped.get("overload", 0) > 100

    wait_until(overloaded, "copies dropped", timeout=60)
    counters = proxy.settled(asked)  # and adds up
    assert set(counters.dropped) <= {"overload", "queue_full", "bytes_full"}
    assert set(counters.completed) <= {"2xx"}
    assert counters.failed == {}

    wait_until(lambda: admitted(proxy) == 1.0, "all copies admitted again", timeout=60, every=0.2)
    with Client(proxy.port) as client:
        for at in range(20):
            assert client.get(f"/idle/{at}").status == 200
    idle = proxy.settled(asked + 20)
    assert idle.dropped == counters.dropped
    assert idle.sent == counters.sent + 20


def test_off_every_copy_is_made(start_proxy: StartProxy, start_nginx: StartNginx) -> None:
    v1, v2 = start_nginx("v1"), start_nginx("v2")
    proxy = start_proxy(rules({"v1": v1.port, "v2": v2.port}, {"max_queued": 100_000}))
    assert Counter(blast(proxy.port, gets(2000), connections=32)) == {b"200 v1\n": 2000}
    assert proxy.settled(2000).dropped == {}
    assert admitted(proxy) == 1.0
