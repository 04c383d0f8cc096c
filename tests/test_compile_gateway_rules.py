"""HTTPRoute's rules: timeouts and retries, filters of a single backend, what never runs, and the
services that backends name.
"""

from __future__ import annotations

import pytest
from compiling import BACKEND, HR, SLICE, WEB, answers, compiled, refused

OTHER = WEB.replace("web", "other")
SHADOW = WEB.replace("web", "shadow")
FULL = "web.default.svc.cluster.local"
HOSTS = {name: f"{name}.default.svc.cluster.local" for name in ("web", "other", "shadow")}


def first(text, **options):
    rules, warnings = compiled(WEB, OTHER, SHADOW, HR + text, **options)
    assert not warnings, warnings
    return rules["routes"][0]


# -- timeouts and retries

DEFAULT = ["connect-failure"]


@pytest.mark.parametrize(
    ("fields", "timeout", "retries"),
    [
        ("timeouts: {}", None, None),
        ("timeouts: {request: 10s}", 10.0, None),
        ("timeouts: {request: 1h30m10s500ms}", 5410.5, None),
        ("timeouts: {request: 0s}", None, None),
        ("timeouts: {request: 0h0m0s}", None, None),
        ("timeouts: {backendRequest: 500ms}", None, {"per_try_timeout": 0.5}),
        ("timeouts: {request: 1s, backendRequest: 1s}", 1.0, {"per_try_timeout": 1.0}),
        ("timeouts: {request: 0s, backendRequest: 1h}", None, {"per_try_timeout": 3600.0}),
        ("timeouts: {request: 1s, backendRequest: 0s}", 1.0, None),
        ("retry: {}", None, {"retry_on": ["reset"]}),
        ("retry: {attempts: 0}", None, {"attempts": 0, "retry_on": ["reset"]}),
        ("retry: {codes: [503, 500, 503], attempts: 3, backoff: 100ms}", None,
         {"attempts": 3, "retry_on": ["reset", 503, 500], "backoff": 0.1}),
        ("retry: {codes: [502], backoff: 0s}\n    timeouts: {backendRequest: 2s}", None,
         {"per_try_timeout": 2.0, "retry_on": ["reset", 502]}),
    ],
)  # fmt: skip
def test_timeouts_and_retries(fields, timeout, retries):
    found = first(BACKEND + f"    {fields}\n")
    if retries is not None:
        retries = {"retry_on": DEFAULT} | retries
    assert (found.get("timeout"), found.get("retries")) == (timeout, retries)


def test_without_rules_every_request_is_answered_with_500():
    rules, (warning,) = compiled(HR.replace("  rules:\n", ""))
    assert warning == (
        "f0.yaml:4: HTTPRoute/web: spec.rules: no backend: requests are answered with 500"
    )
    assert rules["routes"] == [{"name": "web", "to": [{"status": 500}], "hosts": ["*"]}]
    (problem,) = refused(HR.replace("rules:\n", "rules: []\n"))
    assert problem.startswith("f0.yaml:6: HTTPRoute/web: spec.rules: expected a list of rules")


# -- filters of a single backend


def backends(*filters):
    text = "  - backendRefs:\n"
    for name, each in zip(("web", "other"), filters, strict=False):
        text += f"    - {{name: {name}, port: 80, filters: [{each}]}}\n"
    return text


def mirror(name, more=""):
    return (
        f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}, port: 80}}{more}}}}}"
    )


PREFIX = (
    "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /v}}}"
)


def test_each_backend_rewrites_and_mirrors_its_own_requests():
    rewrite = "{type: URLRewrite, urlRewrite: {hostname: a.test}}"
    found = first(backends(f"{mirror('shadow', ', percent: 5')}, {rewrite}", mirror("shadow")))
    shadow = {"service": HOSTS["shadow"]}
    assert found["to"] == [
        {"service": HOSTS["web"], "rewrite": {"host": "a.test"},
         "mirrors": [shadow | {"name": "shadow", "percent": 5}]},
        {"service": HOSTS["other"], "mirrors": [shadow | {"name": "shadow#2"}]},
    ]  # fmt: skip


