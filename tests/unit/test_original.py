"""Where a connection was going, by what the kernel says; tests/sidecar asks a real one."""

from __future__ import annotations

import socket
import struct

import pytest

from fastmirror.counts import SharedCounts
from fastmirror.intercept import original
from fastmirror.intercept.original import Kernel, is_local, is_transparent
from fastmirror.rules.address import Address
from fastmirror.upstream.flows import Flows

IN, IN6 = socket.AF_INET, socket.AF_INET6


def v4(host: str, port: int) -> bytes:
    return struct.pack("=H", IN) + struct.pack("!H4s8x", port, socket.inet_pton(IN, host))


def v6(host: str, port: int) -> bytes:
    body = struct.pack("!HI16sI", port, 0, socket.inet_pton(IN6, host), 0)
    return struct.pack("=H", IN6) + body


class Socket:
    """An accepted one: ``known`` is what connection tracking says, by level."""

    def __init__(self, family, name, known=()):
        self.family = family
        self.name = name
        self.known = dict(known)

    def getsockname(self):
        return self.name

    def fileno(self):
        return self

    def option(self, level, option, size):
        assert option == 80
        assert size == len(self.known.get(level, bytes(size)))
        return self.known.get(level)


IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
OURS, OURS6 = ("127.0.0.1", 15001), ("::1", 15001, 0, 0)
MAPPED = ("::ffff:127.0.0.1", 15001, 0, 0)


@pytest.mark.parametrize(
    ("sock", "expected"),
    [
        (Socket(IN, OURS, {IP: v4("192.0.2.7", 80)}), Address("192.0.2.7", 80)),
        (Socket(IN6, OURS6, {IPV6: v6("fd99::7", 443)}), Address("fd99::7", 443)),
        (Socket(IN6, MAPPED, {IP: v4("192.0.2.7", 80)}), Address("192.0.2.7", 80)),
        # Not intercepted: not tracked, or tracked as it is.
        (Socket(IN, OURS), None),
        (Socket(IN6, OURS6), None),
        (Socket(IN, OURS, {IP: v4(*OURS)}), None),
        (Socket(IN6, OURS6, {IPV6: v6("::1", 15001)}), None),
        (Socket(IN6, MAPPED, {IP: v4(*OURS)}), None),
        # Our port: at an address of this host it is we, elsewhere somebody else.
        (Socket(IN, OURS, {IP: v4("127.0.0.2", 15001)}), None),
        (Socket(IN, OURS, {IP: v4("192.0.2.7", 15001)}), Address("192.0.2.7", 15001)),
    ],
)
def test_redirected_connections(monkeypatch, sock, expected):
    monkeypatch.setattr(original, "socket_option", Socket.option)
    assert Kernel(False, [15001]).original(sock, sock.name[0]) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("192.0.2.7", 80), Address("192.0.2.7", 80)),
        (("::ffff:192.0.2.7", 80, 0, 0), Address("192.0.2.7", 80)),
        (("fd99::7", 443, 0, 0), Address("fd99::7", 443)),
        (("192.0.2.7", 15001), Address("192.0.2.7", 15001)),
        (OURS, None),
        (MAPPED, None),
    ],
)
def test_with_tproxy_our_end_is_the_destination(name, expected):
    assert Kernel(True, [15001]).original(Socket(IN, name), name[0]) == expected


def test_a_real_connection_that_nobody_redirected():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        assert not is_transparent(server)
        assert Kernel(False, [server.getsockname()[1]]).original(accepted, "127.0.0.1") is None
        client.close()
        accepted.close()


def test_what_is_local():
    assert is_local("127.0.0.1")
    assert is_local("127.9.9.9")
    assert not is_local("192.0.2.7")
    assert not is_local("2001:db8::7")


def test_flows_of_all_workers_are_known_until_they_are_closed():
    shared = SharedCounts(2)
    one, two = (Flows(shared.regions, index) for index in range(2))
    ends = ("10.0.0.1", 40000, "192.0.2.7", 80)
    flow = one.add(ends)
    assert ends in one
    assert ends in two
    for other in (("10.0.0.2", *ends[1:]), (*ends[:3], 81), ("10.0.0.1", 40001, *ends[2:])):
        assert other not in two
    later = one.add(("10.0.0.1", 40000, "192.0.2.8", 80))  # the port again, elsewhere
    one.forget(flow)  # that was another
    assert ("10.0.0.1", 40000, "192.0.2.8", 80) in two
    one.forget(later)
    assert ("10.0.0.1", 40000, "192.0.2.8", 80) not in one
