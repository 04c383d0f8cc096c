"""Chunked bodies and heads in pieces. What is accepted, httptools and h11 accept too, and read the
same; how the octets are cut makes no difference.
"""

from __future__ import annotations

from itertools import pairwise

import h11
import pytest
from httptools import HttpParserError, HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from fastmirror._framing import Chunks, Head

HEAD = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"

Outcome = tuple[bytes, list[bytes], int] | str


def read(data: bytes, cuts: list[int] | None = None, limit: int = 65536) -> Outcome:
    """``(body, trailers, where it ended)``; "more" where it has not; what was wrong."""
    chunks = Chunks(limit)
    body = b""
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts or []}), len(data)]
    for start, stop in pairwise(edges):
        piece, at = data[start:stop], 0
        while at < len(piece):
            at, found = chunks.read(piece, at)
            if at < 0:
                assert chunks.wrong
                return chunks.wrong
            body += found
            if chunks.complete:
                items = chunks.trailers.items if chunks.trailers is not None else []
                return body, items, start + at
    return "more"


class Llhttp:
    """The body and the trailers as httptools reads them."""

    def __init__(self) -> None:
        self.body = b""
        self.items: list[bytes] = []
        self.headed = self.complete = False

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headed:
            self.items += [name, value.rstrip(b" \t")]

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


def by_llhttp(data: bytes) -> tuple[bytes, list[bytes]] | None:
    found = Llhttp()
    try:
        HttpRequestParser(found).feed_data(HEAD + data)
    except HttpParserError:
        return None
    return (found.body, found.items) if found.complete else None


def by_h11(data: bytes) -> tuple[bytes, list[bytes]] | None:
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    peer.receive_data(HEAD + data)
    body = b""
    try:
        while True:
            event = peer.next_event()
            if isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return body, [bytes(each) for pair in event.headers.raw_items() for each in pair]
            elif event is h11.NEED_DATA:
                return None
    except h11.RemoteProtocolError:
        return None


hexadecimal = st.sampled_from(["%x", "%X", "0%x", "%05x"])
extensions = st.sampled_from(["", ";a", ";a=b", ';a="b;c"', ";a=b;c=d"])
trailer_sections = st.sampled_from(["", "x-a: b\r\n", "X-A:b\r\nx-c: \t d \r\n", "x-empty:\r\n"])


@st.composite
def bodies(draw) -> bytes:
    parts = []
    for data in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6)):
        size = draw(hexadecimal) % len(data)
        parts.append(f"{size}{draw(extensions)}\r\n".encode() + data + b"\r\n")
    last = draw(st.sampled_from(["0", "000"])) + draw(extensions)
    return b"".join(parts) + f"{last}\r\n{draw(trailer_sections)}\r\n".encode()


cuts = st.lists(st.integers(0, 400), max_size=8)


@given(bodies(), cuts, st.sampled_from([b"", b"GET / HTTP/1.1\r\n\r\n", b"0\r\n\r\n"]))
def test_what_is_right_is_read(data, cut, behind):
    found = read(data + behind, cut)
    assert isinstance(found, tuple), found
    body, items, end = found
    assert end == len(data)
    assert (body, items) == by_llhttp(data)
    assert body == by_h11(data)[0]


edits = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(b'\r\n\t ;="0aG:\0\x7f\xff-+x,')), max_size=3
)


@given(bodies(), edits, st.booleans(), cuts)
@example(b"1 \r\na\r\n0\r\n\r\n", [], False, [])
def test_what_is_accepted_others_accept(data, changed, inserted, cut):
    for place, octet in changed:
        at = place % (len(data) + 1)
        data = data[:at] + bytes([octet]) + data[at + (0 if inserted else 1) :]
    found = read(data)
    assert read(data, cut) == found
    if isinstance(found, tuple):
        body, items, end = found
        assert (body, items) == by_llhttp(data[:end])
        theirs = by_h11(data[:end])
        assert theirs is not None
        assert theirs[0] == body


@given(st.binary(max_size=60), cuts)
def test_anything_at_all(data, cut):
    assert read(data, cut) == read(data)


