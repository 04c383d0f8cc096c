"""Each mistake that a document can hold: the path of its field, and what was expected."""

from __future__ import annotations

import math

import msgspec
import pytest

from fastmirror.rules.load import RulesError, decode_rules
from fastmirror.rules.validate import mirror_name, validate

from .building import problems, rules

SERVICES = [
    {"name": "a", "hosts": ["a"], "subsets": {"v1": {"version": "v1"}}},
    {"name": "b", "hosts": ["b", "b.example"]},
]
TO = [{"service": "a"}]


def service(**fields):
    return {"version": 1, "services": [*SERVICES, {"name": "c", **fields}]}


def route(**fields):
    return {"version": 1, "services": SERVICES, "routes": [{"name": "r", "to": TO, **fields}]}


def match(**fields):
    return route(match=[{}, fields])


def mirror(**fields):
    return route(mirrors=[{"service": "b", "name": "first"}, {"service": "a", **fields}])


M = "routes[0].mirrors[1]"
B = "routes[0].match[1]"

CASES = [
    # The document.
    ([], "", "expected a rules document, got list"),
    (None, "", "expected a rules document, got NoneType"),
    ({}, "version", "expected 1, got none"),
    ({"version": 2}, "version", "expected 1, got 2"),
    ({"version": "1"}, "version", 'expected 1, got "1"'),
    ({"version": True}, "version", "expected 1, got true"),
    ({"version": 1, "route": []}, "route", "there is no such field"),
    ({"version": 1, "services": {}}, "services", "expected array"),
    ({"version": 1, "routes": None}, "routes", "expected array"),
    ({"version": 1, "services": [1]}, "services[0]", "expected object"),
    # Services.
    ({"version": 1, "services": [{}]}, "services[0].name", "expected, and is not there"),
    (service(name=""), "services[2].name", "length >= 1"),
    (service(name="c" * 254), "services[2].name", "length <= 253"),
    (service(name=5), "services[2].name", "a string"),
    (service(name="a", hosts=[]), "services[2].name", 'a name of its own, "a" is taken'),
    (service(name="c d"), "services[2].name", "(or give hosts)"),
    (service(name="\tc", hosts=["c"]), "services[2].name", "expected printable ASCII"),
    (service(name="é", hosts=["c"]), "services[2].name", "expected printable ASCII"),
    (service(host=["c"]), "services[2].host", "there is no such field"),
    (service(hosts="c"), "services[2].hosts", "expected array"),
    (service(hosts=["c", "x:80"]), "services[2].hosts[1]", 'got "x:80"'),
    (service(hosts=["c", "x y"]), "services[2].hosts[1]", "expected a host name"),
    (service(hosts=["*"]), "services[2].hosts[0]", '"*" is for routes'),
    (service(hosts=["*x"]), "services[2].hosts[0]", "expected a host name"),
    (service(hosts=["-x"]), "services[2].hosts[0]", "expected a host name"),
    (service(hosts=["c", "B"]), "services[2].hosts[1]", 'already a host of service "b"'),
    (service(hosts=["b.example."]), "services[2].hosts[0]", 'already a host of service "b"'),
    (service(balance="rr"), "services[2].balance", "'rr'"),
    (service(balance={"hash": {}}), "services[2].balance.hash", "expected one of header, cookie"),
    (
        service(balance={"hash": {"header": "a", "cookie": "b"}}),
        "services[2].balance.hash",
        "expected one of header, cookie",
    ),
    (
        service(balance={"hash": {"header": "a b"}}),
        "services[2].balance.hash.header",
        "expected a header name",
    ),
    (service(endpoints=[{}]), "services[2].endpoints[0].address", "expected, and is not there"),
    (service(endpoints=[{"address": "x"}]), "services[2].endpoints[0].address", "HOST:PORT"),
    (service(endpoints=[{"address": ":80"}]), "services[2].endpoints[0].address", "HOST:PORT"),
    (service(endpoints=[{"address": "x:0"}]), "services[2].endpoints[0].address", "1 to 65535"),
    (
        service(endpoints=[{"address": "x:80", "weight": 0}]),
        "services[2].endpoints[0].weight",
        ">= 1",
    ),
    (
        service(endpoints=[{"address": "x:80", "labels": {"version": 1}}]),
        "services[2].endpoints[0].labels.version",
        "a string",
    ),
    (service(subsets={"v1": {"version": 2}}), "services[2].subsets.v1.version", "a string"),
    # Routes.
    ({"version": 1, "routes": [{"name": "r"}]}, "routes[0].to", "got none"),
    ({"version": 1, "routes": [{"to": TO}]}, "routes[0].name", "expected, and is not there"),
    (route(name=""), "routes[0].name", "length >= 1"),
    (route(name="a\nb"), "routes[0].name", "expected printable ASCII"),
    (route(name=" r"), "routes[0].name", "expected printable ASCII"),
    (route(hosts=[]), "routes[0].hosts", "at least one host"),
    (route(hosts=["a", "http://a"]), "routes[0].hosts[1]", "expected a host name"),
    (route(hosts=["a.*"]), "routes[0].hosts[0]", "expected a host name"),
    (route(hosts=["*."]), "routes[0].hosts[0]", "expected a host name"),
    (route(hosts=["[::1]:80"]), "routes[0].hosts[0]", "without a port"),
    (route(to=[]), "routes[0].to", "expected one of to, redirect, direct_response, got none"),
    (route(redirect={}), "routes[0].to", "got redirect and to"),
    (route(direct_response={"status": 200}), "routes[0].to", "got direct_response and to"),
    (route(to=[{"weight": 1}]), "routes[0].to[0].service", "a service, or a status"),
    (route(to=[{"service": "a", "status": 500}]), "routes[0].to[0].service", "a status instead"),
    (route(to=[{"status": 600}]), "routes[0].to[0].status", "<= 599"),
    (route(rewrite={"path": "/a", "prefix": "/b"}), "routes[0].rewrite.prefix", "got both"),
    (route(rewrite={"path": "a"}), "routes[0].rewrite.path", 'a path from "/"'),
    (route(rewrite={"path": "/a b"}), "routes[0].rewrite.path", "printable ASCII"),
    (route(rewrite={"path": "/a?b"}), "routes[0].rewrite.path", "printable ASCII"),
    (route(rewrite={"host": "a b"}), "routes[0].rewrite.host", "host"),
    (
        route(rewrite={"path": "/a", "regex": {"match": "a", "substitution": "b"}}),
        "routes[0].rewrite.regex",
        "one of path, prefix, regex",
    ),
    (
        route(rewrite={"regex": {"match": "(a", "substitution": "b"}}),
        "routes[0].rewrite.regex.match",
        "not a regular expression",
    ),
    (
        route(rewrite={"regex": {"match": "(a)", "substitution": r"\2"}}),
        "routes[0].rewrite.regex.substitution",
        "behind a backslash",
    ),
    *(
        (
            route(rewrite={"regex": {"match": "a", "substitution": text}}),
            "routes[0].rewrite.regex.substitution",
            "printable ASCII",
        )
        for text in ("b HTTP/1.1\r\nx: y", "b c", "b?c", "b#c", "b\0", "\u00e9")
    ),
    (
        route(headers={"request": {"set": {"content-length": "1"}}}),
        "routes[0].headers.request.set.content-length",
        "a field that rules may change",
    ),
    (
        route(headers={"response": {"add": {"x": "a\r\nb"}}}),
        "routes[0].headers.response.add.x",
        "without control characters",
    ),
    (
        route(headers={"request": {"remove": ["Host"]}}),
        "routes[0].headers.request.remove[0]",
        "no Host",
    ),
    (
        route(headers={"request": {"add": {"host": "b"}}}),
        "routes[0].headers.request.add.host",
        "expected set",
    ),
    (
        route(to=[{"service": "a", "headers": {"request": {"set": {"a b": "c"}}}}]),
        "routes[0].to[0].headers.request.set.a b",
        "a header name",
    ),
    (route(to=[{"service": "x"}]), "routes[0].to[0].service", 'no service "x" (there are: a, b)'),
    (
        route(to=[{"service": "a", "subset": "v2"}]),
        "routes[0].to[0].subset",
        'service "a" has no subset "v2" (it has: v1)',
    ),
    (route(to=[{"service": "a", "weight": -1}]), "routes[0].to[0].weight", ">= 0"),
    (route(to=[{"service": "a", "weight": 1.5}]), "routes[0].to[0].weight", "a whole number"),
    (route(to=[{"service": "a", "weight": 0}]), "routes[0].to", "do not add up to 0"),
    (route(timeout="soon"), "routes[0].timeout", "'soon'"),
    (route(timeout="5 s"), "routes[0].timeout", "'5 s'"),
    (route(timeout="-1s"), "routes[0].timeout", "'-1s'"),
    (route(timeout=-1), "routes[0].timeout", "-1"),
    (route(timeout=math.nan), "routes[0].timeout", "nan"),
    (route(timeout=math.inf), "routes[0].timeout", "inf"),
    (route(timeout="nan"), "routes[0].timeout", "'nan'"),
    (route(timeout=[]), "routes[0].timeout", "got array"),
    # Matches.
    (match(path="/a"), f"{B}.path", "expected object"),
    (match(path={}), f"{B}.path", "exactly one of exact, prefix, regex, path_separated_prefix"),
    (match(path={"exact": "/", "prefix": "/"}), f"{B}.path", "got 2"),
    (match(path={"suffix": "/"}), f"{B}.path.suffix", "there is no such field"),
    (match(path={"exact": "a"}), f"{B}.path.exact", 'expected a path from "/"'),
    (match(path={"prefix": "a/"}), f"{B}.path.prefix", 'expected a path from "/"'),
    (match(path={"path_separated_prefix": "a"}), f"{B}.path.path_separated_prefix", "a path from"),
    (match(path={"regex": "("}), f"{B}.path.regex", "not a regular expression"),
    (match(path={"regex": "a++"}), f"{B}.path.regex", "a repeat of a repeat"),
    (match(path={"present": True}), f"{B}.path.present", "there is no such field"),
    (match(method=""), f"{B}.method", "expected a method"),
    (match(method="GET POST"), f"{B}.method", "expected a method"),
    (match(method={}), f"{B}.method", "exactly one of exact, prefix, regex"),
    (match(method=["GET"]), f"{B}.method", "got array"),
    (match(headers={"": {"exact": "x"}}), f"{B}.headers", "length >= 1"),
    (match(headers={"x y": {"exact": "x"}}), f"{B}.headers", "expected a header name"),
    (match(headers={"x:": {"exact": "x"}}), f"{B}.headers", "expected a header name"),
    (match(headers={"x": {}}), f"{B}.headers.x", "exactly one of exact, prefix, regex, present"),
    (match(headers={"x": "y"}), f"{B}.headers.x", "expected object"),
    (match(headers={"ok": {"exact": ""}, "x": {"exact": 1}}), f"{B}.headers.x.exact", "a string"),
    (match(headers={"x": {"present": True, "exact": "a"}}), f"{B}.headers.x", "got 2"),
    (match(headers={"x": {"regex": "["}}), f"{B}.headers.x.regex", "not a regular expression"),
    (match(query={"q": {}}), f"{B}.query.q", "exactly one of exact, prefix, regex"),
    (match(query={"q": {"present": True}}), f"{B}.query.q.present", "there is no such field"),
    # Mirrors.
    (mirror(service="x"), f"{M}.service", 'no service "x"'),
    (mirror(subset="v2"), f"{M}.subset", 'no subset "v2"'),
    (mirror(name="first"), f"{M}.name", '"first" is taken in this route'),
    (mirror(name="é"), f"{M}.name", "expected printable ASCII"),
    (mirror(name="a\r\nx: y"), f"{M}.name", "expected printable ASCII"),
    (mirror(percent=101), f"{M}.percent", "<= 100"),
    (mirror(percent=100.00000001), f"{M}.percent", "<= 100"),
    (mirror(percent=-1), f"{M}.percent", ">= 0"),
    (mirror(percent=math.nan), f"{M}.percent", "a number"),
    (mirror(percent=math.inf), f"{M}.percent", "<= 100"),
    (mirror(percent="10"), f"{M}.percent", "a number"),
    (mirror(percent=True), f"{M}.percent", "a number"),
    (
        mirror(percent=5, fraction={"numerator": 5}),
        f"{M}.fraction",
        "percent or fraction, got both",
    ),
    (mirror(fraction={}), f"{M}.fraction.numerator", "expected, and is not there"),
    (mirror(fraction={"numerator": -1}), f"{M}.fraction.numerator", ">= 0"),
    (mirror(fraction={"numerator": 0.5}), f"{M}.fraction.numerator", "a whole number"),
    (mirror(fraction={"numerator": 101}), f"{M}.fraction.numerator", "no more than"),
    (
        mirror(fraction={"numerator": 1, "denominator": 0}),
        f"{M}.fraction.denominator",
        ">= 1",
    ),
    (mirror(sample_by="user"), f"{M}.sample_by", "'user'"),
    (mirror(sample_by={}), f"{M}.sample_by", "expected one of header, cookie, query"),
    (mirror(sample_by={"header": "a", "path": True}), f"{M}.sample_by", "expected one of header"),
    (mirror(sample_by={"header": "a:"}), f"{M}.sample_by.header", "expected a header name"),
    (mirror(sample_by={"headers": "a"}), f"{M}.sample_by.headers", "there is no such field"),
    (mirror(missing="never"), f"{M}.missing", "'never'"),
    (mirror(host="same"), f"{M}.host", "'same'"),
    (mirror(host={}), f"{M}.host", "expected one of suffix, literal"),
    (mirror(host={"suffix": "-s", "literal": "x"}), f"{M}.host", "expected one of suffix, literal"),
    (mirror(host={"suffix": "-"}), f"{M}.host.suffix", "expected a host name"),
    (mirror(host={"suffix": ":80"}), f"{M}.host.suffix", "expected a host name"),
    (mirror(host={"suffix": " x"}), f"{M}.host.suffix", "expected a host name"),
    (mirror(host={"suffix": "\r\nx: y"}), f"{M}.host.suffix", "expected a host name"),
    (mirror(host={"literal": "x y"}), f"{M}.host.literal", "expected a host name"),
    (mirror(host={"literal": "x\r\ny: z"}), f"{M}.host.literal", "expected a host name"),
    (mirror(host={"literal": "x:80\n"}), f"{M}.host.literal", "expected a host name"),
    (mirror(host={"literal": "*"}), f"{M}.host.literal", "expected"),
    (mirror(host={"literal": "*.x"}), f"{M}.host.literal", "expected"),
    (mirror(host={"literal": "x:99999"}), f"{M}.host.literal", "expected"),
    (mirror(host={"literal": "fe80::a"}), f"{M}.host.literal", "expected"),
    (mirror(methods=["GET", ""]), f"{M}.methods[1]", "length >= 1"),
    (mirror(methods=["GET", "A B"]), f"{M}.methods[1]", "expected a method"),
    (mirror(rate=0), f"{M}.rate", "> 0"),
    (mirror(rate=-5), f"{M}.rate", "> 0"),
    (mirror(rate=math.nan), f"{M}.rate", "a number"),
    (mirror(max_body="1.5MiB"), f"{M}.max_body", "'1.5MiB'"),
    (mirror(max_body=-1), f"{M}.max_body", "-1"),
    (mirror(max_body=1.5), f"{M}.max_body", "a whole number | a string"),
    (mirror(max_queued_bytes="lots"), f"{M}.max_queued_bytes", "'lots'"),
    (mirror(max_copy_bytes="1 TiB"), f"{M}.max_copy_bytes", "'1 TiB'"),
    (mirror(max_response="2000000GiB"), f"{M}.max_response", "0 to 1 PiB"),
    (mirror(max_in_flight=0), f"{M}.max_in_flight", ">= 1"),
    (mirror(max_queued=-1), f"{M}.max_queued", ">= 0"),
    (mirror(connect_timeout=0), f"{M}.connect_timeout", "above 0"),
    (mirror(response_timeout="0ms"), f"{M}.response_timeout", "above 0"),
    (mirror(response_timeout="1d"), f"{M}.response_timeout", "'1d'"),
    (mirror(breaker={"open_time": 0}), f"{M}.breaker.open_time", "above 0"),
    (mirror(breaker={"open_time": "x"}), f"{M}.breaker.open_time", "'x'"),
    (mirror(breaker={"consecutive_failures": -1}), f"{M}.breaker.consecutive_failures", ">= 0"),
]


