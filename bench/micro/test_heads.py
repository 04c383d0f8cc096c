"""Reading heads, framing, and writing heads."""

from __future__ import annotations

import pytest
from httptools import HttpRequestParser

from fastmirror._core import write_request, write_response
from fastmirror._head import Fields
from fastmirror.http1.framing import NO_BODY, UNTIL_CLOSE, request_body, response_body

from .conftest import fields, pairs

COUNTS = [5, 10, 30]


@pytest.mark.parametrize("count", COUNTS)
def test_fields_taken_in(timed, count):
    listed = pairs(count)

    def take_in() -> Fields:
        found = Fields()
        for name, value in listed:
            found.add(name, value)
        return found

    assert timed(take_in).count == count


def written(first: bytes, count: int, *more: bytes) -> bytes:
    lines = [first, *(name + b": " + value for name, value in pairs(count)), *more]
    return b"\r\n".join([*lines, b"", b""])


@pytest.mark.parametrize("count", COUNTS)
def test_a_request_scanned(timed, count):
    data = written(b"GET /status/200?x=1 HTTP/1.1", count)
    assert timed(Fields().scanned_request, data) == len(data)


@pytest.mark.parametrize("count", COUNTS)
def test_a_response_scanned(timed, count):
    data = written(b"HTTP/1.1 200 OK", count, b"Content-Length: 207")
    assert timed(Fields().scanned_response, data) == len(data)


@pytest.mark.parametrize("count", [10])
def test_the_parser_instead_of_the_scanner(timed, count):
    class Taker:
        def __init__(self) -> None:
            self.fields = Fields()
            self.on_header = self.fields.add

    data = written(b"GET /status/200?x=1 HTTP/1.1", count)
    taker = Taker()

    def parse() -> None:
        taker.fields = Fields()
        taker.on_header = taker.fields.add
        HttpRequestParser(taker).feed_data(data)

    timed(parse)
    assert taker.fields.count == count


def test_framing(timed):
    found = fields(10)

    def both() -> tuple[int, int]:
        return request_body(found), response_body(200, False, found)

    assert timed(both) == (NO_BODY, UNTIL_CLOSE)


@pytest.mark.parametrize("name", [b"user-agent", b"x-absent"], ids=bytes.decode)
def test_a_field_looked_up(timed, name):
    found = timed(fields(30).get, name)
    assert (found is None) is (name == b"x-absent")


@pytest.mark.parametrize("count", COUNTS)
def test_write_request(timed, count):
    arguments = (b"GET", b"/status/200?x=1", fields(count), b"httpbin:8000", b"10.0.0.1", True)
    head = timed(write_request, *arguments, None)
    assert head.data.startswith(b"GET /status/200?x=1 HTTP/1.1\r\nhost: httpbin:8000\r\n")


def test_write_request_that_makes_a_request_id(timed):
    def write() -> bytes:
        return write_request(b"GET", b"/", Fields(), b"httpbin", None, True, None).data

    assert b"\r\nx-request-id: " in timed(write)


@pytest.mark.parametrize("count", COUNTS)
def test_copy(timed, count):
    head = write_request(b"GET", b"/", fields(count), b"httpbin:8000", b"10.0.0.1", True, None)
    copied = timed(head.copy, b"httpbin-shadow:8000", b"httpbin/v2")
    assert copied.endswith(b"x-fastmirror-copy: httpbin/v2\r\n\r\n")


@pytest.mark.parametrize("count", COUNTS)
def test_write_response(timed, count):
    head = timed(write_response, 200, b"OK", fields(count), True, False, b"keep-alive")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
