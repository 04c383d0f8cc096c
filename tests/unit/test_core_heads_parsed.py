"""Whatever fields come in, what is written is exactly one message: h11 reads it, and finds the
fields that RFC 9110 section 7.6.1 lets through.
"""

from __future__ import annotations

import h11
from hypothesis import given
from hypothesis import strategies as st

from fastmirror._core import chunk_head, write_request, write_response, write_trailers
from fastmirror._head import Fields

from .building import fields, tokens

NEXT = b"GET /next HTTP/1.1\r\nhost: next\r\n\r\n"
HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
WRITTEN_ANEW = {b"host", b"content-length", b"expect", b"x-forwarded-for"}
PROTECTED = {b"authorization", b"cookie", b"x-request-id", b"x-real-ip", b"via", b"set-cookie"}

Pair = tuple[bytes, bytes]

# RFC 9110 section 5.5, obs-text included; what precedes a value was stripped by the parser.
value_bytes = st.sampled_from(bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)]))
values = st.lists(value_bytes, max_size=30).map(lambda octets: bytes(octets).lstrip(b" \t"))
known_names = st.sampled_from(
    sorted(
        (HOP_BY_HOP | PROTECTED | {b"host", b"expect", b"proxy-x", b"x-forwarded-for", b"x-named"})
        - {b"transfer-encoding"}
    )
)
names = st.one_of(tokens, known_names).map(lambda name: name if len(name) % 2 else name.title())
plain = st.tuples(names.filter(lambda name: name.lower() != b"content-length"), values)
options = st.lists(st.one_of(tokens, known_names, st.just(b"X-Named")), max_size=4)
connection = options.map(lambda listed: (b"Connection", b", ".join(listed)))
framing = st.sampled_from([(), ((b"Content-Length", b"7"),), ((b"Transfer-Encoding", b"chunked"),)])


@st.composite
def messages(draw) -> list[Pair]:
    """A message's fields as the parser lets them through: one framing at most."""
    found = draw(st.lists(st.one_of(plain, plain, connection), max_size=12))
    at = draw(st.integers(0, len(found)))
    found = [pair for pair in found if pair[0].lower() != b"transfer-encoding"]
    return [*found[:at], *draw(framing), *found[at:]]


def named(pairs: list[Pair]) -> set[bytes]:
    """What Connection names."""
    lists = [value.lower() for name, value in pairs if name.lower() == b"connection"]
    return {option.strip(b" \t") for value in lists for option in value.split(b",")}


def passed(pairs: list[Pair]) -> list[Pair]:
    """The fields that a proxy passes on as they are."""
    dropped = HOP_BY_HOP | WRITTEN_ANEW | (named(pairs) - PROTECTED)
    return [
        (name.lower(), value.rstrip(b" \t"))
        for name, value in pairs
        if name.lower() not in dropped and not name.lower().startswith(b"proxy-")
    ]


def body_of(found: Fields) -> bytes:
    if found.chunked:
        return chunk_head(3) + b"abc\r\n" + write_trailers(fields((b"X-T", b"t")))
    return b"x" * max(0, found.content_length)


def read_all(connection: h11.Connection, data: bytes) -> list[h11.Event]:
    """The events of one message."""
    connection.receive_data(data)
    events = []
    while not events or not isinstance(events[-1], h11.EndOfMessage):
        event = connection.next_event()
        assert event is not h11.NEED_DATA, "the message has no end"
        assert event is not h11.PAUSED
        events.append(event)
    return events


def headers(event: h11.Request | h11.Response | h11.InformationalResponse) -> list[Pair]:
    return [(bytes(name), bytes(value)) for name, value in event.headers]


def without(found: list[Pair], *names: bytes) -> list[Pair]:
    return [pair for pair in found if pair[0] not in names]


