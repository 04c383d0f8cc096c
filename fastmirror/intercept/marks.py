"""Where packets with a mark go, asked of the kernel's routing. Invariant: nothing is sent but the
question, and where it cannot be asked the answer is no.
"""

from __future__ import annotations

import socket
import struct

# linux/rtnetlink.h; Python has no names for these.
_GET_ROUTE, _NEW_ROUTE = 26, 24
_DESTINATION, _MARK = 1, 16
_LOCAL = 2
_REQUEST, _ROUTING = 1, 0  # linux/netlink.h
_HEADER, _ROUTE = struct.Struct("=IHHII"), struct.Struct("=8BI")
# Addresses for documentation (RFC 5737, RFC 3849): no host has them.
_NOWHERE = ("192.0.2.1", "2001:db8::1")


def comes_back(mark: int) -> bool:
    """Whether what has this mark is delivered to this host, wherever it is to go: so it is with
    the mark of TPROXY's rules.
    """
    return any(_is_local(host, mark) for host in _NOWHERE)


def _is_local(host: str, mark: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = socket.inet_pton(family, host)
    question = _ROUTE.pack(family, 8 * len(address), 0, 0, 0, 0, 0, 0, 0)
    question += struct.pack("=HH", 4 + len(address), _DESTINATION) + address
    question += struct.pack("=HHI", 8, _MARK, mark)
    header = _HEADER.pack(_HEADER.size + len(question), _GET_ROUTE, _REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _ROUTING) as sock:
            sock.settimeout(1.0)
            sock.send(header + question)
            answer = sock.recv(65536)
    except OSError:
        return False
    if len(answer) < _HEADER.size + _ROUTE.size:
        return False
    kind: int = _HEADER.unpack_from(answer)[1]
    route: int = _ROUTE.unpack_from(answer, _HEADER.size)[7]
    return kind == _NEW_ROUTE and route == _LOCAL
