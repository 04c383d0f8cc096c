"""Manifests into rules: the task itself, step by step, files and names."""

from __future__ import annotations

import io
import sys

import pytest
from compiling import FORMS, FQDN, ROUTE, V1_V2, VS, WEB, compiled, mirrors, refused, task

from fastmirror.manifests.compile import compile_manifests
from fastmirror.manifests.source import ManifestError


def test_all_to_v1():
    rules, warnings = task("services", "deployments", "destination-rule", "all-to-v1", maps=V1_V2)
    assert warnings == []
    assert rules["services"][0] == {
        "name": FQDN,
        "hosts": FORMS,
        "endpoints": [
            {"address": "127.0.0.1:8001", "labels": {"version": "v1"}},
            {"address": "127.0.0.1:8002", "labels": {"version": "v2"}},
        ],
        "subsets": {"v1": {"version": "v1"}, "v2": {"version": "v2"}},
    }
    assert rules["routes"] == [
        {"name": "httpbin", "hosts": FORMS, "to": [{"service": FQDN, "subset": "v1"}]}
    ]


@pytest.mark.parametrize(
    ("manifest", "share"), [("mirror-all", {}), ("mirror-10", {"percent": 10.0})]
)
def test_mirror_to_v2(manifest, share):
    rules, _ = task("services", "destination-rule", manifest, maps=V1_V2, dns=False)
    (route,) = rules["routes"]
    assert route["to"] == [{"service": FQDN, "subset": "v1"}]
    assert route["mirrors"] == [{"service": FQDN, "subset": "v2", "name": "httpbin-v2"} | share]


def test_the_gateway_api_form():
    maps = ("httpbin-v1=127.0.0.1:8001", "httpbin-v2=127.0.0.1:8002")
    rules, warnings = task("services", "gateway-mirror", maps=maps, dns=False)
    assert warnings == []
    assert rules["routes"] == [
        {
            "name": "httpbin",
            "hosts": FORMS,
            "to": [{"service": "httpbin-v1.default.svc.cluster.local"}],
            "mirrors": [{"service": "httpbin-v2.default.svc.cluster.local", "name": "httpbin-v2"}],
        }
    ]
    assert [service["endpoints"] for service in rules["services"]] == [
        [{"address": "127.0.0.1:8001"}],
        [{"address": "127.0.0.1:8002"}],
    ]
    assert "mirrors" not in task("services", "gateway-all-to-v1", maps=maps)[0]["routes"][0]


@pytest.mark.parametrize("names", [["services"], ["destination-rule"]])
@pytest.mark.parametrize(
    "maps", [V1_V2, ("httpbin=127.0.0.1:8001,127.0.0.1:8002",)], ids=["subsets", "plain"]
)
def test_without_a_route_the_service_has_all_its_endpoints(names, maps):
    rules, _ = task(*names, maps=maps, dns=False)
    assert "routes" not in rules
    (service,) = rules["services"]
    assert service["hosts"] == FORMS
    assert [endpoint["address"] for endpoint in service["endpoints"]] == [
        "127.0.0.1:8001",
        "127.0.0.1:8002",
    ]


def test_in_a_cluster_names_are_resolved_while_running():
    rules, warnings = task("services", "gateway-mirror")
    assert warnings == []
    assert [service["endpoints"] for service in rules["services"]] == [
        [{"address": "httpbin-v1.default.svc.cluster.local:80"}],
        [{"address": "httpbin-v2.default.svc.cluster.local:80"}],
    ]


def test_a_subset_without_endpoints_is_warned_of():
    rules, warnings = task("services", "destination-rule", "mirror-all", maps=V1_V2[:1])
    assert len(rules["services"][0]["endpoints"]) == 1
    (warning,) = warnings
    assert "mirror-all.yaml:14: VirtualService/httpbin: spec.http[0].mirror: " in warning
    assert "subset v2" in warning


