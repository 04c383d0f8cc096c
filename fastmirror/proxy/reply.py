"""What the proxy itself answers. Invariant: each answer is a whole message that says in one line
what was wrong, or what was asked for, and tells nobody's secrets.
"""

from __future__ import annotations

from http import HTTPStatus

from fastmirror._core import write_reply
from fastmirror._head import Fields

REASONS = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
# RFC 9110 section 15.5.6 wants a list with a 405.
_ALLOW = b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
# RFC 9110 section 9.3.8: TRACE repeats nothing that would disclose something.
_SECRET = frozenset((b"authorization", b"cookie", b"proxy-authorization"))


def refusal(status: int, text: str, method: bytes, option: bytes | None) -> bytes:
    """An error; ``option``: of the Connection field, if there shall be one."""
    more = _ALLOW if status == 405 else b""
    body = f"{text}\n".encode(errors="replace")
    return own_answer(status, b"text/plain", more, body, method, option)


def own_answer(
    status: int, kind: bytes | None, more: bytes, body: bytes, method: bytes, option: bytes | None
) -> bytes:
    """What a route answers: its status, media type, field lines and body."""
    reason = REASONS.get(status) or _PHRASES.get(status, b"")
    return write_reply(status, reason, kind, more, option, body, method == b"HEAD")


def as_last(method: bytes, target: bytes, fields: Fields) -> tuple[bytes | None, bytes, bytes]:
    """Media type, field lines and body, for an OPTIONS or TRACE with Max-Forwards 0: it is for the
    proxy (RFC 9110 section 7.6.2).
    """
    if method == b"OPTIONS":
        return None, _ALLOW, b""
    lines = [b"TRACE %b HTTP/1.1" % target]
    items = fields.items
    for name, value in zip(items[::2], items[1::2], strict=True):
        if name.lower() not in _SECRET:
            lines.append(b"%b: %b" % (name, value))
    return b"message/http", b"", b"\r\n".join([*lines, b"", b""])
