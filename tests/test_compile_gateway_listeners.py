"""Gateways: which listeners a route is attached to, and which listener a request belongs to."""

from __future__ import annotations

import itertools

import pytest
from compiling import answers, compiled, refused
from hypothesis import given, settings
from hypothesis import strategies as st

SERVICES = "---\n".join(
    f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n"
    for name in "abcd"
)


def gateway(*listeners, name="gw"):
    """Listeners as the fields that they have beside name, port and protocol."""
    text = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"
        f"metadata: {{name: {name}, namespace: infra}}\n"
        "spec:\n  gatewayClassName: fast\n  listeners:\n"
    )
    fields = {"port": "80", "protocol": "HTTP", "allowedRoutes": "{namespaces: {from: All}}"}
    for index, listener in enumerate(listeners):
        given = {"name": f"l{index}"} | fields | listener
        text += "  - {" + ", ".join(f"{key}: {value}" for key, value in given.items()) + "}\n"
    return text


def route(target, parent="", hostnames="", path="/", name="", namespace="default"):
    """A route whose requests go to a service that is called ``target``."""
    hosts = f"  hostnames: [{hostnames}]\n" if hostnames else ""
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name or target}, namespace: {namespace}}}\n"
        f"spec:\n  parentRefs: [{{name: gw, namespace: infra{parent}}}]\n{hosts}"
        f"  rules:\n  - matches: [{{path: {{value: {path}}}}}]\n"
        f"    backendRefs: [{{name: {target}, port: 80}}]\n"
    )


def built(*texts, **options):
    return compiled("---\n".join([*texts, SERVICES]), **options)


# -- hostnames


@pytest.mark.parametrize(
    ("listener", "hostnames", "expected"),
    [
        ("", "", ["*"]),
        ("", "a.test", ["a.test"]),
        ("a.test", "", ["a.test"]),
        ("'*.test'", "", ["*.test"]),
        ("a.test", "a.test", ["a.test"]),
        ("A.Test", "a.TEST", ["a.test"]),
        ("'*.test'", "a.test", ["a.test"]),
        ("'*.test'", "x.a.test", ["x.a.test"]),
        ("a.test", "'*.test'", ["a.test"]),
        ("'*.test'", "'*.a.test'", ["*.a.test"]),
        ("'*.a.test'", "'*.test'", ["*.a.test"]),
        ("'*.test'", "'*.test'", ["*.test"]),
        ("'*.test'", "b.test, test, other", ["b.test"]),
    ],
)
def test_the_hostnames_of_route_and_listener_intersect(listener, hostnames, expected):
    fields = {"hostname": listener} if listener else {}
    rules, _ = built(gateway(fields), route("a", hostnames=hostnames))
    assert rules["routes"][0]["hosts"] == expected


@pytest.mark.parametrize(
    ("listener", "hostnames"),
    [("a.test", "b.test"), ("'*.test'", "test"), ("'*.test'", "atest"), ("a.test", "'*.a.test'")],
)
def test_a_route_whose_hostnames_no_listener_has_is_left_out(listener, hostnames):
    rules, warnings = built(gateway({"hostname": listener}), route("a", hostnames=hostnames))
    assert rules.get("routes", []) == []
    assert [w for w in warnings if "HTTPRoute/a" in w] == [
        "f0.yaml:13: HTTPRoute/a: spec.parentRefs[0]: not attached: listener l0: its hostname is "
        + listener.strip("'"),
        "f0.yaml:14: HTTPRoute/a: spec.hostnames[0]: has no effect: no listener that takes the"
        " route is for it",
    ]


def test_a_hostname_that_no_listener_has_is_warned_of_alone():
    texts = gateway({"hostname": "a.test"}), route("a", hostnames="b.test, a.test")
    rules, warnings = built(*texts)
    assert rules["routes"][0]["hosts"] == ["a.test"]
    (warning,) = (w for w in warnings if "HTTPRoute" in w)
    assert warning.startswith("f0.yaml:14: HTTPRoute/a: spec.hostnames[0]: has no effect")


# -- which listener


