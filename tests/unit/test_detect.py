"""What an intercepted client speaks, by its first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmirror.counts import HTTP2, OPAQUE, TLS
from fastmirror.intercept.detect import HTTP1, MAX_LINE, MORE, protocol_of

KNOWN = [
    (b"GET / HTTP/1.1\r\n", HTTP1),
    (b"POST /a?b HTTP/1.0\r\nHost: a\r\n", HTTP1),
    (b"PROPFIND /dav HTTP/1.1\r\n\r\n", HTTP1),
    (b"FROBNICATE x HTTP/1.1\r\n", HTTP1),
    (b"CONNECT a:443 HTTP/1.1\r\n", HTTP1),
    (b"GET http://a/ HTTP/1.1\r\n", HTTP1),
    (b"GET / with spaces HTTP/1.1\r\n", HTTP1),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP2),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", TLS),
    (b"\x16\x03\x03\x00\x7a\x01", TLS),
    # What looks a little like one of them.
    (b"GET /\r\n", OPAQUE),  # HTTP/0.9
    (b"GET / HTTP/1.1\n", OPAQUE),  # for the destination to judge
    (b"GET / HTTP/2.0\r\n", OPAQUE),
    (b"GET  HTTP/1.1\r\n", OPAQUE),
    (b"get key\r\n", OPAQUE),  # memcached
    (b"PING\r\n", OPAQUE),  # Redis
    (b"*1\r\n$4\r\nPING\r\n", OPAQUE),
    (b"EHLO a\r\n", OPAQUE),
    (b"SSH-2.0-OpenSSH_9.2\r\n", OPAQUE),
    (b"OPTIONS rtsp://a RTSP/1.0\r\n", OPAQUE),
    (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", OPAQUE),  # PostgreSQL asks for TLS
    (b"\x16\x03\x01\x00\x05\x02", OPAQUE),  # a ServerHello from a client
    (b"\x16\x02\x00\x00\x05\x01", OPAQUE),
    (b"\r\nGET / HTTP/1.1\r\n", OPAQUE),
    (b"A" * 33, OPAQUE),
    (b"\x00", OPAQUE),
]


@pytest.mark.parametrize(("data", "kind"), KNOWN)
def test_protocols_are_known_by_their_first_bytes(data, kind):
    assert protocol_of(data) == kind


@pytest.mark.parametrize(("data", "kind"), KNOWN)
def test_in_pieces_the_first_answer_is_the_last(data, kind):
    answers = [protocol_of(data[:size]) for size in range(len(data) + 1)]
    said = [answer for answer in answers if answer != MORE]
    assert set(said) == {kind}
    assert answers == [MORE] * (len(answers) - len(said)) + said


@given(st.binary(min_size=1, max_size=80), st.binary(max_size=80))
def test_an_answer_stands_whatever_comes_behind(data, more):
    first = protocol_of(data)
    assert first == MORE or protocol_of(data + more) == first


def test_a_line_without_end_is_not_waited_for():
    assert protocol_of(b"GET /" + b"a" * (MAX_LINE - 6)) == MORE
    assert protocol_of(b"GET /" + b"a" * MAX_LINE) == OPAQUE
