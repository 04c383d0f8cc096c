"""Hosts, their addresses and subsets: Service, ServiceEntry, DestinationRule, --map."""

from __future__ import annotations

import pytest
from compiling import (
    ENTRY,
    FQDN,
    ROUTE,
    RULE,
    SLICE,
    TASK,
    V1_V2,
    VS,
    WEB,
    WORKLOAD,
    compiled,
    refused,
    task,
    vs,
)


def endpoints(rules, service="web.default.svc.cluster.local"):
    (found,) = [s for s in rules["services"] if s["name"] == service]
    return [endpoint["address"] for endpoint in found["endpoints"]]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("web=10.0.0.1", ["10.0.0.1:80"]),
        ("web=10.0.0.1:9", ["10.0.0.1:9"]),
        ("web.default=[::1]", ["[::1]:80"]),
        ("web.default.svc=[::1]:9", ["[::1]:9"]),
        ("WEB.default.svc.cluster.local.=a.example,b:81", ["a.example:80", "b:81"]),
        ("web:80=10.0.0.1", ["10.0.0.1:80"]),
        ("web=unix:/run/web.sock", ["unix:/run/web.sock"]),
    ],
)
@pytest.mark.parametrize("manifests", [[WEB], [VS + ROUTE], [WEB, VS + ROUTE]])
def test_map(option, expected, manifests):
    rules, warnings = compiled(*manifests, maps=[option], dns=False)
    assert warnings == []
    assert endpoints(rules) == expected


@pytest.mark.parametrize(
    "option",
    ["web", "web=", "=a", "web=a,", "web=a:0", "web=a:99999", "web:0=a", "web:x=a", "a b=c",
     "*.web=a", "web/=a", "web=http://a", "web=:80", "web=::1"],
)  # fmt: skip
def test_map_mistakes(option):
    problem, *_ = refused(WEB, maps=[option])
    assert problem.startswith(f"--map {option}: ")


def test_a_map_of_one_port_wins_over_that_of_all():
    ports = WEB.replace("[{port: 80}]", "[{name: a, port: 80}, {name: b, port: 81}]")
    two = ROUTE + "    mirror: {host: web, port: {number: 81}}\n"
    rules, _ = compiled(ports, VS + two, maps=["web=10.0.0.1", "web:81=10.0.0.2"])
    assert endpoints(rules) == ["10.0.0.1:80"]
    assert endpoints(rules, "web.default.svc.cluster.local:81") == ["10.0.0.2:81"]


def test_a_map_of_nothing_is_warned_of_and_serves():
    rules, (warning,) = compiled(WEB, maps=["wbe=10.0.0.1:8080"])
    assert warning.startswith("--map wbe=10.0.0.1:8080: nothing")
    assert endpoints(rules, "wbe.default.svc.cluster.local") == ["10.0.0.1:8080"]


def test_one_address_in_two_subsets():
    maps = ["httpbin=127.0.0.1:8001,127.0.0.1:8002", *V1_V2, "httpbin/v9=127.0.0.1:8003"]
    rules, (warning,) = task("services", "destination-rule", maps=maps, dns=True)
    assert "subset v9" in warning
    (service,) = [s for s in rules["services"] if s["name"] == FQDN]
    assert service["endpoints"] == [
        {"address": "127.0.0.1:8001", "labels": {"version": "v1"}},
        {"address": "127.0.0.1:8002", "labels": {"version": "v2"}},
        {"address": "127.0.0.1:8003"},
    ]


def test_without_dns_a_name_without_address_is_an_invalid_reference():
    problems = refused(WEB, VS + ROUTE + "    mirror: {host: other.example}\n", dns=False)
    assert [problem.partition(": neither")[0] for problem in problems] == [
        "f1.yaml:7: VirtualService/web: spec.http[0].route[0].destination.host: invalid reference",
        "f1.yaml:8: VirtualService/web: spec.http[0].mirror.host: invalid reference",
    ]


NAMED = WEB.replace("{port: 80}", "{name: http, port: 80, targetPort: web}")
PORT_81 = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\nsubsets:\n"


def test_addresses_of_an_endpoint_slice():
    rules, _ = compiled(NAMED, SLICE, dns=False)
    assert endpoints(rules) == ["10.0.0.1:8080", "[fd00::3]:8080"]
    assert endpoints(compiled(NAMED, SLICE, maps=["web=1.2.3.4"])[0]) == ["1.2.3.4:80"]


def test_the_labels_of_pods_make_subsets():
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web-1, labels: {version: v1}}\nspec: {x: y}\n"
    )
    rules, _ = compiled(NAMED, SLICE, pod)
    assert rules["services"][0]["endpoints"][0]["labels"] == {"version": "v1"}


def test_addresses_of_endpoints():
    text = PORT_81 + "- {addresses: [{ip: 10.0.0.1}], ports: [{name: http, port: 81}]}\n"
    assert endpoints(compiled(NAMED, text)[0]) == ["10.0.0.1:81"]