@pytest.mark.parametrize(
    ("document", "path", "text"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_mistake_is_found_and_named(document, path, text):
    found = problems(document)
    assert path in [where for where, _ in found], found
    assert any(where == path and text in what for where, what in found), found


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 10**30, -(10**30), 10**400])
@pytest.mark.parametrize("field", ["max_response", "max_in_flight", "percent"])
def test_an_enormous_number_is_refused(field, number):
    document = msgspec.json.encode(mirror(**{field: 7777777})).replace(b"7777777", b"%d" % number)
    with pytest.raises(RulesError) as caught:
        decode_rules(document, "rules.json")
    assert caught.value.problems[0].path == f"{M}.{field}"


def test_the_name_of_a_mirror():
    found = rules(
        {
            "services": SERVICES,
            "routes": [
                {
                    "name": "r",
                    "to": TO,
                    "mirrors": [
                        {"service": "a"},
                        {"service": "a", "subset": "v1"},
                        {"service": "a", "name": "mine"},
                    ],
                }
            ],
        }
    )
    names = [mirror_name(each) for each in found.routes[0].mirrors]
    assert names == ["a", "a/v1", "mine"]


@pytest.mark.parametrize(
    "other", [{"service": "a", "subset": "v1"}, {"service": "b", "name": "a/v1"}]
)
def test_a_default_name_that_is_taken(other):
    first = {"service": "a", "subset": "v1"}
    (found,) = problems(route(mirrors=[first, other]))
    assert found == (M + ".name", 'expected a name of its own, "a/v1" is taken in this route')


