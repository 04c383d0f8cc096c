"""One side of a relay: a connection whose bytes, end and backpressure are the other side's.

Invariants: what comes is written to the other side as it came; reading stops while the other side
takes no more, and the end of what comes is its end, not that of what goes.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from fastmirror._sockets import set_socket_option

if TYPE_CHECKING:
    from fastmirror.intercept.relay import Relay

# A peer that is gone without a word is found by the kernel, as it was when it had the connection
# to itself: after 10 minutes of silence it asks, five times, once a minute.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 600),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5),
)


def reset(transport: Any) -> None:
    """Close with a RST, and without what is unsent."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class End:
    """One side: an asyncio protocol (by its methods)."""

    def __init__(self, relay: Relay, side: int) -> None:
        self.relay = relay
        self.side = side
        self.transport: Any = None
        self.peer: End
        self.waiting: list[bytes] = []  # for a transport that is not there yet
        self.ended = False  # it sends no more
        self.received = 0
        self.lost = False
        self.full = False  # it does not take more for now

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.relay.context.counts.connection(self.side, 1)
        descriptor = transport.get_extra_info("socket").fileno()
        for option in _KEEPALIVE:
            set_socket_option(descriptor, *option)
        self.relay.made(self)

    def data_received(self, data: bytes) -> None:
        self.relay.heard(self)
        self.received += len(data)
        if self.relay.hello is not None:
            self.relay.look(self, data)
        self.peer.write(data)

    def eof_received(self) -> bool:
        self.relay.heard(self)
        self.ended = True
        self.peer.end()
        self.relay.maybe_over()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.relay.context.counts.connection(self.side, -1)
        self.relay.side_lost(self, error)

    def pause_writing(self) -> None:
        self.full = True
        self.peer.read(False)

    def resume_writing(self) -> None:
        self.full = False
        self.peer.read(True)

    # -- for the other side

    def write(self, data: bytes) -> None:
        if self.transport is None:
            self.waiting.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def end(self) -> None:
        """The other side sends no more."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def read(self, on: bool) -> None:
        """Read on, or wait."""
        if self.transport is None or self.transport.is_closing() or self.ended:
            return
        if on:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()
