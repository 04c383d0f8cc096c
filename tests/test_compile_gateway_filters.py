"""HTTPRoute's filters, and the requests that it answers with 500: after the API's own conformance
tests, in our words.
"""

from __future__ import annotations

import pytest
from compiling import BACKEND, HR, WEB, compiled, refused

TO = [{"service": "web.default.svc.cluster.local"}]
FOUND = {"status": 302}
MIRROR = "{type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 80}}}"
SHADOW = WEB.replace("web", "shadow")


def route(text, *, warned=()):
    """The one route of a rule, without what every route has."""
    rules, warnings = compiled(WEB, HR + text, SHADOW)
    assert len(warnings) == len(warned), warnings
    for warning, words in zip(warnings, warned, strict=True):
        assert words in warning
    (found,) = rules["routes"]
    return {key: value for key, value in found.items() if key not in ("name", "hosts")}


# -- header modifiers

CHANGES = [
    ("set: [{name: X-Header-Set, value: set-overwrites-values}]",
     {"set": {"X-Header-Set": "set-overwrites-values"}}),
    ("add: [{name: X-Header-Add, value: add-appends-values}]",
     {"add": {"X-Header-Add": "add-appends-values"}}),
    ("remove: [X-Header-Remove]", {"remove": ["X-Header-Remove"]}),
    ("set: [{name: a, value: '1'}, {name: b, value: '2'}], add: [{name: c, value: '3'}], "
     "remove: [d, e]",
     {"set": {"a": "1", "b": "2"}, "add": {"c": "3"}, "remove": ["d", "e"]}),
    # Nothing is a variable here.
    ("set: [{name: a, value: '%REQ(b)% 100%'}]", {"set": {"a": "%REQ(b)% 100%"}}),
]  # fmt: skip


@pytest.mark.parametrize("side", ["request", "response"])
@pytest.mark.parametrize(("fields", "expected"), CHANGES)
def test_header_modifiers(side, fields, expected):
    kind = f"{side.capitalize()}HeaderModifier"
    item = f"{{type: {kind}, {side}HeaderModifier: {{{fields}}}}}"
    found = route(BACKEND + f"    filters: [{item}]\n")
    assert found == {"to": TO, "headers": {side: expected}}
    found = route(f"  - backendRefs: [{{name: web, port: 80, filters: [{item}]}}]\n")
    assert found == {"to": [TO[0] | {"headers": {side: expected}}]}


def test_both_modifiers_and_a_mirror():
    items = [
        "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}",
        MIRROR,
        "{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [c]}}",
        MIRROR,
    ]
    found = route(BACKEND + f"    filters: [{', '.join(items)}]\n")
    assert found["headers"] == {"request": {"set": {"a": "b"}}, "response": {"remove": ["c"]}}
    assert [mirror["name"] for mirror in found["mirrors"]] == ["shadow", "shadow#2"]


def test_of_equivalent_names_the_first_counts():
    item = "{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: A, value: x}, "
    found = route(
        BACKEND + f"    filters: [{item}{{name: a, value: y}}]}}}}]\n",
        warned=["filters[0].requestHeaderModifier.add[1]: a is given above already"],
    )
    assert found["headers"] == {"request": {"add": {"A": "x"}}}


def test_the_host_is_set_as_a_header():
    item = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: a.b}]}}"
    found = route(BACKEND + f"    filters: [{item}]\n")
    assert found["headers"] == {"request": {"set": {"host": "a.b"}}}


# -- redirects

REDIRECTS = [
    ("hostname: example.org", {"host": "example.org"}),
    ("hostname: example.org, statusCode: 301", {"host": "example.org", "status": 301}),
    ("statusCode: 303", {"status": 303}),
    ("statusCode: 307", {"status": 307}),
    ("statusCode: 308", {"status": 308}),
    ("path: {type: ReplaceFullPath, replaceFullPath: /full-path-replacement}",
     {"path": "/full-path-replacement"}),
    ("path: {type: ReplacePrefixMatch, replacePrefixMatch: /replacement-prefix}",
     {"prefix": "/replacement-prefix"}),
    ("port: 8083", {"port": 8083}),
    ("port: 80, hostname: example.org", {"port": 80, "host": "example.org"}),
    ("scheme: https", {"scheme": "https"}),
    ("scheme: http", {"scheme": "http"}),  # its port, whatever the request's
    ("scheme: https, port: 8443", {"scheme": "https", "port": 8443}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), REDIRECTS)
