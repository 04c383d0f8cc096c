"""What a VirtualService's rule does beside routing, and the matches that only it has: as Envoy does
it, or refused by name.
"""

from __future__ import annotations

import pytest
from compiling import ROUTE, VS, WEB, compiled, refused

TO = [{"service": "web.default.svc.cluster.local"}]


def route(text, *, warned=()):
    """The one route of a rule, without what every route has."""
    rules, warnings = compiled(WEB, VS + text)
    assert len(warnings) == len(warned), warnings
    for warning, words in zip(warnings, warned, strict=True):
        assert words in warning
    (found,) = rules["routes"]
    return {key: value for key, value in found.items() if key not in ("name", "hosts")}


# -- answers of the proxy's own

REDIRECTS = [
    ("{uri: /x}", {"path": "/x"}),
    ("{redirectCode: 302, uri: /x}", {"path": "/x", "status": 302}),
    ("{redirectCode: 0, uri: /x}", {"path": "/x"}),
    # Another host has the port of its scheme, not that of the request.
    ("{authority: a.test}", {"host": "a.test", "port": 80}),
    ("{authority: 'a.test:81'}", {"host": "a.test:81"}),
    ("{authority: a.test, port: 81}", {"host": "a.test", "port": 81}),
    ("{authority: a.test, scheme: https}", {"host": "a.test", "scheme": "https"}),
    ("{authority: a.test, derivePort: FROM_REQUEST_PORT}", {"host": "a.test"}),
    ("{derivePort: FROM_REQUEST_PORT}", {}),
    ("{derivePort: FROM_PROTOCOL_DEFAULT}", {"port": 80}),
    ("{scheme: https}", {"scheme": "https"}),
    ("{scheme: http, uri: /x}", {"path": "/x"}),  # it is http: the port stays
    ("{scheme: https, port: 8443}", {"scheme": "https", "port": 8443}),
]


@pytest.mark.parametrize(("field", "expected"), REDIRECTS)
def test_redirects(field, expected):
    assert route(f"  - redirect: {field}\n") == {"redirect": {"status": 301} | expected}


DIRECT_RESPONSES = [
    ("{status: 204}", {"status": 204}),
    ("{status: 503, body: {string: busy}}", {"status": 503, "body": "busy"}),
    ("{status: 200, body: {bytes: aMOpCg==}}", {"status": 200, "body": "hé\n"}),
    ("{status: 200, body: {}}", {"status": 200}),
]


@pytest.mark.parametrize(("field", "expected"), DIRECT_RESPONSES)
def test_direct_responses(field, expected):
    assert route(f"  - directResponse: {field}\n") == {"direct_response": expected}


@pytest.mark.parametrize("answer", ["redirect: {uri: /x}", "directResponse: {status: 200}"])
def test_what_is_answered_is_not_copied(answer):
    found = route(
        f"  - {answer}\n    mirror: {{host: web}}\n", warned=["spec.http[0].mirror: has no effect"]
    )
    assert "to" not in found


# -- rewrites

REWRITES = [
    ("{uri: /x/}", "[]", {"prefix": "/x/"}, []),
    ("{uri: /x}", "[{uri: {prefix: /a}}]", {"prefix": "/x"}, []),
    ("{uri: /x}", "[{uri: {exact: /a}}, {uri: {regex: '/b.*'}}]", {"prefix": "/x"}, []),
    ("{authority: a.test, uri: /x}", "[{uri: {prefix: /a}}]",
     {"host": "a.test", "prefix": "/x"}, []),
    ("{authority: 'a.test:81'}", "[]", {"host": "a.test:81"}, []),
    ("{uriRegexRewrite: {match: '^/v1/(.*)$', rewrite: '/\\1'}}", "[]",
     {"regex": {"match": "^/v1/(.*)$", "substitution": "/\\1"}}, []),
    # Textual, as in Istio.
    ("{uri: /}", "[{uri: {prefix: /a}}]", {"prefix": "/"},
     ["http[0].rewrite.uri: /a/x becomes //x"]),
    ("{uri: /b}", "[{uri: {prefix: /a/}}]", {"prefix": "/b"}, ["/a/x becomes /bx"]),
    ("{uri: /b}", "[]", {"prefix": "/b"}, ["/x becomes /bx"]),
]  # fmt: skip


