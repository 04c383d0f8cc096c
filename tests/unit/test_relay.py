"""Intercepted connections that are relayed: bytes are bytes, and an end is an end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import socket
import weakref

import pytest

from fastmirror.rules.address import Address
from fastmirror.upstream import dial

from .intercepting import Intercepting, intercepting, reset
from .test_sni import HELLO

BIG = 8 << 20
BLOCK = bytes(range(256)) * 256


async def echo(reader, writer):
    with contextlib.suppress(ConnectionResetError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def ask(proxy: Intercepting, data: bytes) -> bytes:
    """Send, close our half, and read all there is."""
    reader, writer = await proxy.client()
    writer.write(data)
    writer.write_eof()
    answer = await reader.read(-1)
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"*1\r\n$4\r\nPING\r\n", "opaque"),
        (b"\x00\x01\x02", "opaque"),
        (HELLO, "tls"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00", "http2"),
        (b"GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n", "passthrough"),
        (b"GET / HTTP/1.1\r\n : folded\r\nHost: elsewhere\r\n\r\n", "passthrough"),
        (b"GET / HTTP/1.1\nHost: elsewhere\n\n", "opaque"),
        (b"GET / HTTP/1.1\r\nHost: elsewhere\n\n", "passthrough"),
        (b"BREW /pot HTTP/1.1\r\nHost: app\r\n\r\n", "passthrough"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "passthrough"),
        (b"CONNECT app:443 HTTP/1.1\r\nHost: app:443\r\n\r\n\x16\x03", "passthrough"),
        (b"GET / HTTP/1.1\r\nHost: elsewhere\r\n", "passthrough"),  # and no more
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 200_000 + b"\r\n\r\n", "passthrough"),
        (b"GE", "opaque"),
        (b"", "opaque"),
    ],
)
@pytest.mark.parametrize("size", [1, 0])
def test_what_no_rule_takes_goes_on_as_it_came(data, kind, size):
    """In one piece, and for as long as it is short an octet at a time."""

    async def test(proxy):
        proxy.apply(hosts=["app"], to=Address("127.0.0.1", 1))
        reader, writer = await proxy.client()
        for at in range(0, len(data), size or len(data) or 1):
            writer.write(data[at : at + (size or len(data))])
            if size and at < 64:
                await asyncio.sleep(0.001)
        writer.write_eof()
        assert await reader.read(-1) == data
        writer.close()

    proxy = intercepting(test, echo, detect_timeout=5.0)
    assert proxy.tunnels() == {kind: 1}
    [line] = proxy.log.relays
    assert line["tunnel"] == kind
    assert (line["bytes_received"], line["bytes_sent"]) == (len(data), len(data))
    assert line["requested_server_name"] == ("api.example.org" if kind == "tls" else "-")
    assert line["upstream_host"] == str(proxy.kernel.to)
    assert line["response_flags"] == "-"


def test_a_port_of_the_list_is_not_looked_at():
    async def test(proxy):
        proxy.apply(hosts=["*"], to=Address("127.0.0.1", 1))
        proxy.interception.opaque_ports = {proxy.kernel.to.port}
        data = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"
        assert await ask(proxy, data) == data

    assert intercepting(test, echo).tunnels() == {"opaque": 1}


def test_a_server_may_speak_first():
    async def greet(reader, writer):
        writer.write(b"220 mail\r\n")
        await echo(reader, writer)

    async def test(proxy):
        reader, writer = await proxy.client()
        assert await reader.readline() == b"220 mail\r\n"
        writer.write(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")  # it is sure by now what this is not
        assert await reader.readline() == b"GET / HTTP/1.1\r\n"
        writer.close()

    assert intercepting(test, greet, detect_timeout=0.02).tunnels() == {"server_first": 1}


def test_a_client_that_was_only_slow_is_still_looked_at():
    connected = []

    async def silent(reader, writer):
        connected.append(await reader.read(-1))
        writer.close()

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nrouted")
        await reader.read(-1)
        writer.close()

    async def test(proxy):
        proxy.apply(hosts=["app"], to=await proxy.destination(answer))
        reader, writer = await proxy.client()
        await asyncio.sleep(0.3)
        writer.write(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
        assert (await reader.readuntil(b"routed")).startswith(b"HTTP/1.1 200")
        writer.close()
        reader, writer = await proxy.client()
        await asyncio.sleep(0.3)
        writer.write(b"\x00")
        writer.write_eof()
        await reader.read(-1)
        writer.close()

    proxy = intercepting(test, silent, detect_timeout=0.02)
    assert proxy.tunnels() == {"opaque": 1}
    assert connected == [b"", b"\x00"]
    assert proxy.log.routes == ["app"]


def test_a_head_that_does_not_come_to_its_end_is_passed_on():
    async def test(proxy):
        reader, writer = await proxy.client()
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        assert await reader.readline() == b"GET / HTTP/1.1\r\n"
        writer.close()

    assert intercepting(test, echo, request_head_timeout=0.1).tunnels() == {"passthrough": 1}


@pytest.mark.parametrize("silent", [False, True])
def test_a_destination_that_refuses_is_a_reset(silent):
    async def test(proxy):
        reader, writer = await proxy.client()
        if not silent:
            writer.write(b"\x00")
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)

    proxy = intercepting(test, None, detect_timeout=0.02)
    [line] = proxy.log.relays
    assert line["response_flags"] == "UF"
    assert "refused" in line["response_code_details"]
    assert line["tunnel"] == ("server_first" if silent else "opaque")


@pytest.mark.parametrize("silent", [False, True])
def test_a_reset_of_the_server_is_a_reset(silent):
    async def break_off(reader, writer):
        if not silent:
            await reader.read(1)
        reset(writer)

    async def test(proxy):
        reader, writer = await proxy.client()
        if not silent:
            writer.write(b"\x00")
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)

    proxy = intercepting(test, break_off, detect_timeout=0.02)
    assert [line["response_flags"] for line in proxy.log.relays] == ["UC"]


def test_a_reset_of_the_client_is_a_reset():
    ends = []

    async def wait(reader, writer):
        writer.write(b"hello")
        try:
            ends.append(await reader.read(-1))
        except ConnectionResetError as error:
            ends.append(type(error))
        writer.close()

    async def test(proxy):
        reader, writer = await proxy.client()
        writer.write(b"\x00")
        await reader.readexactly(5)
        reset(writer)
        while not ends:
            await asyncio.sleep(0.01)

    proxy = intercepting(test, wait)
    assert ends == [ConnectionResetError]
    assert [line["response_flags"] for line in proxy.log.relays] == ["DC"]


def test_a_server_that_closes_its_half_still_hears():
    heard = []

    async def last_word(reader, writer):
        writer.write(b"bye")
        writer.write_eof()
        heard.append(await reader.read(-1))
        writer.close()

    async def test(proxy):
        reader, writer = await proxy.client()
        writer.write(b"\x00")
        assert await reader.read(-1) == b"bye"
        await asyncio.sleep(0.05)
        writer.write(b"more")
        writer.write_eof()
        while not heard:
            await asyncio.sleep(0.01)
        writer.close()

    intercepting(test, last_word)
    assert heard == [b"\x00more"]


def test_a_reset_behind_an_end_is_heard():
    """Nobody reads there any more."""
    ends = []

    async def wait(reader, writer):
        writer.write(b"hello")
        ends.append(await reader.read(-1))
        async with asyncio.timeout(20):
            while not proxies[0].log.relays:
                await asyncio.sleep(0.01)
        writer.close()

    proxies = []

    async def test(proxy):
        proxies.append(proxy)
        reader, writer = await proxy.client()
        writer.write(b"\x00")
        writer.write_eof()
        await reader.readexactly(5)
        while not ends:
            await asyncio.sleep(0.01)
        reset(writer)
        async with asyncio.timeout(20):
            while not proxy.log.relays:
                await asyncio.sleep(0.01)

    proxy = intercepting(test, wait)
    assert ends == [b"\x00"]
    assert [line["response_flags"] for line in proxy.log.relays] == ["DC"]


def test_urgent_bytes_keep_their_place():
    """As RFC 6093 has it; else the kernel takes them out of the stream."""
    heard = []

    async def listen(reader, writer):
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            sock.send(b"\x00")
            sock.send(b"!", socket.MSG_OOB)
        heard.append(await reader.read(-1))
        writer.close()

    async def test(proxy):
        with socket.create_connection(proxy.address) as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            sock.send(b"\x00ab")
            sock.send(b"!", socket.MSG_OOB)
            sock.send(b"cd")
            loop = asyncio.get_running_loop()
            got = b""
            while len(got) < 2:
                got += await loop.sock_recv(sock, 2)
            sock.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(sock, 1) == b""
        assert got == b"\x00!"

    intercepting(test, listen)
    assert heard == [b"\x00ab!cd"]


def test_a_client_that_is_gone_is_missed_though_the_server_says_nothing(monkeypatch):
    """One that only closed its half would still be there to answer the kernel."""
    monkeypatch.setattr(dial, "OFTEN", (1, 1))

    missed = asyncio.Event()

    async def silent(reader, writer):
        await missed.wait()
        writer.close()

    async def test(proxy):
        _, writer = await proxy.client()
        # Seconds until the kernel forgets a closed connection whose other half is open.
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
        writer.write(b"\x00")
        writer.close()
        async with asyncio.timeout(20):
            while not proxy.log.relays:
                await asyncio.sleep(0.05)
        missed.set()
        await asyncio.sleep(0)

    proxy = intercepting(test, silent)
    assert [line["response_flags"] for line in proxy.log.relays] == ["DC"]


def test_a_relay_that_is_over_is_gone():
    """At once: a reload freezes what waits for the collector."""
    seen = []

    async def test(proxy):
        for data in (b"\x00", b""):
            reader, writer = await proxy.client()
            writer.write(data)
            if data:
                await reader.readexactly(1)
                [only] = proxy.context.clients
                seen.append(weakref.ref(only))
                del only
            writer.write_eof()
            await reader.read(-1)
            writer.close()
            await proxy.settled()

    gc.disable()
    try:
        intercepting(test, echo)
    finally:
        gc.enable()
    assert [found() for found in seen] == [None]


def test_large_transfers_both_ways_at_once_and_half_closed():
    async def send_much(reader, writer):
        digest = hashlib.sha256()

        async def read():
            while data := await reader.read(65536):
                digest.update(data)

        reading = asyncio.ensure_future(read())
        for _ in range(BIG // len(BLOCK)):
            writer.write(BLOCK)
            await writer.drain()
        await reading
        writer.write(digest.digest())  # after the client's end
        writer.close()

    async def test(proxy):
        reader, writer = await proxy.client()

        async def write():
            writer.write(b"\x00")
            for _ in range(BIG // len(BLOCK)):
                writer.write(BLOCK)
                await writer.drain()
            writer.write_eof()

        writing = asyncio.ensure_future(write())
        data = await reader.read(-1)
        await writing
        writer.close()
        assert data[:-32] == BLOCK * (BIG // len(BLOCK))
        assert data[-32:] == hashlib.sha256(b"\x00" + data[:-32]).digest()

    proxy = intercepting(test, send_much)
    [line] = proxy.log.relays
    assert (line["bytes_received"], line["bytes_sent"]) == (BIG + 1, BIG + 32)


def test_a_side_is_read_no_faster_than_the_other_takes():
    go_on = asyncio.Event()
    taken = []

    async def slow(reader, writer):
        await go_on.wait()
        taken.append(len(await reader.read(-1)))
        writer.close()

    async def test(proxy):
        reader, writer = await proxy.client()
        writer.write(b"\x00" + bytes(64 << 20))
        sizes = []
        for _ in range(20):
            await asyncio.sleep(0.05)
            sizes.append(writer.transport.get_write_buffer_size())
        assert sizes[-1] > 32 << 20  # what the kernel and the proxy hold is far less
        [only] = proxy.context.clients
        assert only.server.transport.get_write_buffer_size() < 1 << 20
        go_on.set()
        writer.write_eof()
        assert await reader.read(-1) == b""
        writer.close()

    intercepting(test, slow)
    assert taken == [1 + (64 << 20)]


def test_a_drain_lets_relays_run_until_its_time_is_up():
    async def test(proxy):
        reader, writer = await proxy.client()
        writer.write(b"\x00")
        await reader.readexactly(1)
        [only] = proxy.context.clients
        only.drain()
        writer.write(b"more")
        assert await reader.readexactly(4) == b"more"
        only.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)

    intercepting(test, echo)


def test_too_many_connections_are_reset():
    async def test(proxy):
        one = await proxy.client()
        one[1].write(b"\x00")
        await one[0].readexactly(1)
        two = await proxy.client()
        with pytest.raises(ConnectionResetError):
            await two[0].read(-1)
        one[1].close()

    intercepting(test, echo, max_connections=1)


def test_a_connection_of_our_own_is_refused(caplog):
    """It reaches us where the packet filter does not let it pass."""

    async def test(proxy):
        proxy.kernel.to = Address(*proxy.address)  # what we send there comes to us
        reader, writer = await proxy.client()
        writer.write(b"\x00")
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)

    proxy = intercepting(test, None)
    assert proxy.tunnels() == {"opaque": 1}
    assert "came back to us" in caplog.text