def test_redirects(fields, expected):
    found = route(
        "  - matches: [{path: {value: /original-prefix}}]\n"
        f"    filters: [{{type: RequestRedirect, requestRedirect: {{{fields}}}}}]\n"
    )
    assert found == {
        "match": [{"path": {"path_separated_prefix": "/original-prefix"}}],
        "redirect": FOUND | expected,
    }


def test_a_redirect_is_not_copied():
    items = f"{MIRROR}, {{type: RequestRedirect, requestRedirect: {{scheme: https}}}}"
    found = route(
        f"  - filters: [{items}]\n", warned=["filters[0].requestMirror: has no effect: what the"]
    )
    assert "to" not in found


# -- rewrites

REWRITES = [
    ("hostname: one.example.org", {"host": "one.example.org"}),
    ("path: {type: ReplaceFullPath, replaceFullPath: /one}", {"path": "/one"}),
    ("path: {type: ReplaceFullPath, replaceFullPath: ''}", {"path": ""}),
    ("path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}", {"prefix": "/one"}),
    ("path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}", {"prefix": ""}),
    ("hostname: a.b, path: {type: ReplaceFullPath, replaceFullPath: /c}",
     {"host": "a.b", "path": "/c"}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), REWRITES)
def test_rewrites(fields, expected):
    found = route(BACKEND + f"    filters: [{{type: URLRewrite, urlRewrite: {{{fields}}}}}]\n")
    assert found["rewrite"] == expected


PREFIX = (
    "    filters: [{type: URLRewrite, urlRewrite: "
    "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}]\n"
)


@pytest.mark.parametrize("matches", ["[]", "[{}]", "[{path: {value: /}}]", "[{path: {}}]"])
def test_a_prefix_of_every_path_is_replaced_by_its_elements(matches):
    found = route(BACKEND + f"    matches: {matches}\n" + PREFIX)
    assert found["match"] == [{"path": {"path_separated_prefix": "/"}}]


def test_each_prefix_that_is_replaced_is_kept():
    found = route(BACKEND + "    matches: [{path: {value: /a}}, {}]\n" + PREFIX)
    assert found["match"] == [
        {"path": {"path_separated_prefix": "/a"}},
        {"path": {"path_separated_prefix": "/"}},
    ]


# -- what is answered with 500

SHARES = [
    ("  - matches: []\n", [{"status": 500}], ["rules[0]: no backend: requests are answered"]),
    ("  - backendRefs: []\n", [{"status": 500}], ["rules[0]: no backend"]),
    ("  - backendRefs: [{name: web, port: 80, weight: 0}]\n", [{"status": 500}],
     ["rules[0].backendRefs: the weights add up to 0: requests are answered with 500"]),
    ("  - backendRefs: [{name: web, port: 80, weight: 3}, {name: x, kind: Y, weight: 2}]\n",
     [TO[0] | {"weight": 3}, {"status": 500, "weight": 2}], ["backendRefs[1]: invalid reference"]),
    ("  - backendRefs: [{name: web, port: 80}, {name: web, port: 81, weight: 0}]\n",
     [TO[0], {"status": 500, "weight": 0}], ["backendRefs[1]: invalid reference"]),
    ("  - backendRefs: [{name: web, port: 80, weight: 90}, {name: web, port: 80, weight: 10}]\n",
     [TO[0] | {"weight": 90}, TO[0] | {"weight": 10}], []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "to", "warned"), SHARES)
def test_shares_and_500(text, to, warned):
    assert route(text, warned=warned)["to"] == to


def test_without_dns_a_service_that_nothing_defines_is_answered_with_500():
    rules, (warning,) = compiled(HR + BACKEND, dns=False)
    assert rules["routes"][0]["to"] == [{"status": 500}]
    assert "spec.rules[0].backendRefs[0]: invalid reference: neither the manifests" in warning