@given(messages(), st.sampled_from([None, b"websocket"]))
def test_a_written_request_is_one_request(pairs, upgrade):
    found = fields(*pairs)
    head = write_request(b"PUT", b"/a?b", found, b"h:80", b"9.9.9.9", False, upgrade)
    server = h11.Connection(h11.SERVER)
    first, *_ = read_all(server, head.data + body_of(found) + NEXT)
    assert isinstance(first, h11.Request)
    assert (first.method, first.target, first.http_version) == (b"PUT", b"/a?b", b"1.1")
    assert server.trailing_data[0] == NEXT  # nothing of it is read as ours, nor ours as it

    got = headers(first)
    assert [pair for pair in got if pair[0] == b"host"] == [(b"host", b"h:80")]
    forwarded = [value for name, value in got if name == b"x-forwarded-for"]
    came = [value.rstrip(b" \t") for name, value in pairs if name.lower() == b"x-forwarded-for"]
    assert forwarded == [b", ".join([*came, b"9.9.9.9"])]
    lengths = [pair for pair in got if pair[0] in (b"content-length", b"transfer-encoding")]
    assert lengths == (
        [(b"transfer-encoding", b"chunked")]
        if found.chunked
        else [(b"content-length", b"7")]
        if found.content_length >= 0
        else []
    )
    ours = {b"host", b"x-forwarded-for", b"content-length", b"transfer-encoding", b"trailer"}
    ours |= {b"expect", b"connection", b"upgrade", b"te"}
    assert without(got, *ours) == without(passed(pairs), *ours)


@given(messages(), st.sampled_from([None, b"websocket"]), tokens)
def test_a_copy_is_one_request_with_the_same_fields(pairs, upgrade, marker):
    found = fields(*pairs)
    head = write_request(b"PUT", b"/a?b", found, b"h:80", b"9.9.9.9", True, upgrade)
    (primary, *_) = read_all(h11.Connection(h11.SERVER), head.data + body_of(found))
    server = h11.Connection(h11.SERVER)
    copied = head.copy(b"h-shadow:80", marker)
    (copy, *_) = read_all(server, copied + body_of(found) + NEXT)
    assert server.trailing_data[0] == NEXT
    assert isinstance(primary, h11.Request)
    assert isinstance(copy, h11.Request)
    assert (copy.method, copy.target) == (primary.method, primary.target)
    alone = (b"expect", b"connection", b"upgrade", b"te")
    assert headers(copy) == [
        (b"host", b"h-shadow:80"),
        *without(headers(primary), b"host", *alone),
        (b"x-fastmirror-copy", marker),
    ]


reasons = st.one_of(st.none(), values.map(lambda value: value.rstrip(b" \t")))


@given(messages(), st.integers(200, 599).filter(lambda code: code not in (204, 304)), reasons)
def test_a_written_response_is_one_response(pairs, status, reason):
    found = fields(*pairs)
    chunked = found.content_length < 0
    head = write_response(status, reason, found, not chunked, chunked, None)
    body = b"3\r\nabc\r\n0\r\n\r\n" if chunked else b"x" * found.content_length
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    client.send(h11.EndOfMessage())
    first, *_ = read_all(client, head + body + b"HTTP/1.1 ")
    assert isinstance(first, h11.Response)
    assert (first.status_code, first.reason) == (status, reason or b"")
    assert client.trailing_data[0] == b"HTTP/1.1 "
    got = without(headers(first), b"content-length", b"transfer-encoding", b"trailer", b"date")
    # These three are fields like any other in a response.
    dropped = named(pairs) - PROTECTED - {b"host", b"x-forwarded-for", b"content-length"}
    assert got == [
        (name.lower(), value.rstrip(b" \t"))
        for name, value in pairs
        if name.lower() not in HOP_BY_HOP | dropped | {b"content-length"}
        and not name.lower().startswith(b"proxy-")
    ]


@given(st.lists(plain, max_size=8))
def test_written_trailers_end_the_message(pairs):
    head = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    server = h11.Connection(h11.SERVER)
    *_, end = read_all(server, head + b"1\r\nx\r\n" + write_trailers(fields(*pairs)) + NEXT)
    assert isinstance(end, h11.EndOfMessage)
    assert server.trailing_data[0] == NEXT
    got = [(bytes(name), bytes(value)) for name, value in end.headers]
    routing = HOP_BY_HOP | WRITTEN_ANEW | PROTECTED
    assert got == [
        (name.lower(), value.rstrip(b" \t"))
        for name, value in pairs
        if name.lower() not in routing and not name.lower().startswith(b"proxy-")
    ]
