"""RFC 9112 section 6.3: how long a message's body is, rule by rule."""

from __future__ import annotations

import pytest

from fastmirror.http1.framing import (
    CHUNKED,
    INVALID,
    LENGTH,
    NO_BODY,
    UNTIL_CLOSE,
    request_body,
    response_body,
)

from .building import fields

NOTHING: tuple[tuple[bytes, bytes], ...] = ()
ZERO = ((b"Content-Length", b"0"),)
TEN = ((b"content-length", b"10"),)
HUGE = ((b"Content-Length", b"9" * 18),)
TOO_LARGE = ((b"Content-Length", b"9" * 19),)
CHUNKS = ((b"Transfer-Encoding", b"chunked"),)
CHUNKS_UPPER = ((b"TRANSFER-ENCODING", b"Chunked"),)
CHUNKS_SPACED = ((b"transfer-encoding", b"chunked \t"),)
GZIP = ((b"Transfer-Encoding", b"gzip"),)
GZIP_CHUNKED = ((b"Transfer-Encoding", b"gzip, chunked"),)
CHUNKED_GZIP = ((b"Transfer-Encoding", b"chunked, gzip"),)
CHUNKED_TWICE = (*CHUNKS, *CHUNKS)
TWO_FIELDS = (*GZIP, *CHUNKS)
EMPTY_CODING = ((b"Transfer-Encoding", b""),)


@pytest.mark.parametrize(
    ("pairs", "body"),
    [
        (NOTHING, NO_BODY),
        (ZERO, NO_BODY),
        (TEN, LENGTH),
        (HUGE, LENGTH),
        (TOO_LARGE, INVALID),
        (CHUNKS, CHUNKED),
        (CHUNKS_UPPER, CHUNKED),
        (CHUNKS_SPACED, CHUNKED),
        (GZIP, INVALID),
        (GZIP_CHUNKED, INVALID),
        (CHUNKED_GZIP, INVALID),
        (CHUNKED_TWICE, INVALID),
        (TWO_FIELDS, INVALID),
        (EMPTY_CODING, INVALID),
    ],
)
def test_a_request(pairs, body):
    assert request_body(fields(*pairs)) == body


@pytest.mark.parametrize(
    ("pairs", "body"),
    [
        (NOTHING, UNTIL_CLOSE),
        (ZERO, NO_BODY),
        (TEN, LENGTH),
        (TOO_LARGE, INVALID),
        (CHUNKS, CHUNKED),
        (CHUNKS_UPPER, CHUNKED),
        (GZIP, INVALID),
        (GZIP_CHUNKED, INVALID),
        (CHUNKED_TWICE, INVALID),
        (TWO_FIELDS, INVALID),
    ],
)
def test_a_response(pairs, body):
    for status in (200, 205, 206, 301, 400, 500, 599):
        assert response_body(status, False, fields(*pairs)) == body


@pytest.mark.parametrize(
    "pairs", [NOTHING, ZERO, TEN, TOO_LARGE, CHUNKS, GZIP, GZIP_CHUNKED, CHUNKED_TWICE]
)
@pytest.mark.parametrize(
    ("status", "to_head"),
    [(100, False), (101, False), (103, False), (204, False), (304, False), (200, True)],
)
def test_rule_1_whatever_the_fields_say(pairs, status, to_head):
    assert response_body(status, to_head, fields(*pairs)) == NO_BODY


def test_what_the_fields_hold():
    found = fields(*TEN)
    assert (found.content_length, found.transfer_encoding, found.chunked) == (10, False, False)
    found = fields(*GZIP_CHUNKED)
    assert (found.content_length, found.transfer_encoding, found.chunked) == (-1, True, False)
    assert fields(*TOO_LARGE).content_length == -2
    assert fields(*HUGE).content_length == 10**18 - 1
