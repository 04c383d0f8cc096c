"""The admin listener: health, metrics, the rules, the mirror switch."""

from __future__ import annotations

import time

import pytest

from .client import blast, gets
from .conftest import StartNginx, StartProxy
from .documents import rules


class TestAdmin:
    def test_pages(self, start_proxy: StartProxy, start_nginx: StartNginx) -> None:
        proxy = start_proxy(rules({"v1": start_nginx("v1").port}))
        assert proxy.ask("/healthz")[0] == 200
        assert proxy.ask("/readyz")[0] == 200
        assert proxy.ask("/no-such-page")[0] == 404
        assert proxy.ask("/readyz", "POST")[0] == 405

    def test_metrics_names(self, start_proxy: StartProxy, start_nginx: StartNginx) -> None:
        v1, v2 = start_nginx("v1"), start_nginx("v2")
        proxy = start_proxy(rules({"v1": v1.port, "v2": v2.port}, {}))
        blast(proxy.port, gets(10))
        proxy.settled(10)
        metrics = proxy.metrics()
        names = metrics.names()
        for name in (
            "requests_total",
            "request_duration_seconds_bucket",
            "request_duration_seconds_count",
            "mirror_matched_total",
            "mirror_sent_total",
            "mirror_completed_total",
            "mirror_in_flight",
            "mirror_buffered_bytes",
            "mirror_duration_seconds_count",
            "build_info",
        ):
            assert f"fastmirror_{name}" in names
        assert metrics.total("fastmirror_request_duration_seconds_count") == 10
        assert metrics.total("fastmirror_mirror_duration_seconds_count") == 10
        assert metrics.total("fastmirror_mirror_buffered_bytes") == 0
        assert metrics.total("process_resident_memory_bytes") > 1 << 20

    def test_two_workers_add_up(self, start_proxy: StartProxy, start_nginx: StartNginx) -> None:
        v1, v2 = start_nginx("v1"), start_nginx("v2")
        document = rules({"v1": v1.port, "v2": v2.port}, {"percent": 50, "max_queued": 5000})
        proxy = start_proxy(document, "--workers", "2")
        count = 3000
        # Many connections, so that both have some whatever the kernel's choice.
        blast(proxy.port, gets(count), connections=64)
        counters = proxy.settled(count)
        assert counters.sent + counters.not_sampled == count
        assert len(v2.wait_for(counters.sent)) == counters.sent
        metrics = proxy.metrics()
        assert metrics.total("fastmirror_requests_total") == count
        assert metrics.total("fastmirror_request_duration_seconds_count") == count

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_off_and_on(
        self, start_proxy: StartProxy, start_nginx: StartNginx, workers: str
    ) -> None:
        v1, v2 = start_nginx("v1"), start_nginx("v2")
        proxy = start_proxy(rules({"v1": v1.port, "v2": v2.port}, {}), "--workers", workers)
        count, connections = 300, 32

        def run() -> None:
            assert set(blast(proxy.port, gets(count), connections=connections)) == {b"200 v1\n"}

        run()
        assert proxy.settled(count).sent == count
        assert proxy.ask("/mirror/off", "GET")[0] in (404, 405)
        assert proxy.ask("/mirror/off", "POST")[0] == 200
        time.sleep(0.1)  # what the contract grants the other workers to hear of it
        run()
        counters = proxy.settled(2 * count)
        assert (counters.sent, counters.dropped) == (count, {"off": count})
        assert proxy.ask("/mirror/on", "POST")[0] == 200
        time.sleep(0.1)
        run()
        counters = proxy.settled(3 * count)
        assert (counters.sent, counters.dropped) == (2 * count, {"off": count})
