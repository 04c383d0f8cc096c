"""What ``connection_pool`` of a service allows, and what becomes of requests beyond it."""

from __future__ import annotations

import asyncio
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .backends import Backend, Connection, Gate, echo, never_answers
from .client import Client, blast, gets, request_bytes
from .conftest import StartProxy
from .documents import rules
from .procs import LOOPBACK, Proxy, wait_until
from .test_upstream_faults import entries


def limited(
    start_proxy: StartProxy,
    tmp_path: Path,
    backends: list[Backend],
    pool: dict,
    *options: str,
    balance: object = "round_robin",
) -> Proxy:
    """A proxy whose one service has these limits; /slow has a route of its own, and /short one with
    a timeout.
    """
    document = rules({f"v{number}": each.port for number, each in enumerate(backends)}, to="v0")
    document["services"][0] |= {"connection_pool": pool, "balance": balance}
    to = [{"service": "app"}]
    document["routes"] = [
        {"name": "short", "match": [{"path": {"prefix": "/short"}}], "to": to, "timeout": 0.2},
        {"name": "app", "to": to},
    ]
    log = tmp_path / "access.log"
    proxy = start_proxy(document, "--access-log", str(log), "--access-log-format", "json", *options)
    proxy.access_log = log  # type: ignore[attr-defined]
    return proxy


def held(gate: Gate):
    """Answers a request for /slow when the gate is open, and others at once."""

    async def handler(conn: Connection) -> None:
        while request := await conn.request():
            if request.target == "/slow":
                await gate.passed()
            await conn.answer(request.target.encode())

    return handler


def overflows(proxy: Proxy) -> float:
    return proxy.metrics().total("fastmirror_upstream_overflow_total", service="app")


