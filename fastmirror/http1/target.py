"""Request targets and Host (RFC 9112 section 3.2). Invariant: what comes back is in the one form
that is forwarded and compared; what has no such form is a ValueError with the client's mistake.
"""

from __future__ import annotations

import ipaddress
import re

HTTP_PORT = 80

# RFC 3986 section 3.2.2, without user information; an IP literal in brackets.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::(\d{0,5}))?")
_DOTS = re.compile(rb"(?i)/(?:\.|%2e){1,2}(?:/|$)")


def split_absolute(target: bytes) -> tuple[bytes, bytes]:
    """``(authority, rest)`` of an absolute-form target (section 3.2.2); the rest is its path and
    query, of which either may be absent.

    Raises ValueError.
    """
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        raise ValueError("the request target has to begin with / or http://")
    at = len(rest)
    for mark in (b"/", b"?"):
        found_at = rest.find(mark)
        if 0 <= found_at < at:
            at = found_at
    authority, path = rest[:at], rest[at:]
    if not authority:
        raise ValueError("the request target has no host")
    return authority, path


def normal_target(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """``(host, target)`` as they are forwarded, of any form; the target's host is the one that
    counts where it has one (section 3.2.2). CONNECT is matched as if it asked for ``/``.

    Raises ValueError.
    """
    if method == b"CONNECT":
        name, port = split_port(target)  # section 3.2.3
        if len(port) < 2 or not name:
            raise ValueError("the target of CONNECT is HOST:PORT")
        return target, b"/"
    if target == b"*":
        if method != b"OPTIONS":
            raise ValueError("only OPTIONS can be asked of *")
        return host, target
    if target.find(b"#") >= 0:
        raise ValueError("the request target has a fragment")
    if not target.startswith(b"/"):
        if host:
            normal_host(host)  # ignored, and yet it has to be valid (section 3.2)
        host, rest = split_absolute(target)
        if not rest and method == b"OPTIONS":
            return host, b"*"  # section 3.2.4
        target = rest if rest.startswith(b"/") else b"/" + rest
    return host, resolve_dots(target)


def resolve_dots(target: bytes) -> bytes:
    """The target with its path's dot segments resolved (RFC 3986 section 5.2.4), also where the
    dots are percent-encoded: ``/a/%2e%2e/b`` is ``/b``. Never climbs above the root.
    """
    path, question, query = target.partition(b"?")
    if _DOTS.search(path) is None:
        return target
    kept: list[bytes] = []
    segments = path[1:].split(b"/")
    for segment in segments:
        dots = segment.lower().replace(b"%2e", b".")
        if dots == b"..":
            if kept:
                kept.pop()
        elif dots != b".":
            kept.append(segment)
    if segments[-1].lower().replace(b"%2e", b".") in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept) + question + query


def normal_host(host: bytes) -> bytes:
    """The name of ``host_and_port``.

    Raises ValueError.
    """
    return host_and_port(host)[0]


def host_and_port(host: bytes) -> tuple[bytes, int]:
    """Host as routes are compared with it: its name in lower case, without a trailing dot, and its
    port; 80 where it has none (RFC 9110 section 4.2.1).

    Raises ValueError where it is no ``uri-host [":" port]`` (section 3.2; user information,
    spaces and the like are an error).
    """
    match = _HOST.fullmatch(host)
    if match is None or (match[2] and int(match[2]) > 65535):
        raise ValueError("the Host is not valid")
    name = match[1].lower()
    if name.startswith(b"["):
        _check_ipv6(name[1:-1])
    if name.endswith(b".") and len(name) > 1:
        name = name[:-1]
    return name, int(match[2]) if match[2] else HTTP_PORT


def _check_ipv6(literal: bytes) -> None:
    try:
        ipaddress.IPv6Address(literal.decode())
    except ValueError:
        raise ValueError("the Host is not valid") from None


def split_port(host: bytes) -> tuple[bytes, bytes]:
    """``(name, port)`` of a valid Host; the port with its colon, or empty."""
    match = _HOST.fullmatch(host)
    if match is None or match[2] is None:
        return host, b""
    return match[1], b":" + match[2]
