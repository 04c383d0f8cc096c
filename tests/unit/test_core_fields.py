"""What Fields understand of a message while its fields are taken in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmirror._head import Fields, is_plain_target, part, position

from .building import fields, tokens, values


@given(st.lists(st.tuples(tokens, values), max_size=20))
def test_all_is_kept_in_order(pairs):
    found = fields(*pairs)
    assert found.items == [part for pair in pairs for part in pair]
    assert found.count == len(pairs)
    assert found.size == sum(len(name) + len(value) + 4 for name, value in pairs)


@given(st.lists(st.tuples(tokens, values), max_size=8), st.data())
def test_get_joins_all_values_of_a_name_whatever_its_case(pairs, data):
    name = data.draw(st.sampled_from([name for name, _ in pairs] or [b"x"])).lower()
    expected = [value for other, value in pairs if other.lower() == name]
    assert fields(*pairs).get(name) == (b",".join(expected) if expected else None)


def test_get_tells_empty_from_absent():
    found = fields((b"X-A", b""))
    assert found.get(b"x-a") == b""
    assert found.get(b"x-b") is None


@pytest.mark.parametrize(
    ("value", "kept"), [(b"a ", b"a"), (b"a \t \t", b"a"), (b"a b\t", b"a b"), (b" \t", b"")]
)
def test_white_space_behind_a_value_is_no_part_of_it(value, kept):
    found = fields((b"x", value), (b"host", value))
    assert found.items == [b"x", kept, b"host", kept]
    assert found.host == kept
    assert found.size == 2 * (len(kept) + 4) + len(b"xhost")


@pytest.mark.parametrize(
    ("value", "close", "keep_alive", "upgrade", "named"),
    [
        (b"close", True, False, False, None),
        (b"Close", True, False, False, None),
        (b"keep-alive", False, True, False, None),
        (b"Keep-Alive", False, True, False, None),
        (b"keep-alive, Upgrade", False, True, True, None),
        (b"upgrade ,\tclose", True, False, True, None),
        (b"", False, False, False, None),
        (b",, ,", False, False, False, None),
        (b"X-A,x-b", False, False, False, {b"x-a", b"x-b"}),
        (b"closed", False, False, False, {b"closed"}),
        (b"Host, Authorization, Content-Length", False, False, False, None),
    ],
)
def test_connection(value, close, keep_alive, upgrade, named):
    found = fields((b"CONNECTION", value))
    assert (found.close, found.keep_alive, found.wants_upgrade) == (close, keep_alive, upgrade)
    assert found.named == named


def test_several_connection_fields_are_one_list():
    found = fields((b"connection", b"x-a"), (b"Connection", b"close"), (b"connection", b"x-b"))
    assert found.close
    assert found.named == {b"x-a", b"x-b"}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"trailers", True),
        (b"Trailers", True),
        (b"gzip;q=0.5, trailers", True),
        (b"gzip", False),
        (b"", False),
        (b"x-trailers", False),
        (b"trailers-not", False),
    ],
)
def test_te(value, wanted):
    assert fields((b"TE", value)).te_trailers is wanted


def test_several_te_fields_are_one_list():
    assert fields((b"te", b"trailers"), (b"te", b"gzip")).te_trailers


@pytest.mark.parametrize(
    ("value", "expects"),
    [(b"100-continue", True), (b"100-Continue", True), (b"200-ok", False), (b"", False)],
)
def test_expect(value, expects):
    assert fields((b"Expect", value)).expect is expects


def test_host_is_counted():
    assert fields().hosts == 0
    assert fields((b"HOST", b"a")).host == b"a"
    assert fields((b"host", b"a"), (b"Host", b"b")).hosts == 2


def test_request_id_is_the_first_that_says_something():
    assert fields((b"x-request-id", b"")).request_id is None
    assert fields((b"X-Request-Id", b"a"), (b"x-request-id", b"b")).request_id == b"a"


def test_forwarded_for_is_one_list():
    pairs = ((b"x-forwarded-for", b"1.1.1.1, 2.2.2.2"), (b"X-Forwarded-For", b"3.3.3.3"))
    assert fields(*pairs).forwarded_for == b"1.1.1.1, 2.2.2.2, 3.3.3.3"


def test_the_marker_says_that_it_is_a_copy():
    assert fields((b"X-Fastmirror-Copy", b"any")).is_copy
    assert not fields((b"x-fastmirror-copies", b"any")).is_copy


@pytest.mark.parametrize("pair", [(None, b"a"), (b"a", None), ("a", b"a"), (b"a", "a")])
def test_a_field_is_bytes(pair):
    with pytest.raises(TypeError):
        Fields().add(*pair)


def test_a_none_is_an_error():
    for call in (lambda: Fields().get(None), lambda: position(None, 1), lambda: part(None, 0, 0)):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(TypeError):
        is_plain_target(None)


def test_a_part_lies_within():
    assert part(b"abc", 1, 2) == b"b"
    assert part(b"abc", 3, 3) == b""
    for start, end in ((-1, 1), (2, 1), (0, 4)):
        with pytest.raises(IndexError):
            part(b"abc", start, end)


@given(st.binary(max_size=20), st.integers(0, 127))
def test_position_is_what_find_says(data, octet):
    assert position(data, octet) == data.find(bytes([octet]))