def test_names_of_mirrors_are_the_routes_whatever_they_belong_to():
    found = first(backends(mirror("shadow")) + f"    filters: [{mirror('shadow')}]\n")
    names = [found["to"][0]["mirrors"][0]["name"], found["mirrors"][0]["name"]]
    assert sorted(names) == ["shadow", "shadow#2"]


def test_the_shadows_host_is_the_options_for_a_backends_mirror_too():
    found = first(backends(mirror("shadow")), shadow_host="keep")
    assert found["to"][0]["mirrors"][0]["host"] == "keep"


def test_a_prefix_that_a_backend_replaces_is_one_by_elements():
    found = first(backends(PREFIX))
    assert found["match"] == [{"path": {"path_separated_prefix": "/"}}]
    assert found["to"][0]["rewrite"] == {"prefix": "/v"}


@pytest.mark.parametrize("name", ["RequestRedirect", "CORS", "ExtensionRef", "Unknown"])
def test_other_filters_of_a_backend_are_refused_by_name(name):
    text = HR + backends(f"{{type: {name}}}", "")
    (problem,) = refused(WEB, OTHER, text)
    assert problem == (
        f"f2.yaml:8: HTTPRoute/web: spec.rules[0].backendRefs[0].filters[0]: filter {name} is not"
        " supported here (--lenient answers with 500)"
    )
    rules, (warning,) = compiled(WEB, OTHER, text, lenient=True)
    assert "requests are answered with 500" in warning
    assert rules["routes"][0]["to"] == [{"status": 500}, {"service": HOSTS["other"]}]


@pytest.mark.parametrize("name", ["ExtensionRef", "Unknown"])
def test_a_rule_with_an_unknown_filter_is_refused_and_answers_500_if_lenient(name):
    extension = f"{{type: {name}, extensionRef: {{group: x, kind: Auth, name: y}}}}"
    text = HR + BACKEND + f"    filters: [{extension}, {mirror('shadow')}]\n"
    (problem,) = refused(WEB, SHADOW, text)
    assert problem.startswith(f"f2.yaml:8: HTTPRoute/web: spec.rules[0].filters[0]: filter {name}")
    rules, _ = compiled(WEB, SHADOW, text, lenient=True)
    assert rules["routes"] == [{"name": "web", "to": [{"status": 500}], "hosts": ["*"]}]


# -- mirrors of the requests' own backend


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (BACKEND + f"    filters: [{mirror('web')}]\n", "filters[0]"),
        ("  - backendRefs: [{name: web, port: 80}, {name: other, port: 80, weight: 0}]\n"
         f"    filters: [{mirror('web')}]\n", "filters[0]"),
        (backends(mirror("web")), "backendRefs[0].filters[0]"),
    ],
)  # fmt: skip
def test_a_mirror_to_where_all_requests_go_is_refused(text, path):
    (problem,) = refused(WEB, OTHER, HR + text)
    assert f"HTTPRoute/web: spec.rules[0].{path}.requestMirror.backendRef: is where the" in problem


def test_a_mirror_to_one_of_several_backends_is_kept():
    found = first(
        "  - backendRefs: [{name: web, port: 80}, {name: other, port: 80}]\n"
        f"    filters: [{mirror('web')}]\n"
    )
    assert found["mirrors"][0]["service"] == FULL


# -- what never runs


def rule(target, match="{}"):
    return f"  - matches: [{match}]\n    backendRefs: [{{name: {target}, port: 80}}]\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (rule("web") + rule("other"), 9),
        (rule("web", "{path: {value: /a}}") + rule("other", "{path: {value: /a/}}"), 9),
        (rule("web", "{headers: [{name: A, value: b}, {name: c, value: d}]}")
         + rule("other", "{headers: [{name: C, value: d}, {name: a, value: b}]}"), 9),
    ],
)  # fmt: skip
def test_a_rule_that_an_earlier_one_hides(text, line):
    _, (warning,) = compiled(WEB, OTHER, HR + text)
    assert warning == (
        f"f2.yaml:{line}: HTTPRoute/web: spec.rules[1].matches[0]: never runs: web/0 takes every"
        " request that it matches"
    )


