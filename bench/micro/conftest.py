"""A benchmark's rounds, and requests like those that proxies see."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastmirror._head import Fields

ROUNDS = 50
ITERATIONS = 2000

# As curl, browsers and service meshes send them, the most common first.
_COMMON = [
    (b"Host", b"httpbin.default.svc.cluster.local:8000"),
    (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"Connection", b"keep-alive"),
    (b"Accept-Encoding", b"gzip, deflate, br"),
    (b"Cookie", b"session=0123456789abcdef0123456789abcdef; theme=dark"),
    (b"Authorization", b"Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl"),
    (b"X-Request-Id", b"0d9c1f1e-6a0c-4b52-9d0f-2a3c4b5d6e7f"),
    (b"X-Forwarded-For", b"203.0.113.7"),
    (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
]


def pairs(count: int) -> list[tuple[bytes, bytes]]:
    """So many fields."""
    more = [(f"X-Header-{at}".encode(), b"value of the header") for at in range(count)]
    return (_COMMON + more)[:count]


def fields(count: int) -> Fields:
    """A message of so many fields."""
    found = Fields()
    for name, value in pairs(count):
        found.add(name, value)
    return found


@pytest.fixture
def timed(benchmark) -> Callable[..., object]:
    """``timed(function, *arguments)``: always the same number of calls."""

    def run(function: Callable[..., object], *arguments: object) -> object:
        return benchmark.pedantic(
            function, arguments, rounds=ROUNDS, iterations=ITERATIONS, warmup_rounds=2
        )

    return run