# -- mistakes

FILTER_MISTAKES = [
    ("{type: ExtensionRef, extensionRef: {}}", "", "filter ExtensionRef is not supported"),
    ("{}", ".type", "required"),
    ("{type: URLRewrite}", ".urlRewrite", "required"),
    ("{type: URLRewrite, requestMirror: {}, urlRewrite: {}}", ".requestMirror", "not supported"),
    ("{type: URLRewrite, urlRewrite: {hostname: '*.a'}}", ".urlRewrite.hostname", "wildcard"),
    ("{type: URLRewrite, urlRewrite: {hostname: 'a:80'}}", ".urlRewrite.hostname", "port"),
    ("{type: URLRewrite, urlRewrite: {path: {type: Replace}}}", ".urlRewrite.path.type",
     "ReplaceFullPath or"),
    ("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}",
     ".urlRewrite.path.replaceFullPath", "required"),
    ("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: x}}}",
     ".urlRewrite.path.replaceFullPath", "expected a path"),
    ("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /, "
     "replacePrefixMatch: /}}}", ".urlRewrite.path.replacePrefixMatch", "cannot be used with type"),
    ("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: 'a b', value: c}]}}",
     ".requestHeaderModifier.set[0].value", "name of a header"),
    ("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a}]}}",
     ".requestHeaderModifier.set[0].value", "required"),
    ("{type: RequestHeaderModifier, requestHeaderModifier: {remove: [TE]}}",
     ".requestHeaderModifier.remove[0]", "not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "path", "words"), FILTER_MISTAKES)
def test_filter_mistakes(item, path, words):
    (problem,) = refused(WEB, HR + BACKEND + f"    filters: [{item}]\n")
    start = f"f1.yaml:8: HTTPRoute/web: spec.rules[0].filters[0]{path}: "
    assert problem.startswith(start), problem
    assert words in problem


REDIRECT_MISTAKES = [
    ("statusCode: 300", "statusCode", "308"),
    ("scheme: ftp", "scheme", "http or https"),
    ("port: 0", "port", "from 1"),
    ("query: x", "query", "not supported"),
    ("hostname: a b", "hostname", "host name"),
]


@pytest.mark.parametrize(("field", "path", "words"), REDIRECT_MISTAKES)
def test_redirect_mistakes(field, path, words):
    item = f"{{type: RequestRedirect, requestRedirect: {{{field}}}}}"
    (problem,) = refused(WEB, HR + f"  - filters: [{item}]\n")
    start = f"f1.yaml:7: HTTPRoute/web: spec.rules[0].filters[0].requestRedirect.{path}: "
    assert problem.startswith(start), problem
    assert words in problem


REWRITE = "{type: URLRewrite, urlRewrite: {hostname: a}}"
REDIRECT = "{type: RequestRedirect, requestRedirect: {hostname: a}}"
TOGETHER = [
    (BACKEND + f"    filters: [{REWRITE}, {REWRITE}]\n",
     "8: HTTPRoute/web: spec.rules[0].filters[1]: filter URLRewrite cannot be repeated"),
    (f"  - filters: [{REDIRECT}, {REWRITE}]\n",
     "7: HTTPRoute/web: spec.rules[0].filters[1].urlRewrite: RequestRedirect and URLRewrite"),
    (BACKEND + f"    filters: [{REDIRECT}]\n",
     "8: HTTPRoute/web: spec.rules[0].filters[0].requestRedirect: RequestRedirect and backendRefs"),
    (BACKEND + "    matches: [{}, {path: {type: Exact, value: /}}]\n" + PREFIX,
     "9: HTTPRoute/web: spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch: only a Path"),
    (f"  - backendRefs: [{{name: web, port: 80, filters: [{REDIRECT}]}}]\n",
     "7: HTTPRoute/web: spec.rules[0].backendRefs[0].filters[0]: filter RequestRedirect is not"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "start"), TOGETHER)
def test_what_cannot_be_together(rules, start):
    (problem,) = refused(WEB, HR + rules)
    assert problem.startswith(f"f1.yaml:{start}"), problem
