"""How a proxy ends: by signals, by the admin listener, and in its time."""

from __future__ import annotations

import signal

import pytest

from .backends import Backends, Connection
from .client import Client, request_bytes
from .conftest import StartNginx, StartProxy
from .documents import rules
from .procs import Proxy, is_open, wait_until


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_drains(
        self, start_proxy: StartProxy, backends: Backends, number: signal.Signals, workers: str
    ) -> None:
        gate = backends.gate()

        async def waits(conn: Connection) -> None:
            while await conn.request():
                await gate.passed()
                await conn.answer(b"done\n")

        primary = backends.start(waits)
        proxy = start_proxy(rules({"v1": primary.port}), "--drain-time", "20", "--workers", workers)
        with Client(proxy.port) as idle, Client(proxy.port) as client:
            client.send(request_bytes("GET", "/"))
            wait_until(lambda: primary.requests, "the request upstream")
            proxy.signal(number)
            wait_until(lambda: not is_open(proxy.port), "no more connections taken")
            assert proxy.popen.poll() is None
            assert self.readiness(proxy) in (503, None)
            gate.open()
            response = client.response()
            assert response.body == b"done\n"
            assert client.at_end()
            assert idle.at_end()
        assert proxy.wait() == 0

    @staticmethod
    def readiness(proxy: Proxy) -> int | None:
        try:
            return proxy.ask("/readyz")[0]
        except ConnectionError:
            return None

    def test_not_forever(self, start_proxy: StartProxy, backends: Backends) -> None:
        async def never(conn: Connection) -> None:
            while await conn.receive():
                pass

        primary = backends.start(never)
        proxy = start_proxy(rules({"v1": primary.port}), "--drain-time", "0.3")
        with Client(proxy.port) as client:
            client.send(request_bytes("GET", "/"))
            wait_until(lambda: primary.accepted, "the request upstream")
            proxy.signal(signal.SIGTERM)
            assert proxy.wait(10) == 0

    def test_second_signal_ends_at_once(self, start_proxy: StartProxy, backends: Backends) -> None:
        async def never(conn: Connection) -> None:
            while await conn.receive():
                pass

        primary = backends.start(never)
        proxy = start_proxy(rules({"v1": primary.port}), "--drain-time", "600")
        with Client(proxy.port) as client:
            client.send(request_bytes("GET", "/"))
            wait_until(lambda: primary.accepted, "the request upstream")
            proxy.signal(signal.SIGTERM)
            wait_until(lambda: not is_open(proxy.port), "draining")
            assert proxy.popen.poll() is None
            proxy.signal(signal.SIGTERM)
            assert proxy.wait(10) in (0, 1)  # would be ten minutes otherwise
            proxy.expected_exit = (0, 1)  # it was told not to finish what it had begun

    def test_post_drain(self, start_proxy: StartProxy, start_nginx: StartNginx) -> None:
        proxy = start_proxy(rules({"v1": start_nginx("v1").port}))
        assert proxy.ask("/drain", "GET")[0] in (404, 405)
        assert proxy.ask("/drain", "POST")[0] == 200
        assert proxy.wait() == 0
