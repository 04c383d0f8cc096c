"""Services' policies, retries and matches: what the types cannot say is refused at its field."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastmirror.rules.load import RulesError, decode_rules, encode_rules


def document(*, service: Any = None, route: Any = None) -> bytes:
    service = {"name": "a", "endpoints": [{"address": "127.0.0.1:1"}], **(service or {})}
    route = {"name": "r", "to": [{"service": "a"}], **(route or {})}
    return msgspec.json.encode({"version": 1, "services": [service], "routes": [route]})


COOKIE = {"hash": {"cookie": "c"}}

BAD_SERVICES: list[tuple[Any, str]] = [
    ({"balance": {"hash": "path", "table_size": 7}}, "balance.table_size: expected none"),
    (
        {"balance": {"hash": "path", "algorithm": "maglev", "table_size": 8}},
        "balance.table_size: expected a prime number",
    ),
    ({"balance": {"hash": "path", "set_cookie": {}}}, "balance.set_cookie: expected none"),
    (
        {"balance": {**COOKIE, "set_cookie": {"path": "/;x"}}},
        'balance.set_cookie.path: expected a path from "/"',
    ),
    ({"balance": {**COOKIE, "set_cookie": {"ttl": "x"}}}, "balance.set_cookie.ttl: "),
    ({"balance": {"hash": {"cookie": "a b"}, "set_cookie": {}}}, "balance.hash.cookie: expected"),
    ({"connection_pool": {"connect_timeout": 0}}, "connection_pool.connect_timeout: expected"),
    (
        {"connection_pool": {"tcp_keepalive": {"time": 0.5}}},
        "connection_pool.tcp_keepalive.time: expected a second or more",
    ),
    ({"outlier_detection": {"interval": 0}}, "outlier_detection.interval: expected"),
    ({"subset_policies": {"v1": {}}}, "subset_policies.v1: expected the name of a subset"),
    (
        {"subsets": {"v1": {}}, "subset_policies": {"v1": {"balance": {"hash": {}}}}},
        "subset_policies.v1.balance.hash: expected one of",
    ),
    (
        {
            "subsets": {"v1": {}},
            "subset_policies": {"v1": {"connection_pool": {"idle_timeout": 0}}},
        },
        "subset_policies.v1.connection_pool.idle_timeout: expected",
    ),
]

BAD_ROUTES: list[tuple[Any, str]] = [
    ({"retries": {"retry_on": []}}, "retries.retry_on: expected a reason"),
    ({"retries": {"retry_on": ["never"]}}, "retries.retry_on[0]: "),
    ({"retries": {"retry_on": [199]}}, "retries.retry_on[0]: "),
    ({"retries": {"per_try_timeout": 0}}, "retries.per_try_timeout: expected a duration above 0"),
    ({"retries": {"max_body": "x"}}, "retries.max_body: expected"),
    ({"match": [{"port": 0}]}, "match[0].port: "),
    ({"match": [{"without_headers": {"a": {}}}]}, "match[0].without_headers.a: expected exactly"),
    (
        {"mirrors": [{"service": "a"}], "to": [{"service": "a", "mirrors": [{"service": "a"}]}]},
        "to[0].mirrors[0].name: expected a name of its own",
    ),
    ({"to": [{"service": "a", "rewrite": {"path": "x"}}]}, "to[0].rewrite.path: expected a path"),
]


@pytest.mark.parametrize(("part", "expected"), BAD_SERVICES)
def test_a_service_is_refused_at_the_field(part: Any, expected: str) -> None:
    with pytest.raises(RulesError) as raised:
        decode_rules(document(service=part), "rules.json")
    assert f"services[0].{expected}" in str(raised.value)


@pytest.mark.parametrize(("part", "expected"), BAD_ROUTES)
def test_a_route_is_refused_at_the_field(part: Any, expected: str) -> None:
    with pytest.raises(RulesError) as raised:
        decode_rules(document(route=part), "rules.json")
    assert f"routes[0].{expected}" in str(raised.value)


def test_all_of_it_together_is_valid_and_written_again_as_it_was() -> None:
    data = document(
        service={
            "subsets": {"v1": {}},
            "balance": {
                **COOKIE,
                "algorithm": "maglev",
                "table_size": 65537,
                "set_cookie": {"ttl": "1h", "path": "/"},
            },
            "connection_pool": {"max_connections": 1, "tcp_keepalive": {"time": "1m", "probes": 3}},
            "outlier_detection": {"consecutive_5xx_errors": 7},
            "subset_policies": {"v1": {"balance": "random", "outlier_detection": {}}},
        },
        route={
            "match": [{"port": 81, "without_headers": {"x": {"prefix": "a"}}}],
            "retries": {"attempts": 3, "retry_on": ["5xx", 409], "per_try_timeout": "2s"},
        },
    )
    rules = decode_rules(data, "rules.json")
    assert decode_rules(encode_rules(rules), "again") == rules
