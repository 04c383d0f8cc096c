"""Finding a route costs the same however many there are."""

from __future__ import annotations

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


@pytest.fixture(scope="module", params=[10, 1_000, 100_000])
def table(request) -> RouteTable:
    return RouteTable(rules(request.param))


@pytest.mark.parametrize(
    ("host", "route"),
    [("h7.example", "r7"), ("a.b.h8.example", "r8"), ("unknown.example.org", "all")],
    ids=["exact", "suffix", "none"],
)
def test_find(timed, table, host, route):
    assert timed(table.find, asked(host)).name == route


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
