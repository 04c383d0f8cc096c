"""``fastmirror explain``: what it says, to people and to programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import xxhash

from fastmirror.cli import main
from fastmirror.rules.load import encode_rules

from .building import rules

SERVICES = [
    {
        "name": "app",
        "endpoints": [
            {"address": "127.0.0.1:8001", "labels": {"version": "v1"}},
            {"address": "127.0.0.1:8002", "labels": {"version": "v2"}},
            {"address": "app-v3:80", "labels": {"version": "v3"}},
        ],
        "subsets": {"v1": {"version": "v1"}, "v2": {"version": "v2"}, "v3": {"version": "v3"}},
    },
    {"name": "empty"},
]
V1 = [{"service": "app", "subset": "v1"}]
ID = ["-H", "x-request-id: 7"]


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The text for a request under these routes."""

    def ask(routes: list[dict[str, object]], *arguments: str) -> str:
        file = tmp_path / "rules.msgpack"
        named = [{"name": f"r{at}", "to": V1, **route} for at, route in enumerate(routes)]
        for route in named:
            if {"redirect", "direct_response"} & set(route):
                del route["to"]
        file.write_bytes(encode_rules(rules({"services": SERVICES, "routes": named})))
        assert main(["explain", "--rules", str(file), *arguments]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return ask


@pytest.fixture
def report(said):
    """The same as JSON, decoded."""

    def ask(routes: list[dict[str, object]], *arguments: str) -> dict:
        return json.loads(said(routes, *arguments, "--json"))

    return ask


def mirrored(**fields: object) -> dict[str, object]:
    return {"mirrors": [{"service": "app", "subset": "v2", "name": "m", **fields}]}


ORDINARY = """\
request  GET /api/users?x=1, Host app:8000
         compared as host app, port 8000, path /api/users
         from 127.0.0.1, with no x-request-id

routes   r0: is for the hosts other, *.other
         r1: match[0].path wants exact "/api", found "/api/users" (and 1 more)
         r1: match[1].headers.x-env wants exact "dev", found nothing
         r2 takes it, by match[0]
route    r2: the first route whose hosts and match hold

primary  app/v1 at 127.0.0.1:8001
         GET /users?x=1 HTTP/1.1
         host: app:8000
         - X-Secret: s
         + x-env: prod
         + x-request-id: made by the proxy
mirror   m (50 %): copied
         key: header x-user "bob", 0x{bucket:016x} < 0x8000000000000000
         to 127.0.0.1:8002
         GET /users?x=1 HTTP/1.1
         host: app-shadow:8000
         x-fastmirror-copy: m
"""


def test_an_ordinary_case(said):
    routes = [
        {"hosts": ["other", "*.other"]},
        {
            "hosts": ["app"],
            "match": [
                {"path": {"exact": "/api"}, "method": "POST"},
                {"headers": {"x-env": {"exact": "dev"}}},
            ],
        },
        {
            "match": [{"path": {"path_separated_prefix": "/api"}}],
            "rewrite": {"prefix": "/"},
            "headers": {"request": {"set": {"x-env": "prod"}, "remove": ["x-secret"]}},
            **mirrored(percent=50, sample_by={"header": "x-user"}),
        },
    ]
    headers = ["-H", "x-user: bob", "-H", "X-Secret: s"]
    bucket = xxhash.xxh64_intdigest(b"bob", xxhash.xxh64_intdigest(b"r2/m"))
    assert bucket < 1 << 63
    found = said(routes, "GET", "http://app:8000/api/users?x=1", *headers)
    assert found == ORDINARY.format(bucket=bucket)


def test_shares_and_injected_faults(report):
    to = [*({**V1[0], "weight": 30},), {"service": "app", "weight": 60}, {"status": 500}]
    to[2]["weight"] = 10
    fault = {"abort": {"status": 503, "percent": 20}, "delay": {"duration": "2s", "percent": 5}}
    found = report([{"to": to, "fault": fault}], "GET", "http://app/")
    assert found["delay"] == {"seconds": 2.0, "percent": 5.0}
    shares = [(each["percent"], each["to"], each["cause"]) for each in found["outcomes"]]
    assert shares == [
        (20.0, None, "fault_filter_abort"),
        (24.0, "app/v1", "forwarded"),
        (48.0, "app", "forwarded"),
        (8.0, None, "the route's backend is no valid one"),
    ]
    addresses = ["127.0.0.1:8001", "127.0.0.1:8002", "app-v3:80"]
    assert found["outcomes"][2]["endpoints"] == addresses


def test_a_preflight_comes_before_faults_and_weights(report):
    to = [V1[0], {"service": "app", "weight": 3}]
    route = {"to": to, "fault": {"abort": {"status": 503, "percent": 20}}}
    route["cors"] = {"allow_origins": [{"exact": "https://x"}]}
    asked = ["-H", "Origin: https://x", "-H", "Access-Control-Request-Method: PUT"]
    [outcome] = report([route], "OPTIONS", "http://app/", *asked)["outcomes"]
    assert (outcome["percent"], outcome["cause"]) == (100.0, "cors_preflight")
    assert "access-control-allow-origin: https://x" in outcome["answer"]["headers"]


@pytest.mark.parametrize(
    ("host", "by", "route", "reason"),
    [
        ("app", "none", None, "no route that names this host"),
        ("empty", "default", "service/empty", 'a host of service "empty"'),
        ("nobody", "none", None, "no route matches, and no service"),
    ],
)
def test_no_route(report, host, by, route, reason):
    routes = [{"hosts": ["app"], "match": [{"method": "PUT"}]}]
    found = report(routes, "GET", f"http://{host}/")
    assert (found["by"], found["route"]) == (by, route)
    assert reason in found["reason"]
    [outcome] = found["outcomes"]
    assert outcome["answer"]["status"] == (503 if by == "default" else 404)


def test_many_routes_for_other_hosts_take_one_line(said):
    found = said([{"hosts": [f"h{at}"]} for at in range(9)], "GET", "http://app/")
    assert "routes   9 routes are for other hosts\n" in found
    assert "route    service/app" in found


@pytest.mark.parametrize("missing", ["random", "skip", "always"])
def test_an_id_that_the_proxy_makes_is_random_and_not_missing(report, missing):
    route = mirrored(percent=10, sample_by="request_id", missing=missing)
    [mirror] = report([route], "GET", "http://app/")["outcomes"][0]["mirrors"]
    assert mirror["sampled"] is None
    assert mirror["copied"] is None
    assert mirror["key"] == {
        "source": "request_id",
        "value": None,
        "made": True,
        "missing": missing,
        "bucket": None,
    }
    assert "x-request-id: (made by the proxy)" in mirror["copy"]["head"]


def test_an_id_that_rules_set_is_the_key(report):
    route = mirrored(percent=50, sample_by="request_id")
    route["headers"] = {"request": {"set": {"x-request-id": "9"}}}
    [outcome] = report([route], "GET", "http://app/", *ID)["outcomes"]
    [mirror] = outcome["mirrors"]
    bucket = xxhash.xxh64_intdigest(b"9", xxhash.xxh64_intdigest(b"r0/m"))
    assert mirror["key"]["value"] == "9"
    assert mirror["key"]["bucket"] == f"0x{bucket:016x}"
    assert mirror["sampled"] == (bucket < 1 << 63)
    assert outcome["forwarded"]["changes"] == ["- x-request-id: 7", "+ x-request-id: 9"]


@pytest.mark.parametrize(
    ("missing", "sampled"), [("random", None), ("skip", False), ("always", True)]
)
def test_a_key_that_is_missing(report, missing, sampled):
    route = mirrored(percent=10, sample_by={"cookie": "user"}, missing=missing)
    [mirror] = report([route], "GET", "http://app/")["outcomes"][0]["mirrors"]
    assert (mirror["sampled"], mirror["copied"]) == (sampled, sampled)


@pytest.mark.parametrize(
    ("fields", "asked", "reason"),
    [
        ({}, ["GET", "-H", "x-fastmirror-copy: other"], "loop"),
        ({"methods": ["GET"]}, ["POST"], "unsafe_method"),
        ({}, ["GET", "-H", "Connection: upgrade", "-H", "Upgrade: websocket"], "upgrade"),
        ({"max_body": 9}, ["POST", "-H", "Content-Length: 10"], "body_too_large"),
        ({"max_body": 9}, ["POST", "-H", "Content-Length: 999999999"], "body_too_large"),
        ({"subset": None, "service": "empty"}, ["GET"], "no_endpoint"),
        ({"rate": 0.1}, ["GET"], None),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_why_no_copy_is_made(report, fields, asked, reason):
    method, *headers = asked
    found = report([mirrored(**fields)], method, "http://app/", *headers)
    [mirror] = found["outcomes"][0]["mirrors"]
    assert (mirror["dropped"], mirror["copied"]) == (reason, reason is None)


def test_chance_comes_before_the_reason(said):
    route = mirrored(percent=10, methods=["GET"])
    found = said([route], "POST", "http://app/")
    assert "m (10 %): not copied: unsafe_method, in the 10 % that are sampled" in found


def test_a_body_of_unknown_length(report):
    asked = ["-H", "Transfer-Encoding: chunked"]
    [outcome] = report([mirrored(max_body="1KiB")], "POST", "http://app/", *asked)["outcomes"]
    [mirror] = outcome["mirrors"]
    assert (mirror["copied"], mirror["sampled"]) == (None, True)
    assert "larger than 1KiB" in mirror["note"]


def test_the_host_of_each_endpoint(report):
    route = mirrored(host="target", subset=None)
    [mirror] = report([route], "GET", "http://app/")["outcomes"][0]["mirrors"]
    assert mirror["copy"]["endpoints"] == [
        {"address": "127.0.0.1:8001", "host": "127.0.0.1:8001"},
        {"address": "127.0.0.1:8002", "host": "127.0.0.1:8002"},
        {"address": "app-v3:80", "host": "app-v3"},
    ]


def test_a_hash_picks_one_endpoint(tmp_path, capsys):
    file = tmp_path / "rules.msgpack"
    ends = [{"address": f"127.0.0.1:{port}"} for port in (1, 2, 3)]
    service = {"name": "app", "balance": {"hash": {"header": "x"}}, "endpoints": ends}
    file.write_bytes(encode_rules(rules({"services": [service]})))

    def endpoints(*headers: str) -> list[str]:
        assert (
            main(["explain", "--rules", str(file), "--json", "GET", "http://app/", *headers]) == 0
        )
        return json.loads(capsys.readouterr().out)["outcomes"][0]["endpoints"]

    assert len(endpoints()) == 3
    assert len(endpoints("-H", "x: a")) == 1
    assert endpoints("-H", "x: a") == endpoints("-H", "x: a")


def test_who_asks_and_how(report):
    asked = ["/%2e/a/../b", "-H", "Host: APP.", "--source", "2001:db8::1"]
    found = report([{}], "GET", *asked)
    assert (found["request"]["host"], found["request"]["path"]) == ("app", "/b")
    head = found["outcomes"][0]["forwarded"]["head"]
    assert head[:2] == ["GET /b HTTP/1.1", "host: APP."]
    assert "x-forwarded-for: 2001:db8::1" in head
    found = report([{}], "GET", "http://127.0.0.1:15001/get", "-H", "Host: app")  # as with curl
    assert found["request"]["host"] == "app"


@pytest.mark.parametrize(
    ("arguments", "status", "cause"),
    [
        (["GET", "http://app/", "-H", "a b: c"], 400, "not a valid request"),
        (["GET", "http://app/", "-H", "Host: a", "-H", "Host: b"], 400, "exactly one Host"),
        (["CONNECT", "app:80"], 501, "CONNECT is not served"),
        (["OPTIONS", "*", "-H", "Host: app", "-H", "Max-Forwards: 0"], 200, "max_forwards"),
    ],
)
def test_the_proxy_answers_itself(report, arguments, status, cause):
    found = report([{}], *arguments)
    [outcome] = found["outcomes"]
    assert (found["by"], found["routes"], outcome["answer"]["status"]) == ("proxy", [], status)
    assert cause in outcome["cause"]


def test_a_short_body_is_read_before_the_answer(report):
    route = {"direct_response": {"status": 418, "body": "short"}, **mirrored()}
    for length in ("3", "99999999"):
        asked = ["-H", f"Content-Length: {length}"]
        [outcome] = report([route], "POST", "http://app/", *asked)["outcomes"]
        assert (outcome["answer"]["status"], outcome["answer"]["body"]) == (418, "short")
        assert outcome["mirrors"][0]["dropped"] == "not_routed"


def test_nothing_reaches_the_terminal_raw(said):
    found = said([{}], "GET", "http://app/" + "x" * 500, "-H", "x-a: \x1b[31m")
    assert found.isascii()
    assert max(map(len, found.splitlines())) <= 110
    assert "\x1b" not in found


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "the following arguments are required"),
        (["GET", "/x"], "-H 'Host: NAME'"),
        (["GET", "https://app/"], "expected http://HOST/PATH or /PATH"),
        (["GET", "http:///x"], "no host"),
        (["G T", "http://app/"], "METHOD"),
        (["GET", "http://app/a b"], "URL"),
        (["GET", "http://app/", "-H", "no colon"], "expected 'name: value'"),
        (["GET", "http://app/", "-H", "a: b\r\nc: d"], "expected 'name: value'"),
        (["GET", "http://app/", "--source", "app"], "expected an IP address"),
    ],
)
def test_usage(arguments, expected, capsys):
    assert main(["explain", "--rules", "rules.msgpack", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: fastmirror explain" in captured.err
    assert expected in captured.err


def test_rules_that_are_not_valid(tmp_path, capsys):
    file = tmp_path / "rules.json"
    file.write_text('{"version": 1, "routes": [{"name": "r"}]}')
    assert main(["explain", "--rules", str(file), "GET", "http://app/"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{file}: routes[0].to: expected one of")
    assert main(["explain", "--rules", str(tmp_path / "none"), "GET", "http://app/"]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_why_a_port_or_a_header_that_must_not_be_there_does_not_hold(report):
    without = {"x-a": {"prefix": "b"}, "X-B": {"present": False}, "x-c": {"present": True}}
    routes = [
        {"match": [{"port": 8080}, {"without_headers": without}, {"port": 81, "method": "PUT"}]},
        {},
    ]
    found = report(routes, "GET", "http://app:81/", "-H", "x-a: bob", "-H", "x-c: 1")
    assert found["request"]["port"] == 81
    failed = [tuple(each.values()) for each in found["routes"][0]["failed"]]
    assert failed == [
        (0, "port", "8080", "81"),
        (1, "without_headers.x-a", 'anything but prefix "b"', "bob"),
        (1, "without_headers.X-B", "that it is present", None),
        (1, "without_headers.x-c", "that it is absent", "1"),
        (2, "method", 'exact "PUT"', "GET"),
    ]
    assert (found["route"], found["routes"][1]["block"]) == ("r1", None)
