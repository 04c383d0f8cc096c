"""What an intercepted client speaks, by its first bytes; no I/O.

Invariants: the answer for some bytes never changes when more come, but for MORE; MORE is answered
only while fewer than MAX_LINE bytes have come; what is not surely something else is OPAQUE, and
goes on as the bytes that it is.
"""

from __future__ import annotations

import re

from fastmirror.counts import HTTP2, OPAQUE, TLS

# Beside the kinds of tunnels: HTTP/1, whose first line is complete; and too early to say.
HTTP1 = -1
MORE = -2

MAX_LINE = 65536  # bytes of a request line

# RFC 9113 section 3.4; the first line is enough, since no HTTP/1 has that version.
_PREFACE = b"PRI * HTTP/2.0\r\n"
# RFC 9110 section 9.1: a method is a token. No registered one is longer than 17 bytes.
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} [^\r\n]+ HTTP/1\.[01]\r\n")
_RECORD, _HELLO = 0x16, 0x01  # RFC 8446 sections 5.1 and 4


def protocol_of(data: bytes) -> int:
    """HTTP1, one of the tunnel kinds TLS, HTTP2 and OPAQUE, or MORE."""
    if not data:
        return MORE
    if data[0] == _RECORD:
        return _tls(data)
    if data.startswith(_PREFACE):
        return HTTP2
    method = _METHOD.match(data)
    if method is None:
        return OPAQUE
    if method.end() < len(data) and data[method.end()] != 0x20:
        return OPAQUE
    end = data.find(b"\n")
    if end >= 0:
        # Without its version it may be a line of Redis, memcached or HTTP/0.9: none is parsed here.
        return HTTP1 if _LINE.match(data, 0, end + 1) else OPAQUE
    if len(data) >= MAX_LINE:
        return OPAQUE
    return MORE if method.end() < len(data) or method.end() < 32 else OPAQUE


def _tls(data: bytes) -> int:
    """A record of the handshake, version 3.x, that begins with a ClientHello."""
    if len(data) >= 2 and data[1] != 3:
        return OPAQUE
    if len(data) < 6:
        return MORE
    return TLS if data[5] == _HELLO else OPAQUE
