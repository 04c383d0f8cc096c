"""Where an accepted connection was going before it came to us, as the kernel says.

Invariants: at most one socket option is asked for a connection; IPv4 is IPv4 also on a dual-stack
socket; what the kernel does not know, or gives an address of our own for, was not intercepted.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Any

from fastmirror._outlet import socket_option
from fastmirror.rules.address import Address

# linux/netfilter_ipv4.h, and for IPv6 netfilter_ipv6/ip6_tables.h; Python has no names for these.
SO_ORIGINAL_DST = 80
IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
_MAPPED = "::ffff:"
_SOCKADDR_IN, _SOCKADDR_IN6 = struct.Struct("!2xH4s8x"), struct.Struct("!2xH4x16s4x")


def plain(host: str) -> str:
    """``192.0.2.1`` for ``::ffff:192.0.2.1``."""
    return host.removeprefix(_MAPPED) if "." in host else host


def redirected(sock: Any, peer: str) -> Address | None:
    """What REDIRECT or DNAT has changed: connection tracking remembers it; None: it does not, or
    the client, whose address is ``peer``, is gone already.
    """
    if ":" not in peer or peer.startswith(_MAPPED):
        level, family, layout = socket.IPPROTO_IP, socket.AF_INET, _SOCKADDR_IN
    else:
        level, family, layout = socket.IPPROTO_IPV6, socket.AF_INET6, _SOCKADDR_IN6
    data = socket_option(sock.fileno(), level, SO_ORIGINAL_DST, layout.size)
    if data is None or len(data) != layout.size:
        return None
    port, host = layout.unpack(data)
    return Address(socket.inet_ntop(family, host), port)


def own_end(sock: Any) -> Address:
    """Our end of the connection: with TPROXY, where it was going."""
    name = sock.getsockname()
    return Address(plain(name[0]), name[1])


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
    """Asks for connections of one listening socket. ``ports``: of all our listening sockets."""

    def __init__(self, transparent: bool, ports: Iterable[int]) -> None:
        self.transparent = transparent
        self.ports = frozenset(ports)

    def original(self, sock: Any, peer: str) -> Address | None:
        """None: the connection, from ``peer``, was made to us."""
        found = own_end(sock) if self.transparent else redirected(sock, peer)
        if found is None or (not self.transparent and found == own_end(sock)):
            return None
        # Our port at another address may be somebody else's; at one of this host's it is ours.
        return None if found.port in self.ports and is_local(found.host) else found
