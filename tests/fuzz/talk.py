"""What is said: valid requests and answers, and the damage that is done to them.

Invariants: a request that is drawn is valid, and says what the primary must get of it; every one
has an id that no other has and that no single edit makes of another; damage is drawn apart from
what it is done to, so that hypothesis can make both smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import strategies as st

from . import strict

IDS = [b"kestrel", b"plover", b"dunlin", b"osprey", b"gannet", b"avocet", b"whimbrel", b"siskin"]
IDS += [b"brambling", b"goosander", b"merlin", b"corncrake"]
FROM_SHADOW = b"said-by-the-shadow"
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


@dataclass(frozen=True)
class Ask:
    """A request: its octets, and what the primary must get."""

    id: bytes
    data: bytes
    method: bytes
    target: bytes
    body: bytes
    trailers: list[strict.Field]
    style: bytes

    @property
    def expected(self) -> tuple[object, ...]:
        return self.id, self.method, self.target, self.body, self.trailers


def as_got(message: strict.Message) -> tuple[object, ...]:
    """A request as it arrived, to be compared with ``expected``."""
    return (message.first(b"x-id"), *message.start, message.body, message.trailers)


TARGETS = [
    (b"/", b"/"),
    (b"/a/b;c=d?e=%2F&f", b"/a/b;c=d?e=%2F&f"),
    (b"/a/./b/../c?x=/../y", b"/a/c?x=/../y"),
    (b"/%2e%2E/d", b"/d"),
    (b"http://other.test:80/x?y", b"/x?y"),
    (b"HTTP://other.test", b"/"),
    (b"/" + b"long" * 400, b"/" + b"long" * 400),
]
LINES = [
    b"x-a: b",
    b"X-Empty:",
    b"Accept:\t */* \t",
    b"cookie: a=b; c=d",
    b"x-latin: \xe9\xff",
    b"connection: x-hop , keep-alive\r\nx-hop: 1",
    b"te: trailers, deflate\r\nconnection: te",
    b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive",
    b"expect: 100-continue",
    b"x-forwarded-for: 192.0.2.1",
    b"max-forwards: 3",
    b"x-long: " + b"y" * 2000,
]
METHODS = [b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND"]
STYLES = [b"length", b"chunked", b"trailers", b"none", b"early", b"until-close", b"closing"]
EXTENSIONS = [b"", b"", b";a", b';a=b;c="d;e"']


def asks(last_style: bool = True) -> st.SearchStrategy[list[Ask]]:
    """A conversation; ``last_style``: the last may be one behind which the connection closes."""

    @st.composite
    def strategy(draw: st.DrawFn) -> list[Ask]:
        count = draw(st.integers(1, 6))
        return [draw(_ask(IDS[at], last_style and at == count - 1)) for at in range(count)]

    return strategy()


@st.composite
def _ask(draw: st.DrawFn, name: bytes, may_be_last: bool) -> Ask:
    method = draw(st.sampled_from(METHODS))
    said, target = draw(st.sampled_from(TARGETS))
    if method == b"OPTIONS" and said.startswith(b"HTTP:"):
        target = b"*"  # RFC 9112 section 3.2.4
    elif method == b"OPTIONS" and draw(st.booleans()):
        said = target = b"*"
    style = draw(st.sampled_from(STYLES))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"])) if may_be_last else b"1.1"
    close = may_be_last and draw(st.booleans())
    lines = [b"Host: app.test:8000", b"x-id: " + name, b"x-style: " + style]
    lines += draw(st.lists(st.sampled_from(LINES), max_size=3, unique=True))
    if close:
        lines.append(b"connection: close")
    body, trailers, payload = b"", [], b""
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "length":
        payload = body = draw(st.binary(max_size=60)) * draw(st.sampled_from([1, 1, 400]))
        lines.append(b"Content-Length: %d" % len(body))
    elif kind == "chunked" and version == b"1.1":
        lines.append(b"Transfer-Encoding: chunked")
        for piece in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4)):
            body += piece
            size = b"%x" % len(piece) + draw(st.sampled_from(EXTENSIONS))
            payload += size + b"\r\n" + piece + b"\r\n"
        payload += b"0\r\n"
        if draw(st.booleans()):
            trailers = [(b"x-sum", name)]
            payload += b"X-Sum: " + name + b"\r\n"
        payload += b"\r\n"
    lines = draw(st.permutations(lines))
    head = b"%b %b HTTP/%b\r\n" % (method, said, version) + b"\r\n".join([*lines, b"", b""])
    empty = b"\r\n" * draw(st.sampled_from([0, 0, 1, 4]))
    return Ask(name, empty + head + payload, method, target, body, trailers, style)


def get(name: bytes) -> st.SearchStrategy[Ask]:
    """A request without a body."""
    data = b"GET / HTTP/1.1\r\nhost: a\r\nx-id: %b\r\nx-style: %b\r\n\r\n"
    return st.sampled_from(STYLES).map(
        lambda style: Ask(name, data % (name, style), b"GET", b"/", b"", [], style)
    )


def answer_to(message: strict.Message) -> tuple[bytes, bool]:
    """The primary's answer, and whether it closes behind it. It says whom it is for."""
    name, method = message.first(b"x-id"), message.start[0]
    style, note = message.first(b"x-style"), note_for(name, method, message.body)
    fields = b"date: %b\r\nx-id: %b\r\nx-method: %b\r\n" % (DATE, name, method)
    length = b"content-length: %d\r\n\r\n%b" % (len(note), note)
    framed = length
    if style in (b"chunked", b"trailers"):
        trailers = b"x-sum: %b\r\n" % name if style == b"trailers" else b""
        half = len(note) // 2
        framed = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n%X;a=b\r\n%b\r\n0\r\n%b\r\n" % (
            half, note[:half], len(note) - half, note[half:], trailers
        )  # fmt: skip
    elif style == b"until-close":
        framed = b"\r\n" + note
    elif style == b"closing":
        framed = b"connection: close\r\n" + length
    status = b"204 No Content" if style == b"none" else b"200 OK"
    if style == b"none":
        framed = b"\r\n"
    elif method == b"HEAD":
        framed = framed[: framed.index(b"\r\n\r\n") + 4] if framed[:2] != b"\r\n" else b"\r\n"
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </%b>\r\n\r\n" % name if style == b"early" else b""
    closes = style == b"closing" or (style == b"until-close" and method != b"HEAD")
    return early + b"HTTP/1.1 " + status + b"\r\n" + fields + framed, closes