@pytest.mark.parametrize(
    ("parent", "attached"),
    [
        ("", True),
        (", sectionName: l1", True),
        (", port: 81", True),
        (", sectionName: l1, port: 81", True),
        (", sectionName: l1, port: 80", False),
        (", sectionName: other", False),
        (", port: 82", False),
    ],
)
def test_section_and_port_select_listeners(parent, attached):
    listeners = gateway({"hostname": "zero.test"}, {"port": "81", "hostname": "one.test"})
    rules, warnings = built(listeners, route("a", parent, hostnames="one.test"))
    assert answers(rules, "one.test") == ("a" if attached else 404)
    problems = [w for w in warnings if "HTTPRoute" in w]
    assert bool(problems) is not attached
    if not attached:
        assert problems[0].startswith("f0.yaml:14: HTTPRoute/a: spec.parentRefs[0]: not attached:")


@pytest.mark.parametrize(
    ("namespaces", "namespace", "attached"),
    [
        ("{}", "infra", True),  # Same is the default
        ("{}", "default", False),
        ("{from: Same}", "default", False),
        ("{from: All}", "default", True),
        ("{from: Selector, selector: {matchLabels: {team: a}}}", "default", True),
        ("{from: Selector, selector: {matchLabels: {team: b}}}", "default", False),
        ("{from: Selector, selector: {matchLabels: {team: a}}}", "unknown", False),
        ("{from: Selector, selector: {}}", "unknown", True),
        ("{from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: unknown}}}",
         "unknown", True),
        ("{from: Selector, selector: {matchExpressions: [{key: team, operator: In,"
         " values: [a, b]}]}}", "default", True),
        ("{from: Selector, selector: {matchExpressions: [{key: team, operator: NotIn,"
         " values: [a]}]}}", "default", False),
        ("{from: Selector, selector: {matchExpressions: [{key: team, operator: Exists}]}}",
         "default", True),
        ("{from: Selector, selector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}",
         "default", False),
    ],
)  # fmt: skip
def test_allowed_namespaces(namespaces, namespace, attached):
    labelled = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {team: a}}\n"
    allowed = {"allowedRoutes": f"{{namespaces: {namespaces}}}"}
    text = route("a", namespace=namespace).replace("infra}", "infra}", 1)
    rules, warnings = built(labelled, gateway(allowed), text)
    assert bool(rules.get("routes")) is attached
    said = f"not attached: listener l0: its allowedRoutes do not have namespace {namespace}"
    assert any(w.endswith(said) for w in warnings) is not attached


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"allowedRoutes": "{namespaces: {from: All}, kinds: [{kind: TLSRoute}]}"}, "other kinds"),
        ({"allowedRoutes": "{namespaces: {from: All}, kinds: [{group: x, kind: HTTPRoute}]}"},
         "other kinds"),
        ({"protocol": "TLS", "tls": "{mode: Passthrough}"}, "its protocol is TLS"),
        ({"protocol": "TCP"}, "its protocol is TCP"),
        ({"protocol": "example.com/own"}, "its protocol is example.com/own"),
    ],
)  # fmt: skip
def test_listeners_that_take_no_http_route(fields, why):
    rules, warnings = built(gateway(fields), route("a"))
    assert rules.get("routes", []) == []
    assert any("not attached: listener l0: " in w and why in w for w in warnings)
    kinds = {"allowedRoutes": "{namespaces: {from: All}, kinds: [{kind: X}, {kind: HTTPRoute}]}"}
    rules, _ = built(gateway(kinds), route("a"))
    assert answers(rules, "x") == "a"


def test_a_gateway_without_a_manifest_takes_every_route():
    rules, warnings = built(route("a", ", sectionName: http, port: 8080", "a.test"))
    assert (answers(rules, "a.test"), answers(rules, "b.test")) == ("a", 404)
    assert not any("HTTPRoute" in w for w in warnings)
    rules, warnings = built(gateway({}, name="other"), route("a"))
    assert answers(rules, "a.test") == "a"
    assert any("spec.parentRefs[0]: nothing defines Gateway infra/gw" in w for w in warnings)


def test_istios_gateway_of_the_same_name_is_read_over():
    istio = (
        "apiVersion: networking.istio.io/v1\nkind: Gateway\n"
        "metadata: {name: gw, namespace: infra}\n"
    )
    rules, _ = built(istio, gateway({"hostname": "a.test"}), route("a"))
    assert (answers(rules, "a.test"), answers(rules, "b.test")) == ("a", 404)


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha2"])
def test_versions(version):
    texts = (gateway({"hostname": "a.test"}), route("a"))
    rules, _ = built(*(text.replace("k8s.io/v1", f"k8s.io/{version}") for text in texts))
    assert answers(rules, "a.test") == "a"


