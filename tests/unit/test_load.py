"""Rules files in their three forms: what is decoded is the same, and what is not is one error."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastmirror.rules.load import (
    RulesError,
    decode_rules,
    encode_in_steps,
    encode_rules,
    load_rules,
)
from fastmirror.rules.model import Rules
from fastmirror.rules.table import RouteTable
from fastmirror.rules.validate import validate

yaml = pytest.importorskip("yaml")

FORMS = ["", ".json", ".yaml", ".yml"]
DOCUMENT = {
    "version": 1,
    "services": [
        {
            "name": "httpbin",
            "hosts": ["httpbin", "httpbin.default.svc.cluster.local"],
            "endpoints": [
                {"address": "127.0.0.1:8001", "labels": {"version": "v1"}},
                {"address": "httpbin-v2:8000", "labels": {"version": "v2"}, "weight": 3},
            ],
            "subsets": {"v1": {"version": "v1"}, "v2": {"version": "v2"}},
        }
    ],
    "routes": [
        {
            "name": "httpbin",
            "hosts": ["httpbin"],
            "match": [{"path": {"prefix": "/"}, "headers": {"x-env": {"exact": "prod"}}}],
            "to": [{"service": "httpbin", "subset": "v1"}],
            "mirrors": [{"service": "httpbin", "subset": "v2", "percent": 12.5}],
        }
    ],
}


def test_the_three_forms_say_the_same():
    forms = {
        "r.msgpack": msgspec.msgpack.encode(DOCUMENT),
        "r": msgspec.msgpack.encode(DOCUMENT),
        "r.json": json.dumps(DOCUMENT).encode(),
        "r.JSON": json.dumps(DOCUMENT).encode(),
        "r.yaml": yaml.safe_dump(DOCUMENT).encode(),
        "r.yml": yaml.safe_dump(DOCUMENT).encode(),
    }
    first, *others = [decode_rules(data, name) for name, data in forms.items()]
    assert all(other == first for other in others)
    assert first.routes[0].mirrors[0].percent == 12.5
    assert first.services[0].endpoints[1].weight == 3


def refused(data: bytes, source: str) -> str:
    with pytest.raises(RulesError) as caught:
        decode_rules(data, source)
    error = caught.value
    assert error.source == source
    assert error.problems
    assert str(error) == "\n".join(f"{source}: {problem}" for problem in error.problems)
    assert error.first.startswith(f"{source}: ")
    assert "\n" not in error.first
    return str(error)


@pytest.mark.parametrize("source", ["r.msgpack", "r.json", "r.yaml"])
def test_an_empty_file(source):
    assert "the file is empty" in refused(b"", source)


@pytest.mark.parametrize(
    ("data", "source", "text"),
    [
        (b"\xc1", "r", "not MessagePack"),
        (msgspec.msgpack.encode(DOCUMENT)[:-1], "r", "not MessagePack"),
        (msgspec.msgpack.encode(DOCUMENT) + b"\x00", "r", "not MessagePack"),
        (b"version: 1\n", "r", "not MessagePack"),
        (b"\x91" * 100_000, "r", "not MessagePack: nested too deeply"),
        (b"{", "r.json", "not JSON"),
        (b"\xff\xfe\xff", "r.json", "not JSON"),
        (b'{"version": 1} {}', "r.json", "not JSON"),
        (b'{"version": 1, "version": 1}', "r.json", 'the key "version" is there twice'),
        (b"[" * 100_000, "r.json", "not JSON: nested too deeply"),
        (b'{"version": ' + b"1" * 5000 + b"}", "r.json", "not JSON"),
        (b"version: [", "r.yaml", "not YAML"),
        (b"version: 1\nversion: 1\n", "r.yaml", "version"),
        (b"\xff", "r.yaml", "not UTF-8"),
        (b"version: 1\n---\nversion: 1\n", "r.yaml", "expected one YAML document, got 2"),
        (b"# nothing\n", "r.yaml", "expected one YAML document, got 0"),
        (b"- 1\n", "r.yaml", "expected a rules document, got list"),
        (b"\x01", "r", "expected a rules document, got int"),
        (b"\x81\x01\x02", "r", "version"),
    ],
)
def test_what_is_no_document(data, source, text):
    assert text in refused(data, source)


def test_a_file(tmp_path):
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(DOCUMENT))
    assert load_rules(path) == load_rules(str(path)) == decode_rules(path.read_bytes(), "x.json")


@pytest.mark.parametrize("name", ["missing.json", ".", "a\0b"])
def test_a_file_that_cannot_be_read(tmp_path, name):
    with pytest.raises(RulesError, match="cannot be read: "):
        load_rules(f"{tmp_path}/{name}")


def test_the_first_problem_says_how_many_more_there_are():
    document = {"version": 1, "routes": [{"name": "r", "hosts": ["a b"], "to": [{"service": "x"}]}]}
    with pytest.raises(RulesError) as caught:
        decode_rules(msgspec.msgpack.encode(document), "f")
    assert caught.value.first.startswith("f: routes[0].hosts[0]: ")
    assert caught.value.first.endswith(" (and 1 more)")


@pytest.mark.parametrize("other", [str(10**30), r'"\ud800"'], ids=["integer", "text"])
def test_a_mistake_beside_what_messagepack_cannot_say(other):
    text = '{"version": 1, "services": [{"name": "a", "subsets": {"v": {"x": 1}}}], "n": %s}'
    found = refused((text % other).encode(), "r.json")
    assert "services[0].subsets.v.x: expected a string" in found


# ---- whatever the bytes, rules or one error

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["a", "b", "v1", "/", "5s", "1MiB", "127.0.0.1:80", "keep", "path", 1, 0, 100]),
)
_FIELDS = """version services routes name hosts balance endpoints address labels weight subsets to
service subset match path method headers query exact prefix regex present path_separated_prefix
mirrors percent fraction numerator denominator sample_by header cookie missing salt host suffix
literal methods rate max_body max_in_flight max_queued connect_timeout breaker open_time hash
timeout a"""
names = st.sampled_from(_FIELDS.split())
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(names, names, scalars), inner)
    ),
    max_leaves=25,
)


@st.composite
def damaged(draw) -> object:
    """A valid document with some of its parts replaced by anything."""
    document = json.loads(json.dumps(DOCUMENT))
    for _ in range(draw(st.integers(1, 3))):
        holder = document
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = holder[key]
            if not isinstance(inner, dict | list) or draw(st.integers(0, 3)) == 0:
                holder[draw(names) if isinstance(holder, dict) and draw(st.booleans()) else key] = (
                    draw(anything)
                )
                break
            holder = inner
    return document


def rules_or_error(data: bytes, source: str) -> None:
    try:
        found = decode_rules(data, source)
    except RulesError:
        return
    assert validate(found) == []
    RouteTable(found)
    assert decode_rules(encode_rules(found), "again") == found


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_a_damaged_document_is_rules_or_one_error(document):
    try:
        data = msgspec.msgpack.encode(document)
    except (TypeError, UnicodeEncodeError):
        return  # keys that MessagePack has and Python's dict of them cannot say
    rules_or_error(data, "r.msgpack")


@settings(max_examples=150)
@given(damaged())
def test_a_damaged_json_document_is_rules_or_one_error(document):
    try:
        data = json.dumps(document).encode()
    except TypeError:
        return
    rules_or_error(data, "r.json")


@given(st.binary(max_size=40), st.sampled_from(["r", "r.json", "r.yaml"]))
def test_any_bytes_are_rules_or_one_error(data, source):
    rules_or_error(data, source)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_file_with_a_wrong_byte_is_rules_or_one_error(at, bytes_):
    data = bytearray(msgspec.msgpack.encode(DOCUMENT))
    data[at : at + len(bytes_)] = bytes_
    rules_or_error(bytes(data), "r")


def test_a_value_that_json_cannot_show_is_shown():
    with pytest.raises(RulesError, match=r"version: .*b'a'"):
        decode_rules(msgspec.msgpack.encode({"version": {b"a": 1}}), "r")


@pytest.mark.parametrize("field", ["salt", "exact", "query", "cookie", "label", "subset", "prefix"])
def test_text_that_is_no_unicode_is_refused_or_can_be_used(field):
    document = json.loads(json.dumps(DOCUMENT))
    (service,), (route,) = document["services"], document["routes"]
    (mirror,), (block,) = route["mirrors"], route["match"]
    text = "/\ud800"
    if field == "salt":
        mirror["salt"] = text
    elif field in ("exact", "prefix"):
        block["path"] = {field: text}
    elif field == "query":
        block["query"] = {text: {"exact": "a"}}
    elif field == "cookie":
        mirror["sample_by"] = {"cookie": text}
    elif field == "label":
        service["endpoints"][0]["labels"]["x"] = text
    else:
        service["subsets"][text] = {}
    rules_or_error(json.dumps(document).encode(), "r.json")


# ---- written and read again

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
# What one reader of YAML takes for text and another for something else.
_PLAIN = (
    "1e3 12e03 1.5e3 1E5 123e4567 7e10 1e e3 0o17 017 0x1f 0b11 1_000 .5 5. 1.0 +1 -1 0 00 22:22 "
    "1:2:3 yes no on off y n Yes NO true null ~ << = 2001-01-01 2001-01-01T00:00:00Z .inf -.inf "
    ".nan - ? : # & * ! | > % @"
)
_OTHER = ["", " ", "a: b", "a #b", "- a", "\n", "a\nb\n", "\t", "é", "\x85", "\u2028", "\0", "\x7f"]
tricky = st.sampled_from([*_PLAIN.split(" "), *_OTHER])
label_text = st.one_of(text, tricky)
labels = st.dictionaries(label_text, label_text, max_size=3)
service_names = st.sampled_from(["a", "b.example", "c"])
strings = st.one_of(
    st.builds(lambda t: {"exact": t}, label_text),
    st.builds(lambda t: {"prefix": t}, label_text),
    st.just({"regex": "a+|b"}),
)
durations = st.one_of(
    st.floats(0.001, 1e6), st.integers(1, 100), st.sampled_from(["5s", "1m30s", "250ms", "1e3"])
)
sizes = st.one_of(st.integers(0, 2**40), st.sampled_from(["1MiB", "5", "0", "64 KiB"]))


def optional(**fields):
    return st.fixed_dictionaries({}, optional=fields)


keys = st.one_of(
    st.sampled_from(["source_ip", "path", "request_id", {"header": "x-user"}]),
    st.builds(lambda name: {"cookie": name}, label_text.filter(bool)),
    st.builds(lambda name: {"query": name}, label_text.filter(bool)),
)
shares = st.one_of(
    st.just({}),
    st.builds(
        lambda percent: {"percent": percent}, st.one_of(st.floats(0, 100), st.integers(0, 100))
    ),
    st.builds(
        lambda a, b: {"fraction": {"numerator": min(a, b), "denominator": max(a, b)}},
        st.integers(0, 2**53),
        st.integers(1, 2**53),
    ),
)
mirrors = st.builds(
    lambda service, share, rest: {"service": service, **share, **rest},
    service_names,
    shares,
    optional(
        sample_by=keys,
        missing=st.sampled_from(["random", "skip", "always"]),
        salt=label_text,
        host=st.sampled_from(["keep", "target", {"suffix": "-shadow"}, {"literal": "a:1"}]),
        methods=st.lists(st.sampled_from(["GET", "PUT"])),
        rate=st.floats(1e-6, 1e9),
        max_body=sizes,
        max_copy_bytes=sizes,
        max_in_flight=st.integers(1, 1000),
        response_timeout=durations,
        breaker=optional(consecutive_failures=st.integers(0, 10), open_time=durations),
    ),
)
blocks = optional(
    method=st.one_of(st.sampled_from(["GET", "on"]), strings),
    headers=st.dictionaries(st.sampled_from(["x-a", "null", "1e3"]), strings, max_size=2),
    query=st.dictionaries(label_text.filter(bool), strings, max_size=2),
)


@st.composite
def documents(draw) -> dict[str, object]:
    endpoints = optional(labels=labels, weight=st.integers(1, 9)).map(
        lambda rest: {"address": "127.0.0.1:80", **rest}
    )
    services = [
        {
            "name": name,
            **draw(
                optional(
                    balance=st.one_of(
                        st.sampled_from(["random", "round_robin", "least_request"]),
                        st.builds(lambda key: {"hash": key}, keys),
                    ),
                    endpoints=st.lists(endpoints, max_size=2),
                    subsets=st.dictionaries(label_text.filter(bool), labels, max_size=2),
                )
            ),
        }
        for name in ("a", "b.example", "c")
    ]
    routes = [
        {
            "name": name,
            "to": draw(st.lists(st.builds(lambda s: {"service": s}, service_names), min_size=1)),
            "match": draw(st.lists(blocks, max_size=2)),
            "mirrors": [
                {"name": f"m{at}", **mirror}
                for at, mirror in enumerate(draw(st.lists(mirrors, max_size=2)))
            ],
            **draw(optional(timeout=durations, hosts=st.sampled_from([["*"], ["a", "*.b"]]))),
        }
        for name in draw(st.lists(st.sampled_from(["yes", "1e3", "r r", "~"]), unique=True))
    ]
    return {"version": 1, "services": services, "routes": routes}


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), st.sampled_from(FORMS))
def test_what_is_written_is_read_again(document, form):
    rules = msgspec.convert(document, Rules)
    assert validate(rules) == []
    assert decode_rules(encode_rules(rules, form), f"rules{form}") == rules
    assert b"".join(encode_in_steps(rules)) == encode_rules(rules, ".json")


@pytest.mark.parametrize(
    "label",
    ["1e3", "12e05", "1.5e3", "0o17", "7e10", "123e4567", "<<", "a\x85b", "a\u2028b", " ", "a\tb"],
)
def test_yaml_that_is_shown_is_read_as_the_same_text(label):
    document = {**DOCUMENT, "routes": []}
    document["services"] = [
        {"name": "a", "endpoints": [{"address": "a:1", "labels": {label: label}}]}
    ]
    rules = msgspec.convert(document, Rules)
    assert decode_rules(encode_rules(rules, ".yaml"), "r.yaml") == rules


@pytest.mark.parametrize("form", FORMS)
def test_a_fraction_of_large_numbers_is_refused_or_written(form):
    document = json.loads(json.dumps(DOCUMENT))
    (mirror,) = document["routes"][0]["mirrors"]
    mirror["fraction"] = {"numerator": 1, "denominator": 10**30}
    del mirror["percent"]
    try:
        rules = decode_rules(json.dumps(document).encode(), "r.json")
    except RulesError:
        return
    assert decode_rules(encode_rules(rules, form), f"r{form}") == rules


def test_defaults_are_not_written():
    rules = decode_rules(msgspec.msgpack.encode(DOCUMENT), "r")
    assert msgspec.msgpack.decode(encode_rules(rules)) == DOCUMENT
    assert json.loads(encode_rules(rules, ".json")) == DOCUMENT
    assert yaml.safe_load(encode_rules(rules, ".yaml")) == DOCUMENT


@pytest.mark.parametrize("percent", [0.1, 1 / 3, 5e-324, math.nextafter(100, 0), 1e-7])
@pytest.mark.parametrize("form", FORMS)
def test_a_percent_is_read_as_exactly_what_was_written(percent, form):
    document = json.loads(json.dumps(DOCUMENT))
    document["routes"][0]["mirrors"][0]["percent"] = percent
    rules = decode_rules(json.dumps(document).encode(), "r.json")
    again = decode_rules(encode_rules(rules, form), f"r{form}")
    assert again.routes[0].mirrors[0].percent == percent
