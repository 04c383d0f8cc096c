"""Many routes of one host: the one that a scan would find, without asking those that cannot be."""

from __future__ import annotations

import tracemalloc

import pytest

from fastmirror.rules.index import FEW

from .building import request, route_name, table
from .naive_routes import Asked, Source, taking


def found_by(found, asked: Asked) -> str | None:
    query = "&".join(f"{name}={value}" for name, value in asked.query.items())
    target = f"{asked.path}?{query}" if query else asked.path
    host = asked.host if asked.port == 80 else f"{asked.host}:{asked.port}"
    return route_name(found, request(asked.method, target, host, asked.headers.items()))


def normal(routes: list[dict]) -> list[dict]:
    """Header names as requests have them, for the oracle. Names that differ in case alone are not
    among a block's.
    """
    return [
        {
            **route,
            "match": [
                {
                    key: {n.lower(): m for n, m in value.items()} if "headers" in key else value
                    for key, value in block.items()
                }
                for block in route["match"]
            ],
        }
        for route in routes
    ]


@pytest.mark.parametrize("seed", range(150))
def test_the_index_finds_what_a_scan_finds(seed):
    source = Source(seed)
    routes = source.routes(source.random.choice([FEW, FEW + 1, 30, 300]))
    found, plain = table(routes), normal(routes)
    taken = 0
    for _ in range(150):
        asked = source.asked()
        expected = taking(plain, asked)
        assert found_by(found, asked) == (None if expected is None else f"r{expected}"), asked
        taken += expected is not None
    assert taken  # this is no comparison of nothing with nothing


# ---- how many are asked

COUNT = 2_000
MANY = {
    "exact": lambda at: {"path": {"exact": f"/api/{at}"}},
    "prefix": lambda at: {"path": {"prefix": f"/api/{at}/"}},
    "elements": lambda at: {"path": {"path_separated_prefix": f"/api/{at}"}},
    "regex": lambda at: {"path": {"regex": f"/api/{at}/?[a-z]*"}},
    "header": lambda at: {"headers": {"x-tenant": {"exact": str(at)}}},
    "path and header": lambda at: {
        "path": {"prefix": "/api"},
        "headers": {"X-Tenant": {"exact": str(at)}},
    },
}


@pytest.mark.parametrize("hosts", [["*"], ["app"], ["*.example", "app"]], ids=str)
@pytest.mark.parametrize("kind", MANY)
def test_few_of_two_thousand_routes_are_asked(kind, hosts):
    routes = [{"hosts": hosts, "match": [MANY[kind](at)]} for at in range(COUNT)]
    found = table([*routes, {"hosts": ["*"]}])
    for at in (0, 7, 77, 1_777, COUNT - 1):
        for target in (f"/api/{at}", f"/api/{at}/x", "/other"):
            asked = request("GET", target, "app", [("x-tenant", str(at))])
            assert len(found.asked(asked)) <= 6, target
    asked = request("GET", "/api/77/", "app", [("x-tenant", "77")])
    if kind != "exact":
        assert route_name(found, asked) == "r77"
    assert route_name(found, request("GET", "/other", "app")) == f"r{COUNT}"


def test_nested_prefixes_are_asked_in_the_documents_order():
    depth = 3_000
    routes = [
        {"match": [{"method": "PUT", "path": {"prefix": "/" + "a" * at}}]} for at in range(depth)
    ]
    found = table([*routes, {"match": [{"path": {"prefix": "/aaa"}}]}, {}])
    assert route_name(found, request("GET", "/" + "a" * 9_000)) == f"r{depth}"
    assert route_name(found, request("GET", "/aab")) == f"r{depth + 1}"
    assert route_name(found, request("PUT", "/" + "a" * 9_000)) == "r0"
    assert [each.name for each in found.asked(request("GET", "/aab"))] == [
        "r0",
        "r1",
        "r2",
        f"r{depth + 1}",
    ]
    assert len(found.asked(request("GET", "/" + "a" * 1_000 + "b" * 8_000))) == 1_001 + 2


def test_hosts_share_what_is_long():
    """A thousand hosts and ten thousand routes for all: no host has a copy of these."""
    routes = [{"match": [{"path": {"exact": f"/{at}"}}]} for at in range(COUNT)]
    named = [{"hosts": [f"h{at}", f"*.h{at}"]} for at in range(1_000)]
    found = table([*routes, *named])
    tracemalloc.start()
    for at in range(1_000):
        assert route_name(found, request("GET", "/77", f"h{at}")) == "r77"
        assert route_name(found, request("GET", "/", f"x.h{at}")) == f"r{COUNT + at}"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000
    assert len(found.candidates(b"h7")) == COUNT + 1


def test_hosts_of_many_dots_are_looked_at_as_far_as_a_document_can_name_them():
    found = table([{"hosts": ["*.b.example"]}])
    assert route_name(found, request(host="a." * 30_000 + "b.example")) == "r0"
    assert route_name(found, request(host="a." * 30_000 + "c.example")) is None
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 59])
    found = table([{"hosts": [f"*.{longest[2:]}"]}])
    assert route_name(found, request(host=f"x.{longest[2:]}")) == "r0"
    assert route_name(found, request(host=longest[2:])) is None
