"""VirtualService into routes and mirrors, as Istio's own documents say."""

from __future__ import annotations

import pytest
from compiling import HR, ROUTE, VS, WEB, compiled, mirrors, refused, vs


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("mirror: {host: s}", [None]),
        ("mirror: {host: s}\n    mirrorPercentage: {value: 0.001}", [0.001]),
        ("mirror: {host: s}\n    mirrorPercentage: {value: 50}", [50.0]),
        ("mirror: {host: s}\n    mirrorPercent: 30", [30.0]),
        ("mirror: {host: s}\n    mirror_percent: 30", [30.0]),
        # Deprecated, it yields to its successor.
        ("mirror: {host: s}\n    mirrorPercent: 30\n    mirrorPercentage: {value: 40}", [40.0]),
        ("mirror: {host: s}\n    mirrorPercentage: null", [None]),
        ("mirrors: [{destination: {host: s}}]", [None]),
        (
            "mirrors: [{destination: {host: s}, percentage: {value: 5.5}},"
            " {destination: {host: s}, percentage: {value: 100}}]",
            [5.5, None],
        ),
    ],
)
def test_how_much_is_mirrored(fields, expected):
    rules, _ = compiled(VS + ROUTE + f"    {fields}\n")
    assert [mirror.get("percent") for mirror in mirrors(rules)] == expected
    names = [mirror["name"] for mirror in mirrors(rules)]
    assert names == ["s", "s#2"][: len(names)]


MIRROR_MISTAKES = [
    ("mirrorPercentage: {value: 100.5}", "mirrorPercentage.value", "from 0 to 100"),
    ("mirrorPercentage: {value: -1}", "mirrorPercentage.value", "from 0 to 100"),
    ("mirrorPercentage: {value: .nan}", "mirrorPercentage.value", "from 0 to 100"),
    ("mirrorPercentage: {value: '10'}", "mirrorPercentage.value", "from 0 to 100"),
    ("mirrorPercentage: {value: true}", "mirrorPercentage.value", "from 0 to 100"),
    ("mirrorPercentage: 10", "mirrorPercentage", "mapping"),
    ("mirrorPercentage: {percent: 10}", "mirrorPercentage.percent", "not supported"),
    ("mirrorPercent: 101", "mirrorPercent", "from 0 to 100"),
    ("mirrorPercent: 0.5", "mirrorPercent", "whole number"),
    ("mirrors: [{destination: {host: s}}]", "mirrors", "together"),
]


@pytest.mark.parametrize(("field", "path", "words"), MIRROR_MISTAKES)
def test_mirror_mistakes(field, path, words):
    (problem,) = refused(VS + ROUTE + f"    mirror: {{host: s}}\n    {field}\n")
    assert problem.startswith(f"f0.yaml:9: VirtualService/web: spec.http[0].{path}: ")
    assert words in problem


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("mirror: {}", "mirror.host"),
        ("mirror: {subset: v2}", "mirror.host"),
        ("mirrors: [{}]", "mirrors[0].destination"),
        ("mirrors: [{percentage: {value: 1}}]", "mirrors[0].destination"),
    ],
)
def test_a_mirror_without_destination_is_refused(field, path):
    (problem,) = refused(VS + ROUTE + f"    {field}\n")
    assert problem.startswith(f"f0.yaml:8: VirtualService/web: spec.http[0].{path}: is required")


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("mirror: {host: s}\n    mirrorPercentage: {value: 0}", "9: {}.mirrorPercentage: 0"),
        ("mirror: {host: s}\n    mirrorPercentage: {}", "9: {}.mirrorPercentage: 0"),
        ("mirror: {host: s}\n    mirrorPercent: 0", "9: {}.mirrorPercent: 0"),
        ("mirrors: [{destination: {host: s}, percentage: {value: 0}}]",
         "8: {}.mirrors[0].percentage: 0"),
        ("mirrorPercentage: {value: 5}", "8: {}.mirrorPercentage: has no effect"),
        ("mirror: {host: nowhere}", "8: {}.mirror: nothing defines nowhere"),
        ("mirror: {host: web, subset: v9}", "8: {}.mirror: no DestinationRule"),
        ("mirror: {host: web, port: {number: 9}}", "8: {}.mirror: web.default.svc.cluster.local "
         "has no port 9"),
    ],
)  # fmt: skip
def test_what_istio_accepts_in_silence_is_warned_of(field, path):
    other = WEB.replace("name: web", "name: s")
    _, (warning,) = compiled(WEB, VS + ROUTE + f"    {field}\n", other)
    line, _, rest = path.partition(": {}")
    assert warning.startswith(f"f1.yaml:{line}: VirtualService/web: spec.http[0]{rest}"), warning


# -- VirtualService: routes


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([None], [1]),
        ([0], [1]),  # one destination takes all
        ([30, 70], [30, 70]),
        ([None, 70], [0, 70]),  # absent among several: 0
    ],
)
def test_weights(weights, expected):
    items = ", ".join(
        "{destination: {host: web}" + (f", weight: {w}" if w is not None else "") + "}"
        for w in weights
    )
    rules, _ = compiled(VS + f"  - route: [{items}]\n")
    assert [to.get("weight", 1) for to in rules["routes"][0]["to"]] == expected


