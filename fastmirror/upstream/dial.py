"""Opens TCP connections that can be told from others on this host: by a mark, for the rules of the
packet filter, and by their ends, for ourselves.

Invariant: while nothing is intercepted and no mark is asked for, a connection is opened as ever;
from then on no connection is begun that ``flows`` does not know.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any

from fastmirror._sockets import set_socket_option
from fastmirror.rules.address import Address
from fastmirror.upstream.flows import Flow, Flows

SO_MARK = 36  # of Linux; Python has no name for it
# A peer that is gone without a word is found by the kernel, as it was when it had the connection
# to itself: after so many seconds of silence it asks, and five times more, so far apart.
SELDOM = (600, 60)
# Of an intercepted connection that is closed one way, connection tracking forgets after 60 seconds
# of silence what REDIRECT has changed, and then nothing that we send arrives.
OFTEN = (10, 10)
_PROBES = 5


class Dialer:
    """One for each worker. ``active``: connections are to be marked or known."""

    def __init__(self, loop: asyncio.AbstractEventLoop, flows: Flows, mark: int) -> None:
        self.loop = loop
        self.flows = flows
        self.mark = mark
        self.active = mark != 0
        self.open_flows: dict[object, Flow] = {}

    async def open(self, protocol: Any, address: Address) -> None:
        """Connect; the protocol's ``connection_made`` is called. Its ``connection_lost`` is to call
        ``closed``.

        Raises OSError.
        """
        if address.is_unix:
            await self.loop.create_unix_connection(lambda: protocol, address.host)
        elif not self.active:
            await self.loop.create_connection(lambda: protocol, address.host, address.port)
        else:
            await self._open_known(protocol, address)

    def closed(self, protocol: object) -> None:
        """The connection is closed."""
        flow = self.open_flows.pop(protocol, None)
        if flow is not None:
            self.flows.forget(flow)

    async def _open_known(self, protocol: Any, address: Address) -> None:
        sock = new_socket(address, self.mark)
        try:
            keep_alive(sock.fileno())
            take_urgent(sock.fileno())
            error = sock.connect_ex((address.host, address.port))
            # The local end is there now; our own listener may hear of it before we are told more.
            local = sock.getsockname()
            ends = (local[0], local[1], address.host, address.port)
            self.open_flows[protocol] = self.flows.add(ends)
            if error == errno.EINPROGRESS:
                await self._writable(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
        except BaseException:
            self.closed(protocol)
            sock.close()
            raise
        try:
            await self.loop.create_connection(lambda: protocol, sock=sock)
        except BaseException:
            self.closed(protocol)
            raise
        finally:
            # The transport closes the descriptor, and may have done so by now: closing it here too
            # would close whatever has its number next.
            sock.detach()

    async def _writable(self, sock: socket.socket) -> None:
        """Until the connection is made, or cannot be."""
        ready = self.loop.create_future()
        self.loop.add_writer(sock, _resolve, ready)
        try:
            await ready
        finally:
            self.loop.remove_writer(sock)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def new_socket(address: Address, mark: int) -> socket.socket:
    """A socket to connect with.

    Raises OSError, where the mark cannot be set.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if mark:
            sock.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
    except OSError:
        sock.close()
        raise
    return sock


def keep_alive(descriptor: int, times: tuple[int, int] = SELDOM) -> None:
    """Let the kernel find out that the peer is gone."""
    set_socket_option(descriptor, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, times[0])
    set_socket_option(descriptor, socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, times[1])
    set_socket_option(descriptor, socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    set_socket_option(descriptor, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def take_urgent(descriptor: int) -> None:
    """Read an urgent byte in its place, where the kernel would else leave it out: it is one of the
    stream's (RFC 6093 section 6), and telnet and FTP cannot do without.
    """
    set_socket_option(descriptor, socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