@pytest.mark.parametrize(("field", "match", "expected", "warned"), REWRITES)
def test_rewrites(field, match, expected, warned):
    text = ROUTE + f"    match: {match}\n    rewrite: {field}\n"
    assert route(text, warned=warned)["rewrite"] == expected


def test_the_match_that_a_prefix_is_rewritten_for_is_kept():
    text = ROUTE + "    match: [{uri: {prefix: /a/}}, {}]\n"
    assert "match" not in route(text)
    found = route(text + "    rewrite: {uri: /b/}\n")
    assert found["match"] == [{"path": {"prefix": "/a/"}}, {}]
    found = route(ROUTE + "    match: [{}, {uri: {prefix: /a/}}]\n    rewrite: {uri: /b/}\n")
    assert "match" not in found  # the first takes every request


# -- header fields

HEADERS = [
    ("{request: {set: {x-a: b}}}", {"request": {"set": {"x-a": "b"}}}),
    ("{request: {add: {x-a: b}, remove: [x-c]}}",
     {"request": {"add": {"x-a": "b"}, "remove": ["x-c"]}}),
    ("{response: {set: {x-a: ''}, remove: [server]}}",
     {"response": {"set": {"x-a": ""}, "remove": ["server"]}}),
    ("{request: {set: {':authority': 'a.test:81'}}}", {"request": {"set": {"host": "a.test:81"}}}),
    ("{request: {set: {Host: a.test}}}", {"request": {"set": {"host": "a.test"}}}),
    ("{response: {add: {x-a: '100%%'}}}", {"response": {"add": {"x-a": "100%"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "expected"), HEADERS)
def test_header_changes(field, expected):
    assert route(ROUTE + f"    headers: {field}\n") == {"to": TO, "headers": expected}
    text = f"  - route: [{{destination: {{host: web}}, headers: {field}}}]\n"
    assert route(text) == {"to": [TO[0] | {"headers": expected}]}


def test_headers_of_each_destination_and_of_an_answer():
    text = (
        "  - route:\n"
        "    - {destination: {host: web}, weight: 1, headers: {response: {set: {x-v: a}}}}\n"
        "    - {destination: {host: web}, weight: 2, headers: {}}\n"
    )
    assert route(text)["to"] == [
        TO[0] | {"headers": {"response": {"set": {"x-v": "a"}}}},
        TO[0] | {"weight": 2},
    ]
    text = "  - directResponse: {status: 200}\n    headers: {response: {set: {x-v: a}}}\n"
    assert route(text)["headers"] == {"response": {"set": {"x-v": "a"}}}


# -- matches

MATCHES = [
    ("{authority: {exact: Web.Test}}", {"headers": {"host": {"exact": "web.test"}}}, []),
    ("{authority: {prefix: Web.}}", {"headers": {"host": {"prefix": "web."}}}, []),
    ("{authority: {regex: 'web[.].*'}}", {"headers": {"host": {"regex": "web[.].*"}}}, []),
    ("{authority: {prefix: ''}}", None, []),
    ("{authority: {}}", None, []),
    ("{scheme: {exact: http}}", None, []),
    ("{scheme: {prefix: ht}}", None, []),
    ("{scheme: {regex: 'https?'}}", None, []),
    ("{scheme: {exact: https}}, {method: {exact: PUT}}", {"method": "PUT"},
     ["spec.http[0].match[0].scheme: never matches"]),
    ("{uri: {exact: /A.b}, ignoreUriCase: true}", {"path": {"regex": r"(?i)/A\.b"}}, []),
    ("{uri: {prefix: /A}, ignoreUriCase: true}", {"path": {"regex": "(?i)/A(?s:.*)"}}, []),
    ("{uri: {prefix: /A}, ignoreUriCase: false}", {"path": {"prefix": "/A"}}, []),
    ("{uri: {regex: /A}, ignoreUriCase: true}", {"path": {"regex": "/A"}}, []),  # as Istio says
]  # fmt: skip


@pytest.mark.parametrize(("match", "expected", "warned"), MATCHES)
def test_matches(match, expected, warned):
    found = route(ROUTE + f"    match: [{match}]\n", warned=warned)
    assert found.get("match") == ([expected] if expected else None)


@pytest.mark.parametrize("scheme", ["exact: https", "prefix: https", "regex: h2c", "exact: ''"])
def test_a_rule_for_another_scheme_never_runs(scheme):
    rules, warnings = compiled(WEB, VS + ROUTE + f"    match: [{{scheme: {{{scheme}}}}}]\n" + ROUTE)
    assert [found["name"] for found in rules["routes"]] == ["web/1"]
    assert [warning.partition(" VirtualService")[0] for warning in warnings] == [
        "f1.yaml:8:", "f1.yaml:7:",
    ]  # fmt: skip


# -- mistakes

ANSWER_MISTAKES = [
    ("redirect: {}", "redirect", "expected uri, authority"),
    ("redirect: {uri: x}", "redirect.uri", "path"),
    ("redirect: {uri: '%PREFIX()%/x'}", "redirect.uri", "%PREFIX()% is not supported"),
    ("redirect: {uri: '/x?y'}", "redirect.uri", "a query is not supported"),
    ("redirect: {uri: '/a b'}", "redirect.uri", "printable ASCII"),
    ("redirect: {authority: 'a b'}", "redirect.authority", "host name"),
    ("redirect: {authority: '*.test'}", "redirect.authority", "host name"),
    ("redirect: {scheme: ftp}", "redirect.scheme", "http or https"),
    ("redirect: {uri: /, redirectCode: 304}", "redirect.redirectCode", "308"),
    ("redirect: {port: 0, uri: /}", "redirect.port", "from 1"),
    ("redirect: {port: 81, derivePort: FROM_REQUEST_PORT}", "redirect.derivePort", "together"),
    ("redirect: {port: 81, authority: 'a:82'}", "redirect.port", "a port already"),
    ("redirect: {derivePort: SOME}", "redirect.derivePort", "FROM_PROTOCOL_DEFAULT or"),
    ("redirect: {scheme: https, derivePort: FROM_REQUEST_PORT}", "redirect.derivePort",
     "not supported"),
    ("redirect: {uri: /, nonsense: 1}", "redirect.nonsense", "not supported"),
    ("directResponse: {}", "directResponse.status", "required"),
    ("directResponse: {status: 100}", "directResponse.status", "from 200"),
    ("directResponse: {status: 200, body: {string: a, bytes: YQ==}}", "directResponse.body.bytes",
     "together"),
    ("directResponse: {status: 200, body: {bytes: '%'}}", "directResponse.body.bytes", "base64"),
    ("directResponse: {status: 200, body: {bytes: /w==}}", "directResponse.body.bytes", "UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "path", "words"), ANSWER_MISTAKES)
def test_answer_mistakes(field, path, words):
    (problem,) = refused(WEB, VS + ROUTE + f"  - {field}\n")
    assert problem.startswith(f"f1.yaml:8: VirtualService/web: spec.http[1].{path}: "), problem
    assert words in problem


ROUTE_MISTAKES = [
    ("redirect: {uri: /}", "redirect", "route and redirect cannot be used together"),
    ("directResponse: {status: 200}", "directResponse", "route and directResponse cannot"),
    ("rewrite: {}", "rewrite", "expected uri, authority"),
    ("rewrite: {uri: x}", "rewrite.uri", "path"),
    ("rewrite: {authority: 'a b'}", "rewrite.authority", "host name"),
    ("rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}", "rewrite.uriRegexRewrite",
     "together"),
    ("rewrite: {uriRegexRewrite: {match: '(', rewrite: b}}", "rewrite.uriRegexRewrite.match",
     "regular"),
    ("rewrite: {uriRegexRewrite: {rewrite: b}}", "rewrite.uriRegexRewrite.match", "required"),
    ("rewrite: {uriRegexRewrite: {match: a, rewrite: '\\1'}}", "rewrite.uriRegexRewrite.rewrite",
     "behind a backslash"),
    ("headers: {request: {set: {'a b': c}}}", "headers.request.set['a b']", "name of a header"),
    ("headers: {request: {set: {':path': /}}}", "headers.request.set[':path']", "name of a header"),
    ("headers: {request: {set: {a: 1}}}", "headers.request.set.a", "string"),
    ("headers: {request: {set: {a: \"b\\nc\"}}}", "headers.request.set.a", "control characters"),
    ("headers: {request: {set: {a: b, A: c}}}", "headers.request.set.A", "twice"),
    ("headers: {request: {add: {host: a}}}", "headers.request.add.host", "one Host"),
    ("headers: {request: {set: {host: 'a b'}}}", "headers.request.set.host", "host name"),
    ("headers: {request: {remove: [Host]}}", "headers.request.remove[0]", "needs its Host"),
    ("headers: {request: {remove: [Connection]}}", "headers.request.remove[0]", "not supported"),
    ("headers: {response: {set: {content-length: '1'}}}", "headers.response.set.content-length",
     "not supported"),
    ("headers: {response: {set: {a: '%REQ(b)%'}}}", "headers.response.set.a", "% variables"),
    ("headers: {response: {set: {a: '100%'}}}", "headers.response.set.a", "% variables"),
    ("headers: {other: {}}", "headers.other", "not supported"),
    ("match: [{authority: {exact: 'a:80'}}]", "match[0].authority.exact", "a port is not"),
    ("match: [{authority: {exact: a}, headers: {Host: {}}}]", "match[0].authority", "as well"),
    ("match: [{scheme: {regex: '('}}]", "match[0].scheme.regex", "regular"),
    ("match: [{ignoreUriCase: 1}]", "match[0].ignoreUriCase", "true or false"),
    ("match: [{port: '80'}]", "match[0].port", "from 1 to 65535"),
    ("match: [{sourceNamespace: A B}]", "match[0].sourceNamespace", "DNS label"),
    ("match: [{sourceLabels: [a]}]", "match[0].sourceLabels", "mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "path", "words"), ROUTE_MISTAKES)
def test_route_mistakes(field, path, words):
    (problem,) = refused(WEB, VS + ROUTE + f"    {field}\n")
    assert problem.startswith(f"f1.yaml:8: VirtualService/web: spec.http[0].{path}: "), problem
    assert words in problem


@pytest.mark.parametrize(
    "match", ["{uri: {prefix: ''}}", "{uri: {prefix: /a}, ignoreUriCase: true}"]
)
def test_prefixes_whose_rewrite_cannot_be_said(match):
    (problem,) = refused(WEB, VS + ROUTE + f"    match: [{match}]\n    rewrite: {{uri: /b}}\n")
    assert problem.startswith("f1.yaml:8: VirtualService/web: spec.http[0].match[0].uri.prefix: ")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ("redirect: {uri: /}\n    directResponse: {status: 200}\n", 8),
        ("redirect: {uri: /}\n    rewrite: {uri: /}\n", 8),
        ("directResponse: {status: 200}\n    rewrite: {uri: /}\n", 8),
    ],
)
def test_what_cannot_be_together(fields, line):
    (problem,) = refused(WEB, VS + f"  - {fields}")
    assert problem.startswith(f"f1.yaml:{line}: ")
    assert "together" in problem
