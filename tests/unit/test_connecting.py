"""Clients that leave while the connection to their destination is still being made."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from fastmirror.intercept import relay
from fastmirror.rules.address import Address

from .intercepting import intercepting, reset


@contextmanager
def deaf() -> Iterator[tuple[Address, socket.socket]]:
    """An address that answers to no attempt to connect until ``accept``: its queue is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield Address(*listening.getsockname()), listening


async def until(proxy, count):
    async with asyncio.timeout(20):
        while len(proxy.log.relays) < count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("sent", [b"\x00", b"\x00" * 1_000_000], ids=["a byte", "much"])
def test_a_reset_is_heard_at_once(sent):
    """However much it has sent, and nobody has read."""

    async def test(proxy):
        with deaf() as (address, _):
            proxy.kernel.to = address
            _, writer = await proxy.client()
            writer.write(sent)
            while proxy.tunnels() != {"opaque": 1}:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            reset(writer)
            await until(proxy, 1)

    proxy = intercepting(test, None)
    assert [line["response_flags"] for line in proxy.log.relays] == ["DC"]


@pytest.mark.parametrize("sent", [b"", b"\x00"], ids=["nothing", "a byte"])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
def test_a_client_that_has_ended_is_not_connected_for_long(monkeypatch, sent, late):
    monkeypatch.setattr(relay, "LEFT_TIME", 0.2)

    async def test(proxy):
        with deaf() as (address, _):
            proxy.kernel.to = address
            _, writer = await proxy.client()
            writer.write(sent)
            if late:
                await asyncio.sleep(0.3)
            writer.close()
            await until(proxy, 1)

    proxy = intercepting(test, None)
    assert [line["response_flags"] for line in proxy.log.relays] == ["DC"]
    assert "has sent its end" in proxy.log.relays[0]["response_code_details"]


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
def test_half_a_connection_that_is_made_in_time_works(late):
    answers = []

    async def test(proxy):
        with deaf() as (address, listening):
            proxy.kernel.to = address
            reader, writer = await proxy.client()
            writer.write(b"\x00ask")
            if late:
                await asyncio.sleep(0.3)
            writer.write_eof()
            await asyncio.sleep(0.1)
            listening.setblocking(False)
            loop = asyncio.get_running_loop()
            while True:  # those that filled the queue come first, and say nothing
                sock, _ = await loop.sock_accept(listening)
                try:
                    async with asyncio.timeout(0.1):
                        heard = await loop.sock_recv(sock, 100)
                    break
                except TimeoutError:
                    sock.close()
            with sock:
                heard += await loop.sock_recv(sock, 100)
                await loop.sock_sendall(sock, heard[::-1])
            answers.append(await reader.read(-1))
            writer.close()

    intercepting(test, None)
    assert answers == [b"ksa\x00"]
