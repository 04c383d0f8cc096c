"""The heads that are written: what goes on, what is dropped, what is written anew."""

from __future__ import annotations

import re
import time
import uuid
from email.utils import formatdate, parsedate_to_datetime

import pytest

from fastmirror._core import chunk_head, write_reply, write_request, write_response, write_trailers

from .building import fields

HOP_BY_HOP = [
    (b"Connection", b"keep-alive"),
    (b"Keep-Alive", b"timeout=5"),
    (b"Proxy-Connection", b"keep-alive"),
    (b"Proxy-Authorization", b"Basic eA=="),
    (b"Proxy-Anything", b"x"),
    (b"TE", b"gzip"),
    (b"Trailer", b"x-checksum"),
    (b"Upgrade", b"websocket"),
]
# What a client may not have stripped by naming it in Connection.
PROTECTED = [
    b"Host",
    b"Authorization",
    b"Cookie",
    b"Content-Type",
    b"Content-Length",
    b"Transfer-Encoding",
    b"X-Forwarded-For",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Host",
    b"X-Real-IP",
    b"X-Request-Id",
    b"X-Fastmirror-Copy",
    b"Forwarded",
    b"Via",
    b"Range",
    b"Origin",
]


def requested(*pairs, host=b"h", forwarded=None, request_id=False, upgrade=None, method=b"GET"):
    return write_request(method, b"/", fields(*pairs), host, forwarded, request_id, upgrade)


def lines(head: bytes) -> list[bytes]:
    """The lines of a head, which ends as a head does; but for the Date that is written."""
    assert head.endswith(b"\r\n\r\n")
    return [line for line in head[:-4].split(b"\r\n") if not line.startswith(b"date: ")]


def written(*pairs, **options) -> list[bytes]:
    """The field lines of the request's head, without Host."""
    first, host, *rest = lines(requested(*pairs, **options).data)
    assert first.endswith(b" HTTP/1.1")
    assert host.startswith(b"host: ")
    return rest


def test_a_request_line_and_host():
    head = write_request(b"PATCH", b"/a?b", fields(), b"a:8000", None, False, None)
    assert head.data == b"PATCH /a?b HTTP/1.1\r\nhost: a:8000\r\n\r\n"


def test_host_is_the_one_given_and_no_other():
    assert written((b"Host", b"other"), (b"X-A", b"1")) == [b"X-A: 1"]


def test_fields_keep_their_order_case_and_repetition():
    pairs = [(b"X-B", b"2"), (b"x-a", b"1"), (b"X-B", b"3"), (b"Accept", b"")]
    assert written(*pairs) == [b"X-B: 2", b"x-a: 1", b"X-B: 3", b"Accept: "]


@pytest.mark.parametrize("pair", HOP_BY_HOP, ids=lambda pair: pair[0].decode())
def test_hop_by_hop_fields_of_a_request_are_dropped(pair):
    for name in (pair[0], pair[0].lower(), pair[0].upper()):
        assert written((name, pair[1]), (b"X-A", b"1")) == [b"X-A: 1"]


@pytest.mark.parametrize("pair", HOP_BY_HOP, ids=lambda pair: pair[0].decode())
def test_hop_by_hop_fields_of_a_response_are_dropped(pair):
    head = write_response(200, b"OK", fields(pair, (b"X-A", b"1")), True, False, None)
    assert lines(head) == [b"HTTP/1.1 200 OK", b"X-A: 1"]


@pytest.mark.parametrize("name", [b"Prox", b"Proxy", b"X-Proxy-A", b"Keep-Alives", b"Tea", b"T"])
def test_what_only_looks_like_hop_by_hop_goes_on(name):
    assert written((name, b"1")) == [name + b": 1"]


def test_what_connection_names_is_dropped_both_ways():
    pairs = [(b"X-A", b"1"), (b"Connection", b"x-A, close, X-C"), (b"x-c", b"2"), (b"X-D", b"3")]
    assert written(*pairs) == [b"X-D: 3"]
    head = write_response(200, b"OK", fields(*pairs), True, False, b"close")
    assert lines(head)[1:] == [b"X-D: 3", b"connection: close"]


