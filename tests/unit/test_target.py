"""Request targets and Host: one normal form, and everything else is the client's mistake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmirror.http1.target import (
    host_and_port,
    normal_host,
    normal_target,
    resolve_dots,
    split_absolute,
    split_port,
)


@pytest.mark.parametrize(
    ("target", "authority", "origin"),
    [
        (b"http://a/b", b"a", b"/b"),
        (b"http://a", b"a", b"/"),
        (b"http://a/", b"a", b"/"),
        (b"http://a?q=1", b"a", b"/?q=1"),
        (b"http://a?q=/x", b"a", b"/?q=/x"),
        (b"http://a/b?q=http://c/", b"a", b"/b?q=http://c/"),
        (b"HTTP://A:80/b", b"A:80", b"/b"),
        (b"https://a:8443/b", b"a:8443", b"/b"),
        (b"http://[::1]:8000/x?y", b"[::1]:8000", b"/x?y"),
        (b"http://a//b", b"a", b"//b"),
    ],
)
def test_absolute_form(target, authority, origin):
    assert normal_target(b"GET", target, b"other") == (authority, origin)


@pytest.mark.parametrize(
    ("method", "target", "found"),
    [
        (b"OPTIONS", b"*", (b"h", b"*")),
        (b"OPTIONS", b"http://a", (b"a", b"*")),
        (b"OPTIONS", b"http://a:1", (b"a:1", b"*")),
        (b"OPTIONS", b"http://a/", (b"a", b"/")),
        (b"OPTIONS", b"http://a?q", (b"a", b"/?q")),
        (b"GET", b"/a/../b", (b"h", b"/b")),
        (b"CONNECT", b"a:443", (b"a:443", b"/")),
        (b"CONNECT", b"[::1]:443", (b"[::1]:443", b"/")),
    ],
)
def test_other_forms(method, target, found):
    assert normal_target(method, target, b"h") == found


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", b"*"),
        (b"GET", b"/#a"),
        (b"GET", b"http://a/#b"),
        (b"CONNECT", b"a"),
        (b"CONNECT", b"a:"),
        (b"CONNECT", b"/"),
        (b"CONNECT", b"http://a:1/"),
        (b"GET", b"a:443"),
    ],
)
def test_forms_that_mean_nothing(method, target):
    with pytest.raises(ValueError, match=r"target|Host|asked"):
        normal_target(method, target, b"h")


@pytest.mark.parametrize(
    "target",
    [b"", b"a", b"a:80", b"http:", b"http:/a", b"http:///b", b"http://?q", b"ftp://a/", b"://a/"],
)
def test_no_absolute_form(target):
    with pytest.raises(ValueError, match="request target"):
        split_absolute(target)


@pytest.mark.parametrize(
    "target",
    [
        b"http://user@a/",
        b"http://user:secret@a/",
        b"http://a@b:80/",
        b"http://@a/",
        b"http://a#f",
        b"http://a\\b/",
        b"http://a b/",
    ],
)
def test_an_authority_is_a_valid_host_or_refused(target):
    authority, _ = split_absolute(target)
    with pytest.raises(ValueError, match="the Host is not valid"):
        normal_host(authority)


# ---- dot segments


@pytest.mark.parametrize(
    ("target", "resolved"),
    [
        (b"/", b"/"),
        (b"/a", b"/a"),
        (b"/a/", b"/a/"),
        (b"/.", b"/"),
        (b"/..", b"/"),
        (b"/./", b"/"),
        (b"/../", b"/"),
        (b"/../..", b"/"),
        (b"/a/.", b"/a/"),
        (b"/a/..", b"/"),
        (b"/a/../", b"/"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/a/b/c/./../../g", b"/a/g"),
        (b"/mid/content=5/../6", b"/mid/6"),
        (b"/../../../etc/passwd", b"/etc/passwd"),
        (b"/a/%2e%2e/b", b"/b"),
        (b"/a/%2E%2e/b", b"/b"),
        (b"/a/.%2e/b", b"/b"),
        (b"/a/%2E./b", b"/b"),
        (b"/a/%2e", b"/a/"),
        (b"/a/%2e%2E", b"/"),
        (b"//..//a", b"//a"),
        (b"/a//../b", b"/a/b"),
        (b"/...", b"/..."),
        (b"/.a/..b/c.", b"/.a/..b/c."),
        (b"/a/%2e%2e%2e/b", b"/a/%2e%2e%2e/b"),
        (b"/a%2f..%2fb", b"/a%2f..%2fb"),
        (b"/a/%252e%252e/b", b"/a/%252e%252e/b"),
        (b"/a?b=/../c", b"/a?b=/../c"),
        (b"/a/..?/../", b"/?/../"),
        (b"/a/../?", b"/?"),
        (b"*", b"*"),
    ],
)
def test_dot_segments(target, resolved):
    assert resolve_dots(target) == resolved


def remove_dot_segments(path: str) -> str:
    """RFC 3986 section 5.2.4, step by step."""
    output = ""
    while path:
        if path.startswith("../"):
            path = path[3:]
        elif path.startswith(("./", "/./")):
            path = path[2:]
        elif path == "/.":
            path = "/"
        elif path.startswith("/../") or path == "/..":
            path = "/" + path[4:]
            output = output.rpartition("/")[0]
        elif path in (".", ".."):
            path = ""
        else:
            at = path.find("/", 1)
            at = len(path) if at < 0 else at
            output, path = output + path[:at], path[at:]
    return output


segments = st.lists(st.sampled_from(["a", "", ".", "..", "b.c", "...", "%2f"]), max_size=8)


@given(segments)
def test_dot_segments_as_rfc_3986_has_it(parts):
    path = "/" + "/".join(parts)
    assert resolve_dots(path.encode()).decode() == remove_dot_segments(path)


@given(st.lists(st.sampled_from(["a", "", ".", "..", "%2e", "%2E.", ".%2e", "%2e%2E"]), max_size=8))
def test_percent_encoded_dots_are_dots(parts):
    path = "/" + "/".join(parts)
    decoded = path.replace("%2e", ".").replace("%2E", ".")
    resolved = resolve_dots(path.encode())
    assert resolved == resolve_dots(decoded.encode())
    assert resolved.startswith(b"/")
    assert not {b".", b".."} & set(resolved.split(b"/"))
    assert resolve_dots(resolved) == resolved


# ---- Host


@pytest.mark.parametrize(
    ("host", "normal"),
    [
        (b"a", b"a"),
        (b"A.Example.ORG", b"a.example.org"),
        (b"a:80", b"a"),
        (b"a:", b"a"),
        (b"a:65535", b"a"),
        (b"a.", b"a"),
        (b"a.:8080", b"a"),
        (b"10.0.0.1:80", b"10.0.0.1"),
        (b"[::1]", b"[::1]"),
        (b"[::1]:80", b"[::1]"),
        (b"[2001:DB8::1]:80", b"[2001:db8::1]"),
        (b"[::ffff:10.0.0.1]", b"[::ffff:10.0.0.1]"),
        (b"under_score", b"under_score"),
        (b"xn--bcher-kva.example", b"xn--bcher-kva.example"),
    ],
)
def test_host(host, normal):
    assert normal_host(host) == normal


@pytest.mark.parametrize(
    ("host", "port"),
    [
        (b"a", 80),
        (b"a:", 80),
        (b"a:80", 80),
        (b"a:443", 443),
        (b"a:65535", 65535),
        (b"a:0", 0),
        (b"a:00080", 80),
        (b"A.:8080", 8080),
        (b"[::1]", 80),
        (b"[::1]:81", 81),
    ],
)
def test_port(host, port):
    assert host_and_port(host) == (normal_host(host), port)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b":80",
        b"a:65536",
        b"a:99999",
        b"a:123456",
        b"a:80:80",
        b"a:-1",
        b"a:+80",
        b"a:8o",
        b"a b",
        b" a",
        b"a ",
        b"a,b/c",
        b"a/b",
        b"a?b",
        b"a#b",
        b"user@a",
        b"user:pw@a",
        b"@",
        b"a\\b",
        b"a\tb",
        b"a\x00",
        b"a\nb",
        b"a\n",
        b'a"b',
        b"<a>",
        b"a\xe9",
        b"::1",
        b"[::1",
        b"::1]",
        b"[]",
        b"[::1]80",
        b"[::1]a:80",
        b"[a]",
        b"[::g]",
    ],
)
def test_no_host(host):
    with pytest.raises(ValueError, match="the Host is not valid"):
        normal_host(host)


@pytest.mark.parametrize(
    "host",
    [b"[:::]", b"[.]", b"[1.2.3.4]", b"[1]", b"[::1::2]", b"[1:2:3:4:5:6:7:8:9]", b"[::12345]"],
)
def test_what_stands_in_brackets_is_an_ipv6_address(host):
    with pytest.raises(ValueError, match="the Host is not valid"):
        normal_host(host)


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        (b"a", b"a", b""),
        (b"a:8000", b"a", b":8000"),
        (b"a:", b"a", b":"),
        (b"A.b:1", b"A.b", b":1"),
        (b"[::1]", b"[::1]", b""),
        (b"[::1]:8000", b"[::1]", b":8000"),
    ],
)
def test_the_port_of_a_host(host, name, port):
    assert split_port(host) == (name, port)
    assert name + port == host
