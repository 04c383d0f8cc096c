"""Whatever the shadow does: the client's answers, the proxy's memory and the sums hold."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from . import backends as faults
from .backends import Backend, Backends, Connection, echo
from .client import Client, blast, gets, request_bytes
from .conftest import StartNginx, StartProxy
from .documents import Document, rules
from .metrics import Counters
from .procs import Proxy, free_port, wait_until

MIB = 1 << 20

# What the allocator and the kernel's accounting may add to the bytes that we count.
SLACK = 10 * MIB

NO_BREAKER = {"consecutive_failures": 0}


@dataclass(frozen=True)
class Fault:
    """A way to be a bad shadow, and the names under which its copies may be counted.

    ``ends`` and ``ends_with_body``: the failure kinds, or completed, of which at least one must
    be seen. ``may``: what else a race can make of a copy. Never anything but these.
    """

    handler: Callable[[Connection], object] | None
    ends: set[str]
    ends_with_body: set[str]
    may: frozenset[str] = frozenset()
    rcvbuf: int | None = None


FAULTS = {
    "not_there": Fault(None, {"connect"}, {"connect"}),
    "never_reads": Fault(
        faults.never_reads, {"timeout"}, {"timeout", "slow"}, frozenset({"slow"}), rcvbuf=4096
    ),
    "never_answers": Fault(faults.never_answers, {"timeout"}, {"timeout"}),
    # A reset can overtake the end of connect().
    "resets_on_accept": Fault(
        faults.resets_on_accept, {"reset"}, {"reset"}, frozenset({"connect"})
    ),
    "resets_after_head": Fault(faults.resets_after_head, {"reset"}, {"reset"}),
    "resets_mid_body": Fault(faults.resets_mid_body, {"reset"}, {"reset"}),
    "drips": Fault(faults.drips, {"timeout"}, {"timeout"}),
    "garbage": Fault(faults.answers_garbage, {"protocol"}, {"protocol"}),
    "huge": Fault(faults.answers_huge, {"completed"}, {"completed"}),
    "huge_chunked": Fault(faults.answers_huge_chunked, {"completed"}, {"completed"}),
    # The end of a kept connection can cross with the next copy on it.
    "closes_each": Fault(faults.closes_each, {"completed"}, {"completed"}, frozenset({"reset"})),
    "early": Fault(
        faults.answers_early, {"completed"}, {"completed"}, frozenset({"reset", "protocol"})
    ),
}


def small(fault: Fault) -> dict[str, object]:
    """Limits that let what piles up at a bad shadow be over soon.

    Where no timeout is expected there is time enough, that a busy machine makes none.
    """
    patience = "500ms" if "timeout" in fault.ends else "10s"
    return {
        "connect_timeout": patience,
        "response_timeout": patience,
        "max_in_flight": 8,
        "max_queued": 16,
        "breaker": NO_BREAKER,
    }


def bad_shadow(backends: Backends, fault: Fault) -> int:
    if fault.handler is None:
        return free_port()
    return backends.start(fault.handler, rcvbuf=fault.rcvbuf).port


def outcomes(counters: Counters) -> Counter[str]:
    ends = Counter(counters.failed)
    ends["completed"] = sum(counters.completed.values())
    return +ends


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
class TestEachFault:
    def test_without_bodies(
        self, start_proxy: StartProxy, backends: Backends, fault: Fault
    ) -> None:
        primary = backends.start(echo)
        ports = {"v1": primary.port, "v2": bad_shadow(backends, fault)}
        proxy = start_proxy(rules(ports, small(fault)))
        count, connections = 300, 4
        answers = blast(proxy.port, gets(count), connections=connections)
        assert len(answers) == count
        described = [json.loads(answer.removeprefix(b"200 ")) for answer in answers]
        assert {d["target"] for d in described} == {f"/r/{i}" for i in range(count)}
        assert len(primary.requests) == count
        self.check(proxy.settled(count), fault.ends, fault.may)

    def test_with_bodies(self, start_proxy: StartProxy, backends: Backends, fault: Fault) -> None:
        primary = backends.start(echo)
        ports = {"v1": primary.port, "v2": bad_shadow(backends, fault)}
        proxy = start_proxy(rules(ports, small(fault)))
        count, connections = 40, 4
        bodies = [random.Random(i).randbytes(MIB) for i in range(count)]
        expected = {f"/{i}": hashlib.sha256(body).hexdigest() for i, body in enumerate(bodies)}
        answers = blast(
            proxy.port,
            [request_bytes("POST", f"/{i}", (), body) for i, body in enumerate(bodies)],
            connections=connections,
        )
        described = [json.loads(answer.removeprefix(b"200 ")) for answer in answers]
        assert {d["target"]: d["sha256"] for d in described} == expected
        assert {d["length"] for d in described} == {MIB}
        self.check(proxy.settled(count), fault.ends_with_body, fault.may)

    @staticmethod
    def check(counters: Counters, ends: set[str], may: frozenset[str]) -> None:
        found = outcomes(counters)
        assert set(found) & ends, f"none of {ends}: {counters}"
        assert set(found) <= ends | may, counters
        # With so few in flight and waiting, copies may find no room; no other reason holds.
        assert set(counters.dropped) <= {"queue_full", "bytes_full"}, counters
        assert counters.not_sampled == 0


@pytest.mark.parametrize(
    "handler", [faults.never_reads, faults.never_answers], ids=["never_reads", "never_answers"]
)
class TestMemory:
    def test_one_large_upload(
        self,
        start_proxy: StartProxy,
        backends: Backends,
        handler: Callable[[Connection], object],
    ) -> None:
        primary, shadow = backends.start(echo), backends.start(handler, rcvbuf=4096)
        budget, size = 8 * MIB, 50 * MIB
        mirror = {"max_copy_bytes": budget, "max_queued_bytes": budget, "response_timeout": "1s"}
        proxy = start_proxy(rules({"v1": primary.port, "v2": shadow.port}, mirror))
        warm_up(proxy)
        before = proxy.reset_peak_rss()
        body = random.Random(50).randbytes(size)
        with Client(proxy.port, timeout=60) as client:
            response = client.request("POST", "/upload", (), body)
        assert response.status == 200
        got = primary.requests[-1]
        assert (got.length, got.sha256) == (size, hashlib.sha256(body).hexdigest())
        grown = proxy.peak_rss() - before
        assert grown <= budget + SLACK, f"grew by {grown / MIB:.1f} MiB"
        counters = proxy.settled(2)
        # A copy that lags too far is abandoned for that; one that is read waits for its answer.
        if handler is faults.never_reads:
            assert set(counters.failed) <= {"slow", "timeout"}
            assert counters.failed.get("slow"), counters
        assert counters.completed == {}

    def test_many_uploads(
        self,
        start_proxy: StartProxy,
        backends: Backends,
        handler: Callable[[Connection], object],
    ) -> None:
        primary, shadow = backends.start(echo), backends.start(handler, rcvbuf=4096)
        everything = 16 * MIB
        mirror = {"response_timeout": "3s", "max_in_flight": 1000, "breaker": NO_BREAKER}
        proxy = start_proxy(
            rules(
                {"v1": primary.port, "v2": shadow.port, "v3": shadow.port},
                mirror,
                {"subset": "v3", **mirror},
            ),
            "--mirror-memory",
            str(everything),
        )
        warm_up(proxy)
        before = proxy.reset_peak_rss()
        count = 100
        upload = request_bytes("POST", "/", (), bytes(MIB))
        answers = blast(proxy.port, [upload] * count, connections=8)
        assert len(answers) == count
        assert {answer[:4] for answer in answers} == {b"200 "}
        assert {r.length for r in primary.requests[1:]} == {MIB}
        grown = proxy.peak_rss() - before
        assert grown <= everything + SLACK, f"grew by {grown / MIB:.1f} MiB"
        for name in ("app/v2", "app/v3"):
            counters = proxy.settled(count + 1, mirror=name)
            assert counters.completed == {}
        assert proxy.metrics().total("fastmirror_mirror_buffered_bytes") == 0


def warm_up(proxy: Proxy) -> None:
    """What the first request makes the process load is no growth."""
    with Client(proxy.port) as client:
        assert client.get("/warm").status == 200


def test_shadow_killed_and_started_again(start_proxy: StartProxy, start_nginx: StartNginx) -> None:
    v1, v2 = start_nginx("v1"), start_nginx("v2")
    document = rules(
        {"v1": v1.port, "v2": v2.port}, {"breaker": {**NO_BREAKER, "open_time": "100ms"}}
    )
    proxy = start_proxy(document)
    per_round = 500
    assert Counter(blast(proxy.port, gets(per_round))) == {b"200 v1\n": per_round}
    assert proxy.settled(per_round).completed == {"2xx": per_round}

    answers: list[bytes] = []
    load = threading.Thread(target=lambda: answers.extend(blast(proxy.port, gets(4 * per_round))))
    load.start()
    v2.wait_for(per_round + 50)
    v2.kill()
    load.join(60)
    assert Counter(answers) == {b"200 v1\n": 4 * per_round}
    counters = proxy.settled(5 * per_round)
    assert set(counters.failed) <= {"connect", "reset"}
    assert counters.failed.get("connect"), counters

    start_nginx("v2", port=v2.port)
    completed = counters.completed["2xx"]
    assert Counter(blast(proxy.port, gets(per_round))) == {b"200 v1\n": per_round}
    assert proxy.settled(6 * per_round).completed == {"2xx": completed + per_round}


def test_never_answering_shadow_and_reused_connection(
    start_proxy: StartProxy, backends: Backends
) -> None:
    """The default limits, one connection, and more requests than the queue holds."""
    primary, shadow = backends.start(echo), backends.start(faults.never_answers)
    proxy = start_proxy(rules({"v1": primary.port, "v2": shadow.port}, {}))
    count = 2000
    answers = blast(proxy.port, gets(count), connections=1)
    assert len(answers) == count
    counters = proxy.metrics().counters()
    counters.assert_adds_up()
    # 256 on their way, 1024 waiting; the rest found no room.
    assert counters.sent == counters.in_flight == 256
    assert counters.dropped == {"queue_full": count - 256 - 1024}


class TestClientGoesAway:
    @staticmethod
    def document(primary: Backend, shadow: Backend) -> Document:
        return rules({"v1": primary.port, "v2": shadow.port}, {})

    @pytest.mark.parametrize("how", ["close", "reset"])
    @pytest.mark.parametrize("framing", ["length", "chunked"])
    def test_within_the_body(
        self, start_proxy: StartProxy, backends: Backends, how: str, framing: str
    ) -> None:
        primary, shadow = backends.start(echo), backends.start(echo)
        proxy = start_proxy(self.document(primary, shadow))
        body: bytes | list[bytes] = bytes(MIB) if framing == "length" else [bytes(1000)] * 1000
        data = request_bytes("POST", "/cut", (), body)
        with Client(proxy.port) as client:
            client.send(data[: len(data) // 3])
            wait_until(lambda: shadow.heads and primary.heads, "the copy under way")
            if how == "reset":
                linger = (1).to_bytes(4, "little") + bytes(4)
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        counters = proxy.settled(1)
        assert (counters.failed, counters.dropped) == ({"client_abort": 1}, {})
        # The primary and the shadow were told, and neither took the part for the whole.
        wait_until(lambda: primary.open == shadow.open == 0, "both upstream connections closed")
        assert primary.requests == shadow.requests == []

    def test_after_the_request(self, start_proxy: StartProxy, backends: Backends) -> None:
        gate = backends.gate()

        async def slow(conn: Connection) -> None:
            while request := await conn.request():
                await gate.passed()
                await conn.answer(request.describe())

        primary, shadow = backends.start(slow), backends.start(slow)
        proxy = start_proxy(self.document(primary, shadow))
        with Client(proxy.port) as client:
            client.send(request_bytes("POST", "/whole", (), bytes(100_000)))
            wait_until(lambda: primary.requests and shadow.requests, "both have the request")
        gate.open()
        counters = proxy.settled(1)
        assert (counters.completed, counters.failed) == ({"2xx": 1}, {})

    def test_half_close_after_the_request(
        self, start_proxy: StartProxy, backends: Backends
    ) -> None:
        """A client that sends, shuts its side and waits is answered."""
        primary, shadow = backends.start(echo), backends.start(echo)
        proxy = start_proxy(self.document(primary, shadow))
        with Client(proxy.port) as client:
            client.send(request_bytes("POST", "/half", (), b"body"))
            client.sock.shutdown(socket.SHUT_WR)
            response = client.response("POST")
        assert (response.status, json.loads(response.body)["length"]) == (200, 4)
        assert proxy.settled(1).completed == {"2xx": 1}


def test_primary_fails_and_the_copy_is_whole(start_proxy: StartProxy, backends: Backends) -> None:
    """The shadow gets the request even when the primary breaks off: that is worth comparing."""
    primary, shadow = backends.start(faults.resets_after_head), backends.start(echo)
    proxy = start_proxy(rules({"v1": primary.port, "v2": shadow.port}, {}))
    with Client(proxy.port) as client:
        assert client.get("/").status in (502, 503)
    counters = proxy.settled(1)
    assert counters.completed == {"2xx": 1}
    assert shadow.requests[0].target == "/"


def test_slow_shadow_does_not_slow_an_upload(start_proxy: StartProxy, backends: Backends) -> None:
    """The primary has the whole body while the shadow has read nothing: not timed, but ordered."""
    gate = backends.gate()

    async def waits(conn: Connection) -> None:
        await gate.passed()
        await echo(conn)

    primary, shadow = backends.start(echo), backends.start(waits, rcvbuf=4096)
    mirror = {"max_copy_bytes": "32MiB", "max_queued_bytes": "32MiB"}
    proxy = start_proxy(rules({"v1": primary.port, "v2": shadow.port}, mirror))
    body = random.Random(20).randbytes(20 * MIB)
    with Client(proxy.port, timeout=60) as client:
        assert client.request("POST", "/", (), body).status == 200
        assert shadow.heads == []
        gate.open()
        # Within its budget the copy was kept, and now arrives whole.
        assert proxy.settled(1).completed == {"2xx": 1}
    assert shadow.requests[0].sha256 == hashlib.sha256(body).hexdigest()
