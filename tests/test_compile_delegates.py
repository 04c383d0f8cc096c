"""Delegates of VirtualServices, merged as Istio merges them."""

from __future__ import annotations

import pytest
import yaml
from compiling import VS, WEB, compiled, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmirror.manifests.compile import compile_manifests
from fastmirror.rules.model import Match

ROOT = VS  # with a host; its rules begin on line 7
LEAF = VS.replace("  hosts: [web]\n", "").replace("name: web", "name: leaf")  # on line 6
TO = "    route: [{destination: {host: web}}]\n"
TO_LEAF = "  - delegate: {name: leaf}\n"


def merged(root, *leaf, more=(), **options):
    """The routes of a root's one rule and of its delegate's rules."""
    rules, warnings = compiled(WEB, ROOT + TO_LEAF + root, LEAF + "".join(leaf), *more, **options)
    return rules.get("routes", []), warnings


def test_the_rules_of_a_delegate_take_the_place_of_the_root_s():
    rules, warnings = compiled(
        WEB,
        ROOT
        + "  - match: [{uri: {exact: /first}}]\n" + TO
        + TO_LEAF + "    match: [{uri: {prefix: /a}}]\n    name: team\n"
        + "  - route: [{destination: {host: web}}]\n",
        LEAF
        + "  - match: [{uri: {exact: /a/1}}]\n    name: one\n" + TO
        + "  -" + TO[3:],
    )  # fmt: skip
    assert warnings == []
    assert [(route["name"], route.get("match")) for route in rules["routes"]] == [
        ("web/0", [{"path": {"exact": "/first"}}]),
        ("web/team/one", [{"path": {"exact": "/a/1"}}]),
        ("web/team/1", [{"path": {"prefix": "/a"}}]),
        ("web/2", None),
    ]


def test_fields_are_the_delegate_s_or_else_the_root_s():
    root = """\
    timeout: 1s
    retries: {attempts: 5}
    rewrite: {authority: root.example}
    headers: {request: {set: {a: root}}}
    fault: {abort: {httpStatus: 500, percentage: {value: 1}}}
    corsPolicy: {allowOrigins: [{exact: root}]}
    mirror: {host: shadow}
    mirrorPercentage: {value: 50}
"""
    own = """\
    timeout: 2s
    retries: {attempts: 6}
    rewrite: {authority: leaf.example}
    headers: {response: {set: {a: leaf}}}
    fault: {delay: {fixedDelay: 1s, percentage: {value: 2}}}
    corsPolicy: {allowOrigins: [{exact: leaf}]}
    mirror: {host: other}
"""
    shadow, other = (WEB.replace("name: web", f"name: {name}") for name in ("shadow", "other"))
    (first, second), warnings = merged(
        root,
        "  - match: [{uri: {prefix: /own}}]\n" + TO + own + "  -" + TO[3:],
        more=[shadow, other],
    )
    assert warnings == []
    assert (first["timeout"], second["timeout"]) == (2.0, 1.0)
    assert [route["retries"]["attempts"] for route in (first, second)] == [6, 5]
    hosts = [route["rewrite"] for route in (first, second)]
    assert hosts == [{"host": "leaf.example"}, {"host": "root.example"}]
    # The whole of a field: nothing is mixed within it.
    assert first["headers"] == {"response": {"set": {"a": "leaf"}}}
    assert second["headers"] == {"request": {"set": {"a": "root"}}}
    assert list(first["fault"]) == ["delay"]
    assert list(second["fault"]) == ["abort"]
    assert first["cors"] == {"allow_origins": [{"exact": "leaf"}]}
    # A share is a field of its own.
    found = [(m["name"], m["percent"]) for r in (first, second) for m in r["mirrors"]]
    assert found == [("other", 50.0), ("shadow", 50.0)]


def test_a_mirror_of_the_one_and_mirrors_of_the_other_hold_together():
    shadow, other = (WEB.replace("name: web", f"name: {name}") for name in ("shadow", "other"))
    (route,), _ = merged(
        "    mirror: {host: shadow}\n",
        "  -" + TO[3:] + "    mirrors: [{destination: {host: other}}]\n",
        more=[shadow, other],
    )
    assert [mirror["name"] for mirror in route["mirrors"]] == ["shadow", "other"]


