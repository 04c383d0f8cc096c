"""Addresses and hosts, taken apart once, when they are read. Invariant: what comes back is valid
as it stands; all else is a ValueError that says what was expected.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_DIGITS = re.compile(r"([^.]*\.)*[0-9]+\.?")


class Address(NamedTuple):
    """``host`` is an IP address, a DNS name, "" (every interface) or, where port is 0, a path."""

    host: str
    port: int

    @property
    def is_unix(self) -> bool:
        """A Unix domain socket's path."""
        return self.port == 0

    @property
    def is_name(self) -> bool:
        """A name to resolve."""
        return not self.is_unix and not is_ip(self.host)

    def __str__(self) -> str:
        if self.is_unix:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_ip(host: str) -> bool:
    """An IPv4 or IPv6 address, without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_address(text: str, *, wildcard: bool = False) -> Address:
    """``IP:PORT``, ``[IPv6]:PORT``, ``NAME:PORT``, ``unix:/path``; ``:PORT`` where ``wildcard``.

    Raises ValueError.
    """
    expected = f'expected HOST:PORT, [IPv6]:PORT or unix:/path, got "{text}"'
    if text.startswith("unix:"):
        path = text[5:]
        if not path.startswith("/") or len(path.encode()) > 107 or "\0" in path:
            raise ValueError(expected)
        return Address(path, 0)
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{expected} (a port is from 1 to 65535)")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host or not is_ip(host):
            raise ValueError(expected)
    elif not host:
        if not wildcard:
            raise ValueError(expected)
    elif not is_ip(host):
        # A last label of digits would be read as an IPv4 address (RFC 3986 section 7.4).
        if _NAME.fullmatch(host) is None or len(host) > 253 or _DIGITS.fullmatch(host):
            raise ValueError(expected)
    elif ":" in host:
        raise ValueError(f"{expected} (an IPv6 address goes in brackets)")
    return Address(host, int(port))


def parse_host_pattern(text: str) -> str:
    """A name, an IP address, ``*.suffix`` or ``*``, in the form that requests are compared in:
    lower case, without brackets' port or trailing dot.

    Raises ValueError.
    """
    if text == "*":
        return text
    name = text[2:] if text.startswith("*.") else text
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    if ":" in bare and is_ip(bare) and name is text:
        return f"[{bare.lower()}]"
    if _NAME.fullmatch(name) is None or len(name) > 253:
        raise ValueError(f'expected a host name, "*.suffix" or "*" without a port, got "{text}"')
    return text.lower().rstrip(".")


def parse_host(text: str) -> str:
    """A Host field's value as it is: a name or an IP address, and a port where there is one.

    Raises ValueError.
    """
    name, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        name = text
    elif not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f'expected a host name, with a port or without, got "{text}"')
    if name.startswith("*"):
        raise ValueError(f'expected one host name, got "{text}"')
    parse_host_pattern(name)
    return text
