"""One condition at a time, asked through a table of one route."""

from __future__ import annotations

import pytest

from fastmirror.rules.regex import compile_regex

from .building import request, route_name, table


def holds(match, **asked) -> bool:
    return route_name(table([{"match": [match]}]), request(**asked)) == "r0"


@pytest.mark.parametrize(
    ("condition", "path", "wanted"),
    [
        ({"exact": "/a"}, "/a", True),
        ({"exact": "/a"}, "/a/", False),
        ({"exact": "/a"}, "/A", False),
        ({"exact": "/a"}, "/a?b", True),
        ({"prefix": "/a"}, "/a", True),
        ({"prefix": "/a"}, "/ab", True),
        ({"prefix": "/a"}, "/a/b?c", True),
        ({"prefix": "/a/"}, "/a", False),
        ({"prefix": "/a"}, "/b?/a", False),
        ({"prefix": "/"}, "/", True),
        ({"prefix": "/"}, "//a", True),
        ({"prefix": ""}, "/a", True),
        ({"prefix": ""}, "*", True),
        ({"prefix": "/"}, "*", False),
        ({"path_separated_prefix": "/a"}, "/a", True),
        ({"path_separated_prefix": "/a"}, "/a/", True),
        ({"path_separated_prefix": "/a"}, "/a/b", True),
        ({"path_separated_prefix": "/a"}, "/ab", False),
        ({"path_separated_prefix": "/a/"}, "/a", True),
        ({"path_separated_prefix": "/a/"}, "/a/b", True),
        ({"path_separated_prefix": "/a/"}, "/ab", False),
        ({"path_separated_prefix": "/a"}, "/a?b", True),
        ({"path_separated_prefix": "/"}, "/", True),
        ({"path_separated_prefix": "/"}, "/a", True),
        ({"path_separated_prefix": "/"}, "*", False),
        ({"path_separated_prefix": "/a/b"}, "/a", False),
        ({"regex": "/a+"}, "/aaa", True),
        ({"regex": "/a+"}, "/aaab", False),
        ({"regex": "/a|/b"}, "/b", True),
        ({"regex": "/a|/b"}, "/bc", False),
        ({"regex": "(?i)/A"}, "/a", True),
        ({"regex": "/a$"}, "/a", True),
        ({"regex": "^/a"}, "/a", True),
        ({"regex": ""}, "/a", False),
        ({"regex": ".*"}, "/a?q", True),
        ({"regex": "[^?]*"}, "/a?q", True),
    ],
)
def test_path(condition, path, wanted):
    assert holds({"path": condition}, target=path) is wanted


def test_a_path_is_not_percent_decoded():
    assert not holds({"path": {"exact": "/a b"}}, target="/a%20b")
    assert holds({"path": {"exact": "/a%20b"}}, target="/a%20b")
    assert not holds({"path": {"exact": "/a%20b"}}, target="/a%20B")


@pytest.mark.parametrize(
    ("condition", "method", "wanted"),
    [
        ("GET", "GET", True),
        ("GET", "get", False),
        ("GET", "GETX", False),
        ({"exact": "GET"}, "GET", True),
        ({"prefix": "P"}, "PUT", True),
        ({"prefix": "P"}, "GET", False),
        ({"regex": "GET|HEAD"}, "HEAD", True),
        ({"regex": "GET|HEAD"}, "GETHEAD", False),
    ],
)
def test_method(condition, method, wanted):
    assert holds({"method": condition}, method=method) is wanted


@pytest.mark.parametrize(
    ("condition", "values", "wanted"),
    [
        ({"exact": "prod"}, ["prod"], True),
        ({"exact": "prod"}, ["Prod"], False),
        ({"exact": "prod"}, [], False),
        ({"exact": ""}, [""], True),
        ({"exact": ""}, [], False),
        ({"exact": "a,b"}, ["a", "b"], True),
        ({"exact": "a"}, ["a", "b"], False),
        ({"prefix": "pr"}, ["prod"], True),
        ({"prefix": ""}, [""], True),
        ({"prefix": ""}, [], False),
        ({"regex": "p.*d"}, ["prod"], True),
        ({"regex": "p.*d"}, ["prods"], False),
        ({"regex": ".*"}, [], False),
        ({"regex": ".*"}, [""], True),
        ({"present": True}, ["x"], True),
        ({"present": True}, [""], True),
        ({"present": True}, [], False),
        ({"present": False}, [], True),
        ({"present": False}, [""], False),
        ({"present": False}, ["x"], False),
    ],
)
@pytest.mark.parametrize("name", ["x-env", "X-Env"])
def test_header(name, condition, values, wanted):
    sent = [("X-ENV", value) for value in values]
    assert holds({"headers": {name: condition}}, headers=sent) is wanted


def test_all_headers_must_hold():
    match = {"headers": {"x-a": {"exact": "1"}, "x-b": {"present": False}}}
    assert holds(match, headers=[("x-a", "1")])
    assert not holds(match, headers=[("x-a", "1"), ("x-b", "")])
    assert not holds(match, headers=[("x-a", "2")])


