"""Sockets of both sides of the proxy, in one thread: the test's own loop moves them on.

Invariants: nothing is read or written behind the test's back, only within ``run`` and ``settle``;
every octet that came is kept in ``received``, in order; a wait that is not fulfilled in time is an
AssertionError that says what was waited for.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from typing import Any

from e2e.procs import LOOPBACK

BLOCK = 1 << 18


class Loop:
    """A selector and what is registered with it: ``End`` and ``Listener``."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def watch(self, sock: socket.socket, events: int, ready: Callable[[int], None]) -> None:
        """Call ``ready`` with the events of the socket that are there; none: no more."""
        key = self._selector.get_map().get(sock)
        if key is None:
            if events:
                self._selector.register(sock, events, ready)
        elif not events:
            self._selector.unregister(sock)
        elif key.events != events:
            self._selector.modify(sock, events, ready)

    def _turn(self, timeout: float) -> bool:
        events = self._selector.select(timeout)
        for key, mask in events:
            key.data(mask)
        return bool(events)

    def run(self, until: Callable[[], Any], what: str, seconds: float = 5.0) -> None:
        """Move all on until something is true. Raises AssertionError."""
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            assert left > 0, f"not within {seconds} s: {what}"
            self._turn(left)

    def settle(self) -> None:
        """Take what has come by now."""
        while self._turn(0):
            pass

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


class End:
    """One socket. ``piece``: how many octets each write has, at most."""

    def __init__(self, loop: Loop, sock: socket.socket, piece: int | None = None) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.loop = loop
        self.sock = sock
        self.piece = piece
        self.received = bytearray()
        self.unsent = bytearray()
        self.ended = False  # nothing more comes
        self.was_reset = False
        self._finish = self._closed = False
        self._watch()

    def took(self, data: bytes) -> None:
        """Something came."""

    def took_end(self) -> None:
        """Nothing more will."""

    def send(self, data: bytes) -> None:
        """Send it as soon as the loop runs."""
        self.unsent += data
        self._watch()

    def finish(self) -> None:
        """Send what is unsent, and then the end of our half."""
        self._finish = True
        self._watch()

    def close(self) -> None:
        if not self._closed:
            self.loop.watch(self.sock, 0, self._ready)
            self._closed = True
            self.sock.close()

    def _watch(self) -> None:
        if self._closed:
            return
        reading = 0 if self.ended else selectors.EVENT_READ
        writing = selectors.EVENT_WRITE if self.unsent or self._finish else 0
        self.loop.watch(self.sock, reading | writing, self._ready)

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._write()
        if events & selectors.EVENT_READ and not self._closed:
            self._read()
        self._watch()

    def _write(self) -> None:
        try:
            if self.unsent:
                sent = self.sock.send(self.unsent[: self.piece or BLOCK])
                del self.unsent[:sent]
            if not self.unsent and self._finish:
                self._finish = False
                self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            # Nobody reads it any more. What was sent to us before that can still be read.
            self.unsent.clear()
            self._finish = False

    def _read(self) -> None:
        try:
            data = self.sock.recv(BLOCK)
        except OSError:
            data = b""
            self.was_reset = True
        if data:
            self.received += data
            self.took(data)
        else:
            self.ended = True
            self.unsent.clear()
            self.took_end()


class Listener:
    """A listening socket on loopback; ``accepted`` gets each connection."""

    def __init__(self, loop: Loop, accepted: Callable[[socket.socket], None]) -> None:
        self.loop = loop
        self._accepted = accepted
        self.sock = socket.create_server((LOOPBACK, 0), backlog=256)
        self.sock.setblocking(False)
        self.port: int = self.sock.getsockname()[1]
        loop.watch(self.sock, selectors.EVENT_READ, self._ready)

    def _ready(self, _: int) -> None:
        self._accepted(self.sock.accept()[0])
