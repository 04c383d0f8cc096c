"""Durations, sizes, addresses and host patterns: read right, or refused with what was expected."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmirror.rules.address import Address, is_ip, parse_address, parse_host_pattern
from fastmirror.rules.units import LONGEST, seconds, size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (5, 5.0),
        (0.25, 0.25),
        (0, 0.0),
        ("5", 5.0),
        ("0.5", 0.5),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1m30s", 90.0),
        ("1h2m3s4ms", 3723.004),
        ("0s", 0.0),
        ("0.001ms", 1e-6),
        (LONGEST, LONGEST),
    ],
)
def test_seconds(text, value):
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "5 s",
        "5S",
        "5sec",
        "1d",
        "-1s",
        "-1",
        "1s ",
        "s1",
        "1s,2s",
        "1.s",
        ".5s",
        "1..5s",
        "1ss",
        "nan",
        "inf",
        "-inf",
        "infinity",
        "1e400",
        math.nan,
        math.inf,
        -math.inf,
        -0.001,
        LONGEST * 1.01,
        "9000h",
    ],
)
def test_no_duration(text):
    with pytest.raises(ValueError, match="expected seconds or a duration such as") as caught:
        seconds(text)
    assert repr(text) in str(caught.value)


@given(st.integers(0, 8000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_seconds_of_all_units(hours, minutes, secs, millis):
    text = f"{hours}h{minutes}m{secs}s{millis}ms"
    assert seconds(text) == pytest.approx(hours * 3600 + minutes * 60 + secs + millis / 1000)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (0, 0),
        (123, 123),
        ("123", 123),
        ("64KiB", 65536),
        ("64 KiB", 65536),
        ("64kib", 65536),
        ("1K", 1024),
        ("1MiB", 1 << 20),
        ("16m", 16 << 20),
        ("2GiB", 2 << 30),
        ("2G", 2 << 30),
        ("7B", 7),
        (" 5 ", 5),
        ("1048575GiB", (1 << 50) - (1 << 30)),
    ],
)
def test_size(text, value):
    assert size(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "1.5MiB", "-1", "+1", "1TiB", "KiB", "1 2", "1KiBs", "0x10", "1e3", "1_000", "1MiB1"],
)
def test_no_size(text):
    with pytest.raises(ValueError, match="expected bytes or a size such as"):
        size(text)


@pytest.mark.parametrize("value", [-1, 1 << 50, 10**30, "1048576GiB", "9" * 30])
def test_a_size_out_of_range(value):
    with pytest.raises(ValueError, match="expected a size from 0 to 1 PiB"):
        size(value)


# ---- addresses


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]:8080", "::1", 8080),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("httpbin:8000", "httpbin", 8000),
        ("httpbin.default.svc.cluster.local:8000", "httpbin.default.svc.cluster.local", 8000),
        ("httpbin.:1", "httpbin.", 1),
        ("under_score:1", "under_score", 1),
        ("3com.example:80", "3com.example", 80),
        ("unix:/run/a.sock", "/run/a.sock", 0),
        ("unix:/run/a:80", "/run/a:80", 0),
    ],
)
def test_an_address(text, host, port):
    found = parse_address(text)
    assert found == Address(host, port)
    assert str(found) == text
    assert found.is_unix == text.startswith("unix:")
    assert found.is_name == (not found.is_unix and not is_ip(host))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "80",
        "a",
        "a:",
        "a:0",
        "a:65536",
        "a:-1",
        "a:+1",
        "a: 80",
        "a:80 ",
        "a:8o",
        "a:80\n",
        "a:٨٠",
        ":80",
        "::1:80",
        "::1",
        "[::1]",
        "[::1]:",
        "[::1]80",
        "[127.0.0.1]:80",
        "[a]:80",
        "[]:80",
        "http://a:80",
        "a/b:80",
        "a b:80",
        "user@a:80",
        "-a:80",
        "a-:80",
        ".a:80",
        "a..b:80",
        "*:80",
        "*.a:80",
        "é:80",
        "a" * 64 + ":80",
        ".".join(["a" * 60] * 5) + ":80",
        "256.0.0.1:80",
        "1.2.3:80",
        "010.0.0.1:80",
        "1.2.3.4.:80",
        "unix:",
        "unix:a",
        "unix:run/a",
        "unix:/" + "a" * 107,
        "unix:/a\0b",
        "UNIX:/a",
    ],
)
def test_no_address(text):
    with pytest.raises(ValueError, match=r"expected HOST:PORT, \[IPv6\]:PORT or unix:/path"):
        parse_address(text)


def test_every_interface_only_where_one_listens():
    assert parse_address(":15001", wildcard=True) == Address("", 15001)
    assert parse_address("0.0.0.0:1", wildcard=True) == Address("0.0.0.0", 1)
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        parse_address(":15001")


@given(st.text(max_size=12))
def test_any_text_is_an_address_or_refused(text):
    try:
        found = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(found)) == found


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_ip_address(ip, port):
    text = f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
    found = parse_address(text)
    assert (found.host, found.port, found.is_name) == (str(ip), port, False)
    assert str(found) == text


# ---- host patterns


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("*", "*"),
        ("a", "a"),
        ("A.B", "a.b"),
        ("a.b.", "a.b"),
        ("*.A.b", "*.a.b"),
        ("*.a.", "*.a"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
        ("under_score", "under_score"),
    ],
)
def test_a_host_pattern(text, pattern):
    assert parse_host_pattern(text) == pattern
    assert parse_host_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "*.",
        "**",
        "*a",
        "a*",
        "a.*",
        "a.*.b",
        "*.*.b",
        "*:80",
        "a:80",
        "[::1]:80",
        "*.::1",
        "*.[::1]",
        ".a",
        "a..",
        "a b",
        "a/b",
        "http://a",
        "é",
        "a\n",
        "-a",
        "a" * 64,
        ".".join(["a" * 60] * 5),
    ],
)
def test_no_host_pattern(text):
    with pytest.raises(ValueError, match="expected a host name") as caught:
        parse_host_pattern(text)
    assert f'"{text}"' in str(caught.value)