def test_names_belong_to_the_namespace_of_their_own_manifest():
    root = ROOT.replace("name: web", "name: web, namespace: front") + (
        "  - delegate: {name: leaf, namespace: team}\n    mirror: {host: shadow}\n"
    )
    leaf = LEAF.replace("name: leaf", "name: leaf, namespace: team") + "  -" + TO[3:]
    rules, _ = compiled(root, leaf)
    (route,) = rules["routes"]
    assert route["hosts"][-1] == "web.front.svc.cluster.local"
    assert route["to"] == [{"service": "web.team.svc.cluster.local"}]
    assert route["mirrors"][0]["service"] == "shadow.front.svc.cluster.local"


WITHIN = [
    ("{uri: {prefix: /a}}", "{uri: {prefix: /a/b}}", {"path": {"prefix": "/a/b"}}),
    ("{uri: {prefix: /a}}", "{uri: {exact: /ab}}", {"path": {"exact": "/ab"}}),
    ("{uri: {exact: /a}}", "{uri: {exact: /a}}", {"path": {"exact": "/a"}}),
    ("{uri: {prefix: /a}}", "{method: {exact: GET}}",
     {"path": {"prefix": "/a"}, "method": "GET"}),
    ("{uri: {regex: '/a.*'}}", "{port: 80}", {"path": {"regex": "/a.*"}, "port": 80}),
    ("{headers: {a: {prefix: x}, b: {exact: y}}}", "{headers: {a: {exact: xy}, c: {}}}",
     {"headers": {"a": {"exact": "xy"}, "b": {"exact": "y"}, "c": {"present": True}}}),
    ("{queryParams: {a: {exact: x}}}", "{queryParams: {b: {exact: y}}}",
     {"query": {"a": {"exact": "x"}, "b": {"exact": "y"}}}),
    ("{withoutHeaders: {a: {}}}", "{withoutHeaders: {b: {}}, headers: {c: {}}}",
     {"without_headers": {"a": {"present": True}, "b": {"present": True}},
      "headers": {"c": {"present": True}}}),
    ("{port: 80}", "{port: 80, authority: {exact: x}}",
     {"port": 80, "headers": {"host": {"exact": "x"}}}),
    ("{gateways: [a, mesh]}", "{gateways: [mesh], method: {exact: GET}}", {"method": "GET"}),
    ("{sourceLabels: {app: a}}", "{sourceLabels: {version: v1}, port: 1}", {"port": 1}),
]  # fmt: skip
PROXY = {"gateways": ["mesh"], "workload_labels": "app=a,version=v1"}


@pytest.mark.parametrize(("root", "own", "expected"), WITHIN)
def test_matches_within_the_root_s(root, own, expected):
    (route,), warnings = merged(f"    match: [{root}]\n", f"  - match: [{own}]\n" + TO, **PROXY)
    assert (route["match"], warnings) == ([expected], [])


def test_an_exclusion_that_is_replaced_is_warned_of():
    (route,), (warning,) = merged(
        "    match: [{withoutHeaders: {a: {prefix: x}}}]\n",
        "  - match: [{withoutHeaders: {a: {exact: xy}, b: {}}}]\n" + TO,
    )  # fmt: skip
    assert route["match"][0]["without_headers"]["a"] == {"exact": "xy"}
    assert warning.startswith(
        "f2.yaml:6: VirtualService/leaf: spec.http[0].match[0].withoutHeaders.a: stands in "
    )


CONFLICTS = [
    ("{uri: {prefix: /a/b}}", "{uri: {prefix: /a}}"),
    ("{uri: {prefix: /a}}", "{uri: {exact: /b}}"),
    ("{uri: {exact: /a}}", "{uri: {prefix: /a}}"),
    ("{uri: {exact: /a}}", "{uri: {exact: /b}}"),
    ("{uri: {prefix: /a}}", "{uri: {regex: '/a/.*'}}"),
    ("{uri: {regex: '/a/.*'}}", "{uri: {exact: /a/b}}"),
    ("{uri: {prefix: /a}, ignoreUriCase: true}", "{uri: {prefix: /a}}"),
    ("{method: {exact: GET}}", "{method: {exact: PUT}}"),
    ("{headers: {a: {exact: x}}}", "{headers: {a: {exact: y}}}"),
    ("{headers: {a: {}}}", "{headers: {a: {exact: y}}}"),
    ("{queryParams: {a: {exact: x}}}", "{queryParams: {a: {prefix: x}}}"),
    ("{withoutHeaders: {a: {exact: x}}}", "{withoutHeaders: {a: {exact: y}}}"),
    ("{port: 80}", "{port: 81}"),
    ("{sourceNamespace: a}", "{sourceNamespace: b}"),
    ("{sourceLabels: {app: a}}", "{sourceLabels: {app: b}}"),
    ("{gateways: [a]}", "{gateways: [a, mesh]}"),
]