@pytest.mark.parametrize("name", PROTECTED, ids=bytes.decode)
def test_a_client_cannot_strip(name):
    value = b"10" if name == b"Content-Length" else b"chunked"
    named = written((b"Connection", name.lower()), (name, value), (b"X-A", b"1"), forwarded=b"::1")
    unnamed = written((name, value), (b"X-A", b"1"), forwarded=b"::1")
    assert named == unnamed
    if name != b"Host":
        assert any(line.lower().startswith(name.lower() + b": ") for line in named)


@pytest.mark.parametrize("name", [b"Set-Cookie", b"Content-Type", b"Date", b"Cache-Control"])
def test_an_endpoint_cannot_strip(name):
    pairs = [(b"Connection", name), (name, b"x")]
    head = write_response(200, b"OK", fields(*pairs), True, False, None)
    assert lines(head)[1:] == [name + b": x"]


# ---- framing


def test_content_length_is_written_anew():
    assert written((b"Content-Length", b"0010"), (b"X-A", b"1")) == [
        b"X-A: 1",
        b"content-length: 10",
    ]
    assert written((b"CONTENT-LENGTH", b"0")) == [b"content-length: 0"]
    assert written((b"content-length", b"9" * 18)) == [b"content-length: " + b"9" * 18]


def test_chunked_is_written_anew_and_wins_over_a_length():
    assert written((b"Transfer-Encoding", b"Chunked"), (b"Content-Length", b"3")) == [
        b"transfer-encoding: chunked"
    ]


def test_trailer_goes_on_with_a_chunked_body_alone():
    pair = (b"Trailer", b"x-checksum")
    assert written(pair, (b"content-length", b"3")) == [b"content-length: 3"]
    assert sorted(written(pair, (b"transfer-encoding", b"chunked"))) == [
        b"Trailer: x-checksum",
        b"transfer-encoding: chunked",
    ]


# ---- x-forwarded-for, x-request-id


def test_forwarded_for_is_appended():
    before = (b"X-Forwarded-For", b"1.1.1.1")
    assert written(forwarded=b"9.9.9.9") == [b"x-forwarded-for: 9.9.9.9"]
    assert written(before, forwarded=b"9.9.9.9") == [b"x-forwarded-for: 1.1.1.1, 9.9.9.9"]
    assert written(before, (b"x-forwarded-for", b"2.2.2.2"), forwarded=b"::1") == [
        b"x-forwarded-for: 1.1.1.1, 2.2.2.2, ::1"
    ]
    assert written(before) == [b"x-forwarded-for: 1.1.1.1"]
    assert written() == []


def request_ids(head: bytes) -> list[bytes]:
    return [line[14:] for line in lines(head) if line.lower().startswith(b"x-request-id: ")]


def test_a_request_id_is_a_uuid_of_version_4():
    found = fields()
    head = write_request(b"GET", b"/", found, b"h", None, True, None)
    (made,) = request_ids(head.data)
    parsed = uuid.UUID(made.decode())
    assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
    assert str(parsed).encode() == made == found.request_id


def test_every_request_id_is_another():
    made = {request_ids(requested(request_id=True).data)[0] for _ in range(2_000)}
    assert len(made) == 2_000


def test_a_request_id_that_is_there_is_kept():
    for request_id in (True, False):
        head = requested((b"X-Request-ID", b"mine"), request_id=request_id)
        assert request_ids(head.data) == [b"mine"]
    assert request_ids(requested().data) == []


def test_an_empty_request_id_is_none():
    (made,) = request_ids(requested((b"x-request-id", b""), request_id=True).data)
    assert uuid.UUID(made.decode()).version == 4


# ---- what is for the primary alone, and the copy