@pytest.mark.parametrize(
    ("condition", "values", "wanted"),
    [
        ({"exact": "prod"}, ["prod"], False),
        ({"exact": "prod"}, ["Prod"], True),
        ({"exact": "prod"}, [], True),
        ({"exact": ""}, [""], False),
        ({"exact": "a,b"}, ["a", "b"], False),
        ({"prefix": "pr"}, ["prod"], False),
        ({"prefix": ""}, [], True),
        ({"regex": ".*"}, [""], False),
        ({"regex": ".*"}, [], True),
        ({"present": True}, [""], False),
        ({"present": True}, [], True),
        ({"present": False}, [""], True),
        ({"present": False}, [], False),
    ],
)
@pytest.mark.parametrize("name", ["x-env", "X-Env"])
def test_without_a_header(name, condition, values, wanted):
    sent = [("X-ENV", value) for value in values]
    assert holds({"without_headers": {name: condition}}, headers=sent) is wanted


def test_without_any_of_several_headers():
    match = {
        "headers": {"x-a": {"prefix": "a"}},
        "without_headers": {"x-a": {"exact": "ab"}, "x-b": {"present": True}},
    }
    assert holds(match, headers=[("x-a", "a")])
    assert not holds(match, headers=[("x-a", "ab")])
    assert not holds(match, headers=[("x-a", "a"), ("x-b", "")])
    assert not holds(match)


@pytest.mark.parametrize(("host", "wanted"), [("a.b", False), ("A.B.:80", False), ("b", True)])
def test_without_a_host(host, wanted):
    assert holds({"without_headers": {"Host": {"exact": "a.b"}}}, host=host) is wanted


@pytest.mark.parametrize(
    ("port", "host", "wanted"),
    [
        (80, "a", True),
        (80, "a:80", True),
        (80, "a:", True),
        (80, "a:8080", False),
        (80, "[::1]", True),
        (8080, "a", False),
        (8080, "a:8080", True),
        (8080, "a.:08080", True),
        (8080, "[::1]:8080", True),
        (65535, "a:65535", True),
        (80, "a:0", False),
    ],
)
def test_port(port, host, wanted):
    assert holds({"port": port}, host=host) is wanted


@pytest.mark.parametrize("host", ["a.b", "A.B:80", "a.b.", "a.b.:8080"])
def test_host_as_a_header_is_normal(host):
    assert holds({"headers": {"Host": {"exact": "a.b"}}}, host=host)


@pytest.mark.parametrize(
    ("condition", "target", "wanted"),
    [
        ({"exact": "1"}, "/?q=1", True),
        ({"exact": "1"}, "/?a=2&q=1&b", True),
        ({"exact": "1"}, "/?q=1&q=2", True),
        ({"exact": "2"}, "/?q=1&q=2", False),
        ({"exact": "1"}, "/?Q=1", False),
        ({"exact": "1"}, "/?qq=1", False),
        ({"exact": "1"}, "/q=1", False),
        ({"exact": "1"}, "/?", False),
        ({"exact": "1"}, "/", False),
        ({"exact": ""}, "/?q", True),
        ({"exact": ""}, "/?q=", True),
        ({"exact": ""}, "/?a&q&b", True),
        ({"exact": "a b"}, "/?q=a%20b", False),
        ({"exact": "a%20b"}, "/?q=a%20b", True),
        ({"exact": "a=b"}, "/?q=a=b", True),
        ({"exact": "/a?b"}, "/?q=/a?b", True),
        ({"prefix": "a"}, "/?q=abc", True),
        ({"regex": "[0-9]+"}, "/?q=42", True),
        ({"regex": "[0-9]+"}, "/?q=42x", False),
    ],
)
def test_query(condition, target, wanted):
    assert holds({"query": {"q": condition}}, target=target) is wanted


def test_text_that_is_not_ascii_is_compared_as_utf_8():
    assert holds({"headers": {"x-a": {"exact": "é"}}}, headers=[("x-a", "é")])
    assert holds({"headers": {"x-a": {"regex": "é+"}}}, headers=[("x-a", "é")])


# ---- what the table finds a pattern by


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        ("/a/b[0-9]+", b"/a/b"),
        ("/ab*", b"/a"),
        ("/ab?c", b"/a"),
        ("/ab{0,2}", b"/a"),
        ("/ab{2}", b"/abb"),
        ("/ab+", b"/ab"),
        ("^/a.b", b"/a"),
        ("/a|/b", b"/"),
        ("/a(b|c)", b"/a"),
        ("/a|b", b""),
        ("(?i)/a", b"/"),
        ("/a\\.b", b"/a.b"),
        ("/a\\d", b"/a"),
        ("/a$", b"/a"),
        (".*", b""),
        ("", b""),
    ],
)
def test_what_matches_begin_with_is_never_more_than_they_do(text, longest):
    assert longest.startswith(compile_regex(text).prefix)