@pytest.mark.parametrize(("root", "own"), CONFLICTS)
def test_a_rule_in_conflict_with_the_root_s_never_runs(root, own):
    routes, (warning, *_) = merged(f"    match: [{root}]\n", f"  - match: [{own}]\n" + TO, **PROXY)
    assert routes == []
    assert warning == (
        "f2.yaml:6: VirtualService/leaf: spec.http[0]: never runs: no match of "
        "f1.yaml:7: VirtualService/web: spec.http[0] has it within"
    )


def test_each_match_of_the_delegate_s_is_within_some_of_the_root_s():
    (route,), warnings = merged(
        "    match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}, {headers: {x: {}}}]\n",
        "  - match: [{uri: {exact: /b/c}}, {uri: {exact: /a/c}, port: 1}]\n" + TO,
    )
    x = {"headers": {"x": {"present": True}}}
    assert route["match"] == [
        {"path": {"exact": "/b/c"}},
        {"path": {"exact": "/b/c"}, **x},
        {"path": {"exact": "/a/c"}, "port": 1},
        {"path": {"exact": "/a/c"}, "port": 1, **x},
    ]
    assert warnings == []


# -- what is left out, and refused


def test_a_missing_delegate_drops_its_rule():
    rules, (warning,) = compiled(WEB, ROOT + TO_LEAF + "  -" + TO[3:])
    assert [route["name"] for route in rules["routes"]] == ["web/1"]
    assert warning == (
        "f1.yaml:7: VirtualService/web: spec.http[0].delegate: "
        "no VirtualService default/leaf without hosts: this rule is left out"
    )


def test_a_virtual_service_with_hosts_is_no_delegate():
    rules, (warning,) = compiled(
        WEB, ROOT + "  - delegate: {name: other}\n  -" + TO[3:],
        ROOT.replace("name: web", "name: other").replace("[web]", "[x.example]") + "  -" + TO[3:],
    )  # fmt: skip
    assert "no VirtualService default/other without hosts" in warning
    assert [route["name"] for route in rules["routes"]] == ["web/1", "other"]


def test_a_delegate_that_nobody_uses_is_warned_of():
    rules, (warning,) = compiled(WEB, LEAF + "  -" + TO[3:])
    assert "routes" not in rules
    assert warning.startswith("f1.yaml:4: VirtualService/leaf: spec: has no hosts, and no rule del")


@pytest.mark.parametrize(
    ("places", "visible"),
    [("['*']", True), ("['.']", False), ("[front]", True), ("[other]", False)],
)
def test_a_delegate_has_to_be_exported(places, visible):
    root = ROOT.replace("name: web", "name: web, namespace: front") + (
        "  - delegate: {name: leaf, namespace: team}\n"
    )
    leaf = LEAF.replace("name: leaf", "name: leaf, namespace: team").replace(
        "  http:", f"  exportTo: {places}\n  http:"
    )
    rules, warnings = compiled(root, leaf + TO.replace("    route", "  - route"))
    assert ("routes" in rules) == visible
    assert any("is not exported" in warning for warning in warnings) != visible


ROOT_MISTAKES = [
    ("route: [{destination: {host: web}}]", 8, "route", "delegate and route"),
    ("redirect: {uri: /x}", 8, "redirect", "delegate and redirect"),
    ("timeout: soon", 8, "timeout", "duration"),  # also where the delegate has its own
    ("match: [{uri: {exact: x}}]", 8, "match[0].uri.exact", "begins with /"),
    ("retries: {attempts: x}", 8, "retries.attempts", "whole number"),
    ("nonsense: 1", 8, "nonsense", "not supported"),
]


