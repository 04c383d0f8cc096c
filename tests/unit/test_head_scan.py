"""The scanner takes nothing that the parser would not read in the same way: httptools is the
oracle for every head that is taken, h11 a second one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import h11
import pytest
from httptools import HttpRequestParser, HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from fastmirror._head import Fields, is_plain_target

from .building import tokens

REQUEST = (
    b"POST /some/path?with=query HTTP/1.1\r\n"
    b"Host: app.test:8000\r\n"
    b"User-Agent: curl/8.1\r\n"
    b"Accept:*/*\r\n"
    b"Connection: Keep-Alive\r\n"
    b"X-Empty:\r\n"
    b"X-Spaced: \t a  b \t\r\n"
    b"Expect: 100-continue\r\n"
    b"X-Forwarded-For: 10.0.0.1\r\n"
    b"Content-Length: 007\r\n"
    b"\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\n"
    b"Server: nginx\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 207\r\n"
    b"Connection: keep-alive\r\n"
    b'ETag: "\xe9\x80"\r\n'
    b"\r\n"
)
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"


@dataclass
class Parsed:
    """What httptools made of some bytes."""

    items: list[bytes] = field(default_factory=list)
    url: bytes = b""
    reason: bytes = b""
    begun: int = 0
    headed: int = 0
    complete: int = 0
    body: int = 0

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.items += [name, value.rstrip(b" \t")]

    def on_headers_complete(self) -> None:
        self.headed += 1

    def on_body(self, data: bytes) -> None:
        self.body += len(data)

    def on_message_complete(self) -> None:
        self.complete += 1


def check_request(data: bytes, at: int = 0) -> int:
    """Scan, and hold what was taken against the parsers'; returns what the scanner did."""
    fields = Fields()
    end = fields.scanned_request(data, at)
    if end == 0:
        assert fields.items == []
        assert fields.method is None
        return 0
    head = data[at:end]
    length = max(0, fields.content_length)
    parsed = Parsed()
    parser = HttpRequestParser(parsed)
    parser.feed_data(head)
    assert (parsed.begun, parsed.headed) == (1, 1)
    assert parsed.items == fields.items
    assert (parser.get_method(), parsed.url) == (fields.method, fields.target)
    assert parser.get_http_version() == ("1.0" if fields.http10 else "1.1")
    assert not parser.should_upgrade()
    if not parsed.complete:  # with the message, the parser forgets
        kept = fields.keep_alive if fields.http10 else True
        assert parser.should_keep_alive() == (kept and not fields.close)
    assert is_plain_target(fields.target)
    if fields.chunked:
        parser.feed_data(CHUNKS)
        assert (parsed.complete, parsed.body) == (1, 3)
    elif length < 100_000:
        assert parsed.complete == (length == 0)
        if length:
            parser.feed_data(bytes(length))
        assert (parsed.complete, parsed.body) == (1, length)

    server = h11.Connection(h11.SERVER)
    server.receive_data(head)
    event = server.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (fields.method, fields.target)
    names = [bytes(name) for name, _ in event.headers]
    assert names == [name.lower() for name in fields.items[::2]]
    return end


def check_response(data: bytes) -> int:
    """The same for a response."""
    fields = Fields()
    end = fields.scanned_response(data)
    if end == 0:
        assert fields.items == []
        return 0
    parsed = Parsed()
    parser = HttpResponseParser(parsed)
    parser.feed_data(data[:end])
    assert (parsed.begun, parsed.headed) == (1, 1)
    assert parsed.items == fields.items
    assert parser.get_status_code() == fields.status
    assert (fields.reason or b"") == parsed.reason
    assert parser.get_http_version() == ("1.0" if fields.http10 else "1.1")
    bodiless = fields.status in (204, 304)
    if fields.content_length >= 0 or fields.chunked:
        assert parsed.complete or parser.should_keep_alive() == (not fields.close)
    if bodiless:
        assert parsed.complete == 1
    elif fields.chunked:
        parser.feed_data(CHUNKS)
        assert (parsed.complete, parsed.body) == (1, 3)
    elif 0 < fields.content_length < 100_000:
        assert parsed.complete == 0
        parser.feed_data(bytes(fields.content_length))
        assert (parsed.complete, parsed.body) == (1, fields.content_length)
    return end


