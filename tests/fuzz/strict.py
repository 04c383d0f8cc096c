"""A reader of HTTP/1.1 that tolerates nothing, for what a proxy wrote.

Invariants: it has no code in common with the proxy; what it takes can be read in one way only, and
``check_requests`` and ``check_answer`` hold h11 to the same reading. What is no message is Wrong; a
message that stops before its end is left where it begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import h11

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
_REQUEST = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.1\r\n")
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) (" + _TEXT + rb")\r\n")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*(" + _TEXT + rb")\r\n")
_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})\r\n")
_NO_LINE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\r?")  # what a line that is not complete may be

Field = tuple[bytes, bytes]


class Wrong(AssertionError):
    """What was written is no HTTP."""


class _Cut(Exception):
    """The octets end within a message."""


@dataclass
class Message:
    """``start``: method and target, or status and reason. ``head_end``, ``end``: where in the data.

    ``interim``: the 1xx before an answer. ``until_close``: the end is the connection's.
    """

    start: tuple[bytes, bytes]
    fields: list[Field]
    begin: int
    head_end: int
    body: bytes = b""
    trailers: list[Field] = field(default_factory=list)
    end: int = 0
    interim: list[Message] = field(default_factory=list)
    until_close: bool = False

    def values(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.fields if known == name]

    def value(self, name: bytes) -> bytes:
        """Of a field that is there once at most; empty where it is not there."""
        found = self.values(name)
        if len(found) > 1:
            raise Wrong(f"{name!r} is there {len(found)} times")
        return found[0] if found else b""

    def first(self, name: bytes) -> bytes:
        """Of a field that a client may have sent several times."""
        return (self.values(name) or [b""])[0]

    @property
    def content(self) -> tuple[object, ...]:
        return self.start, self.fields, self.body, self.trailers


def _line(pattern: re.Pattern[bytes], data: bytes, at: int) -> re.Match[bytes]:
    match = pattern.match(data, at)
    if match is None:
        if b"\n" not in data[at:] and _NO_LINE.fullmatch(data[at:]):
            raise _Cut
        raise Wrong(f"not a line of its kind: {data[at : at + 80]!r}")
    return match


def _fields(data: bytes, at: int) -> tuple[list[Field], int]:
    """Field lines, and where the empty line behind them ends."""
    found = []
    while not data.startswith(b"\r\n", at):
        if data[at:] in (b"", b"\r"):
            raise _Cut
        match = _line(_FIELD, data, at)
        found.append((match[1].lower(), match[2].rstrip(b" \t")))
        at = match.end()
    return found, at + 2


def _head(pattern: re.Pattern[bytes], data: bytes, at: int) -> Message:
    line = _line(pattern, data, at)
    fields, end = _fields(data, line.end())
    return Message((line[1], line[2]), fields, at, end, end=end)


def _chunked(data: bytes, message: Message) -> None:
    at = message.head_end
    while True:
        line = _line(_SIZE, data, at)
        size = int(line[1], 16)
        if size == 0:
            message.trailers, message.end = _fields(data, line.end())
            return
        at = line.end() + size
        if len(data) < at + 2:
            raise _Cut
        if data[at : at + 2] != b"\r\n":
            raise Wrong("a chunk that is not as long as its size")
        message.body += data[line.end() : at]
        at += 2


def _body(data: bytes, message: Message) -> bool:
    """Read it, where the head says how long it is."""
    codings = message.values(b"transfer-encoding")
    length = message.value(b"content-length")
    if codings:
        if codings != [b"chunked"] or length:
            raise Wrong("a transfer coding that is not chunked alone")
        _chunked(data, message)
    elif length:
        if re.fullmatch(rb"\d+", length) is None:
            raise Wrong(f"a length of {length!r}")
        message.end = message.head_end + int(length)
        if message.end > len(data):
            raise _Cut
        message.body = data[message.head_end : message.end]
    return bool(codings or length)


def read_requests(data: bytes, at: int = 0) -> tuple[list[Message], int]:
    """The whole requests, and where what is no whole one begins.

    Raises Wrong.
    """
    found = []
    while at < len(data):
        try:
            message = _head(_REQUEST, data, at)
            if len(message.values(b"host")) != 1:
                raise Wrong("not exactly one Host")
            _body(data, message)
        except _Cut:
            break
        found.append(message)
        at = message.end
    return found, at


def read_answers(
    data: bytes, method_of: Callable[[int, Message], bytes]
) -> tuple[list[Message], int]:
    """The whole answers, and where what is no whole one begins. ``method_of(index, head)``: of the
    request that it answers.

    Raises Wrong.
    """
    found: list[Message] = []
    interim: list[Message] = []
    at = begin = 0
    while at < len(data):
        try:
            message = _head(_STATUS, data, at)
            status = message.start[0]
            none = status in (b"204", b"304") or method_of(len(found), message) == b"HEAD"
            if status.startswith(b"1"):
                interim.append(message)
                at = message.end
                continue
            if not none and not _body(data, message):
                message.until_close = True
                message.body, message.end = data[message.head_end :], len(data)
        except _Cut:
            break
        message.interim, interim = interim, []
        message.begin = begin
        found.append(message)
        at = begin = message.end
    return found, begin


# ---- h11's reading of the same


def _events(peer: h11.Connection, message: Message | None = None) -> Message | None:
    """One message from h11; None: it waits for more. ``message``: an answer, without its start."""
    while True:
        event = peer.next_event()
        if isinstance(event, h11.Request):
            start = (bytes(event.method), bytes(event.target))
            message = Message(start, _items(event.headers), 0, 0)
        elif isinstance(event, h11.Response):
            start = (b"%d" % event.status_code, bytes(event.reason))
            message = Message(start, _items(event.headers), 0, 0)
        elif isinstance(event, h11.Data):
            assert message is not None
            message.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert message is not None
            message.trailers = _items(event.headers)
            return message
        elif not isinstance(event, h11.InformationalResponse):
            return None


def _items(headers: h11.Headers) -> list[Field]:
    return [(bytes(name), bytes(value)) for name, value in headers]


def check_requests(data: bytes, expected: list[Message]) -> None:
    """h11 reads these requests, and no others."""
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    peer.receive_data(data)
    for each in expected:
        found = _events(peer)
        assert found is not None
        assert found.content == each.content
        peer.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        peer.send(h11.EndOfMessage())
        if peer.our_state is h11.MUST_CLOSE:
            return
        peer.start_next_cycle()
    assert _events(peer) is None


def check_answer(data: bytes, answer: Message | None, method: bytes) -> None:
    """h11 reads this answer; None: there is no whole one, and it waits for more."""
    peer = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    peer.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(data)
    if answer is not None and answer.until_close:
        peer.receive_data(b"")
    found = _events(peer)
    if answer is None:
        assert found is None
    else:
        assert found is not None
        assert found.content == answer.content
        assert peer.trailing_data[0] == b""
