"""HTTPRoute into routes and mirrors, as the Gateway API's own documents say."""

from __future__ import annotations

import itertools

import pytest
from compiling import BACKEND, GRANT, HR, WEB, compiled, mirrors, refused
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", {}),
        (", percent: 100", {}),
        (", percent: 0", {"percent": 0}),
        (", percent: 42", {"percent": 42}),
        (", fraction: {numerator: 1, denominator: 3}",
         {"fraction": {"numerator": 1, "denominator": 3}}),
        (", fraction: {numerator: 5}", {"fraction": {"numerator": 5}}),  # of 100
    ],
)  # fmt: skip
def test_request_mirror(fields, expected):
    mirror = (
        f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: s, port: 80}}{fields}}}}}"
    )
    rules, _ = compiled(HR + BACKEND + f"    filters: [{mirror}, {mirror}]\n")
    base = {"service": "s.default.svc.cluster.local"}
    assert mirrors(rules) == [
        base | {"name": "s"} | expected,
        base | {"name": "s#2"} | expected,
    ]


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ("percent: 101", "percent", "from 0 to 100"),
        ("percent: 0.5", "percent", "whole number"),
        ("percent: 1, fraction: {numerator: 1}", "fraction", "together"),
        ("fraction: {}", "fraction.numerator", "required"),
        ("fraction: {numerator: 101}", "fraction.numerator", "from 0 to 100"),
        ("fraction: {numerator: 1, denominator: 0}", "fraction.denominator", "from 1"),
    ],
)
def test_request_mirror_mistakes(fields, path, words):
    mirror = f"{{backendRef: {{name: s, port: 80}}, {fields}}}"
    (problem, *_) = refused(
        HR + BACKEND + f"    filters: [{{type: RequestMirror, requestMirror: {mirror}}}]\n"
    )
    start = "f0.yaml:8: HTTPRoute/web: spec.rules[0].filters[0].requestMirror"
    assert problem.startswith(f"{start}.{path}: "), problem
    assert words in problem


BAD_BACKENDS = [
    ("{name: s}", "needs a port"),
    ("{name: s, port: 80, kind: Bucket, group: storage}", "is not a Service"),
    ("{name: s, port: 80, namespace: prod}", "ReferenceGrant"),
    ("{name: web, port: 81}", "has no port 81"),
]


@pytest.mark.parametrize(("backend", "words"), BAD_BACKENDS)
def test_a_bad_backend_drops_its_mirror_and_answers_500_as_primary(backend, words):
    bad = f"    filters: [{{type: RequestMirror, requestMirror: {{backendRef: {backend}}}}}]\n"
    rules, (warning,) = compiled(WEB, HR + BACKEND + bad)
    assert warning.startswith(
        "f1.yaml:8: HTTPRoute/web: spec.rules[0].filters[0].requestMirror.backendRef: invalid "
    )
    assert words in warning
    assert rules["routes"] == [
        {"name": "web", "to": [{"service": "web.default.svc.cluster.local"}], "hosts": ["*"]}
    ]
    rules, (warning,) = compiled(WEB, HR + f"  - backendRefs: [{backend}]\n")
    assert warning.startswith("f1.yaml:7: HTTPRoute/web: spec.rules[0].backendRefs[0]: invalid ")
    assert words in warning
    assert warning.endswith("answered with 500")
    assert rules["routes"][0]["to"] == [{"status": 500}]


@pytest.mark.parametrize(
    "to", ['{group: "", kind: Service}', '{group: "", kind: Service, name: s}']
)
def test_a_reference_grant_allows_another_namespace(to):
    text = HR + "  - backendRefs: [{name: s, namespace: prod, port: 80}]\n"
    rules, _ = compiled(text, GRANT.replace('{group: "", kind: Service}', to))
    assert rules["routes"][0]["to"] == [{"service": "s.prod.svc.cluster.local"}]
    rules, _ = compiled(
        text, GRANT.replace('{group: "", kind: Service}', '{group: "", kind: Service, name: t}')
    )
    assert rules["routes"][0]["to"] == [{"status": 500}]


ROUTE_MISTAKES = [
    (BACKEND + "    matches: [{path: {value: a}}]\n",
     "8: HTTPRoute/web: spec.rules[0].matches[0].path.value: expected a path"),
    (BACKEND + "    matches: [{path: {type: Prefix, value: /a}}]\n",
     "8: HTTPRoute/web: spec.rules[0].matches[0].path.type: expected Exact"),
    (BACKEND + "    matches: [{path: {type: RegularExpression, value: '('}}]\n",
     "8: HTTPRoute/web: spec.rules[0].matches[0].path.value: "),
    (BACKEND + "    matches: [{method: get}]\n",
     "8: HTTPRoute/web: spec.rules[0].matches[0].method: expected one of GET"),
    (BACKEND + "    matches: [{headers: [{name: a}]}]\n",
     "8: HTTPRoute/web: spec.rules[0].matches[0].headers[0].value: is required"),
    (BACKEND + "    sessionPersistence: {}\n",
     "8: HTTPRoute/web: spec.rules[0].sessionPersistence: "),
    (BACKEND + "    timeouts: {request: 1s, backendRequest: 1s1ms}\n",
     "8: HTTPRoute/web: spec.rules[0].timeouts.backendRequest: is longer than request"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "start"), ROUTE_MISTAKES)
def test_http_route_mistakes(rules, start):
    (problem,) = refused(HR + rules)
    assert problem.startswith(f"f0.yaml:{start}"), problem