def test_a_plain_request_is_taken_whole():
    assert check_request(REQUEST) == len(REQUEST)
    fields = Fields()
    assert fields.scanned_request(REQUEST + b"a body", 0) == len(REQUEST)
    assert (fields.method, fields.target) == (b"POST", b"/some/path?with=query")
    assert (fields.host, fields.hosts, fields.content_length) == (b"app.test:8000", 1, 7)
    assert (fields.keep_alive, fields.close, fields.expect) == (True, False, True)
    assert fields.get(b"x-spaced") == b"a  b"
    assert fields.get(b"x-empty") == b""
    assert fields.count == 9
    pairs = zip(fields.items[::2], fields.items[1::2], strict=True)
    assert fields.size == sum(len(name) + len(value) + 4 for name, value in pairs)


def test_plain_heads_of_other_kinds():
    for last in (b"Connection: close\r\n\r\n", b"transfer-encoding: Chunked\r\n\r\n"):
        assert check_request(LINE + HOST + last) > 0
        assert check_response(b"HTTP/1.1 200 OK\r\n" + last) > 0


@pytest.mark.parametrize(
    "last", [b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Content-Length: 3\r\n"]
)
def test_plain_heads_of_http10(last):
    for version in (b"1.0", b"1.1"):
        head = b"GET / HTTP/%b\r\n" % version + HOST + last + b"\r\n"
        assert check_request(head) == len(head)
        fields = Fields()
        fields.scanned_request(head)
        assert fields.http10 == (version == b"1.0")
        fields.scanned_request(LINE + HOST + b"\r\n")
        assert not fields.http10


def test_a_plain_response_is_taken_whole():
    assert check_response(RESPONSE) == len(RESPONSE)
    assert check_response(RESPONSE.replace(b"200 OK", b"404 ")) > 0
    assert check_response(RESPONSE.replace(b"OK", b"Very well, \xc3\xa9")) > 0


def test_a_request_behind_another_is_taken_where_it_begins():
    for behind in (b"", b"x" * 10_000):
        data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        assert check_request(data + REQUEST + behind, len(data)) == len(data + REQUEST)


@pytest.mark.parametrize("behind", [0, 10_000])
def test_what_was_read_may_be_let_go(behind):
    data = bytearray(REQUEST + b"x" * behind)
    fields = Fields()
    fields.scanned_request(bytes(data), 0)
    expected = fields.items
    data[:] = b"y" * len(data)
    assert fields.items == expected


def test_a_head_that_is_cut_is_not_taken():
    for size in range(len(REQUEST)):
        assert check_request(REQUEST[:size]) == 0, size
    for size in range(len(RESPONSE)):
        assert check_response(RESPONSE[:size]) == 0, size


LINE = b"GET / HTTP/1.1\r\n"
HOST = b"Host: a\r\n"


@pytest.mark.parametrize(
    "data",
    [
        LINE + b"\r\n",
        LINE + HOST + HOST + b"\r\n",
        LINE + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        LINE + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        LINE + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        LINE + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        LINE + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        LINE + HOST + b"Content-Length: 1, 1\r\n\r\n",
        LINE + HOST + b"Content-Length: +1\r\n\r\n",
        LINE + HOST + b"Content-Length: 1 1\r\n\r\n",
        LINE + HOST + b"Content-Length:\r\n\r\n",
        LINE + HOST + b"Content-Length: 0x1\r\n\r\n",
        LINE + HOST + b"Content-Length: 9999999999999999999\r\n\r\n",
        LINE + HOST + b"Connection: close, x-a\r\n\r\n",
        LINE + HOST + b"Connection: keep-alive, x-a\r\n\r\n",
        LINE + HOST + b"Proxy-Connection: close\r\n\r\n",
        LINE + HOST + b"Upgrade: websocket\r\n\r\n",
        LINE + HOST + b"X-A: a\r\n b\r\n\r\n",
        LINE + HOST + b" X-A: a\r\n\r\n",
        LINE + HOST + b"X-A : a\r\n\r\n",
        LINE + HOST + b"X-A\r\n\r\n",
        LINE + HOST + b": a\r\n\r\n",
        LINE + HOST + b"X-A: a\n\r\n",
        LINE + HOST + b"X-A: a\rb\r\n\r\n",
        LINE + HOST + b"X-A: a\0b\r\n\r\n",
        LINE + HOST + b"X-A: 0123456\x7f89\r\n\r\n",
        LINE + HOST + b"X-A: 0123456789abcdef\x01\r\n\r\n",
        LINE + HOST + b"X-A: a\r\n\n",
        LINE + HOST + b"X-A: a\r\n\rb",
        LINE + HOST + b"X\xe9: a\r\n\r\n",
        LINE + HOST + b"X(A): a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.0\n" + HOST + b"\r\n",
        b"GET / HTTP/1.0 \r\n" + HOST + b"\r\n",
        b"GET / HTTP/0.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\n" + HOST + b"\r\n",
        b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\tHTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /#a HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\x7f HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\xe9 HTTP/1.1\r\n" + HOST + b"\r\n",
        b'GET /"a" HTTP/1.1\r\n' + HOST + b"\r\n",
        b"GET /a/../b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /%2e%2e/b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET http://a/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / RTSP/1.1\r\n" + HOST + b"\r\n",
        b"\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"",
        b"G",
        b"GET ",
    ],
)
def test_a_request_that_is_not_plain_is_the_parsers(data):
    assert check_request(data) == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"200", b"100"),
        (b"200", b"199"),
        (b"200", b"600"),
        (b"200", b"2x0"),
        (b"200 ", b"2000 "),
        (b"200 OK", b"200"),
        (b"200 OK", b"200\tOK"),
        (b"OK\r\n", b"OK\n"),
        (b"OK", b"O\0K"),
        (b"OK", b"O\rK"),
        (b"Content-Length: 207", b"Transfer-Encoding: gzip"),
        (b"Connection: keep-alive", b"Connection: close, x"),
        (b"Connection: keep-alive", b"Content-Length: 207"),
        (b"Connection: keep-alive", b"Upgrade: websocket"),
        (b"207", b"-207"),
    ],
)
def test_a_response_that_is_not_plain_is_the_parsers(old, new):
    assert old in RESPONSE
    assert check_response(RESPONSE.replace(old, new)) == 0


