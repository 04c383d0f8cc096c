"""What a route does beside forwarding: redirects, answers, rewrites, header changes. The primary
and the shadow get the same rewritten request, and what is answered by the proxy is not copied.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

import pytest

from .backends import Backends, Connection, echo
from .client import Client, exchange, request_bytes
from .conftest import StartProxy
from .documents import rules


def proxied(start_proxy: StartProxy, backends: Backends, **route: Any):
    """``(proxy, primary, shadow)``"""
    primary, shadow = backends.start(echo), backends.start(echo)
    document = rules({"v1": primary.port, "v2": shadow.port}, {}, **route)
    return start_proxy(document), primary, shadow


def answering(start_proxy: StartProxy, backends: Backends, **route: Any):
    primary, shadow = backends.start(echo), backends.start(echo)
    document = rules({"v1": primary.port, "v2": shadow.port}, {})
    del document["routes"][0]["to"]
    document["routes"][0].update(route)
    return start_proxy(document), primary, shadow


class TestRewrite:
    @pytest.mark.parametrize(
        ("match", "rewrite", "sent", "got"),
        [
            (None, {"path": "/x"}, "/a/b?c=d", "/x?c=d"),
            ({"prefix": "/a"}, {"prefix": "/b"}, "/a/x?q", "/b/x?q"),
            ({"prefix": "/a"}, {"prefix": "/"}, "/a/x", "//x"),
            ({"prefix": "/a/"}, {"prefix": "/"}, "/a/x", "/x"),
            ({"exact": "/a"}, {"prefix": "/b"}, "/a", "/b"),
            ({"regex": "/a.*"}, {"prefix": "/b"}, "/abc", "/b"),
            (None, {"prefix": "/b/"}, "/abc", "/b/abc"),
            # The table of the Gateway API's ReplacePrefixMatch.
            ({"path_separated_prefix": "/foo"}, {"prefix": "/xyz"}, "/foo/bar", "/xyz/bar"),
            ({"path_separated_prefix": "/foo"}, {"prefix": "/xyz/"}, "/foo/bar", "/xyz/bar"),
            ({"path_separated_prefix": "/foo/"}, {"prefix": "/xyz"}, "/foo/bar", "/xyz/bar"),
            ({"path_separated_prefix": "/foo/"}, {"prefix": "/xyz/"}, "/foo/bar", "/xyz/bar"),
            ({"path_separated_prefix": "/foo"}, {"prefix": "/xyz"}, "/foo", "/xyz"),
            ({"path_separated_prefix": "/foo"}, {"prefix": "/xyz"}, "/foo/", "/xyz/"),
            ({"path_separated_prefix": "/foo"}, {"prefix": ""}, "/foo/bar", "/bar"),
            ({"path_separated_prefix": "/foo"}, {"prefix": ""}, "/foo/", "/"),
            ({"path_separated_prefix": "/foo"}, {"prefix": ""}, "/foo", "/"),
            ({"path_separated_prefix": "/foo"}, {"prefix": "/"}, "/foo/", "/"),
            ({"path_separated_prefix": "/foo"}, {"prefix": "/"}, "/foo", "/"),
            (
                None,
                {"regex": {"match": "/users/([0-9]+)", "substitution": r"/u/\1"}},
                "/users/12/x?y",
                "/u/12/x?y",
            ),
            (None, {"regex": {"match": "b", "substitution": r"[\0\\]"}}, "/abcb", r"/a[b\]c[b\]"),
        ],
    )
    def test_path(self, start_proxy, backends, match, rewrite, sent, got) -> None:
        block = [{"path": match}] if match else []
        proxy, primary, shadow = proxied(start_proxy, backends, match=block, rewrite=rewrite)
        with Client(proxy.port) as client:
            assert json.loads(client.get(sent).body)["target"] == got
        proxy.settled(1)
        assert [request.target for request in (*primary.requests, *shadow.requests)] == [got, got]

    @pytest.mark.parametrize(
        "route",
        [
            {"rewrite": {"host": "other.test:81"}},
            {"headers": {"request": {"set": {"Host": "other.test:81"}}}},
        ],
    )
    def test_host(self, start_proxy, backends, route) -> None:
        proxy, primary, shadow = proxied(start_proxy, backends, **route)
        with Client(proxy.port) as client:
            assert client.get("/").status == 200
        proxy.settled(1)
        assert primary.requests[0].host == "other.test:81"
        assert shadow.requests[0].host == "other.test-shadow:81"

    def test_the_block_that_matched_counts(self, start_proxy, backends) -> None:
        match = [{"path": {"prefix": "/long/one"}}, {"path": {"prefix": "/long"}}, {}]
        proxy, primary, _ = proxied(start_proxy, backends, match=match, rewrite={"prefix": "/x"})
        with Client(proxy.port) as client:
            for target in ("/long/one/a", "/long/two", "/other"):
                client.get(target)
        assert [request.target for request in primary.requests] == ["/x/a", "/x/two", "/xother"]


CHANGE = {
    "request": {
        "set": {"X-Set": "new", "x-empty": "", "x-user": "me"},
        "add": {"x-added": "2"},
        "remove": ["X-Gone", "cookie"],
    },
    "response": {
        "set": {"server": "hidden"},
        "add": {"set-cookie": "b=2"},
        "remove": ["x-secret"],
    },
}


class TestHeaders:
    def test_of_a_request(self, start_proxy, backends) -> None:
        proxy, primary, shadow = proxied(start_proxy, backends, headers=CHANGE)
        sent = [("x-set", "old"), ("x-set", "older"), ("x-added", "1"), ("X-GONE", "x")]
        with Client(proxy.port) as client:
            client.get("/", *sent, ("Cookie", "a=b"), ("x-kept", "yes"))
            client.request("POST", "/", sent, [b"chunked"])
        proxy.settled(2)
        for request in (*primary.requests, *shadow.requests):
            assert request.values("x-set") == ["new"]
            assert request.values("x-added") == ["1", "2"]
            assert request.values("x-empty") == [""]
            assert request.values("x-gone") == request.values("cookie") == []
        first, second = primary.requests
        assert first.values("x-kept") == ["yes"]
        assert second.length == 7

    def test_of_a_response(self, start_proxy, backends) -> None:
        async def answers(conn: Connection) -> None:
            while await conn.request():
                own = [("server", "mine"), ("set-cookie", "a=1"), ("x-secret", "s"), ("x-b", "c")]
                await conn.answer(b"ok", 200, *own)

        document = rules({"v1": backends.start(answers).port}, headers=CHANGE)
        with Client(start_proxy(document).port) as client:
            for _ in range(2):
                found = client.get("/")
                assert found.body == b"ok"
                assert found.value("server") == "hidden"
                cookies = [value for name, value in found.headers if name == "set-cookie"]
                assert cookies == ["a=1", "b=2"]
                assert (found.value("x-secret"), found.value("x-b")) == (None, "c")

    def test_of_a_destination_come_first(self, start_proxy, backends) -> None:
        primary = backends.start(echo)
        document = rules({"v1": primary.port}, headers={"request": {"set": {"x-a": "route"}}})
        own = {"request": {"set": {"x-a": "destination", "x-b": "destination"}}}
        document["routes"][0]["to"][0]["headers"] = own
        with Client(start_proxy(document).port) as client:
            client.get("/")
        (seen,) = primary.requests
        assert (seen.values("x-a"), seen.values("x-b")) == (["route"], ["destination"])

    def test_the_request_id_is_one(self, start_proxy, backends) -> None:
        change = {"request": {"remove": ["x-request-id"]}}
        proxy, primary, shadow = proxied(start_proxy, backends, headers=change)
        with Client(proxy.port) as client:
            client.get("/", ("x-request-id", "theirs"))
        proxy.settled(1)
        made = primary.requests[0].value("x-request-id")
        assert made not in (None, "theirs")
        assert shadow.requests[0].value("x-request-id") == made


class TestOwnAnswers:
    @pytest.mark.parametrize(
        ("redirect", "match", "sent", "host", "location"),
        [
            ({"host": "example.org"}, None, "/a?b", "app.test", "http://example.org/a?b"),
            ({"scheme": "https"}, None, "/a", "app.test:8080", "https://app.test/a"),
            ({"scheme": "https", "port": 443}, None, "/", "app.test", "https://app.test/"),
            ({"port": 8443}, None, "/", "app.test:80", "http://app.test:8443/"),
            ({"port": 80}, None, "/", "app.test:81", "http://app.test/"),
            ({}, None, "/a", "app.test:81", "http://app.test:81/a"),
            ({"path": "/x"}, None, "/a?b", "app.test", "http://app.test/x?b"),
            ({"prefix": "/x"}, {"prefix": "/a"}, "/a/b", "app.test", "http://app.test/x/b"),
            (
                {"prefix": "/", "status": 302},
                {"path_separated_prefix": "/a"},
                "/a",
                "app.test",
                "http://app.test/",
            ),
        ],
    )
    def test_redirect(self, start_proxy, backends, redirect, match, sent, host, location) -> None:
        block = [{"path": match}] if match else []
        proxy, primary, _ = answering(start_proxy, backends, redirect=redirect, match=block)
        with Client(proxy.port) as client:
            for _ in range(2):
                found = client.get(sent, host=host)
                assert found.status == redirect.get("status", 301)
                assert found.value("location") == location
                assert found.body == b""
        assert primary.heads == []
        counters = proxy.settled(2)
        assert counters.dropped == {"not_routed": 2}

    def test_direct_response(self, start_proxy, backends) -> None:
        proxy, primary, _ = answering(
            start_proxy,
            backends,
            direct_response={"status": 418, "body": '{"short": "stout"}'},
            headers={
                "response": {
                    "set": {"Content-Type": "application/json", "x-a": "b", "Server": "mine"}
                }
            },
        )
        with Client(proxy.port) as client:
            for method in ("GET", "HEAD", "POST"):
                body = b"x" * 1000 if method == "POST" else None
                found = client.request(method, "/", (), body)
                assert found.status == 418
                assert found.value("content-type") == "application/json"
                assert (found.value("x-a"), found.value("server")) == ("b", "mine")
                assert found.body == (b"" if method == "HEAD" else b'{"short": "stout"}')
        assert primary.heads == []

    @pytest.mark.parametrize("status", [204, 304])
    def test_direct_response_without_a_body(self, start_proxy, backends, status) -> None:
        own = {"status": status, "body": "nobody sees it"}
        proxy, _, _ = answering(start_proxy, backends, direct_response=own)
        with Client(proxy.port) as client:
            for _ in range(2):
                found = client.get("/")
                assert (found.status, found.body) == (status, b"")

    def test_a_share_without_a_backend(self, start_proxy, backends) -> None:
        primary, shadow = backends.start(echo), backends.start(echo)
        document = rules({"v1": primary.port, "v2": shadow.port}, {})
        document["routes"][0]["to"].append({"status": 500})
        proxy = start_proxy(document)
        found = []
        with Client(proxy.port) as client:
            for _ in range(60):
                client.send(request_bytes("GET", "/"))
                found.append(client.response().status)
        assert set(found) == {200, 500}
        counters = proxy.settled(60)
        assert counters.dropped == {"not_routed": found.count(500)}
        assert len(primary.requests) == len(shadow.requests) == found.count(200)


class TestPorts:
    def test_the_port_of_a_host_from_request_to_request(self, start_proxy, backends) -> None:
        proxy, *_ = answering(
            start_proxy,
            backends,
            match=[{"port": 8080}],
            direct_response={"status": 418},
        )
        asked = [
            ("/", "a:8080", 418),
            ("/", "a", 404),
            ("/", "b:8080", 418),
            ("/", "b:80", 404),
            ("http://c:8080/", "c", 418),
            ("http://c/", "c:8080", 404),
            ("/", "a:8080", 418),
            ("/", "[::1]:8080", 418),
            ("/", "a:", 404),
        ]
        data = b"".join(request_bytes("GET", target, host=host) for target, host, _ in asked)
        found = exchange(proxy.port, data, *["GET"] * len(asked))
        assert [response.status for response in found] == [status for *_, status in asked]

    def test_a_host_that_is_not_there_is_on_port_80(self, start_proxy, backends) -> None:
        proxy, *_ = answering(
            start_proxy, backends, match=[{"port": 80}], direct_response={"status": 418}
        )
        asked = [("1.1", "a:81", 404), ("1.0", None, 418)]
        data = b"".join(
            request_bytes("GET", "/", host=host, version=version) for version, host, _ in asked
        )
        found = exchange(proxy.port, data, *["GET"] * len(asked))
        assert [response.status for response in found] == [status for *_, status in asked]


class TestFaults:
    def test_a_delay(self, start_proxy, backends) -> None:
        fault = {"delay": {"duration": "300ms"}}
        proxy, primary, shadow = proxied(start_proxy, backends, fault=fault)
        with Client(proxy.port) as client:
            for method, body in (("GET", None), ("POST", b"body"), ("POST", [b"in", b"chunks"])):
                began = time.monotonic()
                assert client.request(method, "/", (), body).status == 200
                assert time.monotonic() - began >= 0.3
        proxy.settled(3)
        for backend in (primary, shadow):
            assert [request.length for request in backend.requests] == [0, 4, 8]

    def test_others_do_not_wait(self, start_proxy, backends) -> None:
        document = rules({"v1": backends.start(echo).port}, fault={"delay": {"duration": "5s"}})
        document["routes"].insert(0, {**document["routes"][0], "name": "quick", "fault": {}})
        document["routes"][0]["match"] = [{"path": {"prefix": "/quick"}}]
        proxy = start_proxy(document)
        with Client(proxy.port) as slow, Client(proxy.port) as client:
            slow.send(request_bytes("POST", "/", [("Content-Length", "3000000")]) + bytes(100_000))
            began = time.monotonic()
            for _ in range(20):
                assert client.get("/quick").status == 200
            assert time.monotonic() - began < 2

    def test_the_client_goes_away_meanwhile(self, start_proxy, backends) -> None:
        fault = {"delay": {"duration": "200ms"}}
        proxy, primary, _ = proxied(start_proxy, backends, fault=fault)
        for _ in range(5):
            with Client(proxy.port) as client:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.send(request_bytes("GET", "/"))
                time.sleep(0.02)
        time.sleep(0.4)
        assert primary.heads == []

    def test_an_abort(self, start_proxy, backends) -> None:
        fault = {"abort": {"status": 503}}
        proxy, primary, _ = proxied(start_proxy, backends, fault=fault)
        with Client(proxy.port) as client:
            for body in (None, b"x"):
                assert client.request("POST", "/", (), body).status == 503
        assert primary.heads == []
        assert proxy.settled(2).dropped == {"not_routed": 2}

    def test_percentages(self, start_proxy, backends) -> None:
        fault = {
            "delay": {"duration": "1s", "percent": 0},
            "abort": {"status": 500, "percent": 50},
        }
        proxy, primary, _ = proxied(start_proxy, backends, fault=fault)
        with Client(proxy.port) as client:
            found = [client.get("/").status for _ in range(100)]
        assert 20 < found.count(500) < 80
        assert len(primary.requests) == found.count(200)


POLICY = {
    "allow_origins": [{"exact": "https://a.test"}, {"regex": r"https://[a-z]+\.b\.test"}],
    "allow_methods": ["GET", "PUT"],
    "allow_headers": ["x-a", "content-type"],
    "expose_headers": ["x-b"],
    "max_age": "24h",
    "allow_credentials": True,
}
ASKS = ("Access-Control-Request-Method", "PUT")


class TestCors:
    @pytest.mark.parametrize("origin", ["https://a.test", "https://sub.b.test"])
    def test_preflight(self, start_proxy, backends, origin) -> None:
        proxy, primary, _ = proxied(start_proxy, backends, cors=POLICY)
        with Client(proxy.port) as client:
            found = client.request("OPTIONS", "/", [("Origin", origin), ASKS])
            assert (found.status, found.body) == (200, b"")
            assert found.value("access-control-allow-origin") == origin
            assert found.value("access-control-allow-methods") == "GET, PUT"
            assert found.value("access-control-allow-headers") == "x-a, content-type"
            assert found.value("access-control-max-age") == "86400"
            assert found.value("access-control-allow-credentials") == "true"
        assert primary.heads == []
        assert proxy.settled(1).dropped == {"not_routed": 1}

    @pytest.mark.parametrize(
        ("method", "headers"),
        [
            ("OPTIONS", [("Origin", "https://other.test"), ASKS]),
            ("OPTIONS", [("Origin", "https://a.test")]),
            ("OPTIONS", [ASKS]),
            ("GET", [("Origin", "https://a.test.evil"), ASKS]),
            ("GET", []),
        ],
    )
    def test_what_is_no_preflight_is_forwarded(
        self, start_proxy, backends, method, headers
    ) -> None:
        proxy, primary, _ = proxied(start_proxy, backends, cors=POLICY)
        with Client(proxy.port) as client:
            found = client.request(method, "/", headers)
            assert found.status == 200
            allowed = ("Origin", "https://a.test") in headers
            assert (found.value("access-control-allow-origin") is not None) == allowed
        assert len(primary.requests) == 1

    def test_the_route_speaks_instead_of_the_primary(self, start_proxy, backends) -> None:
        async def answers(conn: Connection) -> None:
            while await conn.request():
                await conn.answer(b"ok", 200, ("access-control-allow-origin", "*"))

        document = rules({"v1": backends.start(answers).port}, cors=POLICY)
        with Client(start_proxy(document).port) as client:
            found = client.get("/", ("Origin", "https://a.test"))
            assert found.value("access-control-allow-origin") == "https://a.test"
            assert found.value("access-control-expose-headers") == "x-b"
            assert found.value("vary") == "origin"
            assert client.get("/").value("access-control-allow-origin") == "*"


@pytest.mark.parametrize("missing", ["always", "skip"])
def test_what_is_answered_is_sampled_by_an_id_too(start_proxy, backends, missing) -> None:
    """The proxy makes one where there is none: the share is the same as of what is forwarded."""
    mirror = {"percent": 50, "sample_by": "request_id", "missing": missing}
    document = rules({"v1": backends.start(echo).port, "v2": backends.start(echo).port}, mirror)
    del document["routes"][0]["to"]
    document["routes"][0]["direct_response"] = {"status": 200}
    proxy = start_proxy(document)
    with Client(proxy.port) as client:
        for _ in range(100):
            client.get("/")
    assert 20 < proxy.settled(100).dropped["not_routed"] < 80


class TestDestinations:
    """What a destination has for itself."""

    def start(self, start_proxy: StartProxy, backends: Backends, *to: dict[str, Any], **route: Any):
        primary, shadow, other = (backends.start(echo) for _ in range(3))
        ports = {"v1": primary.port, "v2": shadow.port, "v3": other.port}
        document = rules(ports, {}, **route)
        document["routes"][0]["to"] = [{"service": "app", "subset": "v1", **each} for each in to]
        return start_proxy(document), primary, shadow, other

    def test_a_rewrite_in_the_place_of_the_routes_part_by_part(self, start_proxy, backends) -> None:
        proxy, primary, shadow, _ = self.start(
            start_proxy,
            backends,
            {"rewrite": {"path": "/own"}},
            rewrite={"host": "other.test", "prefix": "/route"},
        )
        with Client(proxy.port) as client:
            assert client.get("/a?b").status == 200
        proxy.settled(1)
        assert [(each.host, each.target) for each in primary.requests] == [("other.test", "/own?b")]
        assert shadow.requests[0].target == "/own?b"

    def test_mirrors_of_what_goes_there(self, start_proxy, backends) -> None:
        mirror = {"service": "app", "subset": "v3"}
        proxy, primary, shadow, other = self.start(
            start_proxy,
            backends,
            {"mirrors": [mirror], "headers": {"request": {"set": {"x-share": "one"}}}},
            {"headers": {"request": {"set": {"x-share": "two"}}}},
        )
        with Client(proxy.port) as client:
            for _ in range(40):
                assert client.request("POST", "/", [], b"body").status == 200
        proxy.settled(40)
        ones = [each for each in primary.requests if each.value("x-share") == "one"]
        assert 0 < len(ones) < 40
        assert len(shadow.requests) == 40
        counters = proxy.settled(len(ones), mirror="app/v3")
        assert counters.sent == len(ones)
        assert {each.value("x-share") for each in other.requests} == {"one"}

    def test_a_mirror_of_one_that_answers_itself(self, start_proxy) -> None:
        document = rules({"v3": 1}, {"subset": "v3"}, to="v3")
        document["routes"][0]["to"] = [{"status": 500, "mirrors": document["routes"][0]["mirrors"]}]
        document["routes"][0]["mirrors"] = []
        proxy = start_proxy(document)
        with Client(proxy.port) as client:
            assert client.get("/").status == 500
        counters = proxy.metrics().counters(mirror="app/v3")
        assert counters.dropped == {"not_routed": 1}
