"""The ends of real connections; what the packet filter changes of them is tests/sidecar's."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fastmirror._sockets import destination, peer_ip

CLOSED = -1


@contextmanager
def connection(family: int, listen: str, connect: str) -> Iterator[tuple[socket.socket, int]]:
    """An accepted connection, and its listener's port."""
    with socket.create_server((listen, 0), family=family, dualstack_ipv6=listen == "::") as server:
        port = server.getsockname()[1]
        with socket.create_connection((connect, port)):
            accepted, _ = server.accept()
            with accepted:
                yield accepted, port


@pytest.mark.parametrize(
    ("family", "listen", "connect"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "127.0.0.1"),  # mapped
    ],
)
def test_the_ends_of_a_connection(family, listen, connect):
    with connection(family, listen, connect) as (accepted, port):
        descriptor = accepted.fileno()
        assert peer_ip(descriptor) == connect.encode()
        assert destination(descriptor, connect.encode(), True) == (connect, port)
        assert destination(descriptor, connect.encode(), False) is None


@pytest.mark.parametrize("last", [0, 1, 9, 10, 19, 99, 100, 109, 110, 199, 200, 254, 255])
def test_addresses_are_written_as_python_writes_them(last):
    address = f"127.{last}.{255 - last}.1"
    with socket.create_server((address, 0)) as server, socket.socket() as client:
        client.bind((address, 0))
        client.connect(server.getsockname())
        accepted, peer = server.accept()
        with accepted:
            assert peer_ip(accepted.fileno()) == peer[0].encode()
            assert str(ipaddress.ip_address(peer[0])) == peer[0]


def test_what_has_no_address():
    one, other = socket.socketpair()
    with one, other:
        for descriptor in (one.fileno(), CLOSED):
            assert peer_ip(descriptor) == b""
            for transparent in (False, True):
                assert destination(descriptor, b"127.0.0.1", transparent) is None


def test_a_client_that_is_gone():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        linger = b"\1\0\0\0\0\0\0\0"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.close()
        with accepted:
            with pytest.raises(ConnectionResetError):
                accepted.recv(1)
            assert peer_ip(accepted.fileno()) == b""