def test_two_routes_may_have_mirrors_of_one_name():
    document = route(mirrors=[{"service": "a"}])
    document["routes"] = [*document["routes"], {**document["routes"][0], "name": "other"}]
    decode_rules(msgspec.msgpack.encode(document), "rules.msgpack")


def test_two_routes_of_one_name():
    document = route()
    document["routes"] = document["routes"] * 2
    assert problems(document) == [("routes[1].name", 'expected a name of its own, "r" is taken')]


def test_all_mistakes_are_found_at_once():
    document = route(
        hosts=["a b"],
        timeout="x",
        to=[{"service": "x"}],
        mirrors=[{"service": "y", "percent": 5, "fraction": {"numerator": 1}}],
    )
    assert [path for path, _ in problems(document)] == [
        "routes[0].hosts[0]",
        "routes[0].to[0].service",
        "routes[0].timeout",
        "routes[0].mirrors[0].service",
        "routes[0].mirrors[0].fraction",
    ]


def test_nothing_is_wrong_with_little():
    assert validate(rules({})) == []
    assert validate(rules({"services": SERVICES, "routes": [{"name": "r", "to": TO}]})) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"percent": 0},
        {"percent": 100},
        {"percent": 1e-300},
        {"fraction": {"numerator": 0}},
        {"fraction": {"numerator": 7, "denominator": 7}},
        {"sample_by": "request_id"},
        {"sample_by": {"cookie": "user"}},
        {"sample_by": {"source_ip": True}},
        {"host": "keep"},
        {"host": "target"},
        {"host": {"suffix": ""}},
        {"host": {"suffix": ".shadow.example"}},
        {"host": {"literal": "x:8080"}},
        {"host": {"literal": "[::1]"}},
        {"host": {"literal": "[::1]:80"}},
        {"host": {"literal": "10.0.0.1:80"}},
        {"methods": []},
        {"methods": ["GET", "QUERY"]},
        {"max_body": 0},
        {"max_body": "64 MiB"},
        {"max_queued": 0},
        {"breaker": {"consecutive_failures": 0}},
        {"connect_timeout": "250ms", "response_timeout": "1m30s"},
    ],
    ids=str,
)
def test_a_mirror_may_say(fields):
    decode_rules(msgspec.msgpack.encode(mirror(**fields)), "rules.msgpack")
