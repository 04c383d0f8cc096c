"""The server's name in a TLS ClientHello (RFC 6066 section 3), for the log alone; no I/O.

Invariants: at most MAX_HELLO bytes are kept, and parsed once; whatever bytes come, nothing is
raised: what is no ClientHello, or names no valid host, has no name.
"""

from __future__ import annotations

import re

MAX_HELLO = 16384  # bytes of all records that are looked at
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _HOST_NAME = 0, 0
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


class ClientHello:
    """Takes the client's bytes as they come; ``name`` is there when ``done``, or "-"."""

    def __init__(self) -> None:
        self.name = "-"
        self.done = False
        self._records = bytearray()

    def feed(self, data: bytes) -> None:
        """Look at more of what the client sends."""
        if self.done:
            return
        self._records += data[: MAX_HELLO - len(self._records)]
        message = _handshake(self._records)
        if message is None and len(self._records) < MAX_HELLO:
            return
        self.done = True
        self._records.clear()
        if message:
            self.name = _server_name(message) or "-"


def _handshake(records: bytearray) -> bytes | None:
    """The first handshake message of some records, whole; None: not yet; empty: it is none."""
    message = bytearray()
    at = 0
    while len(records) - at >= 5:
        if records[at] != _HANDSHAKE:
            return b""
        size = int.from_bytes(records[at + 3 : at + 5], "big")
        if size == 0:
            return b""
        message += records[at + 5 : at + 5 + size]
        at += 5 + size
        if len(message) >= 4:
            if message[0] != _CLIENT_HELLO:
                return b""
            whole = 4 + int.from_bytes(message[1:4], "big")
            if len(message) >= whole:
                return bytes(message[4:whole])
    return None


class _Reader:
    """Vectors with a length before them. Raises ValueError where they are longer than what there
    is.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if len(self.data) - self.at < size:
            raise ValueError("shorter than it says")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """What follows a length of so many bytes."""
        return self.take(self.number(size))

    def more(self) -> bool:
        return self.at < len(self.data)


def _server_name(hello: bytes) -> str:
    """RFC 8446 section 4.1.2, down to the extension."""
    try:
        reader = _Reader(hello)
        reader.take(2 + 32)  # version and random
        reader.vector(1)  # session
        reader.vector(2)  # cipher suites
        reader.vector(1)  # compression methods
        if not reader.more():
            return ""
        extensions = _Reader(reader.vector(2))
        while extensions.more():
            kind, body = extensions.number(2), extensions.vector(2)
            if kind != _SERVER_NAME:
                continue
            names = _Reader(_Reader(body).vector(2))
            while names.more():
                kind, name = names.number(1), names.vector(2)
                if kind == _HOST_NAME:
                    return _valid(name)
    except ValueError:
        pass
    return ""


def _valid(name: bytes) -> str:
    """A host's name; empty where it is none, since it is to be written to a log."""
    text = name.decode("ascii", "replace")
    return text if len(text) <= 255 and _NAME.fullmatch(text) else ""