@pytest.mark.parametrize(("field", "line", "path", "words"), ROOT_MISTAKES)
def test_mistakes_of_a_root(field, line, path, words):
    own = "  -" + TO[3:] + "    timeout: 1s\n    retries: {attempts: 1}\n"
    problems = refused(WEB, ROOT + TO_LEAF + f"    {field}\n", LEAF + own + own)
    # Said once, however many rules inherit it.
    (problem,) = [each for each in problems if words in each]
    assert problem.startswith(f"f1.yaml:{line}: VirtualService/web: spec.http[0].{path}: ")


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize(
    ("text", "line", "path", "words"),
    [
        (LEAF + TO_LEAF, 6, "http[0].delegate", "cannot be delegated further"),
        (LEAF.replace("  http:", "  gateways: [a]\n  http:") + "  -" + TO[3:],
         5, "gateways", "it has no gateways"),
        (LEAF + "  - nonsense: 1\n", 6, "http[0].nonsense", "not supported"),
        (LEAF + "  -" + TO[3:] + "    timeout: soon\n", 7, "http[0].timeout", "duration"),
        (LEAF.replace("  http:\n", "  http: []\n"), 5, "http", "a list of HTTP routes"),
    ],
)  # fmt: skip
def test_mistakes_of_a_delegate(used, text, line, path, words):
    root = ROOT + TO_LEAF if used else WEB.replace("name: web", "name: x")
    problems = refused(root, text)
    assert any(
        problem.startswith(f"f1.yaml:{line}: VirtualService/leaf: spec.{path}: ")
        and words in problem
        for problem in problems
    ), problems


def test_a_delegate_needs_a_name():
    (problem,) = refused(WEB, ROOT + "  - delegate: {namespace: a}\n")
    assert problem.startswith("f1.yaml:7: VirtualService/web: spec.http[0].delegate.name: is req")


# -- no request gets to a delegate that its root does not match

PATHS = st.sampled_from(["/", "/a", "/a/b", "/ab", "/b"])
VALUES = st.sampled_from(["x", "xy", "y"])
KINDS = st.sampled_from(["exact", "prefix"])
MATCHES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "uri": st.builds(lambda kind, text: {kind: text}, KINDS, PATHS),
            "method": st.builds(lambda text: {"exact": text}, st.sampled_from(["GET", "PUT"])),
            "headers": st.dictionaries(
                st.sampled_from(["a", "b"]),
                st.builds(lambda kind, text: {kind: text}, KINDS, VALUES),
                max_size=2,
            ),
            "port": st.sampled_from([80, 81]),
        },
    ),
    max_size=3,
)


def _string(wanted, value):
    ((kind, text),) = wanted.items()
    return value is not None and (value == text if kind == "exact" else value.startswith(text))


def _holds(matches, path, method, headers, port):
    """As Istio's documents say it."""
    return not matches or any(
        ("uri" not in match or _string(match["uri"], path))
        and ("method" not in match or _string(match["method"], method))
        and all(_string(want, headers.get(name)) for name, want in match.get("headers", {}).items())
        and match.get("port", port) == port
        for match in matches
    )


def _route_holds(matches, path, method, headers, port):
    def given(match):
        strings = {key: getattr(match, key) for key in ("exact", "prefix")}
        return {key: text for key, text in strings.items() if text is not None}

    plain = []
    for match in matches:
        assert isinstance(match, Match)
        wanted = {"headers": {name: given(header) for name, header in match.headers.items()}}
        if match.path:
            wanted["uri"] = given(match.path)
        if match.method:
            wanted["method"] = {"exact": match.method}
        plain.append(wanted | ({"port": match.port} if match.port else {}))
    return _holds(plain, path, method, headers, port)


@settings(max_examples=300, deadline=None)
@given(root=MATCHES, own=MATCHES, data=st.data())
def test_what_a_delegate_s_rule_takes_both_match(tmp_path_factory, root, own, data):
    documents = [yaml.safe_load(ROOT), yaml.safe_load(LEAF)]
    documents[0]["spec"]["http"] = [{"delegate": {"name": "leaf"}, "match": root}]
    to = [{"destination": {"host": "web"}}]
    documents[1]["spec"]["http"] = [{"route": to, "match": own}]
    path = tmp_path_factory.getbasetemp() / "delegates.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    rules, warnings = compile_manifests([str(path)])
    request = (
        data.draw(PATHS), data.draw(st.sampled_from(["GET", "PUT"])),
        data.draw(st.dictionaries(st.sampled_from(["a", "b"]), VALUES)),
        data.draw(st.sampled_from([80, 81])),
    )  # fmt: skip
    if not rules.routes:
        assert any("has it within" in warning for warning in warnings)
        return
    taken = _route_holds(rules.routes[0].match, *request)
    assert taken <= (_holds(root, *request) and _holds(own, *request))
    if len(root) <= 1:  # then nothing of the delegate's has been left out
        assert taken == (_holds(root, *request) and _holds(own, *request))
