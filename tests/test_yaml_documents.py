"""YAML documents: whatever the text, documents or one YamlError with SOURCE:LINE."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmirror.yaml_documents import Document, YamlError, read_documents

yaml = pytest.importorskip("yaml")


def read_one(text: str) -> Document:
    (document,) = read_documents(text, "f.yaml")
    return document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", "a"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("12", 12),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 15),
        ("0b11", 3),
        ("10.0", 10.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", float("-inf")),
        ("true", True),
        ("No", False),
        ("off", False),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
        ("2024-01-02", "2024-01-02"),
        ("22:22", "22:22"),
        ("1_000", "1_000"),
        ("1.2.3.4", "1.2.3.4"),
        ("9" * 5000, "9" * 5000),
        ("!!timestamp 2024-01-02", "2024-01-02"),
    ],
)
def test_scalars_are_what_kubernetes_reads_and_dates_stay_strings(text, value):
    assert read_one(f"k: {text}").data == {"k": value}
    assert type(read_one(f"k: {text}").data["k"]) is type(value)


@pytest.mark.parametrize("text", ["k:", "k: ~", "k: null"])
def test_null(text):
    assert read_one(text).data == {"k": None}


def test_documents_come_with_their_lines_and_empty_ones_are_skipped():
    text = "---\n# nothing\n---\na: 1\n---\n\n---\n- b\n...\n"
    documents = read_documents(text, "f.yaml")
    assert [(d.data, d.source, d.line) for d in documents] == [
        ({"a": 1}, "f.yaml", 4),
        (["b"], "f.yaml", 8),
    ]
    assert read_documents("", "f.yaml") == []


def test_a_field_has_the_line_of_its_key_and_an_item_that_of_its_start():
    document = read_one(
        "spec:\n  hosts:\n  - a\n  - b\n  http:\n  - route: []\n    mirror:\n\n      x"
    )
    assert document.line_of(()) == 1
    assert document.line_of(("spec",)) == 1
    assert document.line_of(("spec", "hosts", 1)) == 4
    assert document.line_of(("spec", "http", 0, "mirror")) == 7
    # What is not there has the line of the nearest parent that is.
    assert document.line_of(("spec", "http", 0, "rewrite", "uri", 3)) == 6
    assert document.line_of(("spec", "hosts", 7)) == 2
    assert document.line_of(("spec", "hosts", "x")) == 2
    assert document.line_of(("spec", "http", 0, "mirror", "x")) == 7


def test_an_alias_is_what_it_stands_for():
    assert read_one("a: &x {b: 1}\nc: *x\nd: &y z\ne: *y").data == {
        "a": {"b": 1}, "c": {"b": 1}, "d": "z", "e": "z",
    }  # fmt: skip


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3", 3, "duplicate key 'a' (first on line 1)"),
        ("x:\n  a: 1\n  a: 1", 3, "duplicate key"),
        ("a: 1\n2: 3", 2, "a key must be a string, not 2"),
        ("on: 1", 1, "a key must be a string, not True"),
        ("? [a]\n: 1", 1, "a key must be a string"),
        ("~: 1", 1, "a key must be a string"),
        ("a: &x {}\nb:\n  <<: *x", 3, "merge keys"),
        ("a: &x [*x]", 1, "contains itself"),
        ("a: &x\n  b: *x", 2, "contains itself"),
        ("a: *x", 1, "no anchor"),
        ("a: &x 1\n---\nb: *x", 3, "no anchor"),
        (BOMB, 7, "nodes"),
        ("[" * 100_000, 1, "nest"),
        ("- " * 100_000, 1, "nest"),
        ("{a: " * 100_000, 1, "nest"),
        ("a: 1\nb: !!python/object/apply:os.system [x]", 2, "tag"),
        ("a: !!python/name:os.system ''", 1, "tag"),
        ("a: !!binary aGk=", 1, "tag"),
        ("a: !!int x", 1, "tag"),
        ("a: !!set {b}", 1, "tag"),
        ("a: !unknown b", 1, "tag"),
        ("a: b: c", 1, "mapping values"),
        ("a: 1\nb: 'x", 2, "end of stream"),
        ("a: [1\nb: 2", 2, ""),
        ("\t- x", 1, "token"),
        ("a: \x00", 1, ""),
        ("a: \ud800", 1, ""),
    ],
)
def test_mistakes_are_named_with_their_line(text, line, words):
    with pytest.raises(YamlError) as caught:
        read_documents(text, "f.yaml")
    message = str(caught.value)
    assert message.startswith(f"f.yaml:{line}: "), message
    assert words in message
    assert "\n" not in message


def test_three_megabytes_are_read_in_reasonable_time():
    item = "- name: httpbin\n  address: 127.0.0.1\n  labels:\n    version: v1\n"
    text = item * (3_000_000 // len(item))
    began = time.monotonic()
    document = read_one(text)
    assert time.monotonic() - began < 20  # some two seconds on one core
    assert len(document.data) == len(text) // len(item)


def test_without_pyyaml_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "from fastmirror.yaml_documents import YamlError, read_documents\n"
        "try: read_documents('a', 'f')\n"
        "except YamlError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "reading YAML needs PyYAML: pip install PyYAML\n"


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.text(max_size=20))
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(DATA.filter(lambda data: data is not None))
def test_what_pyyaml_writes_is_read_again(data):
    # All is quoted and tagged: we take some plain scalars for numbers that PyYAML does not.
    text = yaml.safe_dump(data, default_style='"')
    if "<<" not in text:
        assert read_one(text).data == data


@settings(max_examples=300)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%?, \n\t0.<~\x00é", max_size=60) | st.text(max_size=60))
def test_any_text_is_documents_or_a_yaml_error(text):
    try:
        places = [f"f:{document.line}:" for document in read_documents(text, "f")]
    except YamlError as error:
        places = [str(error)]
    lines = len(text.splitlines()) + 1
    for place in places:
        name, line, _ = place.split(":", 2)
        assert name == "f"
        assert 1 <= int(line) <= lines
