"""Finding a route costs the same however many there are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastmirror._head import Fields
from fastmirror.rules.model import (
    Destination,
    HeaderMatch,
    Match,
    PathMatch,
    Route,
    Rules,
    Service,
)
from fastmirror.rules.request import Request
from fastmirror.rules.table import RouteTable

from .conftest import fields

COUNTS = [10, 1_000, 100_000]


def rules(count: int) -> Rules:
    """So many routes, half by name and half by suffix, and one for all hosts."""
    to = [Destination("backend")]
    routes = [
        Route(
            name=f"r{at}",
            to=to,
            hosts=[f"h{at}.example" if at % 2 else f"*.h{at}.example"],
            match=[Match(path=PathMatch(prefix="/api/"))],
        )
        for at in range(count)
    ]
    return Rules(version=1, services=[Service("backend")], routes=[*routes, Route("all", to)])


def asked(host: str, target: str = "/api/users?page=2", found: Fields | None = None) -> Request:
    return Request(b"GET", target.encode(), host.encode(), found or Fields(), b"10.0.0.1")


@pytest.fixture(scope="module", params=COUNTS)
def table(request) -> RouteTable:
    return RouteTable(rules(request.param))


@pytest.mark.parametrize(
    ("host", "route"),
    [("h7.example", "r7"), ("a.b.h8.example", "r8"), ("unknown.example.org", "all")],
    ids=["exact", "suffix", "none"],
)
def test_find(timed, table, host, route):
    assert timed(table.find, asked(host)).name == route


# What the routes of one host differ in, and requests for the last of them and for none.
MATCHES: dict[str, Callable[[int], Match]] = {
    "exact": lambda at: Match(path=PathMatch(exact=f"/api/v1/resource-{at}")),
    "prefix": lambda at: Match(path=PathMatch(prefix=f"/api/v1/resource-{at}/")),
    "elements": lambda at: Match(path=PathMatch(path_separated_prefix=f"/api/v1/resource-{at}")),
    "regex": lambda at: Match(path=PathMatch(regex=f"/api/v1/resource-{at}/[0-9]+")),
    "header": lambda at: Match(headers={"x-tenant": HeaderMatch(exact=f"tenant-{at}")}),
}
TARGETS = {
    "exact": "/api/v1/resource-{}?page=2",
    "prefix": "/api/v1/resource-{}/7?page=2",
    "elements": "/api/v1/resource-{}/7?page=2",
    "regex": "/api/v1/resource-{}/7?page=2",
    "header": "/api/v1/resource/7?page=2",
}


def of_one_host(kind: str, count: int) -> RouteTable:
    """So many routes for one host, and a last one that takes what they do not."""
    to = [Destination("backend")]
    routes = [
        Route(name=f"r{at}", to=to, hosts=["app"], match=[MATCHES[kind](at)]) for at in range(count)
    ]
    return RouteTable(
        Rules(version=1, services=[Service("backend")], routes=[*routes, Route("all", to)])
    )


def asked_of_one_host(kind: str, number: int | str) -> Request:
    found = fields(10)
    found.add(b"X-Tenant", f"tenant-{number}".encode())
    return asked("app", TARGETS[kind].format(number), found)


@pytest.fixture(scope="module", params=[(k, c) for k in MATCHES for c in COUNTS], ids=str)
def one_host(request) -> tuple[str, int, RouteTable]:
    kind, count = request.param
    return kind, count, of_one_host(kind, count)


@pytest.mark.parametrize("which", ["last", "none"])
def test_find_among_routes_of_one_host(timed, one_host, which):
    kind, count, table = one_host
    number = count - 1 if which == "last" else "x"
    found = timed(table.find, asked_of_one_host(kind, number))
    assert found.name == (f"r{number}" if which == "last" else "all")


@pytest.mark.parametrize("conditions", [1, 5])
def test_find_by_headers(timed, conditions):
    headers = {
        f"x-header-{at}": HeaderMatch(exact="value of the header") for at in range(conditions)
    }
    route = Route("r", [Destination("backend")], match=[Match(method="GET", headers=headers)])
    found = RouteTable(Rules(version=1, services=[Service("backend")], routes=[route]))
    assert timed(found.find, asked("any", found=fields(30))).name == "r"


def test_a_request_made(timed):
    made = timed(Request, b"GET", b"/api/users?page=2", b"httpbin", fields(10), b"10.0.0.1")
    assert made.path == b"/api/users"