Begin = Callable[..., Client]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Sends a request and does not wait for its answer."""
    clients = []

    def begun(proxy: Proxy, target: str, **more: str) -> Client:
        clients.append(Client(proxy.port))
        clients[-1].send(request_bytes("GET", target, **more))
        return clients[-1]

    yield begun
    for client in clients:
        client.close()


def test_beyond_the_limits_is_503_and_what_waits_is_served(start_proxy, begin, backends, tmp_path):
    gate = backends.gate()
    backend = backends.start(held(gate))
    pool = {"max_connections": 1, "max_pending_requests": 1}
    proxy = limited(start_proxy, tmp_path, [backend], pool)
    first = begin(proxy, "/slow")
    wait_until(lambda: backend.requests, "the first request")
    waiting, results = [begin(proxy, "/a"), begin(proxy, "/b")], []
    threads = [
        threading.Thread(target=lambda client=client: results.append(client.response()))
        for client in waiting
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: results, "one of two to be refused")
    assert (results[0].status, results[0].body[-1:]) == (503, b"\n")
    assert b"too many requests" in results[0].body
    [line] = entries(proxy, 1)
    assert (line["response_code"], line["response_flags"]) == (503, "UO")
    gate.open()
    assert first.response().body == b"/slow"
    for thread in threads:
        thread.join(20)
    assert (results[1].status, backend.accepted, len(backend.requests)) == (200, 1, 2)
    assert overflows(proxy) == 1
    for number in range(5):  # nothing of it is left
        assert first.get(f"/{number}").status == 200


def test_requests_under_way_are_limited_too(start_proxy, begin, backends, tmp_path):
    gate = backends.gate()
    backend = backends.start(held(gate))
    proxy = limited(start_proxy, tmp_path, [backend], {"max_requests": 2})
    clients = [begin(proxy, "/slow"), begin(proxy, "/slow")]
    wait_until(lambda: len(backend.requests) == 2, "two requests")
    with Client(proxy.port) as third:
        assert third.get("/").status == 503
        gate.open()
        assert [client.response().status for client in clients] == [200, 200]
        assert third.get("/").status == 200
    assert overflows(proxy) == 1
    assert [line["response_flags"] for line in entries(proxy, 4)].count("UO") == 1


def test_who_goes_away_waits_no_longer(start_proxy, begin, backends, tmp_path):
    gate = backends.gate()
    backend = backends.start(held(gate))
    # The first request pends while its connection is opened, and no longer.
    pool = {"max_connections": 1, "max_pending_requests": 1}
    proxy = limited(start_proxy, tmp_path, [backend], pool)
    first = begin(proxy, "/slow")
    wait_until(lambda: backend.requests, "the first request")

    def gone(count: int) -> bool:
        """A reset that comes before the request was read leaves no line in the log."""
        client = begin(proxy, "/gone")
        time.sleep(0.05)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        time.sleep(0.05)
        return len(entries(proxy, 0)) >= count

    wait_until(lambda: gone(3), "three that waited and went away")
    assert {line["response_flags"] for line in entries(proxy, 3)} == {"DC"}
    last = begin(proxy, "/last")
    gate.open()
    assert first.response().status == last.response().status == 200
    assert [each.target for each in backend.requests] == ["/slow", "/last"]
    assert overflows(proxy) == 0


def test_the_oldest_is_served_first(start_proxy, begin, backends, tmp_path):
    gate = backends.gate()
    backend = backends.start(held(gate))
    proxy = limited(start_proxy, tmp_path, [backend], {"max_connections": 1})
    clients = [begin(proxy, "/slow")]
    wait_until(lambda: backend.requests, "the first request")
    for number in range(8):
        clients.append(begin(proxy, f"/{number}"))
        time.sleep(0.02)
    gate.open()
    assert [client.response().status for client in clients] == [200] * 9
    assert [each.target for each in backend.requests[1:]] == [f"/{n}" for n in range(8)]
    assert backend.accepted == 1


def test_who_waits_when_the_proxy_ends(start_proxy, begin, backends, tmp_path):
    backend = backends.start(never_answers)
    proxy = limited(start_proxy, tmp_path, [backend], {"max_connections": 1}, "--drain-time", "0.2")
    clients = [begin(proxy, f"/{number}") for number in range(3)]
    wait_until(lambda: backend.accepted, "a connection")
    assert proxy.stop() == 0
    proxy.assert_sound()
    assert [client.sock.recv(1) for client in clients] == [b""] * 3
    assert backend.accepted == 1


def test_a_routes_timeout_ends_the_waiting(start_proxy, begin, backends, tmp_path):
    gate = backends.gate()
    backend = backends.start(held(gate))
    proxy = limited(start_proxy, tmp_path, [backend], {"max_connections": 1})
    first = begin(proxy, "/slow")
    wait_until(lambda: backend.requests, "the first request")
    with Client(proxy.port) as client:
        for number in range(3):
            assert client.get("/short").status == 504
            line = entries(proxy, number + 1)[number]
            assert line["response_flags"] == "UT"
    gate.open()
    assert first.response().status == 200
    assert [each.target for each in backend.requests] == ["/slow"]


@pytest.mark.parametrize(
    "balance", ["round_robin", "least_request", {"hash": "path", "algorithm": "maglev"}]
)
def test_many_share_few_connections_to_several_endpoints(start_proxy, backends, tmp_path, balance):
    under_way, most = 0, 0

    async def handler(conn: Connection) -> None:
        nonlocal under_way, most
        while request := await conn.request():
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.001)
            under_way -= 1
            await conn.answer(request.target.encode())

    several = [backends.start(handler) for _ in range(3)]
    proxy = limited(start_proxy, tmp_path, several, {"max_connections": 2}, balance=balance)
    answers = blast(proxy.port, gets(600), connections=24)
    assert sorted(answers) == sorted(b"200 /r/%d" % number for number in range(600))
    assert most == 2
    assert proxy.metrics().total("fastmirror_connections", side="upstream") <= 2
    assert all(len(each.requests) > 50 for each in several)
    assert sum(each.accepted for each in several) < 300  # they were mostly reused
    assert overflows(proxy) == 0


def test_one_connection_serves_two_endpoints_in_turn(start_proxy, backends, tmp_path):
    pair = [backends.start(echo), backends.start(echo)]
    proxy = limited(start_proxy, tmp_path, pair, {"max_connections": 1})
    with Client(proxy.port) as client:
        assert [client.get(f"/{number}").status for number in range(8)] == [200] * 8
    assert [len(each.requests) for each in pair] == [4, 4]
    assert proxy.metrics().total("fastmirror_connections", side="upstream") <= 1


@pytest.mark.parametrize(("most", "connections"), [(1, 9), (3, 3), (100, 1)])
def test_a_connection_serves_so_many_requests(start_proxy, backends, tmp_path, most, connections):
    backend = backends.start(echo)
    pool = {"max_requests_per_connection": most}
    proxy = limited(start_proxy, tmp_path, [backend], pool)
    with Client(proxy.port) as client:
        assert [client.get("/").status for _ in range(9)] == [200] * 9
    assert backend.accepted == connections


def test_a_connection_lives_so_long(start_proxy, backends, tmp_path):
    backend = backends.start(echo)
    proxy = limited(start_proxy, tmp_path, [backend], {"max_connection_duration": 0.3})
    with Client(proxy.port) as client:
        assert client.get("/").status == 200
        wait_until(lambda: backend.open == 0, "the idle connection closed")
        assert client.get("/").status == 200
    assert backend.accepted == 2


def test_an_idle_connection_is_kept_so_long(start_proxy, backends, tmp_path):
    backend = backends.start(echo)
    proxy = limited(start_proxy, tmp_path, [backend], {"idle_timeout": 0.2})
    with Client(proxy.port) as client:
        assert client.get("/").status == 200
        wait_until(lambda: backend.open == 0, "the idle connection closed")
        assert client.get("/").status == 200


def test_the_services_own_connect_timeout(start_proxy, tmp_path):
    with socket.socket() as deaf:  # its queue is full, so that the kernel answers no SYN
        deaf.bind((LOOPBACK, 0))
        deaf.listen(0)
        fill = [socket.socket() for _ in range(3)]
        for each in fill:
            each.setblocking(False)
            each.connect_ex(deaf.getsockname())
        document = rules({"v0": deaf.getsockname()[1]}, to="v0")
        document["services"][0]["connection_pool"] = {"connect_timeout": "200ms"}
        proxy = start_proxy(document, "--connect-timeout", "60")
        with Client(proxy.port) as client:
            answer = client.get("/")
        assert answer.status == 503
        assert b"within 0.2 s" in answer.body
        for each in fill:
            each.close()


def test_keepalive_probes_are_asked_of_the_kernel(start_proxy, backends, tmp_path):
    def timers(port: int) -> list[str]:
        """The timers of the connections to a port that are established: "02": keep-alive."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return [row[5][:2] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"]

    plain, probed = backends.start(echo), backends.start(echo)
    for backend, pool in (
        (plain, {"max_requests": 9}),
        (probed, {"tcp_keepalive": {"time": 100, "interval": "10s", "probes": 3}}),
    ):
        place = tmp_path / str(backend.port)
        place.mkdir()
        proxy = limited(start_proxy, place, [backend], pool)
        with Client(proxy.port) as client:
            assert client.get("/").status == 200
        wait_until(lambda port=backend.port: "01" not in timers(port), "no retransmission timer")
        assert timers(backend.port) == (["02"] if backend is probed else ["00"])