def test_headless_and_external_services_and_udp():
    headless = WEB.replace(
        "{ports: [{port: 80", "{clusterIP: None, ports: [{port: 80, targetPort: 8080"
    )
    assert endpoints(compiled(headless)[0]) == ["web.default.svc.cluster.local:8080"]
    external = WEB.replace("{ports", "{type: ExternalName, externalName: a.example, ports")
    assert endpoints(compiled(external)[0]) == ["a.example:80"]
    udp = WEB.replace("{port: 80}", "{port: 53, protocol: UDP}, {port: 80}")
    assert endpoints(compiled(udp)[0]) == ["web.default.svc.cluster.local:80"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("resolution: DNS", ["api.example:80"]),
        ("resolution: DNS_ROUND_ROBIN", ["api.example:80"]),
        ("resolution: STATIC, endpoints: [{address: 10.0.0.1}]", ["10.0.0.1:80"]),
        ("resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {http: 8080}}]",
         ["10.0.0.1:8080"]),
        ("resolution: DNS, endpoints: [{address: c.example}]", ["c.example:80"]),
        ("resolution: STATIC, endpoints: [{address: 'unix:///run/x'}]", ["unix:/run/x"]),
        ("resolution: STATIC, workloadSelector: {labels: {app: api}}", ["10.1.1.1:8081"]),
    ],
)  # fmt: skip
def test_service_entry(fields, expected):
    text = ENTRY + "".join(f"  {line}\n" for line in fields.split(", ", 1))
    rules, _ = compiled(text, WORKLOAD)
    assert endpoints(rules, "api.example") == expected
    # Each host is a service of its own.
    assert [service["name"] for service in rules["services"]] == ["api.example", "b.example"]


def test_a_service_may_select_workload_entries():
    rules, _ = compiled(WEB.replace("{ports", "{selector: {app: api}, ports"), WORKLOAD)
    (endpoint,) = rules["services"][0]["endpoints"]
    assert endpoint == {
        "address": "10.1.1.1:80", "labels": {"app": "api", "version": "v1"}, "weight": 3,
    }  # fmt: skip


def test_subsets_by_the_labels_of_a_service_entry():
    two = (
        "  resolution: STATIC\n  endpoints:\n"
        "  - {address: 10.0.0.1, labels: {version: v1}}\n"
        "  - {address: 10.0.0.2, labels: {version: v2}}\n"
    )
    rule = (TASK / "destination-rule.yaml").read_text().replace("httpbin", "api.example")
    rules, warnings = compiled(
        ENTRY.replace(", b.example", "") + two, rule,
        vs("api", "[api.example]", "api.example, subset: v2"), dns=False,
    )  # fmt: skip
    assert warnings == []
    assert rules["routes"][0]["to"] == [{"service": "api.example", "subset": "v2"}]
    assert rules["services"][0]["subsets"] == {"v1": {"version": "v1"}, "v2": {"version": "v2"}}


@pytest.mark.parametrize(
    ("simple", "expected"),
    [
        ("ROUND_ROBIN", None),  # the rules' default
        ("UNSPECIFIED", None),
        ("LEAST_REQUEST", "least_request"),
        ("LEAST_CONN", "least_request"),
        ("RANDOM", "random"),
    ],
)
def test_load_balancers(simple, expected):
    rule = RULE + f"  trafficPolicy: {{loadBalancer: {{simple: {simple}}}}}\n"
    assert compiled(WEB, rule)[0]["services"][0].get("balance") == expected
    wild = rule.replace("host: web", "host: '*.default.svc.cluster.local'")
    assert compiled(WEB, wild)[0]["services"][0].get("balance") == expected


HOST_MISTAKES = [
    (RULE + "  trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}\n",
     "f0.yaml:6: DestinationRule/web: spec.trafficPolicy.loadBalancer.simple: "
     "load balancer PASSTHROUGH is not supported"),
    (RULE + "  subsets: [{labels: {a: b}}]\n",
     "f0.yaml:6: DestinationRule/web: spec.subsets[0].name: is required"),
    (RULE + "  subsets: [{name: a}, {name: a}]\n",
     "f0.yaml:6: DestinationRule/web: spec.subsets[1].name: subset a is given twice"),
    (RULE + "  subsets: [{name: a, labels: {b: 1}}]\n",
     "f0.yaml:6: DestinationRule/web: spec.subsets[0].labels.b: expected a string, not 1"),
    (RULE.replace("host: web", "host: [web]"), "f0.yaml:5: DestinationRule/web: spec.host: "),
    (ENTRY, "f0.yaml:4: ServiceEntry/api: spec.resolution: is required: expected STATIC"),
    (ENTRY + "  resolution: NONE\n", "f0.yaml:8: ServiceEntry/api: spec.resolution: expected"),
    (ENTRY.replace("b.example", "'*.example'") + "  resolution: DNS\n",
     "f0.yaml:5: ServiceEntry/api: spec.hosts[1]: expected a host name"),
    (ENTRY + "  resolution: STATIC\n  endpoints: [{address: 10.0.0.1/8}]\n",
     "f0.yaml:9: ServiceEntry/api: spec.endpoints[0].address: expected an IP address"),
    (WORKLOAD.replace("address: 10.1.1.1, ", ""),
     "f0.yaml:4: WorkloadEntry/vm: spec.address: is required"),
    (WEB.replace("port: 80", "port: 0"), "f0.yaml:4: Service/web: spec.ports[0].port: expected"),
    (SLICE.replace("{kubernetes.io/service-name: web}", "{}"),
     "f0.yaml:3: EndpointSlice/web-abc: metadata.labels[\'kubernetes.io/service-name\']: "),
    (SLICE.replace("10.0.0.1", "10.0.0.1.5/4"),
     "f0.yaml:7: EndpointSlice/web-abc: endpoints[0].addresses[0]: expected an IP address"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "start"), HOST_MISTAKES)
def test_mistakes_of_hosts(text, start):
    (problem,) = refused(text)
    assert problem.startswith(start), problem
