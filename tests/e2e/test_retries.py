"""A request that fails is sent again: how often, on what, with which body; and the copy is one."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import h11
import pytest

from .backends import (
    Backend,
    Backends,
    Connection,
    echo,
    never_answers,
    resets_after_head,
    resets_mid_body,
)
from .client import Client, request_bytes
from .conftest import StartProxy
from .documents import rules
from .procs import free_port

Handler = Callable[[Connection], Awaitable[None]]


def first(count: int, fault: Handler, then: Handler = echo) -> Handler:
    """So many connections meet ``fault``."""
    met = 0

    async def handler(conn: Connection) -> None:
        nonlocal met
        met += 1
        await (fault if met <= count else then)(conn)

    return handler


def answers(*statuses: int) -> Handler:
    """These in turn, over all connections, and then as ``echo``."""
    left = list(statuses)

    async def handler(conn: Connection) -> None:
        while request := await conn.request():
            status = left.pop(0) if left else 200
            await conn.answer(request.describe(), status)

    return handler


class World:
    """A proxy that logs, a primary of one or more endpoints, and a shadow."""

    def __init__(self, start_proxy: StartProxy, backends: Backends, *handlers: Handler) -> None:
        self.start_proxy = start_proxy
        self.shadow = backends.start(echo)
        self.primaries = [backends.start(handler) for handler in handlers]

    def route(self, *ports: int, **route: Any) -> None:
        document = rules({"v2": self.shadow.port}, {}, to="v1", **route)
        service = document["services"][0]
        for port in ports or [primary.port for primary in self.primaries]:
            at = {"address": f"127.0.0.1:{port}", "labels": {"version": "v1"}}
            service["endpoints"].append(at)
        service["subsets"]["v1"] = {"version": "v1"}
        self.proxy = self.start_proxy(document, "--access-log", "-", "--access-log-format", "json")

    def log(self, count: int = 1) -> list[dict[str, Any]]:
        """The clients' lines, once there are so many."""
        deadline = time.monotonic() + 10
        while True:
            lines = [json.loads(line) for line in self.proxy.stdout.splitlines()]
            lines = [line for line in lines if "mirror" not in line]
            if len(lines) >= count or time.monotonic() > deadline:
                return lines
            time.sleep(0.05)

    def retries(self) -> int:
        return int(self.proxy.metrics().total("fastmirror_retries_total", route="app"))


@pytest.fixture
def world(start_proxy: StartProxy, backends: Backends) -> Callable[..., World]:
    return lambda *handlers: World(start_proxy, backends, *handlers)


def bodies(backend: Backend) -> list[tuple[int, str]]:
    return [(request.length, request.sha256) for request in backend.requests]


class TestAnswers:
    @pytest.mark.parametrize(
        ("retry_on", "status"),
        [([503], 503), (["5xx"], 500), (["gateway-error"], 502), (["retriable-4xx"], 409)],
    )
    def test_a_bad_one_is_asked_for_again(self, world, retry_on, status) -> None:
        here = world(answers(status, status))
        here.route(retries={"retry_on": retry_on, "backoff": 0.001})
        with Client(here.proxy.port) as client:
            assert client.get("/").status == 200
            assert client.get("/again").status == 200
        assert here.retries() == 2
        here.proxy.settled(2)
        assert len(here.shadow.requests) == 2
        assert [line["response_flags"] for line in here.log(2)] == ["-", "-"]

    @pytest.mark.parametrize(
        ("retry_on", "status"), [([503], 500), (["gateway-error"], 500), (["5xx"], 404)]
    )
    def test_another_is_passed_on(self, world, retry_on, status) -> None:
        here = world(answers(status))
        here.route(retries={"retry_on": retry_on})
        with Client(here.proxy.port) as client:
            assert client.get("/").status == status
        assert here.retries() == 0

    def test_the_last_one_is_the_clients(self, world) -> None:
        here = world(answers(503, 503, 503, 503))
        here.route(retries={"retry_on": ["5xx"], "attempts": 2, "backoff": 0.001})
        with Client(here.proxy.port) as client:
            answer = client.get("/")
        assert answer.status == 503
        assert json.loads(answer.body)["target"] == "/"
        assert len(here.primaries[0].requests) == 3
        [line] = here.log()
        assert line["response_flags"] == "URX"
        assert here.retries() == 2

    def test_another_endpoint_is_asked_where_there_is_one(self, world) -> None:
        here = world(answers(*[503] * 9), answers(*[503] * 9), echo)
        here.route(retries={"retry_on": [503], "attempts": 9, "backoff": 0.001})
        with Client(here.proxy.port) as client:
            for _ in range(6):
                assert client.get("/").status == 200

    def test_in_the_order_of_the_requests(self, world) -> None:
        here = world(answers(503, 503))
        here.route(retries={"retry_on": [503], "backoff": 0.001})
        targets = [f"/{number}" for number in range(5)]
        with Client(here.proxy.port) as client:
            client.send(b"".join(request_bytes("GET", target) for target in targets))
            assert [json.loads(client.response("GET").body)["target"] for _ in targets] == targets
        here.proxy.settled(5)


