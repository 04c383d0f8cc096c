"""Where a connection was going, by what the kernel says; tests/sidecar asks a real one."""

from __future__ import annotations

import socket

import pytest

from fastmirror.counts import SharedCounts
from fastmirror.intercept.original import Kernel, is_local, is_transparent
from fastmirror.rules.address import Address
from fastmirror.upstream.flows import Flows

from .building import uncompiled

TRANSPORT = object()


class Taken:
    """Who gets what was intercepted."""

    def __init__(self) -> None:
        self.to: list[Address] = []

    def __call__(self, transport: object, original: Address) -> bool:
        assert transport is TRANSPORT
        self.to.append(original)
        return True


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (("192.0.2.7", 80), [Address("192.0.2.7", 80)]),
        (("fd99::7", 443), [Address("fd99::7", 443)]),
        (None, []),
        # Our port: at an address of this host it is we, elsewhere somebody else.
        (("127.0.0.2", 15001), []),
        (("192.0.2.7", 15001), [Address("192.0.2.7", 15001)]),
    ],
)
@pytest.mark.parametrize("transparent", [False, True])
def test_what_was_going_elsewhere_is_taken(monkeypatch, found, expected, transparent):
    original = uncompiled("intercept.original")
    asked = []
    monkeypatch.setattr(original, "destination", lambda *each: asked.append(each) or found)
    taken = Taken()
    kernel = original.Kernel(transparent, [15001], taken)
    assert kernel.take(TRANSPORT, 7, b"192.0.2.1") == bool(expected)
    assert asked == [(7, b"192.0.2.1", transparent)]
    assert taken.to == expected


def test_a_client_that_is_gone_is_not_asked_about():
    taken = Taken()
    assert not Kernel(True, [15001], taken).take(TRANSPORT, -1, b"")
    assert taken.to == []


def test_a_real_connection_that_nobody_redirected():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        assert not is_transparent(server)
        kernel = Kernel(False, [server.getsockname()[1]], Taken())
        assert not kernel.take(TRANSPORT, accepted.fileno(), b"127.0.0.1")
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
