"""--gateway, --workload-labels and --workload-namespace: which rules are for the proxy."""

from __future__ import annotations

import json

import pytest
from compiling import ROUTE, RULE, VS, WEB, compiled, refused

from fastmirror.cli import main


def names(rules):
    return [route["name"] for route in rules.get("routes", [])]


def service(name, gateways, namespace="default", hosts="web.example"):
    text = VS.replace("{name: web}", f"{{name: {name}, namespace: {namespace}}}")
    text = text.replace("[web]", f"[{name}.{hosts}]")
    lists = f"  gateways: {gateways}\n" if gateways else ""
    return text.replace("  http:", f"{lists}  http:") + ROUTE


SERVICES = [
    service("absent", None),
    service("mesh", "[mesh]"),
    service("own", "[outside]"),
    service("both", "[mesh, outside]"),
    service("other", "[infra/outside]"),
    service("prod", "[outside]", namespace="prod"),
    service("dot", "[./outside]", namespace="prod"),
    service("fqdn", "[outside.infra.svc.cluster.local]"),
]


@pytest.mark.parametrize(
    ("gateways", "expected"),
    [
        ([], ["absent", "mesh", "own", "both", "other", "prod/prod", "prod/dot", "fqdn"]),
        (["mesh"], ["absent", "mesh", "both"]),
        (["outside"], ["own", "both"]),
        (["default/outside"], ["own", "both"]),
        (["infra/outside"], ["other", "fqdn"]),
        (["prod/outside", "mesh"], ["absent", "mesh", "both", "prod/prod", "prod/dot"]),
    ],
)
def test_gateways_of_a_virtual_service(gateways, expected):
    rules, warnings = compiled(
        WEB, WEB.replace("name: web", "name: web, namespace: prod"), *SERVICES, gateways=gateways
    )
    assert names(rules) == expected
    assert all("several namespaces" in warning for warning in warnings), warnings


def test_a_gateway_that_nothing_is_bound_to_is_warned_of():
    rules, warnings = compiled(WEB, VS + ROUTE, gateways=["ingress"])
    assert "routes" not in rules
    assert warnings == ["--gateway ingress: no VirtualService is bound to it"]


def test_what_is_for_another_proxy_is_not_read_and_takes_no_host():
    other = service("web", "[outside]", hosts="x").replace("[web.x]", "[web]") + "    tls: 1\n"
    rules, warnings = compiled(WEB, other, VS.replace("name: web", "name: own") + ROUTE,
                               gateways=["mesh"])  # fmt: skip
    assert (names(rules), warnings) == (["own"], [])


MATCHED = [
    ("{sourceLabels: {app: a}}", {"workload_labels": "app=a,version=v1"}, True),
    ("{sourceLabels: {app: a, version: v1}}", {"workload_labels": "app=a,version=v1"}, True),
    ("{sourceLabels: {app: b}}", {"workload_labels": "app=a"}, False),
    ("{sourceLabels: {app: a, version: v1}}", {"workload_labels": "app=a"}, False),
    ("{sourceLabels: {app: a}}", {"workload_labels": ""}, False),
    ("{sourceLabels: {}}", {}, True),
    ("{sourceNamespace: default}", {}, True),
    ("{sourceNamespace: prod}", {"workload_namespace": "prod"}, True),
    ("{sourceNamespace: prod}", {"workload_namespace": "default"}, False),
    ("{sourceNamespace: prod, sourceLabels: {app: a}}",
     {"workload_namespace": "prod", "workload_labels": "app=a"}, True),
    ("{sourceNamespace: prod, sourceLabels: {app: a}}",
     {"workload_namespace": "prod", "workload_labels": "app=b"}, False),
    ("{gateways: [mesh]}", {"gateways": ["mesh"]}, True),
    ("{gateways: [outside]}", {"gateways": ["mesh"]}, False),
    ("{gateways: [outside, mesh]}", {"gateways": ["mesh"]}, True),
]  # fmt: skip


@pytest.mark.parametrize(("match", "options", "holds"), MATCHED)
def test_a_match_that_cannot_hold_here_is_gone_without_a_word(match, options, holds):
    text = VS + ROUTE + f"    match: [{match}]\n" + ROUTE + "    match: [{uri: {exact: /x}}]\n"
    rules, warnings = compiled(WEB, text, **options)
    assert names(rules) == (["web/0", "web/1"] if holds else ["web/1"])
    # What does not hold hides nothing; what holds for all hides what is behind it.
    assert warnings == (
        ["f1.yaml:9: VirtualService/web: spec.http[1]: never runs: "
         "the rules before it take every request that it matches"] if holds else []
    )  # fmt: skip