class TestResets:
    @pytest.mark.parametrize("retry_on", ["reset", "gateway-error", "5xx"])
    def test_a_request_is_sent_again(self, world, retry_on) -> None:
        here = world(first(2, resets_after_head))
        here.route(retries={"retry_on": [retry_on], "backoff": 0.001})
        with Client(here.proxy.port) as client:
            assert client.request("POST", "/").status == 200
        assert here.retries() == 2

    @pytest.mark.parametrize("retry_on", ["connect-failure", "reset-before-request", 503])
    def test_not_for_another_reason(self, world, retry_on) -> None:
        here = world(first(1, resets_after_head))
        here.route(retries={"retry_on": [retry_on]})
        with Client(here.proxy.port) as client:
            assert client.request("POST", "/").status == 503
        [line] = here.log()
        assert line["response_flags"] == "UC"
        assert here.retries() == 0

    @pytest.mark.parametrize("body", [b"x" * 20_000, [b"one", b"two" * 5_000, b"three"]])
    def test_with_its_body(self, world, body) -> None:
        here = world(first(2, resets_after_head))
        here.route(retries={"retry_on": ["reset"], "backoff": 0.001})
        with Client(here.proxy.port) as client:
            trailers = [("x-end", "yes")] if isinstance(body, list) else []
            assert client.request("POST", "/", [], body, trailers=trailers).status == 200
        here.proxy.settled(1)
        [request] = here.primaries[0].requests
        assert (bodies(here.primaries[0])) == bodies(here.shadow)
        assert request.length == len(body if isinstance(body, bytes) else b"".join(body))
        assert request.trailers == trailers

    def test_unless_it_is_too_large_to_be_kept(self, world) -> None:
        here = world(first(1, resets_after_head))
        here.route(retries={"retry_on": ["reset"], "max_body": 1000})
        with Client(here.proxy.port) as client:
            assert client.request("POST", "/", [], b"x" * 1001).status == 503
        with Client(here.proxy.port) as client:
            assert client.request("POST", "/", [], b"x" * 1000).status == 200
        assert here.retries() == 0

    def test_an_answer_that_was_begun_is_cut(self, world) -> None:
        here = world(first(1, resets_mid_body))
        here.route(retries={"retry_on": ["5xx"]})
        with Client(here.proxy.port) as client, pytest.raises((OSError, h11.RemoteProtocolError)):
            client.get("/")
        assert here.retries() == 0

    def test_100_continue_is_said_once(self, world) -> None:
        async def continues(conn: Connection) -> None:
            await conn.head()
            await conn.inform(100)
            conn.reset()

        here = world(first(1, continues))
        here.route(retries={"retry_on": ["reset"], "backoff": 0.001})
        with Client(here.proxy.port) as client:
            answer = client.request("POST", "/", [("Expect", "100-continue")], b"body")
        assert answer.status == 200
        assert answer.informational == [100]

    def test_the_client_goes_away_between_two_attempts(self, world) -> None:
        here = world(first(99, resets_after_head))
        here.route(retries={"retry_on": ["reset"], "attempts": 99, "backoff": 0.2})
        with Client(here.proxy.port) as client:
            client.send(request_bytes("POST", "/", [], b"x"))
            deadline = time.monotonic() + 10
            while here.retries() < 1 and time.monotonic() < deadline:
                time.sleep(0.02)
            # With a FIN alone it could still be waiting for the answer.
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        [line] = here.log()
        assert line["response_flags"] == "DC"
        here.proxy.settled(1)


