"""HTTPRoutes whose parents are services: ports, and the routes of producers and of consumers."""

from __future__ import annotations

import pytest
from compiling import answers, compiled

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: prod}
spec: {ports: [PORTS]}
"""
PORTS = "{port: 80, name: http}, {port: 8080, name: alt}, {port: 9090, name: more}"


def service(name, ports="{port: 80}"):
    return SERVICE.replace("NAME", name).replace("PORTS", ports)


def route(name, parent, backend="other", namespace="prod", path="/"):
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec:\n  parentRefs: [{{group: '', kind: Service, {parent}}}]\n"
        f"  rules: [{{matches: [{{path: {{value: {path}}}}}],\n"
        f"    backendRefs: [{{name: {backend}, namespace: prod, port: 80}}]}}]\n"
    )


def built(*texts, **options):
    return compiled("---\n".join([service("other"), *texts]), **options)


def test_a_port_takes_the_requests_of_that_port_and_leaves_the_others_to_the_service():
    rules, warnings = built(service("web", PORTS), route("r", "name: web, port: 8080"))
    assert [answers(rules, f"web{port}") for port in (":8080", "", ":80", ":9090", ":1")] == [
        "other", "web", "web", "web", 404,
    ]  # fmt: skip
    to = {route["name"]: route["to"][0]["service"] for route in rules["routes"]}
    full = "web.prod.svc.cluster.local"
    assert to == {
        "prod/r": "other.prod.svc.cluster.local",
        f"default/{full}:80": full,
        f"default/{full}:9090": f"{full}:9090",
    }
    assert not any("HTTPRoute" in w for w in warnings)


def test_routes_of_several_ports_and_one_of_all():
    texts = service("web", PORTS), service("alt"), service("all")
    one = route("one", "name: web, port: 8080", "alt", path="/x")
    rules, _ = built(*texts, one, route("two", "name: web, port: 80"))
    assert [answers(rules, host, "/x") for host in ("web:8080", "web", "web:9090")] == [
        "alt", "other", "web",
    ]  # fmt: skip
    rules, _ = built(*texts, one, route("two", "name: web", "all"))
    assert [answers(rules, host, "/x") for host in ("web:8080", "web", "web:9090")] == [
        "alt", "all", "all",
    ]  # fmt: skip
    assert answers(rules, "web:8080", "/y") == "all"


def test_the_only_port_of_a_service_need_not_be_in_the_host():
    rules, _ = built(service("web", "{port: 8000}"), route("r", "name: web, port: 8000"))
    assert "match" not in rules["routes"][0]
    assert answers(rules, "web") == answers(rules, "web.prod:15001") == "other"


@pytest.mark.parametrize(
    ("parent", "said"),
    [
        ("name: web, port: 81", "spec.parentRefs[0].port: web.prod.svc.cluster.local has no such"),
        ("name: none", "spec.parentRefs[0]: nothing defines none.prod.svc.cluster.local"),
    ],
)
def test_parents_that_cannot_have_been_meant(parent, said):
    _, warnings = built(service("web", PORTS), route("r", parent))
    (warning,) = (w for w in warnings if "HTTPRoute" in w)
    assert warning.startswith(f"f0.yaml:15: HTTPRoute/prod/r: {said}")


# -- producers and consumers

PRODUCER = route("producer", "name: web", "made")
CONSUMER = route("consumer", "name: web, namespace: prod", "web", namespace="shop", path="/own")
WEB = service("web") + "---\n" + service("made")


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [("shop", ["web", 404]), ("prod", ["made", "made"]), ("else", ["made", "made"])],
)
def test_a_consumers_route_is_for_clients_of_its_namespace_and_then_no_other(namespace, expected):
    rules, warnings = built(WEB, PRODUCER, CONSUMER, workload_namespace=namespace)
    assert [answers(rules, "web.prod", path) for path in ("/own", "/x")] == expected
    assert not any("HTTPRoute" in w for w in warnings)


def test_without_a_namespace_a_consumers_route_is_taken_and_warned_of():
    rules, warnings = built(WEB, PRODUCER, CONSUMER)
    assert [answers(rules, "web.prod", path) for path in ("/own", "/x")] == ["web", "made"]
    (warning,) = (w for w in warnings if "HTTPRoute" in w)
    assert warning.startswith(
        "f0.yaml:28: HTTPRoute/shop/consumer: spec.parentRefs[0]: only for clients in namespace"
    )


def test_the_service_itself_needs_no_grant_but_others_do():
    other = CONSUMER.replace("backendRefs: [{name: web,", "backendRefs: [{name: made,")
    rules, warnings = built(WEB, other, workload_namespace="shop")
    assert answers(rules, "web.prod", "/own") == 500
    assert any("no ReferenceGrant in namespace prod" in w for w in warnings)


def test_hostnames_have_no_effect_beside_services():
    text = route("r", "name: web").replace("  rules:", "  hostnames: [a.test]\n  rules:")
    rules, warnings = built(service("web"), text)
    assert (answers(rules, "web"), answers(rules, "a.test")) == ("other", 404)
    (warning,) = (w for w in warnings if "HTTPRoute" in w)
    assert warning.startswith("f0.yaml:16: HTTPRoute/prod/r: spec.hostnames: has no effect")
