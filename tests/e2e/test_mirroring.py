"""Which requests are copied, what a copy looks like, what is counted (the contract's part 4)."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from itertools import pairwise
from math import sqrt
from typing import Any

import pytest
import xxhash

from .backends import Backend, Backends, answers_500, closes_each, echo, never_answers
from .client import Client, blast, exchange, gets, raw_answer, request_bytes
from .conftest import StartNginx, StartProxy
from .documents import rules
from .procs import LOOPBACK, free_port, wait_until

COUNT = 10_000

# More than any stall of a busy machine lets pile up, so that only sampling decides.
ROOMY = {"max_queued": COUNT, "max_queued_bytes": "256MiB"}


def within_sigmas(found: int, of: int, share: float, sigmas: float = 4) -> bool:
    return abs(found - of * share) <= sigmas * sqrt(of * share * (1 - share))


class TestSampling:
    def test_all(self, start_proxy: StartProxy, start_nginx: StartNginx) -> None:
        v1, v2 = start_nginx("v1"), start_nginx("v2")
        proxy = start_proxy(rules({"v1": v1.port, "v2": v2.port}, {"percent": 100, **ROOMY}))
        answers = blast(proxy.port, gets(COUNT))
        assert Counter(answers) == {b"200 v1\n": COUNT}
        expected = Counter(f"/r/{i}" for i in range(COUNT))
        at_v1, at_v2 = v1.wait_for(COUNT), v2.wait_for(COUNT)
        assert Counter(line["uri"] for line in at_v1) == expected
        assert Counter(line["uri"] for line in at_v2) == expected
        assert {line["host"] for line in at_v1} == {"app.test"}
        assert {line["host"] for line in at_v2} == {"app.test-shadow"}
        assert {line["copy"] for line in at_v1} == {""}
        assert {line["copy"] for line in at_v2} == {"app/v2"}
        counters = proxy.settled(COUNT)
        assert (counters.sent, counters.completed) == (COUNT, {"2xx": COUNT})
        assert (counters.not_sampled, counters.dropped, counters.failed) == (0, {}, {})
        metrics = proxy.metrics()
        assert metrics.total("fastmirror_requests_total", route="app", code_class="2xx") == COUNT

    def test_percent_is_100_when_absent(
        self, start_proxy: StartProxy, start_nginx: StartNginx
    ) -> None:
        v1, v2 = start_nginx("v1"), start_nginx("v2")
        proxy = start_proxy(rules({"v1": v1.port, "v2": v2.port}, {}))
        blast(proxy.port, gets(100))
        assert len(v2.wait_for(100)) == 100
        assert proxy.settled(100).sent == 100

    def test_none(self, start_proxy: StartProxy, start_nginx: StartNginx) -> None:
        v1, v2 = start_nginx("v1"), start_nginx("v2")
        proxy = start_proxy(rules({"v1": v1.port, "v2": v2.port}, {"percent": 0}))
        blast(proxy.port, gets(1000))
        counters = proxy.settled(1000)
        assert (counters.not_sampled, counters.sent, counters.dropped) == (1000, 0, {})
        assert v2.log() == []

    def test_quarter(self, start_proxy: StartProxy, start_nginx: StartNginx) -> None:
        v1, v2 = start_nginx("v1"), start_nginx("v2")
        proxy = start_proxy(rules({"v1": v1.port, "v2": v2.port}, {"percent": 25, **ROOMY}))
        blast(proxy.port, gets(COUNT))
        counters = proxy.settled(COUNT)
        assert within_sigmas(counters.sent, COUNT, 0.25), counters
        assert counters.sent + counters.not_sampled == COUNT
        seen = Counter(line["uri"] for line in v2.wait_for(counters.sent))
        assert len(seen) == seen.total() == counters.sent

    def test_fraction(self, start_proxy: StartProxy, start_nginx: StartNginx) -> None:
        v1, v2, v3 = start_nginx("v1"), start_nginx("v2"), start_nginx("v3")
        proxy = start_proxy(
            rules(
                {"v1": v1.port, "v2": v2.port, "v3": v3.port},
                {"fraction": {"numerator": 1, "denominator": 8}, **ROOMY},
                {"subset": "v3", "fraction": {"numerator": 40}, **ROOMY},
            )
        )
        blast(proxy.port, gets(4000))
        eighth, hundredths = proxy.settled(4000), proxy.settled(4000, mirror="app/v3")
        assert within_sigmas(eighth.sent, 4000, 1 / 8), eighth
        assert within_sigmas(hundredths.sent, 4000, 0.4), hundredths

    def test_mirrors_are_independent(
        self, start_proxy: StartProxy, start_nginx: StartNginx
    ) -> None:
        v1, v2, v3 = start_nginx("v1"), start_nginx("v2"), start_nginx("v3")
        proxy = start_proxy(
            rules(
                {"v1": v1.port, "v2": v2.port, "v3": v3.port},
                {"percent": 50, **ROOMY},
                {"subset": "v3", "percent": 50, **ROOMY},
            )
        )
        count = 4000
        blast(proxy.port, gets(count))
        second, third = proxy.settled(count), proxy.settled(count, mirror="app/v3")
        at_v2 = {line["uri"] for line in v2.wait_for(second.sent)}
        at_v3 = {line["uri"] for line in v3.wait_for(third.sent)}
        for found in (at_v2, at_v3):
            assert within_sigmas(len(found), count, 0.5)
        assert within_sigmas(len(at_v2 & at_v3), count, 0.25)
        assert within_sigmas(len(at_v2 - at_v3), count, 0.25)

    def test_mirrors_fail_by_themselves(
        self, start_proxy: StartProxy, start_nginx: StartNginx, backends: Backends
    ) -> None:
        v1, v2 = start_nginx("v1"), start_nginx("v2")
        silent = backends.start(never_answers)
        proxy = start_proxy(
            rules(
                {"v1": v1.port, "v2": v2.port, "v3": free_port(), "v4": silent.port},
                {"subset": "v3", "breaker": {"consecutive_failures": 0}},
                {"subset": "v2"},
                {"subset": "v4", "response_timeout": "300ms", "max_queued": 1000},
            )
        )
        assert Counter(blast(proxy.port, gets(200))) == {b"200 v1\n": 200}
        assert proxy.settled(200).completed == {"2xx": 200}
        assert proxy.settled(200, mirror="app/v3").failed == {"connect": 200}
        silenced = proxy.settled(200, mirror="app/v4")
        assert silenced.completed == {}
        assert set(silenced.failed) == {"timeout"}

    def test_sample_by_header_can_be_recomputed(
        self, start_proxy: StartProxy, start_nginx: StartNginx
    ) -> None:
        v1, v2, v3 = start_nginx("v1"), start_nginx("v2"), start_nginx("v3")
        by_user = {"sample_by": {"header": "x-user"}, **ROOMY}
        proxy = start_proxy(
            rules(
                {"v1": v1.port, "v2": v2.port, "v3": v3.port},
                {"percent": 12.5, **by_user},
                {"subset": "v3", "name": "salted", "percent": 40, "salt": "pepper", **by_user},
            ),
            "--workers",
            "2",
        )
        users = [f"user-{i}" for i in range(1500)] + ["", "é".encode().decode("latin-1"), "x" * 200]
        blast(
            proxy.port,
            [request_bytes("GET", f"/{u}", [("X-User", user)]) for u, user in enumerate(users)],
        )

        def chosen(percent: float, salt: str) -> set[str]:
            seed = xxhash.xxh64_intdigest(salt.encode(), 0)
            threshold = int(percent * 2**64 / 100)
            return {
                f"/{u}"
                for u, user in enumerate(users)
                # An empty value is as good as none: the default for that is random bits.
                if user and xxhash.xxh64_intdigest(user.encode("latin-1"), seed) < threshold
            }

        for nginx, mirror, expected in (
            (v2, "app/v2", chosen(12.5, "app/app/v2")),
            (v3, "salted", chosen(40, "pepper")),
        ):
            sent = proxy.settled(len(users), mirror=mirror).sent
            empty = f"/{users.index('')}"
            assert {line["uri"] for line in nginx.wait_for(sent)} - {empty} == expected

    def test_one_percent_is_inside_ten(
        self, start_proxy: StartProxy, start_nginx: StartNginx
    ) -> None:
        v1, v2 = start_nginx("v1"), start_nginx("v2")
        ports = {"v1": v1.port, "v2": v2.port}
        requests = [request_bytes("GET", f"/{i}", [("x-user", f"{i}")]) for i in range(2000)]
        found = []
        for percent in (10, 1):
            before = len(v2.log())
            mirror = {"percent": percent, "sample_by": {"header": "x-user"}, **ROOMY}
            proxy = start_proxy(rules(ports, mirror))
            blast(proxy.port, requests)
            sent = proxy.settled(2000).sent
            found.append({line["uri"] for line in v2.wait_for(before + sent)[before:]})
        tenth, hundredth = found
        assert 0 < len(hundredth) < len(tenth)
        assert hundredth < tenth

    @pytest.mark.parametrize(
        ("sample_by", "request_for"),
        [
            ({"cookie": "user"}, lambda k: ("/", ("Cookie", f"a=b; user={k}"))),
            ({"query": "user"}, lambda k: (f"/?a=b&user={k}",)),
            ("path", lambda k: (f"/{k}?x=y",)),
            ("request_id", lambda k: ("/", ("X-Request-Id", k))),
        ],
        ids=["cookie", "query", "path", "request_id"],
    )
    def test_other_keys_decide_the_same_way_each_time(
        self, start_proxy: StartProxy, backends: Backends, sample_by: object, request_for: Any
    ) -> None:
        primary, shadow = backends.start(echo), backends.start(echo)
        proxy = start_proxy(
            rules({"v1": primary.port, "v2": shadow.port}, {"percent": 50, "sample_by": sample_by})
        )
        keys, rounds = [f"key{i}" for i in range(40)], 3
        for _ in range(rounds):
            for target, *headers in map(request_for, keys):
                exchange(proxy.port, request_bytes("GET", target, headers), "GET")
        counters = proxy.settled(rounds * len(keys))
        assert 0 < counters.sent < rounds * len(keys)
        seen = Counter(
            # The ids that the proxy makes are all different; they are no key then.
            (r.target, r.value("cookie"), sample_by == "request_id" and r.value("x-request-id"))
            for r in shadow.requests
        )
        assert set(seen.values()) == {rounds}

    @pytest.mark.parametrize(("missing", "share"), [("skip", 0), ("always", 1), (None, 0.5)])
    def test_missing_key(
        self,
        start_proxy: StartProxy,
        start_nginx: StartNginx,
        missing: str | None,
        share: float,
    ) -> None:
        v1, v2 = start_nginx("v1"), start_nginx("v2")
        mirror = {"percent": 50, "sample_by": {"header": "x-user"}, **ROOMY}
        if missing:
            mirror["missing"] = missing
        proxy = start_proxy(rules({"v1": v1.port, "v2": v2.port}, mirror))
        blast(proxy.port, gets(1000))
        assert within_sigmas(proxy.settled(1000).sent, 1000, share)


class TestWhatIsCopied:
    @pytest.fixture
    def pair(self, backends: Backends) -> tuple[Backend, Backend]:
        return backends.start(echo), backends.start(echo)

    def ports(self, pair: tuple[Backend, Backend]) -> dict[str, int]:
        return {"v1": pair[0].port, "v2": pair[1].port}

    @pytest.mark.parametrize(
        ("policy", "host", "expected"),
        [
            (None, "app.test", "app.test-shadow"),
            (None, "app.test:8000", "app.test-shadow:8000"),
            (None, "[::1]:8000", "[::1]:8000"),
            (None, "10.0.0.1:80", "10.0.0.1-shadow:80"),
            ({"suffix": ".canary"}, "app.test:8000", "app.test.canary:8000"),
            ("keep", "app.test:8000", "app.test:8000"),
            ({"literal": "other.test"}, "app.test:8000", "other.test"),
        ],
    )
    def test_host(
        self,
        start_proxy: StartProxy,
        pair: tuple[Backend, Backend],
        policy: object,
        host: str,
        expected: str,
    ) -> None:
        mirror = {} if policy is None else {"host": policy}
        proxy = start_proxy(rules(self.ports(pair), mirror))
        with Client(proxy.port) as client:
            assert client.get("/", host=host).status == 200
        proxy.settled(1)
        primary, shadow = pair
        assert primary.requests[0].host == host
        assert shadow.requests[0].host == expected

    def test_host_target(self, start_proxy: StartProxy, pair: tuple[Backend, Backend]) -> None:
        document = rules(self.ports(pair), {"host": "target"})
        address = f"localhost:{pair[1].port}"
        document["services"][0]["endpoints"][1]["address"] = address
        proxy = start_proxy(document)
        with Client(proxy.port) as client:
            client.get("/")
        proxy.settled(1)
        assert pair[1].requests[0].host in (address, "localhost")

    def test_copy_is_the_request_the_primary_got(
        self, start_proxy: StartProxy, pair: tuple[Backend, Backend]
    ) -> None:
        proxy = start_proxy(rules(self.ports(pair), {}))
        headers = [
            ("Authorization", "Bearer secret"),
            ("Cookie", "a=b; c=d"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("X-Empty", ""),
            ("X-Latin", "\xe4\xf6\xfc"),
        ]
        with Client(proxy.port) as client:
            client.request("PUT", "/path/%20x?q=%41&r", headers, b"body")
        proxy.settled(1)
        original, copy = pair[0].requests[0], pair[1].requests[0]
        assert copy.value("x-fastmirror-copy") == "app/v2"
        assert copy.value("authorization") == "Bearer secret"
        assert copy.value("x-request-id")
        assert (copy.method, copy.target) == ("PUT", "/path/%20x?q=%41&r")
        # Framing and the connection's own fields may differ; everything else must not.
        apart = {"host", "x-fastmirror-copy", "connection"}
        assert [h for h in copy.headers if h[0] not in apart] == [
            h for h in original.headers if h[0] not in apart
        ]
        assert (copy.length, copy.sha256) == (original.length, original.sha256)

    def test_absolute_form(self, start_proxy: StartProxy, pair: tuple[Backend, Backend]) -> None:
        proxy = start_proxy(rules(self.ports(pair), {}, hosts=["app.test"]))
        request = request_bytes("GET", "http://app.test/x?y=z", host="elsewhere.test")
        assert exchange(proxy.port, request, "GET")[0].status == 200
        proxy.settled(1)
        assert (pair[0].requests[0].host, pair[1].requests[0].host) == (
            "app.test",
            "app.test-shadow",
        )
        assert {backend.requests[0].target for backend in pair} == {"/x?y=z"}

    @pytest.mark.parametrize("framing", ["length", "chunked"])
    @pytest.mark.parametrize("size", [0, 1, 1000, 65_536, 1 << 20, 50 << 20])
    def test_body(
        self, start_proxy: StartProxy, pair: tuple[Backend, Backend], size: int, framing: str
    ) -> None:
        # Room for all of it, so that a shadow slowed by this test's own hashing is no failure.
        room = {"max_copy_bytes": "64MiB", "max_queued_bytes": "64MiB"}
        proxy = start_proxy(rules(self.ports(pair), room), "--mirror-memory", str(256 << 20))
        rng = random.Random(size)
        data = rng.randbytes(size)
        body: bytes | list[bytes] = data
        if framing == "chunked":
            cuts = sorted({0, size, *(rng.randrange(size + 1) for _ in range(20))})
            body = [data[a:b] for a, b in pairwise(cuts)]
        with Client(proxy.port, timeout=60) as client:
            response = client.request("POST", "/", (), body)
        assert response.status == 200
        counters = proxy.settled(1)
        assert counters.completed == {"2xx": 1}, counters
        digest = hashlib.sha256(data).hexdigest()
        for backend in pair:
            assert backend.errors == []
            (request,) = backend.requests
            assert (request.length, request.sha256) == (size, digest)

    def test_trailers(self, start_proxy: StartProxy, pair: tuple[Backend, Backend]) -> None:
        proxy = start_proxy(rules(self.ports(pair), {}))
        with Client(proxy.port) as client:
            client.request("POST", "/", [], [b"a", b"bc"], trailers=[("X-Sum", "3")])
        proxy.settled(1)
        for backend in pair:
            assert backend.requests[0].length == 3
            assert backend.requests[0].trailers == [("x-sum", "3")]

    def test_shadow_connections_are_kept(
        self, start_proxy: StartProxy, pair: tuple[Backend, Backend]
    ) -> None:
        proxy = start_proxy(rules(self.ports(pair), {"max_in_flight": 4}))
        blast(proxy.port, gets(300), connections=8)
        counters = proxy.settled(300)
        assert counters.completed == {"2xx": 300}
        assert 1 <= pair[1].accepted <= 4

    def test_answers_of_the_shadow_are_counted_by_class(
        self, start_proxy: StartProxy, backends: Backends
    ) -> None:
        primary, shadow = backends.start(echo), backends.start(answers_500)
        proxy = start_proxy(rules({"v1": primary.port, "v2": shadow.port}, {}))
        with Client(proxy.port) as client:
            assert {client.get("/").status for _ in range(10)} == {200}
        assert proxy.settled(10).completed == {"5xx": 10}


class TestDropped:
    """What is not copied, and the reason that is counted."""

    @pytest.fixture
    def pair(self, backends: Backends) -> tuple[Backend, Backend]:
        return backends.start(echo), backends.start(echo)

    def test_loop(self, start_proxy: StartProxy, pair: tuple[Backend, Backend]) -> None:
        proxy = start_proxy(rules({"v1": pair[0].port, "v2": pair[1].port}, {}))
        with Client(proxy.port) as client:
            assert client.get("/a", ("X-FastMirror-Copy", "other")).status == 200
            assert client.get("/b").status == 200
        counters = proxy.settled(2)
        assert (counters.dropped, counters.sent) == ({"loop": 1}, 1)
        assert [request.target for request in pair[0].requests] == ["/a", "/b"]
        assert [request.target for request in pair[1].requests] == ["/b"]

    def test_a_proxy_that_mirrors_to_itself(
        self, start_proxy: StartProxy, pair: tuple[Backend, Backend]
    ) -> None:
        port = free_port()
        document = rules({"v1": pair[0].port, "v2": port}, {})
        proxy = start_proxy(document, listen=f"{LOOPBACK}:{port}")
        with Client(port) as client:
            for _ in range(10):
                client.get("/")
        # Each copy comes in as a request of its own, reaches the primary, and ends there.
        counters = proxy.settled(20)
        assert (counters.sent, counters.dropped) == (10, {"loop": 10})
        assert len(pair[0].requests) == 20

    def test_unsafe_method(self, start_proxy: StartProxy, pair: tuple[Backend, Backend]) -> None:
        document = rules(
            {"v1": pair[0].port, "v2": pair[1].port}, {"methods": ["GET", "HEAD", "OPTIONS"]}
        )
        proxy = start_proxy(document)
        with Client(proxy.port) as client:
            for method in ("GET", "POST", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH"):
                body = b"x" if method in ("POST", "PUT", "PATCH") else None
                assert client.request(method, "/", (), body).status == 200
        counters = proxy.settled(7)
        assert (counters.sent, counters.dropped) == (3, {"unsafe_method": 4})
        assert {request.method for request in pair[1].requests} == {"GET", "HEAD", "OPTIONS"}

    def test_rate(self, start_proxy: StartProxy, start_nginx: StartNginx) -> None:
        v1, v2 = start_nginx("v1"), start_nginx("v2")
        rate = 20
        proxy = start_proxy(rules({"v1": v1.port, "v2": v2.port}, {"rate": rate}))
        begin = time.monotonic()
        blast(proxy.port, gets(500))
        elapsed = time.monotonic() - begin
        counters = proxy.settled(500)
        assert set(counters.dropped) == {"rate"}
        # A bucket that begins full may let a second's worth through at once.
        assert 1 <= counters.sent <= rate * (elapsed + 1) + 1

    def test_body_too_large(self, start_proxy: StartProxy, pair: tuple[Backend, Backend]) -> None:
        document = rules({"v1": pair[0].port, "v2": pair[1].port}, {"max_body": 1000})
        proxy = start_proxy(document)
        with Client(proxy.port) as client:
            client.request("POST", "/fits", (), bytes(1000))
            client.request("POST", "/not", (), bytes(1001))
        counters = proxy.settled(2)
        assert (counters.sent, counters.dropped) == (1, {"body_too_large": 1})
        assert [request.target for request in pair[1].requests] == ["/fits"]

    def test_body_that_turns_out_too_large(
        self, start_proxy: StartProxy, pair: tuple[Backend, Backend]
    ) -> None:
        """Chunked: nobody knows before it is over the limit. A cut body is never complete."""
        document = rules({"v1": pair[0].port, "v2": pair[1].port}, {"max_body": 1000})
        proxy = start_proxy(document)
        with Client(proxy.port) as client:
            client.request("POST", "/fits", (), [bytes(500), bytes(500)])
            client.request("POST", "/not", (), [bytes(700), bytes(700)])
        counters = proxy.settled(2)
        assert counters.completed == {"2xx": 1}
        assert counters.dropped == {"body_too_large": 1}
        assert [request.target for request in pair[1].requests] == ["/fits"]
        assert pair[1].errors == []

    def test_queue_full(self, start_proxy: StartProxy, backends: Backends) -> None:
        primary, silent = backends.start(echo), backends.start(never_answers)
        mirror = {"max_in_flight": 1, "max_queued": 2, "response_timeout": "700ms"}
        mirror["breaker"] = {"consecutive_failures": 0}
        proxy = start_proxy(rules({"v1": primary.port, "v2": silent.port}, mirror))
        with Client(proxy.port) as client:
            for _ in range(10):
                assert client.get("/").status == 200
        # One on its way, two waiting, the rest too many; those that wait are tried in turn.
        counters = proxy.settled(10)
        assert counters.dropped == {"queue_full": 7}
        assert (counters.sent, counters.failed) == (3, {"timeout": 3})

    def test_connections_are_opened_at_a_rate(
        self, start_proxy: StartProxy, backends: Backends
    ) -> None:
        """A shadow that closes each connection: copies wait for the next one to be allowed, and
        all are sent in the end."""
        primary, shadow = backends.start(echo), backends.start(closes_each)
        mirror = {"max_connect_rate": 100}
        proxy = start_proxy(rules({"v1": primary.port, "v2": shadow.port}, mirror))
        with Client(proxy.port) as client:
            begin = time.monotonic()
            for _ in range(80):
                assert client.get("/").status == 200
            answered = time.monotonic() - begin
            counters = proxy.settled(80)
            settled = time.monotonic() - begin
        assert counters.sent == 80
        assert counters.dropped == {}
        # 32 at once and 100 a second after that; the client has not waited for any.
        assert settled >= (80 - 32 - 1) / 100
        assert answered < settled

    def test_copies_that_wait_for_a_connection_can_be_stopped(
        self, start_proxy: StartProxy, backends: Backends
    ) -> None:
        primary, silent = backends.start(echo), backends.start(never_answers)
        mirror = {"max_connect_rate": 0.01}
        proxy = start_proxy(rules({"v1": primary.port, "v2": silent.port}, mirror))
        with Client(proxy.port) as client:
            for _ in range(5):
                assert client.get("/").status == 200
        assert proxy.ask("/mirror/off", "POST")[0] == 200
        counters = proxy.settled(5)
        assert counters.sent == 1
        assert counters.dropped == {"off": 4}
        assert counters.failed == {"shutdown": 1}

    def test_bytes_full(self, start_proxy: StartProxy, backends: Backends) -> None:
        primary, silent = backends.start(echo), backends.start(never_answers)
        mirror = {"max_in_flight": 1, "max_queued_bytes": "100KiB", "response_timeout": "700ms"}
        mirror["breaker"] = {"consecutive_failures": 0}
        proxy = start_proxy(rules({"v1": primary.port, "v2": silent.port}, mirror))
        with Client(proxy.port) as client:
            for _ in range(6):
                assert client.request("POST", "/", (), bytes(60 << 10)).status == 200
        counters = proxy.settled(6)
        assert counters.dropped.get("bytes_full", 0) >= 3, counters
        assert set(counters.dropped) == {"bytes_full"}
        assert counters.completed == {}

    def test_no_endpoint_for_the_copy(
        self, start_proxy: StartProxy, pair: tuple[Backend, Backend]
    ) -> None:
        document = rules({"v1": pair[0].port}, {"service": "nobody"})
        document["services"].append({"name": "nobody"})
        proxy = start_proxy(document)
        with Client(proxy.port) as client:
            assert client.get("/").status == 200
        counters = proxy.settled(1, mirror="nobody")
        assert (counters.sent, counters.dropped) == (0, {"no_endpoint": 1})

    def test_no_endpoint_for_the_primary(
        self, start_proxy: StartProxy, pair: tuple[Backend, Backend]
    ) -> None:
        document = rules({"v2": pair[1].port}, {}, to="v2")
        document["services"].append({"name": "nobody"})
        document["routes"][0]["to"] = [{"service": "nobody"}]
        proxy = start_proxy(document)
        with Client(proxy.port) as client:
            assert client.get("/").status == 503
        counters = proxy.settled(1)
        assert counters.sent == 0
        assert sum(counters.dropped.values()) == 1
        assert pair[1].heads == []

    def test_upgrade(self, start_proxy: StartProxy, pair: tuple[Backend, Backend]) -> None:
        proxy = start_proxy(rules({"v1": pair[0].port, "v2": pair[1].port}, {}))
        headers = [("Connection", "Upgrade, close"), ("Upgrade", "websocket")]
        assert raw_answer(proxy.port, request_bytes("GET", "/", headers))
        counters = proxy.settled(1)
        assert (counters.sent, counters.dropped) == (0, {"upgrade": 1})

    def test_no_route(self, start_proxy: StartProxy, pair: tuple[Backend, Backend]) -> None:
        document = rules({"v1": pair[0].port, "v2": pair[1].port}, {}, hosts=["app.test"])
        proxy = start_proxy(document)
        with Client(proxy.port) as client:
            assert client.get("/", host="unknown.test").status == 404
            assert client.get("/").status == 200
        assert proxy.settled(1).sent == 1

    def test_breaker(self, start_proxy: StartProxy, pair: tuple[Backend, Backend]) -> None:
        mirror = {"breaker": {"consecutive_failures": 3, "open_time": 60}}
        proxy = start_proxy(rules({"v1": pair[0].port, "v2": free_port()}, mirror))
        with Client(proxy.port) as client:
            for i in range(1, 21):
                assert client.get("/").status == 200
                proxy.settled(i)  # one at a time: each failure is known before the next copy
        counters = proxy.settled(20)
        assert (counters.failed, counters.dropped) == ({"connect": 3}, {"breaker": 17})

    def test_breaker_closes_again(self, start_proxy: StartProxy, backends: Backends) -> None:
        primary, port = backends.start(echo), free_port()
        mirror = {"breaker": {"consecutive_failures": 2, "open_time": "200ms"}}
        proxy = start_proxy(rules({"v1": primary.port, "v2": port}, mirror))
        with Client(proxy.port) as client:
            for _ in range(5):
                client.get("/")
            backends.start(echo, port=port)

            def completed() -> bool:
                assert client.get("/").status == 200
                return bool(proxy.metrics().counters().completed)

            wait_until(completed, "a copy answered after the shadow came back", every=0.05)