class TestConnections:
    def test_the_default_tries_other_endpoints(self, world) -> None:
        here = world(echo)
        here.route(free_port(), free_port(), here.primaries[0].port)
        with Client(here.proxy.port) as client:
            for _ in range(9):
                assert client.get("/").status == 200

    def test_no_attempts_no_other_endpoint(self, world) -> None:
        here = world(echo)
        here.route(free_port(), here.primaries[0].port, retries={"attempts": 0})
        with Client(here.proxy.port) as client:
            assert {client.get("/").status for _ in range(6)} == {200, 503}
        assert {line["response_flags"] for line in here.log(6)} == {"-", "UF"}

    def test_all_of_them_in_vain(self, world) -> None:
        here = world()
        here.route(free_port(), free_port(), free_port(), free_port())
        with Client(here.proxy.port) as client:
            assert client.get("/").status == 503
        [line] = here.log()
        assert line["response_flags"] == "UF,URX"
        assert here.retries() == 2

    def test_the_one_endpoint_again_where_that_is_asked_for(self, world) -> None:
        here = world()
        here.route(
            free_port(), retries={"attempts": 3, "retry_on": ["connect-failure"], "backoff": 0.001}
        )
        with Client(here.proxy.port) as client:
            assert client.get("/").status == 503
        assert here.retries() == 3


class TestTimes:
    def test_each_attempt_has_its_own(self, world) -> None:
        here = world(first(2, never_answers))
        here.route(
            retries={"retry_on": ["reset"], "per_try_timeout": "200ms", "backoff": 0.001},
            timeout="20s",
        )
        with Client(here.proxy.port) as client:
            assert client.request("POST", "/", [], b"body").status == 200
        here.proxy.settled(1)
        assert bodies(here.primaries[0]) == bodies(here.shadow)
        assert here.retries() == 2

    def test_the_last_one_too(self, world) -> None:
        here = world(never_answers)
        here.route(
            retries={
                "attempts": 1, "retry_on": ["reset"], "per_try_timeout": "100ms", "backoff": 0.001
            }
        )  # fmt: skip
        with Client(here.proxy.port) as client:
            assert client.get("/").status == 504
        [line] = here.log()
        assert line["response_flags"] == "UT,URX"

    def test_a_time_for_each_and_no_retry(self, world) -> None:
        here = world(never_answers)
        here.route(retries={"per_try_timeout": "100ms"})
        with Client(here.proxy.port) as client:
            assert client.get("/").status == 504
        assert here.retries() == 0

    def test_an_answer_that_has_begun_may_take_longer(self, world) -> None:
        async def slow_body(conn: Connection) -> None:
            import asyncio

            await conn.request()
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
            await asyncio.sleep(0.6)
            await conn.send(b"slow")

        here = world(slow_body)
        here.route(retries={"retry_on": ["5xx"], "per_try_timeout": "200ms"}, timeout="20s")
        with Client(here.proxy.port) as client:
            assert client.get("/").body == b"slow"

    def test_the_routes_timeout_bounds_them_all(self, world) -> None:
        here = world(never_answers)
        here.route(
            retries={"attempts": 100, "retry_on": ["reset"], "per_try_timeout": "200ms"},
            timeout="700ms",
        )
        with Client(here.proxy.port) as client:
            assert client.get("/").status == 504
        [line] = here.log()
        assert line["response_flags"] == "UT"
        assert 1 <= here.retries() <= 3

    def test_and_a_body_that_is_late(self, world) -> None:
        async def stops(conn: Connection) -> None:
            await conn.request()
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl")
            await never_answers(conn)

        here = world(stops)
        here.route(retries={"retry_on": ["5xx"]}, timeout="300ms")
        with Client(here.proxy.port) as client, pytest.raises((OSError, h11.RemoteProtocolError)):
            client.get("/")
        [line] = here.log()
        assert line["response_flags"] == "UT"