def test_nothing_is_added_to_a_scanned_head():
    fields = Fields()
    fields.scanned_request(REQUEST)
    with pytest.raises(ValueError, match="scanned"):
        fields.add(b"x", b"y")


def test_scanning_again_forgets_what_was_there():
    fields = Fields()
    fields.add(b"x", b"y")
    assert fields.scanned_response(RESPONSE) == len(RESPONSE)
    assert fields.items[0] == b"Server"
    assert fields.scanned_response(RESPONSE.replace(b"nginx", b"caddy")) == len(RESPONSE)
    assert (fields.count, fields.get(b"server")) == (5, b"caddy")


# What is near the edges of the grammar: one byte of a head replaced, put in or taken out.
octets = st.one_of(st.integers(0, 255), st.sampled_from(b"\0\t\n\r :,;%./#?\x7f\x80\xff0Aa"))
edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 2), octets), min_size=1, max_size=3
)


def edited(data: bytes, changes: list[tuple[float, int, int]]) -> bytes:
    changed = bytearray(data)
    for place, length, octet in changes:
        at = int(place * len(changed))
        changed[at : at + length] = bytes([octet])
    return bytes(changed)


@given(edits)
def test_an_edited_request_is_read_as_the_parser_reads_it(changes):
    check_request(edited(REQUEST, changes))


@given(edits)
def test_an_edited_response_is_read_as_the_parser_reads_it(changes):
    check_response(edited(RESPONSE, changes))


value_bytes = st.lists(st.sampled_from([9, *range(0x20, 0x7F), *range(0x80, 0x100)]), max_size=40)
special = st.sampled_from(
    [
        b"content-length",
        b"connection",
        b"host",
        b"te",
        b"trailer",
        b"keep-alive",
        b"Proxy-A",
        b"Proxy-Connection",
    ]
)
spaces = st.sampled_from([b"", b" ", b"\t", b"  ", b" \t "])
lines = st.tuples(
    st.one_of(tokens, tokens, special),
    spaces,
    st.one_of(value_bytes.map(bytes), st.sampled_from([b"5", b"keep-alive", b"close"])),
    spaces,
).map(lambda parts: parts[0] + b":" + parts[1] + parts[2] + parts[3] + b"\r\n")
target_octets = st.sampled_from(range(0x21, 0x7F))
targets = st.lists(target_octets, max_size=20).map(lambda found: b"/" + bytes(found))
methods = st.sampled_from([b"GET", b"PUT", b"POST", b"HEAD", b"PATCH", b"DELETE", b"OPTIONS"])


@given(methods, targets, st.lists(lines, max_size=40))
def test_a_request_of_any_fields_is_read_as_the_parser_reads_it(method, target, found):
    check_request(method + b" " + target + b" HTTP/1.1\r\n" + HOST + b"".join(found) + b"\r\n")


@given(st.integers(0, 999), value_bytes, st.lists(lines, max_size=40))
def test_a_response_of_any_fields_is_read_as_the_parser_reads_it(status, reason, found):
    line = b"HTTP/1.1 %03d " % status + bytes(reason) + b"\r\n"
    check_response(line + b"".join(found) + b"\r\n")


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_left(data):
    check_request(data)
    check_response(data)
