"""Heads of requests and of answers, from any octets.

Invariant: what the scanner takes the parser takes and reads the same; what either takes, h11 takes
and reads the same; what is written of it parses as exactly one message.

An input is a head, with what may come behind it: an answer's begins with HTTP/, a request's not.
"""

from __future__ import annotations

import h11
import harness

from fastmirror._core import write_request, write_response
from fastmirror._framing import Head
from fastmirror._head import Fields, is_plain_target
from fastmirror.http1.framing import (
    CHUNKED,
    INVALID,
    LENGTH,
    NO_BODY,
    UNTIL_CLOSE,
    request_body,
    response_body,
)
from fastmirror.http1.heads import HeadError, ParsedHead, parse_request, parse_response
from fastmirror.http1.target import normal_host, normal_target
from fuzz import strict

ENDS = {NO_BODY: b"", LENGTH: b"", CHUNKED: b"3\r\nabc\r\n0\r\n\r\n", UNTIL_CLOSE: b"abc"}

# What a proxy knows of fields, apart from the fields themselves.
MEANING = ["content_length", "transfer_encoding", "chunked", "hosts", "host", "close"]
MEANING += ["keep_alive", "wants_upgrade", "named", "upgrade", "expect", "te_trailers"]
MEANING += ["is_copy", "dated", "max_forwards", "request_id", "forwarded_for"]


def meaning(fields: Fields) -> list[object]:
    return [getattr(fields, name) for name in MEANING]


def taken(data: bytes, request: bool) -> bytes | None:
    """The head that the data begins with."""
    head = Head(request)
    return head.octets if head.took(data) >= 0 and head.complete else None


def pairs(fields: Fields) -> list[tuple[bytes, bytes]]:
    items = fields.items
    return [(name.lower(), value) for name, value in zip(items[::2], items[1::2], strict=True)]


def check_scanned(data: bytes, end: int, fields: Fields, parsed: ParsedHead, head: bytes) -> None:
    """The parser reads what the scanner has taken, and as the scanner did."""
    assert head == data[:end]
    assert fields.http10 == parsed.http10
    assert fields.items == parsed.fields.items
    assert meaning(fields) == meaning(parsed.fields)
    assert (fields.count, fields.size) == (parsed.fields.count, parsed.fields.size)


def request(data: bytes) -> None:
    scanned = Fields()
    end = scanned.scanned_request(data, 0)
    head = taken(data, True)
    if head is None:
        assert end == 0
        return
    try:
        parsed = parse_request(head)
    except HeadError:
        assert end == 0
        return
    if end:
        check_scanned(data, end, scanned, parsed, head)
        assert (scanned.method, scanned.target) == (parsed.method, parsed.target)
        assert is_plain_target(parsed.target)
    fields, method = parsed.fields, parsed.method
    body = request_body(fields)
    if body == INVALID or fields.hosts != 1 or (parsed.http10 and body == CHUNKED):
        return
    try:
        host, target = normal_target(method, parsed.target, fields.host or b"")
        normal_host(host)
    except ValueError:
        return
    if method in (b"CONNECT", b"TRACE") or fields.content_length > 1 << 20:
        return
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    peer.receive_data(head)
    event = peer.next_event()
    assert isinstance(event, h11.Request)
    assert (bytes(event.method), bytes(event.target)) == (method, parsed.target)
    # h11 reads codings and lengths in its own words.
    assert len(event.headers) == fields.count
    written = write_request(method, target, fields, host, b"192.0.2.1", True, None)
    for octets in (written.data, written.copy(host, b"m")):
        whole = octets + ENDS[body] + b"x" * max(0, fields.content_length)
        [message], stop = strict.read_requests(whole)
        assert stop == len(whole)
        assert message.start == (method, target)
        strict.check_requests(whole, [message])


def answer(data: bytes, to_head: bool) -> None:
    scanned = Fields()
    end = scanned.scanned_response(data, 0)
    head = taken(data, False)
    if head is None:
        assert end == 0
        return
    try:
        parsed = parse_response(head)
    except HeadError:
        assert end == 0
        return
    fields, status = parsed.fields, parsed.status
    if end:
        check_scanned(data, end, scanned, parsed, head)
        assert (scanned.status, scanned.reason) == (status, parsed.reason or b"")
    body = response_body(status, to_head, fields)
    if body == INVALID or status == 101 or fields.content_length > 1 << 20:
        return
    method = b"HEAD" if to_head else b"GET"
    if status < 200:
        octets = write_response(status, parsed.reason, fields, False, False, None)
        octets += b"HTTP/1.1 204 No Content\r\n\r\n"
    else:
        chunked = body in (CHUNKED, UNTIL_CLOSE)
        with_length = body == LENGTH or (body == NO_BODY and status != 204)
        octets = write_response(status, parsed.reason, fields, with_length, chunked, b"close")
        octets += ENDS[CHUNKED if chunked else body]
        if body == LENGTH:
            octets += b"x" * fields.content_length
    [message], stop = strict.read_answers(octets, lambda *_: method)
    assert stop == len(octets)
    assert not message.until_close
    strict.check_answer(octets, message, method)


def one_input(data: bytes) -> None:
    if data.startswith(b"HTTP/"):
        answer(data, False)
        answer(data, True)
    else:
        request(data)


if __name__ == "__main__":
    harness.run(one_input)