def test_a_section_that_refuses_is_warned_of_beside_one_that_does_not():
    two = route("a").replace(
        "[{name: gw, namespace: infra}]",
        "[{name: gw, namespace: infra, sectionName: l0},"
        " {name: gw, namespace: infra, sectionName: l1}]",
    )
    rules, warnings = built(gateway({}, {"protocol": "TLS", "port": "443"}), two)
    assert answers(rules, "x") == "a"
    (warning,) = (w for w in warnings if "HTTPRoute" in w)
    assert warning.endswith("spec.parentRefs[1]: not attached: listener l1: its protocol is TLS")


# -- one listener a request


NESTED = gateway(
    {},
    {"hostname": "'*.test'"},
    {"hostname": "'*.sub.test'"},
    {"hostname": "one.sub.test"},
)
HOSTS = {"l0": "other", "l1": "x.test", "l2": "x.sub.test", "l3": "one.sub.test"}


@pytest.mark.parametrize("hostnames", ["", "other, '*.test', '*.sub.test', one.sub.test"])
def test_a_request_belongs_to_the_listener_with_the_most_specific_hostname(hostnames):
    attached = [
        route(target, f", sectionName: l{index}", hostnames, path=f"/{target}")
        for index, target in enumerate("abcd")
    ]
    rules, _ = built(NESTED, *attached)
    for (listener, host), (index, target) in itertools.product(HOSTS.items(), enumerate("abcd")):
        expected = target if listener == f"l{index}" else 404
        assert answers(rules, host, f"/{target}/x") == expected, (host, target)


def test_what_goes_to_a_better_listener_is_warned_of():
    texts = (
        route("a", ", sectionName: l0", "one.sub.test, free"),
        route("b", ", sectionName: l3"),
    )
    rules, warnings = built(NESTED, *texts)
    assert (answers(rules, "one.sub.test"), answers(rules, "free")) == ("b", "a")
    (warning,) = (w for w in warnings if "never gets" in w)
    assert warning == (
        "f0.yaml:17: HTTPRoute/a: spec.hostnames: never gets requests for one.sub.test: they go to"
        " listener l3 of Gateway infra/gw, whose hostname is one.sub.test"
    )


def test_a_listener_without_routes_keeps_its_requests_from_others():
    rules, _ = built(gateway({}, {"hostname": "a.test"}), route("a", ", sectionName: l0"))
    assert (answers(rules, "b.test"), answers(rules, "a.test")) == ("a", 404)


def test_listeners_that_see_the_same_routes_add_nothing_to_the_rules():
    rules, _ = built(gateway({"hostname": "'*.a.test'"}, {"hostname": "b.test"}), route("a"))
    assert [(r["name"], r["hosts"]) for r in rules["routes"]] == [
        ("a", ["b.test"]),
        ("a#2", ["*.a.test"]),
    ]