def test_a_subset_has_limits_of_its_own(start_proxy, begin, backends, tmp_path):
    backend = backends.start(never_answers)
    document = rules({"v1": backend.port})
    document["services"][0]["subset_policies"] = {"v1": {"connection_pool": {"max_requests": 1}}}
    document["routes"][0]["hosts"] = ["subset.test"]
    proxy = start_proxy(document)
    begin(proxy, "/", host="subset.test")
    wait_until(lambda: proxy.metrics().total("fastmirror_connections", side="upstream") == 1, "one")
    with Client(proxy.port) as client:
        assert client.get("/", host="subset.test").status == 503
    for _ in range(3):  # the service itself has none
        begin(proxy, "/", host="app.test")
    wait_until(lambda: proxy.metrics().total("fastmirror_connections", side="upstream") == 4, "4")


def test_a_reload_keeps_the_count_of_what_is_under_way(start_proxy, begin, backends, tmp_path):
    gate = backends.gate()
    backend = backends.start(held(gate))
    proxy = limited(start_proxy, tmp_path, [backend], {"max_requests": 1, "max_connections": 1})
    first = begin(proxy, "/slow")
    wait_until(lambda: backend.requests, "the first request")
    document = rules({"v0": backend.port, "v1": backend.port}, to="v0")
    document["services"][0]["connection_pool"] = {"max_requests": 1, "max_connections": 1}
    document["routes"][0]["to"] = [{"service": "app"}]
    proxy.write_rules(document)
    assert proxy.ask("/rules/reload", "POST")[0] == 200
    with Client(proxy.port) as client:
        assert client.get("/").status == 503
        gate.open()
        assert first.response().status == 200
        assert client.get("/").status == 200
    assert backend.accepted == 1