def test_the_older_route_hides_the_younger_whatever_the_files():
    old = HR.replace("name: web", "name: old, creationTimestamp: 2020-01-01T00:00:00Z")
    _, (warning,) = compiled(WEB, OTHER, HR + BACKEND, old + rule("other"))
    assert warning.startswith(
        "f2.yaml:7: HTTPRoute/web: spec.rules[0]: never runs: old takes every"
    )


def test_a_rule_with_one_match_left_runs():
    text = rule("web", "{path: {value: /a}}") + rule("other", "{path: {value: /a}}, {}")
    _, (warning,) = compiled(WEB, OTHER, HR + text)
    assert "spec.rules[1].matches[0]: never runs: web/0" in warning


def test_a_rule_for_one_more_host_runs():
    text = HR.replace("spec:\n", "spec:\n  hostnames: [HOSTS]\n") + BACKEND
    _, warnings = compiled(
        WEB,
        text.replace("HOSTS", "a.test, b.test").replace("name: web}", "name: z}"),
        text.replace("HOSTS", "a.test").replace("name: web}", "name: a}"),
    )
    assert not warnings


# -- services


@pytest.mark.parametrize(
    ("protocol", "words"),
    [("kubernetes.io/h2c", "HTTP/2"), ("grpc", "HTTP/2"), ("kubernetes.io/wss", "TLS"),
     ("https", "TLS"), ("kubernetes.io/ws", None), ("http", None), ("''", None)],
)  # fmt: skip
def test_app_protocol(protocol, words):
    service = WEB.replace("port: 80", f"port: 80, appProtocol: {protocol}")
    rules, warnings = compiled(service, HR + BACKEND)
    assert answers(rules, "x") == "web"
    assert [f"says that it speaks {words}" in w for w in warnings] == [True] * (words is not None)


def test_a_port_of_another_transport_is_none():
    service = WEB.replace("port: 80", "port: 80, protocol: UDP")
    rules, (warning, *_) = compiled(service, HR + BACKEND)
    assert answers(rules, "x") == 500
    assert "has no port 80 (it has: none)" in warning


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        ("{}", True),
        ("{ready: true}", True),
        ("{ready: false}", False),
        ("{ready: false, serving: true, terminating: true}", False),
        ("{ready: true, serving: true, terminating: false}", True),
    ],
)
def test_endpoints_that_are_not_ready_get_nothing(conditions, ready):
    head = SLICE.partition("- {addresses")[0].replace("name: http, ", "")
    text = head + f"- {{addresses: [10.0.0.1], conditions: {conditions}}}\n"
    rules, warnings = compiled(WEB, text, HR + BACKEND)
    (service,) = rules["services"]
    addresses = [endpoint["address"] for endpoint in service.get("endpoints", [])]
    assert addresses == (["10.0.0.1:8080"] if ready else [])
    assert any("has no endpoint for port 80" in w for w in warnings) is not ready


@pytest.mark.parametrize("dns", [True, False])
def test_a_service_whose_endpoints_are_listed_and_none_has_no_other(dns):
    endpoints = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\n"
    rules, warnings = compiled(WEB, endpoints, HR + BACKEND, dns=dns)
    assert rules["services"][0].get("endpoints", []) == []
    assert any("answered with 503" in w for w in warnings)
    rules, warnings = compiled(WEB, endpoints, HR + BACKEND, dns=dns, maps=["web=10.0.0.1"])
    assert rules["services"][0]["endpoints"] == [{"address": "10.0.0.1:80"}]
    assert not warnings


def test_a_udp_port_of_a_slice_is_not_used():
    text = SLICE.replace("[{name: http, port: 8080}]", "[{port: 53, protocol: UDP}]")
    rules, _ = compiled(WEB, text, HR + BACKEND)
    assert rules["services"][0].get("endpoints", []) == []


def test_the_tie_of_two_routes_goes_by_namespace_and_name_as_one_string():
    """``a/z`` sorts after ``a-b/a``, since - sorts before /."""
    texts = [
        HR.replace("name: web", f"name: {name}, namespace: {namespace}") + BACKEND
        for namespace, name in [("a", "z"), ("a-b", "a")]
    ]
    rules, _ = compiled(*texts, dns=True)
    assert [route["name"] for route in rules["routes"]] == ["a-b/a", "a/z"]
