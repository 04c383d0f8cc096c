"""Whose page a browser shows that asks for a change. Invariant: none but our own is taken; a name
that its owner can let point here (DNS rebinding) makes no page ours.
"""

from __future__ import annotations

import ipaddress
import socket

from fastmirror.http1.target import host_and_port

# Top-level domains that are in nobody's hands (RFC 6761, RFC 6762, ICANN's choice for networks).
_PRIVATE = ("localhost", "local", "internal")


def is_foreign(origin: bytes, host: bytes) -> bool:
    """``origin``, ``host``: the request's fields."""
    if origin.lower() != b"http://" + host.lower():
        return True
    try:
        name = host_and_port(host)[0].decode()
    except ValueError:
        return True
    return not (_is_address(name) or "." not in name or _is_known(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_known(name: str) -> bool:
    return name.rpartition(".")[2] in _PRIVATE or name == socket.gethostname().lower()