def test_expect_upgrade_and_te_are_for_the_primary_alone():
    head = requested((b"Expect", b"100-continue"), (b"TE", b"trailers"), (b"X-A", b"1"))
    assert lines(head.data)[2:] == [
        b"X-A: 1",
        b"expect: 100-continue",
        b"connection: te",
        b"te: trailers",
    ]
    assert lines(head.copy(b"h", b"m"))[2:] == [b"X-A: 1", b"x-fastmirror-copy: m"]


def test_an_upgrade_is_for_the_primary_alone():
    pairs = [(b"Connection", b"Upgrade"), (b"Upgrade", b"WebSocket"), (b"Sec-WebSocket-Key", b"k")]
    head = requested(*pairs, upgrade=b"WebSocket")
    assert lines(head.data)[2:] == [
        b"Sec-WebSocket-Key: k",
        b"connection: upgrade",
        b"upgrade: WebSocket",
    ]
    assert lines(head.copy(b"h", b"m"))[2:] == [b"Sec-WebSocket-Key: k", b"x-fastmirror-copy: m"]
    assert written(*pairs) == [b"Sec-WebSocket-Key: k"]  # not asked for


def test_expect_of_something_else_is_not_made_100_continue():
    assert not any(b"100-continue" in line for line in written((b"Expect", b"200-ok")))


@pytest.mark.parametrize("host", [b"h", b"h-shadow:8000", b"", b"a" * 5000])
def test_a_copy_has_its_own_host_and_the_marker_and_all_else(host):
    pairs = [
        (b"Host", b"h"),
        (b"Authorization", b"Bearer t"),
        (b"Cookie", b"host: h"),
        (b"X-Host", b"h"),
        (b"Content-Length", b"5"),
    ]
    found = fields(*pairs)
    head = write_request(b"POST", b"/h?host: h", found, b"h", b"9.9.9.9", True, None)
    assert lines(head.copy(host, b"v2/shadow")) == [
        b"POST /h?host: h HTTP/1.1",
        b"host: " + host,
        b"Authorization: Bearer t",
        b"Cookie: host: h",
        b"X-Host: h",
        b"content-length: 5",
        b"x-forwarded-for: 9.9.9.9",
        b"x-request-id: " + found.request_id,
        b"x-fastmirror-copy: v2/shadow",
    ]


def test_a_head_is_not_changed_by_its_copies_nor_by_the_next_head():
    head = requested((b"X-A", b"1"))
    before = bytes(bytearray(head.data))
    one, two = head.copy(b"one", b"m"), head.copy(b"two-longer", b"m")
    requested((b"X-B", b"2" * 100_000))
    assert head.data == before
    assert one == before.replace(b"host: h", b"host: one")[:-2] + b"x-fastmirror-copy: m\r\n\r\n"
    assert two == one.replace(b"one", b"two-longer")


@pytest.mark.parametrize("size", [0, 16_000, 16_384, 20_000, 65_536, 1_000_000])
def test_a_head_of_any_size(size):
    head = requested((b"X-A", b"a" * size), (b"X-B", b"b" * size))
    assert lines(head.data)[2:] == [b"X-A: " + b"a" * size, b"X-B: " + b"b" * size]
    assert lines(head.copy(b"s", b"m"))[2:-1] == lines(head.data)[2:]


# ---- responses


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        (200, b"OK", b"HTTP/1.1 200 OK"),
        (404, b"", b"HTTP/1.1 404 "),
        (599, None, b"HTTP/1.1 599 "),
        (103, b"Early Hints", b"HTTP/1.1 103 Early Hints"),
    ],
)
def test_a_status_line(status, reason, line):
    head = write_response(status, reason, fields((b"Date", b"then")), True, False, None)
    assert head == line + b"\r\nDate: then\r\n\r\n"


def test_a_response_without_length():
    pairs = [(b"Content-Length", b"5"), (b"X-A", b"1")]
    assert lines(write_response(204, b"x", fields(*pairs), False, False, None))[1:] == [b"X-A: 1"]
    assert lines(write_response(200, b"x", fields(*pairs), True, False, None))[1:] == [
        b"Content-Length: 5",
        b"X-A: 1",
    ]


