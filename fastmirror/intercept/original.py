"""Where an accepted connection was going before it came to us, as the kernel says.

Invariants: at most one socket option is asked for a connection; what the kernel does not know, or
gives an address of our own for, was not intercepted.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

from fastmirror._sockets import destination
from fastmirror.rules.address import Address

# Python has no names for these.
IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
_MAPPED = "::ffff:"


def plain(host: str) -> str:
    """``192.0.2.1`` for ``::ffff:192.0.2.1``."""
    return host.removeprefix(_MAPPED) if "." in host else host


def is_transparent(sock: socket.socket) -> bool:
    """Whether a listening socket takes connections to any address."""
    try:
        if sock.family == socket.AF_INET6:
            return bool(sock.getsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT))
        return bool(sock.getsockopt(socket.IPPROTO_IP, IP_TRANSPARENT))
    except OSError:
        return False


def is_local(host: str) -> bool:
    """Whether an address is one of this host's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
        return True


class Kernel:
    """Asks for connections of one listening socket. ``ports``: of all our listening sockets;
    ``taken``: who gets what was going elsewhere, and says whether it has it.
    """

    def __init__(
        self, transparent: bool, ports: Iterable[int], taken: Callable[[Any, Address], bool]
    ) -> None:
        self.transparent = transparent
        self.ports = frozenset(ports)
        self.taken = taken

    def take(self, transport: Any, descriptor: int, peer: bytes) -> bool:
        """Whether a connection that was just made, from ``peer``, was intercepted: it is no client
        of ours then, until it is known what it is.
        """
        if not peer:
            return False  # closed already
        found = destination(descriptor, peer, self.transparent)
        if found is None:
            return False
        host, port = found
        # Our port at another address may be somebody else's; at one of this host's it is ours.
        if port in self.ports and is_local(host):
            return False
        return self.taken(transport, Address(host, port))
