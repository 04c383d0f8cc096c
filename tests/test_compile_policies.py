"""Faults and cross-origin policies: what the rules get, and what is refused by its line."""

from __future__ import annotations

import pytest
from compiling import ROUTE, VS, WEB, compiled, refused

FAULTS = [
    ("{delay: {fixedDelay: 5s, percentage: {value: 0.5}}}", {"delay": (5.0, 0.5)}),
    ("{delay: {fixedDelay: 100ms, percent: 10}}", {"delay": (0.1, 10)}),
    ("{abort: {httpStatus: 503, percentage: {value: 100}}}", {"abort": (503, 100)}),
    (
        "{abort: {httpStatus: 400, percentage: {value: 1}}, "
        "delay: {fixedDelay: 1s, percentage: {value: 2}}}",
        {"abort": (400, 1), "delay": (1.0, 2)},
    ),
]


def of(text: str) -> dict:
    rules, _ = compiled(WEB, VS + ROUTE + text)
    (route,) = rules["routes"]
    return route


@pytest.mark.parametrize(("fault", "expected"), FAULTS)
def test_faults(fault, expected):
    found = of(f"    fault: {fault}\n")["fault"]
    given = {
        kind: tuple({"percent": 100, **values}[key] for key in (first, "percent"))
        for kind, values in found.items()
        for first in [{"delay": "duration", "abort": "status"}[kind]]
    }
    assert given == expected


@pytest.mark.parametrize(
    "fault", ["{abort: {httpStatus: 500}}", "{delay: {fixedDelay: 1s, percentage: {}}}"]
)
def test_a_fault_without_a_percentage_is_warned_of(fault):
    rules, warnings = compiled(WEB, VS + ROUTE + f"    fault: {fault}\n")
    assert "fault" not in rules["routes"][0]
    assert any("never injected" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("{delay: {percentage: {value: 1}}}", "fixedDelay: is required"),
        ("{delay: {exponentialDelay: 1s, fixedDelay: 1s, percent: 1}}", "not supported"),
        ("{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}}", "grpcStatus"),
        ("{abort: {httpStatus: 99, percentage: {value: 1}}}", "from 200 to 599"),
        ("{abort: {httpStatus: 500, percentage: {value: 101}}}", "from 0 to 100"),
        ("{other: 1}", "not supported"),
    ],
)
def test_what_is_no_fault(fault, words):
    problems = refused(WEB, VS + ROUTE + f"    fault: {fault}\n")
    assert any(words in problem and ".fault" in problem for problem in problems), problems


def test_cors():
    policy = """    corsPolicy:
      allowOrigins: [{exact: "https://a.test"}, {regex: "https://.*[.]b[.]test"}]
      allowMethods: [GET, PUT]
      allowHeaders: [x-a]
      exposeHeaders: [x-b]
      maxAge: 24h
      allowCredentials: true
"""
    assert of(policy)["cors"] == {
        "allow_origins": [{"exact": "https://a.test"}, {"regex": "https://.*[.]b[.]test"}],
        "allow_methods": ["GET", "PUT"],
        "allow_headers": ["x-a"],
        "expose_headers": ["x-b"],
        "max_age": 86400.0,
        "allow_credentials": True,
    }


def test_cors_in_the_old_form():
    found = of("    corsPolicy: {allowOrigin: ['*', 'http://a.test']}\n")["cors"]
    assert found == {"allow_origins": [{"regex": ".*"}, {"exact": "http://a.test"}]}


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("{allowOrigins: [{exact: a, prefix: b}]}", "one of exact, prefix, regex"),
        ("{allowOrigins: [{exact: a}], allowMethods: ['a b']}", "the name of"),
        ("{allowOrigins: [{exact: a}], unmatchedPreflights: IGNORE}", "not supported"),
        ("{allowOrigins: [{regex: '(a'}]}", "not a regular expression"),
    ],
)
def test_what_is_no_cors_policy(policy, words):
    problems = refused(WEB, VS + ROUTE + f"    corsPolicy: {policy}\n")
    assert any(words in problem for problem in problems), problems


HTTP_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: gw}]
  rules:
  - backendRefs: [{name: web, port: 80}]
    filters:
    - type: CORS
      cors:
"""


def test_cors_of_the_gateway_api():
    text = """        allowOrigins: ["https://*.example.com", "https://a.test"]
        allowMethods: [GET]
"""
    rules, _ = compiled(WEB, HTTP_ROUTE + text)
    assert rules["routes"][0]["cors"] == {
        "allow_origins": [
            {"regex": r"https://[A-Za-z0-9.-]+\.example\.com"},
            {"exact": "https://a.test"},
        ],
        "allow_methods": ["GET"],
        "max_age": 5.0,
    }