def test_a_chunked_response():
    pairs = [(b"Transfer-Encoding", b"chunked"), (b"Trailer", b"x-t"), (b"Content-Length", b"5")]
    head = write_response(200, b"OK", fields(*pairs), False, True, b"keep-alive")
    assert lines(head)[1:] == [
        b"Trailer: x-t",
        b"transfer-encoding: chunked",
        b"connection: keep-alive",
    ]
    assert lines(write_response(200, b"OK", fields(*pairs[:2]), True, False, None))[1:] == []


def test_a_101_keeps_upgrade():
    pairs = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    head = write_response(101, b"Switching Protocols", fields(*pairs), False, False, b"upgrade")
    assert lines(head)[1:] == [b"Upgrade: websocket", b"connection: upgrade"]
    assert lines(write_response(426, b"x", fields(*pairs), True, False, None))[1:] == []


# ---- trailers and chunks


def test_trailers():
    assert write_trailers(None) == b"0\r\n\r\n"
    assert write_trailers(fields()) == b"0\r\n\r\n"
    assert write_trailers(fields((b"X-A", b"1"), (b"x-b", b""))) == b"0\r\nX-A: 1\r\nx-b: \r\n\r\n"


@pytest.mark.parametrize(
    "name",
    [
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"TE",
        b"Trailer",
        b"Upgrade",
        b"Expect",
        b"Keep-Alive",
        b"Proxy-Authorization",
        b"X-Forwarded-For",
        b"X-Request-Id",
        b"X-Fastmirror-Copy",
        b"Authorization",
        b"Set-Cookie",
        b"content-type",
        b"DATE",
        b"Max-Forwards",
    ],
    ids=bytes.decode,
)
def test_what_may_not_be_a_trailer(name):
    assert write_trailers(fields((name, b"10"), (b"X-A", b"1"))) == b"0\r\nX-A: 1\r\n\r\n"
    assert write_trailers(fields((name, b"10"))) == b"0\r\n\r\n"


@pytest.mark.parametrize("size", [0, 1, 9, 10, 255, 256, 65536, 2**31, 2**62])
def test_chunk_head(size):
    assert chunk_head(size) == b"%x\r\n" % size


# ---- Date, Max-Forwards, the proxy's own answers


def test_a_date_is_added_where_there_is_none():
    began = int(time.time())
    head = write_response(200, b"OK", fields((b"X-A", b"1")), True, False, None)
    (date,) = re.findall(rb"\r\ndate: ([^\r]*)\r\n", head)
    assert began <= parsedate_to_datetime(date.decode()).timestamp() <= time.time()
    again = formatdate(parsedate_to_datetime(date.decode()).timestamp(), usegmt=True)
    assert again.encode() == date
    there = write_response(200, b"OK", fields((b"DATE", b"then")), True, False, None)
    assert there == b"HTTP/1.1 200 OK\r\nDATE: then\r\n\r\n"
    assert b"date" not in write_response(103, b"Early Hints", fields(), False, False, None)


@pytest.mark.parametrize(
    ("method", "value", "found"),
    [
        (b"OPTIONS", b"3", [b"max-forwards: 2"]),
        (b"TRACE", b"1", [b"max-forwards: 0"]),
        (b"GET", b"3", [b"Max-Forwards: 3"]),
        (b"OPTIONS", b"x", [b"Max-Forwards: x"]),
        (b"OPTIONS", b"-1", [b"Max-Forwards: -1"]),
    ],
)
def test_max_forwards(method, value, found):
    assert written((b"Max-Forwards", value), method=method) == found


@pytest.mark.parametrize("to_head", [False, True])
def test_an_answer_of_the_proxy_itself(to_head):
    answer = write_reply(404, b"No", b"text/plain", b"x-a: 1\r\n", b"close", b"text", to_head)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == (b"" if to_head else b"text")
    assert lines(head + b"\r\n\r\n") == [
        b"HTTP/1.1 404 No",
        b"server: fastmirror",
        b"content-type: text/plain",
        b"x-a: 1",
        b"content-length: 4",
        b"connection: close",
    ]
