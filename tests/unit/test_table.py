"""From a request to its route: section 3 of the specification, by example and by a naive scan."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from .building import request, route_name, table


def named(hosts_of_routes, host, *before, services=None):
    """The route of a host, after those of other hosts were asked for."""
    found = table([{"hosts": hosts} for hosts in hosts_of_routes], services)
    for other in before:
        found.find(request(host=other))
    return route_name(found, request(host=host))


@pytest.mark.parametrize(
    ("hosts_of_routes", "host", "route"),
    [
        ([["a"]], "a", "r0"),
        ([["a"]], "b", None),
        ([["a"], ["a"]], "a", "r0"),
        ([["*"], ["a"]], "a", "r0"),
        ([["*.b"], ["a.b"]], "a.b", "r0"),
        ([["a.b"], ["*.b"]], "a.b", "r0"),
        ([["*.c"], ["*.b.c"]], "a.b.c", "r0"),
        ([["x"], ["*.b.c"], ["*"]], "a.b.c", "r1"),
        ([["x"], ["*"]], "a", "r1"),
        ([["a", "b"], ["*"]], "b", "r0"),
    ],
)
def test_the_first_in_the_document_wins_whatever_its_hosts(hosts_of_routes, host, route):
    assert named(hosts_of_routes, host) == route


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("a.b", "a.b", True),
        ("A.b", "a.B", True),
        ("a.b.", "a.b", True),
        ("a.b", "a.b.", True),
        ("a.b", "a.b:8080", True),
        ("a.b", "x.a.b", False),
        ("a.b", "b", False),
        ("*.b", "a.b", True),
        ("*.b", "x.a.b", True),
        ("*.b", "x.y.z.a.b:80", True),
        ("*.B.", "A.b.", True),
        ("*.b", "b", False),
        ("*.b", "ab", False),
        ("*.b", "a.bb", False),
        ("*.b", "a.b.c", False),
        ("*", "anything.at.all", True),
        ("[::1]", "[::1]:80", True),
        ("::1", "[::1]", True),
        ("[2001:DB8::1]", "[2001:db8::1]:80", True),
        ("10.0.0.1", "10.0.0.1:8080", True),
    ],
)
def test_hosts(pattern, host, matches):
    assert (named([[pattern]], host) == "r0") is matches


def test_a_suffix_needs_something_before_it_whoever_was_asked_for_before():
    assert named([["*.b.c"]], ".b.c") is None
    assert named([["*.b.c"]], ".b.c", "a.b.c") is None


def test_a_route_whose_match_does_not_hold_gives_way_to_the_next():
    found = table(
        [
            {"hosts": ["a"], "match": [{"method": "POST"}]},
            {"hosts": ["*"], "match": [{"path": {"prefix": "/x"}}]},
            {"hosts": ["a"]},
        ]
    )
    assert route_name(found, request("POST", "/x", "a")) == "r0"
    assert route_name(found, request("GET", "/x", "a")) == "r1"
    assert route_name(found, request("GET", "/", "a")) == "r2"
    assert route_name(found, request("GET", "/x", "b")) == "r1"
    assert route_name(found, request("GET", "/", "b")) is None


def test_blocks_are_alternatives_and_all_of_a_block_must_hold():
    found = table(
        [
            {
                "match": [
                    {"method": "GET", "path": {"prefix": "/a"}},
                    {"method": "POST", "headers": {"x-b": {"exact": "1"}}},
                ]
            }
        ]
    )
    assert route_name(found, request("GET", "/a")) == "r0"
    assert route_name(found, request("POST", "/", headers=[("X-B", "1")])) == "r0"
    assert route_name(found, request("POST", "/a")) is None
    assert route_name(found, request("GET", "/", headers=[("X-B", "1")])) is None


def test_a_block_without_conditions_takes_every_request():
    found = table([{"match": [{"method": "POST"}, {}]}])
    assert route_name(found, request("GET")) == "r0"


def test_entries_are_in_the_documents_order():
    found = table([{"hosts": ["b"]}, {"hosts": ["a"]}], [{"name": "s"}])
    assert [(entry.index, entry.name) for entry in found.entries] == [
        (0, "r0"),
        (1, "r1"),
        (2, "service/backend.invalid"),
        (3, "service/s"),
    ]
    assert found.entries[0].action is None


# ---- the default policy

HTTPBIN = {"name": "httpbin", "hosts": ["httpbin", "httpbin.default", "*.httpbin.example"]}


@pytest.mark.parametrize(
    "host", ["httpbin", "HTTPBIN:8000", "httpbin.default", "a.httpbin.example"]
)
def test_a_service_without_a_route_is_found_by_its_hosts(host):
    assert named([], host, services=[HTTPBIN]) == "service/httpbin"


@pytest.mark.parametrize("host", ["other", "httpbin.other", "httpbin.example", ""])
def test_no_service_of_that_name(host):
    assert named([], host or "x", services=[HTTPBIN]) is None


def test_a_service_is_found_by_its_name_where_it_has_no_hosts():
    assert named([], "httpbin", services=[{"name": "httpbin"}]) == "service/httpbin"
    assert named([], "httpbin", services=[{"name": "httpbin", "hosts": []}]) is None


def test_the_longest_suffix_of_a_service_wins():
    services = [{"name": "wide", "hosts": ["*.b"]}, {"name": "narrow", "hosts": ["*.a.b"]}]
    assert named([], "x.a.b", services=services) == "service/narrow"
    assert named([], "x.c.b", services=services) == "service/wide"


@pytest.mark.parametrize("hosts", [["httpbin"], ["*.httpbin.example", "httpbin"]])
def test_a_route_that_names_the_host_ends_the_default_policy(hosts):
    found = table([{"hosts": hosts, "match": [{"method": "POST"}]}], [HTTPBIN])
    assert route_name(found, request("POST", host="httpbin")) == "r0"
    assert route_name(found, request("GET", host="httpbin")) is None
    assert route_name(found, request("GET", host="httpbin.default")) == "service/httpbin"


def test_a_suffix_route_ends_the_default_policy_for_what_it_names():
    found = table([{"hosts": ["*.example"], "match": [{"method": "POST"}]}], [HTTPBIN])
    assert route_name(found, request("GET", host="a.httpbin.example")) is None
    assert route_name(found, request("GET", host="httpbin")) == "service/httpbin"


def test_a_route_for_all_hosts_goes_first_and_names_none():
    found = table([{"match": [{"method": "POST"}]}], [HTTPBIN])
    assert route_name(found, request("POST", host="httpbin")) == "r0"
    assert route_name(found, request("GET", host="httpbin")) == "service/httpbin"


# ---- against a naive scan

PATTERNS = ["a", "b", "a.b", "c.a.b", "b.b", "*.a", "*.b", "*.a.b", "*.b.b", "*"]
HOSTS = [
    "a",
    "b",
    "a.b",
    "c.a.b",
    "d.a.b",
    "d.b",
    "b.b",
    "x.b.b",
    "a.a",
    "zz",
    ".b",
    ".a.b",
    "a..b",
]
METHODS = ["GET", "POST"]
routes_strategy = st.lists(
    st.tuples(
        st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3),
        st.lists(st.sampled_from(METHODS), max_size=1),
    ),
    max_size=8,
)
service_hosts = st.lists(st.sampled_from(PATTERNS[:-1]), unique=True, max_size=4)
asked_strategy = st.lists(
    st.tuples(st.sampled_from(HOSTS), st.sampled_from(METHODS)), min_size=1, max_size=12
)


def host_holds(pattern: str, host: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def naive(routes, hosts_of_service, host, method) -> str | None:
    """Section 3, read aloud: the first route whose hosts and match hold; else the service whose
    host it is, if no route names the host.
    """
    for index, (patterns, methods) in enumerate(routes):
        if any(host_holds(p, host) for p in patterns) and method in (methods or METHODS):
            return f"r{index}"
    if any(p != "*" and host_holds(p, host) for patterns, _ in routes for p in patterns):
        return None
    return "service/s" if any(host_holds(p, host) for p in hosts_of_service) else None


@settings(max_examples=500)
@given(routes_strategy, service_hosts, asked_strategy)
@example([(["*.a.b"], [])], [], [("c.a.b", "GET"), (".a.b", "GET")])
def test_find_is_a_linear_scan(routes, hosts_of_service, asked):
    found = table(
        [
            {"hosts": hosts, "match": [{"method": method} for method in methods]}
            for hosts, methods in routes
        ],
        [{"name": "s", "hosts": hosts_of_service}],
    )
    for host, method in asked:
        expected = naive(routes, hosts_of_service, host, method)
        assert route_name(found, request(method, host=host)) == expected, (host, method)


def test_ten_thousand_hosts_find_their_routes():
    count = 10_000
    routes = [{"hosts": [f"h{at}", f"*.s{at}.example"]} for at in range(count)]
    found = table([*routes, {"hosts": ["*"]}])
    for at in (*range(0, count, 97), count - 1):
        assert route_name(found, request(host=f"h{at}")) == f"r{at}"
        assert route_name(found, request(host=f"x.y.s{at}.example")) == f"r{at}"
        assert route_name(found, request(host=f"s{at}.example")) == f"r{count}"


def test_ten_thousand_hosts_of_one_route():
    hosts = [f"h{at}.example" for at in range(10_000)]
    found = table([{"hosts": hosts, "match": [{"method": "POST"}]}, {"hosts": ["*.example"]}])
    for host in hosts[::101]:
        assert route_name(found, request("POST", host=host)) == "r0"
        assert route_name(found, request("GET", host=host)) == "r1"


def test_hosts_that_clients_invent_are_not_kept():
    found = table([{"hosts": ["*.b"]}, {"hosts": ["a.b"]}, {"hosts": ["*"]}])
    asked = [request(host=f"x{at}.b") for at in range(2_000)]
    first = found.find(asked[0])
    assert all(found.find(each) is first for each in asked)