def test_one_match_may_be_gone_and_another_stay():
    text = VS + ROUTE + "    match: [{sourceLabels: {a: b}}, {uri: {prefix: /a}}]\n"
    rules, _ = compiled(WEB, text, workload_labels="a=c")
    assert rules["routes"][0]["match"] == [{"path": {"prefix": "/a"}}]


@pytest.mark.parametrize(
    ("match", "path", "words"),
    [
        ("{sourceLabels: {app: a}}", "sourceLabels", "--workload-labels"),
        ("{sourceNamespace: prod}", "sourceNamespace", "--workload-namespace"),
        ("{gateways: [a]}", "gateways", "--gateway"),
    ],
)
def test_without_the_option_a_warning_names_it(match, path, words):
    rules, (warning,) = compiled(WEB, VS + ROUTE + f"    match: [{match}]\n")
    assert warning.startswith(f"f1.yaml:8: VirtualService/web: spec.http[0].match[0].{path}: ")
    assert words in warning
    assert ("routes" in rules) == (path == "gateways")


def test_gateways_of_a_match_go_before_its_labels():
    text = VS + ROUTE + "    match: [{gateways: [mesh], sourceLabels: {app: a}}]\n"
    rules, (warning,) = compiled(WEB, text, gateways=["mesh"])
    assert names(rules) == ["web"]
    assert ".sourceLabels: has no effect beside gateways" in warning


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"workload_labels": "app"}, "--workload-labels app: expected KEY=VALUE"),
        ({"workload_labels": "a=b,=c"}, "--workload-labels a=b,=c: expected"),
        ({"workload_namespace": "A"}, "--workload-namespace A: expected a DNS label"),
        ({"gateways": ["a/b/c"]}, "--gateway a/b/c: expected NAME, NAMESPACE/NAME or mesh"),
    ],
)
def test_options_that_say_nothing(options, start):
    assert refused(WEB, VS + ROUTE, **options)[0].startswith(start)


@pytest.mark.parametrize(
    ("options", "balance"),
    [
        ({"workload_labels": "app=a"}, "random"),
        ({"workload_labels": "app=b"}, "least_request"),
        ({"workload_labels": "app=a", "workload_namespace": "prod"}, "least_request"),
    ],
)
def test_a_destination_rule_of_the_workload_goes_before_all_others(options, balance):
    one = RULE + "  trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}\n"
    own = RULE.replace("name: web", "name: own") + (
        "  workloadSelector: {matchLabels: {app: a}}\n"
        "  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n"
    )
    rules, warnings = compiled(WEB, one, own, **options)
    assert rules["services"][0]["balance"] == balance
    expected = ["f1.yaml:5: DestinationRule/web: spec.host: has no effect: "
                "DestinationRule own selects the workload"]  # fmt: skip
    assert warnings == (expected if balance == "random" else [])


@pytest.mark.parametrize(
    "rule",
    [
        ROUTE + "    match: [{sourceLabels: {app: b}}]\n",
        "  - delegate: {name: nowhere}\n",
    ],
)
def test_a_virtual_service_without_any_rule_here_leaves_its_host_as_it_is(rule):
    rules, _ = compiled(WEB, VS + rule, workload_labels="app=a")
    assert "routes" not in rules
    assert rules["services"][0]["hosts"][0] == "web"


def test_the_command_has_these_options(tmp_path, capsys):
    manifests, output = tmp_path / "m.yaml", tmp_path / "rules.json"
    match = "    match: [{sourceLabels: {app: a}, sourceNamespace: prod}]\n"
    manifests.write_text("---\n".join([WEB, VS + ROUTE + match, service("own", "[outside]")]))
    command = ["compile", str(manifests), "-o", str(output)]
    selecting = ["--workload-labels", "app=a,b=c", "--workload-namespace", "prod"]
    assert main([*command, *selecting, "--gateway", "mesh"]) == 0
    assert names(json.loads(output.read_text())) == ["web"]
    assert main([*command, *selecting, "--gateway", "default/outside", "--gateway", "mesh"]) == 0
    assert names(json.loads(output.read_text())) == ["web", "own"]
    assert main([*command, "--gateway", "a b"]) == 1
    assert "--gateway a b: expected NAME" in capsys.readouterr().err