@pytest.mark.parametrize(
    ("shadow_host", "expected"),
    [("-shadow", {}), ("keep", {"host": "keep"}), ("-x", {"host": {"suffix": "-x"}})],
)
def test_shadow_host(shadow_host, expected):
    rules, _ = task("services", "destination-rule", "mirror-all", shadow_host=shadow_host)
    assert {k: v for k, v in mirrors(rules)[0].items() if k == "host"} == expected


def test_a_shadow_host_that_makes_no_host_is_refused():
    (problem,) = refused(WEB, shadow_host=" x")
    assert problem.startswith("--shadow-host")


# -- files, kinds and names


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", "f0.yaml:1: no manifest"),
        ("---\n# nothing\n", "f0.yaml:1: no manifest"),
        ("a: 1\na: 2", "f0.yaml:2: duplicate key"),
        ("just text", "f0.yaml:1: document: expected a manifest"),
        ("- a", "f0.yaml:1: document: expected a manifest"),
        ("a: 1", "f0.yaml:1: document: kind: is required"),
        (WEB.replace("Service", "Servise"), "f0.yaml:2: Servise/web: kind: expected one of"),
        (WEB.replace("v1", "v2"), "f0.yaml:1: Service/web: apiVersion: expected v1"),
        (VS.replace("io/v1", "io/v9"), "f0.yaml:1: VirtualService/web: apiVersion: expected"),
        (WEB.replace("{name: web}", "{}"), "f0.yaml:3: Service: metadata.name: is required"),
        (WEB.replace("web", "We b"), "f0.yaml:3: Service/We b: metadata.name: expected a name"),
        (WEB + "extra: 1\n", "f0.yaml:5: Service/web: extra: this field is not supported"),
        (WEB + f"---\n{WEB}", "f0.yaml:8: Service/web: metadata.name: the same kind and name as "
         "in f0.yaml:1"),
    ],
)  # fmt: skip
def test_what_is_no_manifest(text, start):
    assert refused(text)[0].startswith(start)


def test_the_same_name_in_another_namespace_is_another_resource():
    other = WEB.replace("name: web", "name: web, namespace: prod")
    rules, (warning,) = compiled(WEB, other)
    assert "web is in several namespaces" in warning
    assert [service["hosts"] for service in rules["services"]] == [
        ["web.default", "web.default.svc", "web.default.svc.cluster.local"],
        ["web.prod", "web.prod.svc", "web.prod.svc.cluster.local"],
    ]
    # Alone, a service has the short name wherever it is.
    assert compiled(other)[0]["services"][0]["hosts"][0] == "web"


def test_a_list_as_kubectl_writes_it():
    items = "".join(
        "- " + text.rstrip("\n").replace("\n", "\n  ") + "\n" for text in (WEB, VS + ROUTE)
    )
    text = f"apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems:\n{items}"
    assert len(compiled(text)[0]["routes"]) == 1
    (problem,) = refused(text + "      nonsense: {}\n")
    assert problem.startswith("f0.yaml:16: VirtualService/web: items[1].spec.http[0].nonsense: ")


def test_directories_and_standard_input(tmp_path, monkeypatch):
    (tmp_path / "b.yaml").write_text(VS + ROUTE)
    (tmp_path / "a.yml").write_text(WEB)
    (tmp_path / "notes.txt").write_text("not read")
    rules, warnings = compile_manifests([str(tmp_path)])
    assert len(rules.routes) == len(rules.services) == 1
    assert warnings == []
    stdin = io.TextIOWrapper(io.BytesIO(b"kind: x"))
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(ManifestError) as caught:
        compile_manifests(["-", str(tmp_path / "missing.yaml")])
    assert caught.value.problems[0].startswith("stdin:1: x: apiVersion: is required")
    assert caught.value.problems[1].endswith("missing.yaml: No such file or directory")


def test_a_directory_without_manifests_and_a_file_that_is_not_text(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "x.yaml").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ManifestError) as caught:
        compile_manifests([str(tmp_path / "sub"), str(tmp_path / "x.yaml")])
    assert "no .yaml, .yml, .json file" in caught.value.problems[0]
    assert caught.value.problems[1].endswith("x.yaml:2: not UTF-8 text")