MATCHES = [
    ("{}", None),
    ("{uri: {prefix: ''}}", None),
    ("{name: x}", None),
    ("{uri: {prefix: /a}}", {"path": {"prefix": "/a"}}),
    ("{uri: {exact: /a}}", {"path": {"exact": "/a"}}),
    ("{uri: {regex: '/a/[0-9]+'}}", {"path": {"regex": "/a/[0-9]+"}}),
    ("{method: {exact: GET}}", {"method": "GET"}),
    ("{method: {regex: GET|PUT}}", {"method": {"regex": "GET|PUT"}}),
    ("{headers: {x-a: {exact: b}}}", {"headers": {"x-a": {"exact": "b"}}}),
    ("{headers: {x-a: {prefix: b}}}", {"headers": {"x-a": {"prefix": "b"}}}),
    ("{headers: {x-a: {}}}", {"headers": {"x-a": {"present": True}}}),
    ("{withoutHeaders: {x-a: {}}}", {"without_headers": {"x-a": {"present": True}}}),
    ("{withoutHeaders: {x-a: {prefix: b}}}", {"without_headers": {"x-a": {"prefix": "b"}}}),
    ("{headers: {x-a: {regex: '*'}}}", {"headers": {"x-a": {"present": True}}}),
    ("{port: 8080, statPrefix: x}", {"port": 8080}),
    ("{queryParams: {q: {exact: ''}}}", {"query": {"q": {"exact": ""}}}),
]


@pytest.mark.parametrize(("match", "expected"), MATCHES)
def test_matches(match, expected):
    rules, warnings = compiled(WEB, VS + ROUTE + f"    match: [{match}]\n")
    assert warnings == []
    assert rules["routes"][0].get("match") == ([expected] if expected else None)


def test_a_rule_that_never_runs_is_warned_of():
    rules = "".join(
        f"  - match: [{match}]\n    route: [{{destination: {{host: web}}}}]\n"
        for match in (
            "{uri: {prefix: /a}}",
            "{uri: {exact: /abc}, method: {exact: GET}}",  # line 9: hidden
            "{uri: {exact: /b}, method: {exact: GET}}",
            "{uri: {exact: /b}}",
            "{uri: {prefix: /}}",
            "{headers: {x: {exact: y}}}",  # line 17: hidden
        )
    )
    _, warnings = compiled(WEB, VS + rules)
    assert [w.partition(" VirtualService")[0] for w in warnings] == ["f1.yaml:9:", "f1.yaml:17:"]


def test_rules_keep_their_order_and_have_their_names():
    rules, _ = compiled(
        WEB,
        VS.replace("name: web", "name: web, namespace: prod").replace("[web]", "[a.example]")
        + "  - match: [{uri: {prefix: /a}}]\n    name: first\n"
        + "    route: [{destination: {host: web}}]\n    timeout: 1m30s\n"
        + ROUTE,
    )
    assert [route["name"] for route in rules["routes"]] == ["prod/web/first", "prod/web/1"]
    assert rules["routes"][0]["timeout"] == 90.0
    # A short name belongs to the rule's namespace.
    assert rules["routes"][1]["to"] == [{"service": "web.prod.svc.cluster.local"}]


def test_several_virtual_services_are_ordered_by_how_specific_their_hosts_are():
    rules, _ = compiled(
        vs("all", "['*']", "a.example"),
        vs("suffix", "['*.example']", "b.example"),
        vs("longer", "['*.x.example', y.x.example]", "c.example"),
        vs("exact", "[z.example]", "d.example"),
    )
    assert [(route["name"], route["hosts"]) for route in rules["routes"] if "hosts" in route] == [
        ("longer", ["y.x.example"]),
        ("exact", ["z.example"]),
        ("longer#2", ["*.x.example"]),
        ("suffix", ["*.example"]),
        ("all", ["*"]),
    ]


def test_two_virtual_services_for_one_host_are_warned_of():
    _, warnings = compiled(WEB, vs("one", "[web]", "web"), vs("two", "[web.default]", "web"))
    assert [warning.rpartition(": ")[0] for warning in warnings] == [
        "f2.yaml:5: VirtualService/two: spec.hosts[0]",
        "f2.yaml:7: VirtualService/two: spec.http[0]: never runs",
    ]
    assert "one" in warnings[0]


UNSUPPORTED = [
    "nonsense: 1",
    "grpc: {}",
]


@pytest.mark.parametrize("field", UNSUPPORTED)
def test_unsupported_fields_are_refused_by_name_and_ignored_when_lenient(field):
    text = VS + ROUTE + f"    {field}\n"
    name = field.partition(":")[0]
    (problem,) = refused(WEB, text)
    assert problem.startswith(f"f1.yaml:8: VirtualService/web: spec.http[0].{name}: ")
    assert "not supported" in problem
    rules, (warning,) = compiled(WEB, text, lenient=True)
    assert warning.startswith(f"f1.yaml:8: VirtualService/web: spec.http[0].{name}: ")
    assert len(rules["routes"]) == 1