def test_retries_under_way_are_limited(start_proxy, begin, backends, tmp_path):
    gate = backends.gate()

    async def second_time(conn: Connection) -> None:
        """503 to the first attempt; the second one waits."""
        while request := await conn.request():
            attempts = sum(each.target == request.target for each in backend.requests)
            if attempts > 1:
                await gate.passed()
            await conn.answer(status=503 if attempts == 1 else 200)

    backend = backends.start(second_time)
    document = rules({"v0": backend.port}, to="v0")
    document["services"][0]["connection_pool"] = {"max_retries": 1}
    document["routes"][0]["retries"] = {"attempts": 1, "retry_on": ["5xx"], "backoff": 0.001}
    proxy = start_proxy(document)
    first = begin(proxy, "/first")
    wait_until(lambda: len(backend.requests) == 2, "a second attempt")
    with Client(proxy.port) as client:
        assert client.get("/second").status == 503
        assert len(backend.requests) == 3
        gate.open()
        assert first.response().status == 200
        assert client.get("/third").status == 200
    assert overflows(proxy) == 1


def test_nothing_is_lost_when_everything_fails(start_proxy, begin, backends, tmp_path):
    """After clients and endpoints that came and went, the limits are what they were."""
    gate, chance = backends.gate(), random.Random(5)

    async def moody(conn: Connection) -> None:
        while request := await conn.request():
            if request.target == "/slow":
                await gate.passed()
            else:
                await asyncio.sleep(chance.choice((0, 0, 0.01, 0.1)))
                if chance.random() < 0.2:
                    return conn.reset() if chance.random() < 0.5 else None
            await conn.answer(b"ok")
        return None

    async def client(number: int) -> None:
        target = chance.choice((f"/{number}", f"/short/{number}"))
        reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
        writer.write(request_bytes("GET", target))
        try:
            async with asyncio.timeout(chance.choice((0.02, 0.2, 10))):
                await reader.read(1)
        except (TimeoutError, ConnectionError):
            pass
        writer.transport.abort()

    async def crowd(first: int) -> None:
        await asyncio.gather(*(client(first + number) for number in range(60)))

    pair = [backends.start(moody), backends.start(moody)]
    pool = {"max_connections": 2, "max_pending_requests": 5, "max_requests": 7, "max_retries": 2}
    proxy = limited(start_proxy, tmp_path, pair, pool)
    asyncio.run(crowd(0))
    backends.stop(pair[1])
    asyncio.run(crowd(100))
    pair[1] = backends.start(moody, port=pair[1].port)
    asyncio.run(crowd(200))
    connections = "fastmirror_connections"
    wait_until(lambda: proxy.metrics().total(connections, side="downstream") == 0, "no clients")

    def slow() -> int:
        return sum(each.target == "/slow" for backend in pair for each in backend.requests)

    clients = [begin(proxy, "/slow"), begin(proxy, "/slow")]
    wait_until(lambda: slow() == 2, "two under way")
    clients += [begin(proxy, "/slow") for _ in range(10)]
    sockets = [each.sock for each in clients]
    wait_until(lambda: len(select.select(sockets, [], [], 0)[0]) == 5, "5 refused")
    assert slow() == 2
    gate.open()
    assert sorted(each.response().status for each in clients) == [200] * 7 + [503] * 5
