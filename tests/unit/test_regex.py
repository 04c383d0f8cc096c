"""Regular expressions: what is accepted, what matches, what is replaced, and at what cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmirror.rules.regex import compile_regex, template
from fastmirror.rules.regex.parser import Parser
from fastmirror.rules.regex.program import Program


@given(st.text(max_size=20))
def test_a_literal_is_exact(text):
    try:
        value = text.encode()
    except UnicodeEncodeError:
        return
    quoted = "".join(f"\\{c}" if ord(c) < 0x80 and not c.isalnum() else c for c in text)
    pattern = compile_regex(quoted)
    assert pattern.fullmatch(value)
    assert not pattern.fullmatch(value + b"x")
    assert (pattern.prefix, pattern.literal) == (value, True)


@pytest.mark.parametrize(
    ("text", "taken", "not_taken"),
    [
        ("", [""], ["a"]),
        ("a|b*?c{2}", ["a", "cc", "bbcc"], ["bc", "aa"]),
        (".", ["a", "é", "😀"], ["", "\n", "ab"]),
        ("(?s).", ["\n"], [""]),
        (r"\C\C", ["é"], ["e"]),
        (r"[^a]", ["\n", "é"], ["a"]),
        (r"[]a-c-]+", ["]abc-"], ["d", "["]),
        (r"[[:alpha:]_]+[[:^digit:]]", ["a_b", "ab-"], ["a1"]),
        (r"\d+\D\w\W\s\S", ["12xy- z"], ["12xyz z"]),
        (r"\x41\x{10FFFF}\101\0\a\f\t\n\r\v", ["A\U0010ffffA\0\a\f\t\n\r\v"], [""]),
        (r"\Qa+b\E+", ["a+b", "a+bbb"], ["aab"]),
        (r"\Q\\E", ["\\"], [""]),
        (r"\pL\p{Lu}\PN\p{Greek}\p{^Greek}", ["éÉ-αa"], ["éÉ-aα", "ééxαa"]),
        (r"\p{Yi}\p{Han}\p{Common}", ["ꀀ中!"], ["中ꀀ!"]),
        ("(?i)straße", ["STRASSE".replace("SS", "ẞ"), "ſtraße"], ["strasse"]),
        ("(?i)k[a-c]", ["KB", "\u212ab"], ["kd"]),
        ("(?i:a)b", ["Ab"], ["AB"]),
        ("a(?i)b(?-i)c", ["aBc"], ["ABc", "abC"]),
        ("(?U)a+?", ["aaa"], ["b"]),
        (r"^a$|\Ab\z", ["a", "b"], ["a\n", "\nb"]),
        ("(?m)a$\n^b", ["a\nb"], ["ab"]),
        (r"\ba\b\W\Bb*", ["a-"], ["a-b"]),
        ("a{,2}", ["a{,2}"], ["aa"]),
        ("a{02}", ["a{02}"], ["aa"]),
        ("(?P<x>a)(?<y>b)", ["ab"], ["a"]),
        ("(a{10}){100}", ["a" * 1000], ["a" * 999, "a" * 1001]),
        (r"[^\x00-\x{10FFFF}]|a", ["a"], ["b"]),
    ],
)
def test_what_matches(text, taken, not_taken):
    pattern = compile_regex(text)
    for value in taken:
        assert pattern.fullmatch(value.encode())
        assert value.encode().startswith(pattern.prefix)
    for value in not_taken:
        assert not pattern.fullmatch(value.encode())


@pytest.mark.parametrize("octets", [b"\xff", b"\xc3", b"\x80", b"\xc3\x28", b"\xfe\x80"])
def test_what_is_no_utf_8_is_matched_by_bytes_alone(octets):
    assert not compile_regex(r"(.|\s|\S|\pL|[^a]|\x{80}-\x{10FFFF})*").fullmatch(octets)
    assert compile_regex(r"\C+").fullmatch(octets)
    assert compile_regex("a").replace([b"b"], b"a" + octets + b"a") == b"b" + octets + b"b"


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("(", "1", "missing )"),
        ("a(b(c)", "2", "missing )"),
        ("a)", "2", "closes nothing"),
        ("x[a", "2", "missing ]"),
        ("[z-a]", "2", "range"),
        ("[[:foo:]]", "2", "no such class"),
        ("*a", "1", "nothing to repeat"),
        ("a|*", "3", "nothing to repeat"),
        ("a**", "3", "a repeat of a repeat"),
        ("a++", "3", "a repeat of a repeat"),
        ("a{2}{3}", "5", "a repeat of a repeat"),
        ("a{2,1}", "2", "count"),
        ("a{1001}", "2", "1000"),
        ("(a{1000}){1000}", "10", "1000 copies"),
        ("((a{100}){100}){100}", "10", "1000 copies"),
        (r"(a)\1", "4", "back-references are not in RE2's syntax"),
        ("(?=a)a", "1", "look-around is not in RE2's syntax"),
        ("a(?!b)", "2", "look-around is not in RE2's syntax"),
        ("(?<=a)b", "1", "look-around"),
        ("(?<!a)b", "1", "look-around"),
        ("(?>a)", "1", "flags of RE2's syntax"),
        ("(a)?(?(1)b|c)", "5", "flags of RE2's syntax"),
        ("(?z)a", "1", "flags of RE2's syntax"),
        ("(?i", "1", "flags of RE2's syntax"),
        ("(?P<n>a)(?P<n>b)", "9", "two groups"),
        ("(?P<a-b>a)", "1", "name"),
        ("(?P=n)", "1", "flags"),
        ("ab\\", "3", "at the end"),
        (r"\Z", "1", "not in RE2's syntax"),
        (r"[\b]", "2", "not in RE2's syntax"),
        (r"\x{110000}", "1", "10FFFF"),
        (r"\xg0", "1", "hexadecimal"),
        (r"\p{Foo}", "1", "'Foo'"),
        (r"\p{Greek", "1", "missing }"),
        ("(" * 5000, "201", "nested"),
    ],
)
def test_what_is_refused_and_why(text, at, what):
    with pytest.raises(ValueError, match=f"not a regular expression at character {at},") as caught:
        compile_regex(text)
    assert what in str(caught.value)


@pytest.mark.parametrize("text", [r"\pL{100}", ".{1000}.{1000}.{1000}", "é" * 9000])
def test_a_program_that_is_too_large_is_refused(text):
    with pytest.raises(ValueError, match="too large: its program has more than 10000 states"):
        compile_regex(text)


def test_what_is_not_text_is_refused():
    with pytest.raises(ValueError, match="not text"):
        compile_regex("a\ud800")


# ---- replacement


@pytest.mark.parametrize(
    ("text", "substitution", "value", "wanted"),
    [
        ("/users/([0-9]+)", r"/u/\1", "/users/12/x/users/3", "/u/12/x/u/3"),
        ("b", r"[\0\\]", "abcb", r"a[b\]c[b\]"),
        ("a|ab", "x", "abab", "xbxb"),
        ("a*?", "x", "aab", "xaxaxbx"),
        ("a*", "x", "baac", "xbxcx"),
        ("", "-", "aé", "-a-é-"),
        ("(a)|(b)", r"<\2\1>", "ab", "<a><b>"),
        ("(a*)+", r"<\1>", "aab", "<aa>b<>"),
        ("(?:(a)|b)*", r"<\1>", "ab", "<a>"),
        ("^a", "x", "aa", "xa"),
        ("(?m)^a$", "x", "a\na", "x\nx"),
        (r"\ba", "x", "aa a", "xa x"),
        ("x", "y", "abc", "abc"),
        ("a+", "x", "a" * 500 + "b" + "a" * 500, "xbx"),
        (".*", "x", "a" * 500, "x"),
    ],
)
def test_replacement(text, substitution, value, wanted):
    pattern = compile_regex(text)
    parts = template(substitution, pattern.groups)
    for _ in range(2):  # the second time from the cache
        assert pattern.replace(parts, value.encode()) == wanted.encode()


def test_a_template_is_text_and_groups():
    assert template(r"a\1\\\0\12", 1) == [b"a", 1, b"\\", 0, 1, b"2"]
    assert template("", 0) == []
    for wrong in (r"\2", "\\", r"\a", r"\x"):
        with pytest.raises(ValueError, match="backslash"):
            template(wrong, 1)


# ---- what all matches begin with


@pytest.mark.parametrize(
    ("text", "prefix", "literal"),
    [
        ("/api/v[0-9]+", b"/api/v", False),
        ("^/a/b$", b"/a/b", True),
        ("/a(b)c", b"/abc", True),
        ("/(abc|abd)/x", b"/ab", False),
        ("/a{3}b", b"/aaab", True),
        ("/(ab)+c", b"/ab", False),
        ("/a?", b"/", False),
        ("/é[é]", "/éé".encode(), True),
        ("(?i)/1-a", b"/1-", False),
        (r"a\bc", b"a", False),
        (".*", b"", False),
        ("a|b", b"", False),
        ("", b"", True),
    ],
)
def test_prefix(text, prefix, literal):
    pattern = compile_regex(text)
    assert (pattern.prefix, pattern.literal) == (prefix, literal)


# ---- cost: states looked at, not seconds

SIZE = 100_000
HARD = [
    "(a*)*b",
    "(a|a)*b",
    "(a|aa)*b",
    "(x+x+)+y|(a+a+)+b",
    "(a?){60}a{60}b",
    "((a{2,})*c)*b",
    "a*a*a*a*a*a*a*b",
    "[ab]*a[ab]{12}c",
    "a.*b|a",
    "(?:a|b)*?(?:a|b)*c",
    r"(?:\ba|\Ba|^a)*c",
    "a{1000}",
    "a{0,999}b",
]
VALUES = [b"a" * SIZE, b"ab" * (SIZE // 2), b"a" * SIZE + b"b"]


def size_of(text: str) -> int:
    """All states of a program, and all ways from one to another."""
    program = Program(Parser(text).parse())
    return sum(1 + len(a) + len(b) for a, b in zip(program.edges, program.steps, strict=True))


@pytest.mark.parametrize("text", HARD)
@pytest.mark.parametrize("value", VALUES, ids=["a", "ab", "b behind"])
def test_the_cost_is_linear_and_the_memory_bounded(text, value):
    pattern = compile_regex(text)
    once = size_of(text) * (len(value) + 1)
    pattern.fullmatch(value)
    # For each byte: what its place allows, what takes it, and what that leads to.
    assert pattern.work <= 3 * once
    before = pattern.work
    replaced = pattern.replace([b"x", 0], value)
    assert len(replaced) >= len(value)
    # Twice backwards, and forwards from where a match begins and from where the last one ended.
    assert pattern.work - before <= 8 * once
    kept, most = pattern.cached
    assert kept <= most


def test_a_pattern_of_many_sets_forgets_them_and_is_still_right():
    """2^13 sets of states, of which a quarter can be kept: the 13th from the end decides."""
    pattern = compile_regex("[ab]*a[ab]{12}")
    text = "".join(format(number, "013b") for number in range(5000))
    value = text.replace("0", "a").replace("1", "b").encode()
    for end in range(len(value) - 10, len(value)):
        assert pattern.fullmatch(value[:end]) is (value[end - 13 : end - 12] == b"a")
    kept, most = pattern.cached
    assert kept <= most
    found = pattern.replace([b"<", 0, b">"], value)
    last = value.rindex(b"a", 0, len(value) - 12) + 13
    assert found == b"<" + value[:last] + b">" + value[last:]


def test_a_pattern_that_somebody_has_is_not_made_again() -> None:
    pattern = compile_regex("/shared/[0-9]+")
    assert compile_regex("/shared/[0-9]+") is pattern
    assert compile_regex("/shared/[0-9]*") is not pattern