@pytest.mark.parametrize(
    "condition", ["{authority: {exact: 'a:81'}}", "{headers: {'@request.auth.claims.x': {}}}"]
)
def test_a_match_does_not_take_more_for_a_condition_that_is_left_out(condition):
    text = VS + "  - match:\n    - " + condition + "\n    " + ROUTE.lstrip().removeprefix("- ")
    assert refused(WEB, text)
    rules, warnings = compiled(WEB, text, lenient=True)
    assert not rules.get("routes")
    assert any("never matches" in warning for warning in warnings)


def test_a_rule_whose_only_action_is_ignored_is_left_out():
    rules, warnings = compiled(
        WEB, VS + "  - redirect: {uri: '%PREFIX()%/a'}\n" + ROUTE, lenient=True
    )
    assert [route["name"] for route in rules["routes"]] == ["web/1"]
    assert any("spec.http[0]: has no destination" in warning for warning in warnings)


VS_MISTAKES = [
    ("  - match: []\n", 7, "http[0].route", "required"),
    ("  - route: []\n", 7, "http[0].route", "list of destinations"),
    ("  - route: [{}]\n", 7, "http[0].route[0].destination", "required"),
    ("  - route: [{destination: {host: ''}}]\n", 7, "http[0].route[0].destination.host", "empty"),
    ("  - route: [{destination: {host: a b}}]\n", 7, "http[0].route[0].destination.host", "host"),
    ("  - route: [{destination: {host: 'a:80'}}]\n",
     7, "http[0].route[0].destination.host", "port"),
    ("  - route: [{destination: {host: a, port: {number: 0}}}]\n",
     7, "http[0].route[0].destination.port.number", "from 1 to 65535"),
    ("  - route: [{destination: {host: a, port: 80}}]\n",
     7, "http[0].route[0].destination.port", "mapping"),
    ("  - route: [{destination: {host: a}, weight: -1}]\n", 7, "http[0].route[0].weight", "from 0"),
    ("  - route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]\n",
     7, "http[0].route", "add up"),
    (ROUTE + "    match: {uri: {prefix: /}}\n", 8, "http[0].match", "list"),
    (ROUTE + "    match: [{uri: {prefix: a}}]\n",
     8, "http[0].match[0].uri.prefix", "begins with /"),
    (ROUTE + "    match: [{uri: {exact: ''}}]\n",
     8, "http[0].match[0].uri.exact", "begins with /"),
    (ROUTE + "    match: [{uri: {regex: '('}}]\n", 8, "http[0].match[0].uri.regex", "regular"),
    (ROUTE + "    match: [{uri: {regex: 'a(?=b)'}}]\n", 8, "http[0].match[0].uri.regex", "RE2"),
    (ROUTE + "    match: [{uri: {exact: /, prefix: /}}]\n", 8, "http[0].match[0].uri", "one of"),
    (ROUTE + "    match: [{headers: {'a b': {}}}]\n", 8, 'http[0].match[0].headers', "header"),
    (ROUTE + "    match: [{headers: {a: {exact: 1}}}]\n",
     8, "http[0].match[0].headers.a.exact", "string"),
    (ROUTE + "    match: [{method: {exact: 'G T'}}]\n",
     8, "http[0].match[0].method.exact", "method"),
    (ROUTE + "    match: [{port: 0}]\n", 8, "http[0].match[0].port", "from 1 to 65535"),
    (ROUTE + "    timeout: 5\n", 8, "http[0].timeout", "duration"),
    (ROUTE + "    timeout: soon\n", 8, "http[0].timeout", "duration"),
    (ROUTE + "    name: [x]\n" + ROUTE, 8, "http[0].name", "name"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "line", "path", "words"), VS_MISTAKES)
def test_virtual_service_mistakes(rules, line, path, words):
    (problem,) = refused(VS + rules)
    assert problem.startswith(f"f0.yaml:{line}: VirtualService/web: spec.{path}"), problem
    assert words in problem


@pytest.mark.parametrize("host", ["a b", "'a:80'", "a.*", "'*a.example'", "-a"])
def test_hosts_that_are_none(host):
    (problem,) = refused(VS.replace("[web]", f"[{host}]") + ROUTE)
    assert problem.startswith("f0.yaml:5: VirtualService/web: spec.hosts[0]: expected a host name")


def test_every_mistake_of_every_file_is_reported():
    problems = refused(
        VS + ROUTE + "    tcp: {}\n    nonsense: {}\n",
        "kind: Nonsense\napiVersion: v1\nmetadata: {name: x}\n",
        "a: [",
        HR + "  - backendRefs: [{name: a, port: 0}]\n",
    )
    assert sorted(problem.partition(".yaml:")[0] for problem in problems) == [
        "f0", "f0", "f1", "f2", "f3",
    ]  # fmt: skip
