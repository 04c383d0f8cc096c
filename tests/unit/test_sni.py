"""The server's name in a ClientHello: OpenSSL writes it, and anything else may come."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmirror.intercept.sni import MAX_HELLO, ClientHello


def hello(name: str | None, protocols: tuple[str, ...] = ()) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(list(protocols))
    context.check_hostname = name is not None
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = hello("api.example.org", ("h2", "http/1.1"))


def read(*pieces: bytes) -> ClientHello:
    reader = ClientHello()
    for piece in pieces:
        reader.feed(piece)
    return reader


def in_records(data: bytes, size: int) -> bytes:
    """The same handshake message, in records of another size."""
    message = data[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(data[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def test_the_name_is_found():
    assert read(HELLO).name == "api.example.org"
    assert read(HELLO).done


def test_without_a_name_there_is_none():
    reader = read(hello(None))
    assert (reader.done, reader.name) == (True, "-")


@pytest.mark.parametrize("size", [1, 2, 3, 100, 511])
def test_in_pieces(size):
    pieces = [HELLO[at : at + size] for at in range(0, len(HELLO), size)]
    assert not read(*pieces[:-1]).done
    assert read(*pieces, b"what comes behind").name == "api.example.org"


@pytest.mark.parametrize("size", [1, 3, 50, 200])
def test_in_several_records(size):
    assert read(in_records(HELLO, size)).name == "api.example.org"


@given(st.binary(max_size=300))
def test_anything_may_come(data):
    reader = read(data)
    assert reader.name == "-" or reader.done


@given(st.integers(0, len(HELLO) - 1), st.binary(min_size=1, max_size=8), st.integers(1, 64))
def test_a_damaged_hello_names_nothing_that_is_no_host(at, damage, size):
    data = HELLO[:at] + damage + HELLO[at + len(damage) :]
    reader = read(*(data[at : at + size] for at in range(0, len(data), size)))
    assert set(reader.name) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
    )


def test_what_is_no_host_is_not_written_to_a_log():
    for bad in (b'a"b.example.org', b"a\nb.example.org", b"\xe9pi.example.org", b"a..example.org."):
        assert read(HELLO.replace(b"api.example.org", bad[:15])).name == "-"


def test_a_hello_without_end_is_looked_at_no_further():
    reader = ClientHello()
    record = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + bytes(0x4000 - 4)
    for at in range(0, MAX_HELLO, 1000):
        assert not reader.done
        reader.feed(record[at : at + 1000])
    assert (reader.done, reader.name, len(reader._records)) == (True, "-", 0)
