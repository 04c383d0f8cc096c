"""Sockets to listen on. Invariants: every address is bound, or an error names the one that could
not be and none stays bound; a socket that was handed over is used, or refused by name.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import sys

from fastmirror.intercept.original import IP_TRANSPARENT, IPV6_TRANSPARENT
from fastmirror.options import Handed, Options
from fastmirror.rules.address import Address
from fastmirror.systemd import handed_sockets


def bind(options: Options, copies: int) -> list[list[socket.socket]]:
    """``copies`` sets of sockets for the addresses to listen on; the kernel shares connections
    out among the sets. A Unix socket, or one that was handed over, cannot be shared so: all sets
    have the same.

    Raises OSError, its ``filename`` the address.
    """
    sets: list[list[socket.socket]] = [[] for _ in range(copies)]
    handed = handed_sockets()
    for name in handed:
        if Handed(name) not in options.listen:
            what = "the socket was handed over (LISTEN_FDNAMES), and no --listen takes it"
            raise OSError(errno.EINVAL, what, f"fd:{name}")
    for address in options.listen:
        try:
            if isinstance(address, Handed):
                if address.name not in handed:
                    raise OSError(errno.ENOENT, "no socket of this name was handed over")
                for each in sets:
                    each.extend(handed[address.name])
            elif address.is_unix:
                shared = bind_unix(address.host)
                for each in sets:
                    each.append(shared)
            else:
                if copies > 1:
                    # Somebody else's socket with SO_REUSEPORT would take a part of our
                    # connections: a bind without it finds out whether the port is free.
                    bind_tcp(address.host, address.port, shared=False).close()
                for each in sets:
                    sock = bind_tcp(address.host, address.port, shared=copies > 1)
                    each.append(sock)
                    if options.intercept == "tproxy":
                        make_transparent(sock)
        except OSError as error:
            error.filename = str(address)
            raise
    return sets


def bind_tcp(host: str, port: int, *, shared: bool) -> socket.socket:
    """A bound socket; every interface, IPv4 and IPv6, where ``host`` is empty.

    Raises OSError.
    """
    if host:
        family, _, _, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    elif socket.has_dualstack_ipv6():
        family, where = socket.AF_INET6, ("::", port)
    else:
        family, where = socket.AF_INET, ("", port)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(host)))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def make_transparent(sock: socket.socket) -> None:
    """Let it take connections to any address, as TPROXY gives them.

    Raises OSError.
    """
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    except PermissionError as error:
        raise PermissionError(error.errno, "--intercept tproxy needs CAP_NET_ADMIN") from None


def bind_unix(path: str) -> socket.socket:
    """A bound Unix socket, in the place of one that nobody listens on any more.

    Raises OSError.
    """
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def raise_descriptor_limit() -> None:
    """As many descriptors as we may have: every connection takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            print(f"fastmirror: cannot raise the descriptor limit: {error}", file=sys.stderr)


def unlink_unix(options: Options) -> None:
    """Take the names of our Unix sockets out of the file system."""
    for address in (*options.listen, options.admin):
        if isinstance(address, Address) and address.is_unix and os.path.exists(address.host):
            os.unlink(address.host)