def http_route(name, target, hostnames="", created="", matches="[]"):
    text = HR.replace(
        "name: web", f"name: {name}" + (f", creationTimestamp: {created}" * bool(created))
    )
    if hostnames:
        text = text.replace("spec:\n", f"spec:\n  hostnames: {hostnames}\n")
    return text + f"  - backendRefs: [{{name: {target}, port: 80}}]\n    matches: {matches}\n"


def order(rules):
    return [route["name"] for route in rules["routes"]]


def test_precedence_goes_by_the_hostname_first():
    rules, _ = compiled(
        http_route("any", "a", matches="[{path: {type: Exact, value: /long/path}}]"),
        http_route("short", "b", "['*.example']"),
        http_route("long", "c", "['*.longer.example']"),
        http_route("exact", "d", "[x.example]"),
    )
    assert order(rules) == ["exact", "long", "short", "any"]


def test_precedence_goes_by_the_match_then_and_not_by_the_file():
    matches = [  # the last first
        "{}",
        "{path: {value: /a}}",
        "{path: {value: /abc}}",
        "{path: {value: /abc}, queryParams: [{name: q, value: x}]}",
        "{path: {value: /abc}, headers: [{name: h, value: x}]}",
        "{path: {value: /abc}, headers: [{name: h, value: x}], queryParams: [{name: q, value: x}]}",
        "{path: {value: /abc}, headers: [{name: h, value: x}, {name: i, value: x}]}",
        "{path: {value: /abc}, method: GET}",
        "{path: {type: Exact, value: /}}",
    ]
    for shuffled in (matches, matches[::-1], matches[4:] + matches[:4]):
        rules, _ = compiled(
            *(http_route(f"r{matches.index(m)}", "a", matches=f"[{m}]") for m in shuffled)
        )
        assert order(rules) == [f"r{index}" for index in reversed(range(len(matches)))]


def test_ties_go_to_the_oldest_route_then_to_the_name_then_to_the_first_rule():
    rules, _ = compiled(
        http_route("b", "x"),
        http_route("a", "x"),
        http_route("young", "x", created="2024-02-01T00:00:00Z"),
        http_route("old", "x", created="2023-01-01T00:00:00Z")
        + "  - backendRefs: [{name: y, port: 80}]\n",
    )
    assert order(rules) == ["old/0", "old/1", "young", "a", "b"]


def test_the_matches_of_a_rule_stay_one_route_where_nothing_comes_between():
    rules, _ = compiled(
        http_route("a", "x", matches="[{path: {value: /a/}}, {path: {value: /b}}]"),
        http_route("b", "y", matches="[{path: {value: /long}}, {path: {value: /}}]"),
    )
    assert [(route["name"], route.get("match")) for route in rules["routes"]] == [
        ("b", [{"path": {"path_separated_prefix": "/long"}}]),
        (
            "a",
            [{"path": {"path_separated_prefix": "/a"}}, {"path": {"path_separated_prefix": "/b"}}],
        ),
        ("b#2", None),
    ]


def test_of_two_matches_for_one_header_the_first_counts():
    matches = "[{headers: [{name: A, value: x}, {name: a, value: y}]}]"
    rules, warnings = compiled(WEB, http_route("r", "web", matches=matches))
    assert rules["routes"][0]["match"] == [{"headers": {"a": {"exact": "x"}}}]
    assert "matches[0].headers[1]: " in warnings[0]


def holds(match, path, method):
    """The Gateway API's matching, for the oracle below."""
    rule = match.get("path", {})
    if "exact" in rule and path != rule["exact"]:
        return False
    prefix = rule.get("path_separated_prefix", "")
    return (path == prefix or path.startswith(prefix + "/")) and match.get(
        "method", method
    ) == method


PATHS = ["/", "/a", "/a/b", "/ab", "/a/b/c"]
MATCH = st.tuples(
    st.sampled_from(["Exact", "PathPrefix"]), st.sampled_from(PATHS), st.sampled_from([None, "GET"])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(MATCH, min_size=1, max_size=5))
def test_the_first_route_that_matches_is_the_one_that_the_api_chooses(matches):
    rules, _ = compiled(
        WEB,
        *(
            http_route(
                f"r{number}", "web",
                matches=f"[{{path: {{type: {kind}, value: {value}}}"
                + (f", method: {method}" if method else "") + "}]",
            )
            for number, (kind, value, method) in enumerate(matches)
        ),
    )  # fmt: skip
    for path, method in itertools.product([*PATHS, "/abc"], ["GET", "PUT"]):
        candidates = []
        for number, (kind, value, wanted) in enumerate(matches):
            prefix = value.rstrip("/")
            hit = path == value if kind == "Exact" else f"{path}/".startswith(f"{prefix}/")
            if hit and wanted in (None, method):
                length = 0 if kind == "Exact" else -len(prefix)
                candidates.append((kind != "Exact", length, wanted is None, number))
        expected = f"r{min(candidates)[3]}" if candidates else None
        found = (
            route["name"]
            for route in rules["routes"]
            if not route.get("match") or any(holds(m, path, method) for m in route["match"])
        )
        assert next(found, None) == expected


def test_an_http_route_without_parent_and_one_of_another_kind():
    _, warnings = compiled(WEB, HR.replace("  parentRefs: [{name: gateway}]\n", "") + BACKEND)
    assert [w.partition(": no parent")[0] for w in warnings] == [
        "f1.yaml:4: HTTPRoute/web: spec.parentRefs"
    ]
    (problem,) = refused(HR.replace("{name: gateway}", "{kind: Mesh, name: x}") + BACKEND)
    assert problem.startswith("f0.yaml:5: HTTPRoute/web: spec.parentRefs[0]: a parent of kind Mesh")
