"""What a regular expression costs a request, once its automaton has seen values like it."""

from __future__ import annotations

import pytest

from fastmirror.rules.regex import compile_regex, template

PATH = b"/api/v12/users/0123456789abcdef012345678"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"/api/v[0-9]+/users/[^/]+", PATH),
        (r"(?i)/API/.*", PATH),
        (r"/(images|static|assets)/.*", PATH),
        (r".*\.(jpe?g|png|gif)", PATH),
    ],
    ids=["path", "no case", "other", "suffix"],
)
def test_fullmatch(timed, text, value):
    assert timed(compile_regex(text).fullmatch, value) in (True, False)


def test_replace(timed):
    pattern = compile_regex(r"^/api/v[0-9]+/users/([^/]+)")
    parts = template(r"/u/\1", pattern.groups)
    assert timed(pattern.replace, parts, PATH) == b"/u/0123456789abcdef012345678"


def test_replace_nothing(timed):
    assert timed(compile_regex("/images/([^/]+)").replace, [b"/i/", 1], PATH) == PATH


def test_compile(timed):
    assert timed(compile_regex, r"/api/v[0-9]+/users/[^/]+").prefix == b"/api/v"
