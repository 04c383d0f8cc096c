"""RE2 itself is the oracle: the same is accepted and refused, matched and replaced.

Unicode's tables are compared where both know a code point: theirs may be of another version.
"""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmirror.rules.regex import compile_regex
from fastmirror.rules.regex.classes import ALL
from fastmirror.rules.regex.folding import folded
from fastmirror.rules.regex.unicode import unicode_group

from .re2_oracle import Theirs


def words(text: str) -> list[str]:
    return text.split()


PARTS = words(
    r"""a b c k s . ^ $ \b \B \A \z \C \d \w \W \s \S \D [a-c] [^a] [^b-c] [a-] []a] [^]a] é [é-ü]
    [^é] ſ € 😀 \x{10FFFF} \x{d800} \x41 \101 \07 \0 \n \a \v \- \_ _ [[:alpha:]] [[:^digit:]]
    [[:word:]-z] [\d-z] [\w] \Qa*\E \pN \PL \p{Lu} \p{^Greek} \p{Latin}
    (?i) (?s) (?m) (?U) (?-i) (?i-s)"""
)
ODD = words(
    r"""\1 \8 \Z \ \p \p{ \p{L \pq \x \x{ \x{} \é \E \Q [ [a [z-a] [a-\d] [\b] [[:foo:]] ( (? (?:
    (?i: (?P<n> (?<n> (?P<m> (?= (?- (?-) (?i-) ) * + ? ?? *? +? ** | { } {2 {2} {2,} {1,3} {,3}
    {0} {02} {1001} {2,1} ] - ^"""
)
REPEATS = ["*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{2,}", "{0,2}?", "{0}", "{1}"]
GROUPS = ["({})", "(?:{})", "(?i:{})", "(?s:{})", "(?m:{})", "(?U:{})"]

sane = st.recursive(
    st.sampled_from(PARTS),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("{}|{}".format, inner, inner),
        st.builds(str.format, st.sampled_from(GROUPS), inner.filter(lambda t: "{" not in t)),
        st.builds("({}){}".format, inner, st.sampled_from(REPEATS)),
        st.builds("{}{}".format, inner, st.sampled_from(REPEATS)),
    ),
    max_leaves=12,
)
odd = st.lists(st.sampled_from(PARTS + ODD), max_size=8).map("".join)
patterns = st.one_of(sane, odd, st.text(max_size=8))

text = st.text("abckKſs_ 1\né€😀\u212aS-", max_size=8).map(str.encode)
octets = st.sampled_from([b"\xff", b"\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
values = st.one_of(
    text,
    st.lists(st.one_of(text, octets), max_size=5).map(b"".join),
    st.builds(lambda value, times: value * times, text, st.integers(1, 200)),
)


def read(reader, pattern):
    """None where it is refused."""
    try:
        return reader(pattern)
    except ValueError:
        return None


@settings(max_examples=1500, deadline=None)
@given(patterns, st.lists(values, min_size=1, max_size=6))
def test_as_re2(pattern, asked):
    try:
        pattern.encode()
    except UnicodeEncodeError:
        return
    ours, theirs = read(compile_regex, pattern), read(Theirs, pattern)
    assert (ours is None) == (theirs is None)
    if ours is None or theirs is None:
        return
    assert ours.groups == theirs.groups
    shown: list[bytes | int] = [b"<", 0, b">"]
    for group in range(1, ours.groups + 1):
        shown += [b"(", group, b")"]
    for value in asked:
        matched = theirs.fullmatch(value)
        assert ours.fullmatch(value) == matched
        if matched:
            assert value == ours.prefix if ours.literal else value.startswith(ours.prefix)
        assert ours.replace(shown, value) == theirs.replace(shown, value)


# ---- Unicode

POINTS = [chr(point) for point in range(0x110000) if unicodedata.category(chr(point)) != "Cn"]
CATEGORIES = words(
    """C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So
    Z Zl Zp Zs"""
)
SCRIPTS = words(
    """Arabic Avestan Canadian_Aboriginal Common Coptic Cyrillic Devanagari Georgian Greek Han
    Hangul Hiragana Inherited Katakana Kayah_Li Latin Mongolian Old_Permic Tangut Thai Yi"""
)


@pytest.fixture(scope="module")
def unknown() -> set[str]:
    """Code points that RE2's tables have nothing of."""
    nothing = Theirs(r"[^\pC\pL\pM\pN\pP\pS\pZ]")
    return {char for char in POINTS if nothing.fullmatch(char.encode("utf-8", "surrogatepass"))}


@pytest.mark.parametrize("name", CATEGORIES + SCRIPTS)
def test_a_category_or_script_has_the_same_code_points(name, unknown):
    ranges = unicode_group(name)
    ours = {chr(point) for low, high in ranges for point in range(low, high + 1)} - unknown
    whole = "".join(char for char in POINTS if char not in unknown)
    kept = Theirs(rf"\P{{{name}}}+").replace([], whole.encode("utf-8", "surrogatepass"))
    assert set(kept.decode("utf-8", "surrogatepass")) == ours


def test_letters_fold_as_theirs():
    for point in [*range(0x250), *range(0x370, 0x480), *range(0x1F00, 0x2000), 0x2126, 0x212B]:
        ours = folded(((point, point),))
        pattern = Theirs(rf"(?i)\x{{{point:x}}}")
        near = {chr(each) for low, high in ours for each in range(low, high + 1)}
        for char in near | {case for each in near for case in (each.upper(), each.lower())}:
            assert pattern.fullmatch(char.encode()) is (char in near)


def test_a_class_that_folds_has_all_cases():
    assert folded(ALL) == ALL