LISTENER = st.sampled_from(["", "a.q", "*.q", "x.a.q", "*.a.q", "c.d"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(LISTENER, min_size=1, max_size=4, unique=True),
    st.lists(st.tuples(st.integers(0, 3), LISTENER), min_size=1, max_size=4),
)
def test_isolation_is_what_the_api_says(hostnames, routes):
    """An oracle that asks listener by listener."""

    def has(pattern, host):
        if pattern.startswith("*."):
            return host.endswith(pattern[1:])
        return pattern in ("", host)

    listeners = gateway(*({"hostname": f"'{name}'"} if name else {} for name in hostnames))
    texts = [
        route(target, f", sectionName: l{index}", f"'{own}'" if own else "", path=f"/{target}")
        for (index, own), target in zip(routes, "abcd", strict=False)
    ]
    rules, _ = built(listeners, *texts)
    for host in ("a.q", "z.q", "x.a.q", "y.a.q", "c.d", "q", "other"):
        best = max(
            (name for name in hostnames if has(name, host)),
            key=lambda name: (name == host, len(name)),
            default=None,
        )
        for (index, own), target in zip(routes, "abcd", strict=False):
            attached = index < len(hostnames) and hostnames[index] == best and has(own, host)
            assert answers(rules, host, f"/{target}") == (target if attached else 404), host


# -- ports


def test_ports_count_where_other_routes_are_attached():
    listeners = gateway({}, {"port": "8080"})
    texts = route("a", ", port: 80", path="/a"), route("b", ", port: 8080", path="/b")
    rules, _ = built(listeners, *texts)
    assert [answers(rules, "x.test:8080", path) for path in ("/a", "/b")] == [404, "b"]
    # A request without a port, or with one that no listener has, is one for port 80.
    for host in ("x.test", "x.test:80", "x.test:15001"):
        assert [answers(rules, host, path) for path in ("/a", "/b")] == ["a", 404]


def test_ports_do_not_count_where_other_hosts_are_attached():
    listeners = gateway({"hostname": "a.test"}, {"port": "8080", "hostname": "b.test"})
    rules, _ = built(listeners, route("a", ", port: 80"), route("b", ", port: 8080"))
    assert [answers(rules, host) for host in ("a.test:15001", "b.test:15001")] == ["a", "b"]


def test_without_port_80_the_first_is_for_all_other_requests():
    listeners = gateway({"port": "9000"}, {"port": "8080"})
    rules, _ = built(listeners, route("a", ", port: 9000"), route("b", ", port: 8080"))
    assert [answers(rules, f"x:{port}") for port in (9000, 8080, 80)] == ["a", "b", "a"]


def test_ports_do_not_count_where_the_same_is_attached():
    rules, _ = built(gateway({}, {"port": "8080"}), route("a"))
    assert rules["routes"] == [
        {"name": "a", "to": [{"service": "a.default.svc.cluster.local"}], "hosts": ["*"]}
    ]


# -- TLS


def test_an_https_listener_has_its_requests_in_plain_text():
    listeners = gateway({}, {"port": "443", "protocol": "HTTPS", "tls": "{certificateRefs: []}"})
    redirect = route("a", ", sectionName: l0").replace(
        "    backendRefs: [{name: a, port: 80}]\n",
        "    filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]\n",
    )
    rules, warnings = built(listeners, redirect, route("b", ", sectionName: l1"))
    assert answers(rules, "x.test") == "b"
    said = "HTTPRoute/b: spec.parentRefs: HTTPS listeners alone: requests are expected in plain"
    assert sum(said in w for w in warnings) == 1


def test_a_redirect_keeps_the_scheme_that_the_client_knows():
    listeners = gateway({"port": "443", "protocol": "HTTPS"})
    texts = [
        route(name).replace(
            f"    backendRefs: [{{name: {name}, port: 80}}]\n",
            f"    filters: [{{type: RequestRedirect, requestRedirect: {{{fields}}}}}]\n",
        )
        for name, fields in {"a": "hostname: x", "b": "hostname: x, scheme: http"}.items()
    ]
    rules, _ = built(listeners, *texts)
    found = {route["name"]: route["redirect"].get("scheme") for route in rules["routes"]}
    assert found == {"a": "https", "b": "http"}


# -- --gateway


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"gateways": ["infra/gw"]}, ["a", 404, "service/c.default.svc.cluster.local"]),
        ({"gateways": ["infra/second"]}, [404, "b", "service/c.default.svc.cluster.local"]),
        ({"gateways": ["mesh"]}, [404, 404, "c"]),
        ({"gateways": ["infra/gw", "mesh"]}, ["a", 404, "c"]),
    ],
)
def test_only_the_routes_of_chosen_gateways(options, expected):
    texts = (
        gateway({}),
        gateway({}, name="second"),
        route("a", hostnames="a.test"),
        route("b", hostnames="b.test").replace("name: gw", "name: second"),
        route("c").replace("name: gw, namespace: infra", "kind: Service, group: '', name: c"),
    )
    rules, warnings = built(*texts, **options)
    assert [answers(rules, host) for host in ("a.test", "b.test", "c")] == expected
    together = [w for w in warnings if "put together" in w]
    assert together == (
        [] if options else ["routes of several gateways are put together: infra/gw, infra/second"
                            " (--gateway says for which ones)"]
    )  # fmt: skip


def test_a_chosen_gateway_that_no_route_has():
    _, warnings = built(gateway({}), route("a"), gateways=["infra/gw", "infra/other"])
    assert [w for w in warnings if "--gateway" in w] == [
        "--gateway infra/other: no HTTPRoute has this parent"
    ]


def test_a_listener_twice():
    (problem,) = refused(gateway({"name": "x"}, {"name": "y"}))
    assert problem == (
        "f0.yaml:8: Gateway/infra/gw: spec.listeners[1]: the same port, protocol and hostname as"
        " listener x"
    )
