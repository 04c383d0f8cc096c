"""Chunked bodies and heads in pieces, from any octets.

Invariant: how the octets are cut makes no difference, and a body that is accepted is accepted and
read the same by httptools and h11, and so is what is written of it anew. (Both are stricter about
trailers that frame, of which nothing is passed on.)

An input is an octet that says how it is cut, and the data.
"""

from __future__ import annotations

import h11
import harness
from httptools import HttpRequestParser

from fastmirror._core import chunk_head, write_trailers
from fastmirror._framing import Chunks, Head
from fuzz import strict

HEAD = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
LIMIT = 4096
FRAMING = (b"transfer-encoding", b"content-length")

Body = tuple[bytes, list[tuple[bytes, bytes]]]


def pairs(items: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(items[::2], items[1::2], strict=True))


def read(parts: list[bytes]) -> tuple[str, Body, int, bytes]:
    """How it ended, the body, where its end is, and the body written anew."""
    chunks = Chunks(LIMIT)
    body = written = b""
    passed = 0
    for part in parts:
        at = 0
        while at < len(part):
            at, found = chunks.read(part, at)
            if at < 0:
                assert chunks.wrong
                return chunks.wrong, (b"", []), 0, b""
            if found:
                body += found
                written += chunk_head(len(found)) + found + b"\r\n"
            if chunks.complete:
                trailers = chunks.trailers
                items = pairs(trailers.items) if trailers is not None else []
                return "complete", (body, items), passed + at, written + write_trailers(trailers)
        passed += len(part)
    return "more", (b"", []), 0, b""


class Llhttp:
    """The body and the trailers as httptools reads them."""

    def __init__(self, data: bytes) -> None:
        self.body = b""
        self.items: list[tuple[bytes, bytes]] = []
        self.headed = self.complete = False
        HttpRequestParser(self).feed_data(data)

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headed:
            self.items.append((name, value.rstrip(b" \t")))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


def by_h11(data: bytes) -> Body:
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    peer.receive_data(data)
    body = b""
    while True:
        event = peer.next_event()
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return body, [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
        assert event is not h11.NEED_DATA, "h11 waits for more of what was complete"


def take(parts: list[bytes], empty_lines: bool) -> tuple[str, bytes]:
    head = Head(empty_lines)
    for part in parts:
        if head.took(part) < 0:
            return head.wrong or "", b""
        if head.complete:
            return "complete", head.octets
    return "more", b""


def one_input(data: bytes) -> None:
    if not data:
        return
    seed, data = data[0], data[1:]
    parts = harness.pieces(data, seed)
    for empty_lines in (False, True):
        assert take(parts, empty_lines) == take([data], empty_lines)
    outcome, found, end, written = read([data])
    cut = read(parts)
    assert cut[:3] == (outcome, found, end)
    if outcome != "complete":
        return
    if not any(name.lower() in FRAMING for name, _ in found[1]):
        theirs = Llhttp(HEAD + data[:end])
        assert theirs.complete
        assert (theirs.body, theirs.items) == found
        assert by_h11(HEAD + data[:end]) == found
    for each in (written, cut[3]):
        theirs = Llhttp(HEAD + each)
        assert theirs.complete
        assert theirs.body == by_h11(HEAD + each)[0] == found[0]
        [message], stop = strict.read_requests(HEAD + each)
        assert stop == len(HEAD + each)
        assert message.body == found[0]


if __name__ == "__main__":
    harness.run(one_input)