def note_for(name: bytes, method: bytes, body: bytes) -> bytes:
    """The body of an answer."""
    return b"for %b: %b with %d octets" % (name, method, len(body))


def shadow_answer_to(message: strict.Message) -> tuple[bytes, bool]:
    """The shadow's: short, and never to be seen by a client."""
    none = message.start[0] == b"HEAD"
    body = b"" if none else FROM_SHADOW
    head = b"HTTP/1.1 200 OK\r\nx-from: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (FROM_SHADOW, len(FROM_SHADOW)) + body, False


# ---- damage

_OCTETS = st.sampled_from(
    [bytes([octet]) for octet in b'\r\n\0 \t:,;=/-+_.0159aAfFxX"\x7f\x80\xff']
)
_WORDS = st.sampled_from(
    [
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"content-length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: x\r\n",
        b"connection: close\r\n",
        b"host: b\r\n",
        b" folded\r\n",
        b"HTTP/1.1 ",
        b"HTTP/1.0",
        b"0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ]
)
_EDIT = st.tuples(
    st.sampled_from(["flip", "insert", "delete", "double", "splice"]),
    st.booleans(),  # at a mark of the grammar, or anywhere
    st.integers(0, 1 << 14),
    st.integers(0, 1 << 14),
    st.integers(1, 40),
    _OCTETS | _WORDS | st.binary(min_size=1, max_size=3),
)
edits = st.lists(_EDIT, min_size=1, max_size=4)
_MARKS = frozenset(b"\r\n :,;0123456789/")

Edits = list[tuple[str, bool, int, int, int, bytes]]


def damaged(data: bytes, changes: Edits) -> bytes:
    """The data with each of the edits done to it, in order."""
    for kind, marked, where, to, size, piece in changes:
        marks = [at for at, octet in enumerate(data) if octet in _MARKS] if marked else []
        at = marks[where % len(marks)] if marks else where % (len(data) + 1)
        if kind == "flip":
            data = data[:at] + piece[:1] + data[at + 1 :]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + size :]
        elif kind == "double":
            data = data[: at + size] + data[at:]
        else:
            there = to % (len(data) + 1)
            data = data[:there] + data[at : at + size] + data[there:]
    return data


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces; a cut may be given modulo its length. One that is -1: octet by octet."""
    if -1 in cuts and len(data) < 4000:
        return [data[at : at + 1] for at in range(len(data))]
    edges = [0, *sorted({each % (len(data) + 1) for each in cuts}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if b > a]