WRONG = {
    "no size": b"\r\n",
    "a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "hexadecimal as in C": b"0x5\r\nhello\r\n0\r\n\r\n",
    "an underscore": b"1_0\r\n",
    "a space before": b" 5\r\nhello\r\n",
    "a space behind": b"5 \r\nhello\r\n",
    "a space before an extension": b"5 ;a\r\nhello\r\n",
    "a tab behind": b"5\t\r\nhello\r\n",
    "64 bits and more": b"10000000000000005\r\nhello\r\n",
    "beyond what a length can be": b"ffffffffffffffff\r\nhello\r\n",
    "just beyond it": b"8000000000000000\r\n",
    "17 digits": b"00000000000000005\r\nhello\r\n",
    "a bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "a bare LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "a bare CR behind the data": b"5\r\nhello\r0\r\n\r\n",
    "longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "shorter than its size": b"6\r\nhello\r\n0\r\n\r\n",
    "a bare LF in an extension": b"5;a\nhello\r\n",
    "a control in an extension": b"5;a\0b\r\nhello\r\n",
    "a bare CR in an extension": b"5;a\rb\r\nhello\r\n",
    "a bare LF at the end": b"0\r\n\n",
    "a bare LF in a trailer": b"0\r\na: b\n\r\n",
    "a bare CR in a trailer": b"0\r\na: b\rc\r\n\r\n",
    "a NUL in a trailer": b"0\r\na: b\0c\r\n\r\n",
    "a trailer without a name": b"0\r\n: b\r\n\r\n",
    "a trailer without a colon": b"0\r\nab\r\n\r\n",
    "a space before a trailer's colon": b"0\r\na : b\r\n\r\n",
    "a folded trailer": b"0\r\na: b\r\n c\r\n\r\n",
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_is_wrong(data):
    found = read(data)
    assert isinstance(found, str)
    assert found != "more"
    assert read(data, list(range(len(data)))) == found


def test_extensions_and_sizes_are_bounded_against_the_data():
    assert read(b"5;" + b"a" * 10_000 + b"\r\nhello\r\n0\r\n\r\n")[0] == b"hello"
    assert "too much" in read(b"5;" + b"a" * 20_000)
    one = b"1;" + b"a" * 200 + b"\r\nb\r\n"
    assert "too much" in read(one * 200 + b"0\r\n\r\n")
    data = b"1\r\nb\r\n" * 100_000 + b"0\r\n\r\n"
    assert read(data)[0] == b"b" * 100_000
    large = b"4000;" + b"a" * 500 + b"\r\n" + b"b" * 0x4000 + b"\r\n"
    assert len(read(large * 200 + b"0\r\n\r\n")[0]) == 200 * 0x4000


def test_trailers_are_bounded():
    section = b"".join(b"x-%d: %s\r\n" % (at, b"y" * 100) for at in range(10))
    assert len(read(b"0\r\n" + section + b"\r\n", limit=2000)[1]) == 20
    assert "too large" in read(b"0\r\n" + section + b"\r\n", limit=1000)
    assert "too large" in read(b"0\r\nx: " + b"y" * 2000, limit=1000)


# ---- heads


def take(data: bytes, cut: list[int], empty_lines: bool = False) -> tuple[int, bytes] | str:
    head = Head(empty_lines)
    edges = [0, *sorted({each % (len(data) + 1) for each in cut}), len(data)]
    for start, stop in pairwise(edges):
        at = head.took(data[start:stop])
        if at < 0:
            assert head.wrong
            return head.wrong
        if head.complete:
            return start + at, head.octets
    return "more"


LINES = b"GET / HTTP/1.1\r\nhost: a\r\nx-b: \xe9\tc\r\n\r\n"


@given(cuts, st.binary(max_size=10), st.integers(0, 4))
def test_a_head_ends_at_its_empty_line(cut, behind, empty):
    assert take(LINES + behind, cut) == (len(LINES), LINES)
    data = b"\r\n" * empty + LINES
    assert take(data + behind, cut, empty_lines=True) == (len(data), LINES)


@given(st.binary(max_size=40), cuts)
def test_any_octets(data, cut):
    assert take(data, cut) == take(data, [])
    assert take(data, cut, empty_lines=True) == take(data, [], empty_lines=True)


@pytest.mark.parametrize(
    "data",
    [
        LINES.replace(b"\r\n", b"\n"),
        LINES.replace(b"\r\n", b"\r"),
        LINES.replace(b"\r\nhost", b"\nhost"),
        LINES.replace(b"\r\n\r\n", b"\r\n\n"),
        LINES.replace(b"\r\n\r\n", b"\n\r\n"),
        LINES.replace(b"x-b", b"x\0b"),
        LINES.replace(b"x-b", b"x\x7fb"),
        LINES.replace(b"\tc", b"\x0bc"),
        LINES.replace(b"\tc", b"\rc"),
        b"\r\n" + LINES,
        b"\x16\x03\x01\x02",
    ],
)
def test_a_head_that_is_wrong(data):
    found = take(data, [])
    assert isinstance(found, str)
    assert found != "more"
    assert take(data, list(range(len(data)))) == found


def test_empty_lines_are_few():
    assert "empty line" in take(b"\r\n" * 5 + LINES, [], empty_lines=True)
