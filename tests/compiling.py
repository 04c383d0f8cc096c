"""What the tests of ``compile`` share: small manifests, the task's files, and compiling them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest

from fastmirror._head import Fields
from fastmirror.http1.target import host_and_port
from fastmirror.manifests.compile import compile_manifests
from fastmirror.manifests.source import ManifestError
from fastmirror.rules.model import Rules
from fastmirror.rules.request import Request
from fastmirror.rules.table import RouteTable

TASK = Path(__file__).parent / "manifests"
FQDN = "httpbin.default.svc.cluster.local"
FORMS = ["httpbin", "httpbin.default", "httpbin.default.svc", FQDN]
V1_V2 = ("httpbin/v1=127.0.0.1:8001", "httpbin/v2=127.0.0.1:8002")

VS = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
"""  # the rules begin on line 7
ROUTE = "  - route: [{destination: {host: web}}]\n"
WEB = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"
HR = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: gateway}]
  rules:
"""  # the rules begin on line 7
BACKEND = "  - backendRefs: [{name: web, port: 80}]\n"

GRANT = """\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: prod}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service}]
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-abc, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: web-1}}
- {addresses: [10.0.0.2], conditions: {ready: false}}
- {addresses: ["fd00::3"], nodeName: x}
"""
ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example, b.example]
  location: MESH_EXTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
"""
WORKLOAD = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, labels: {app: api}}
spec: {address: 10.1.1.1, ports: {http: 8081}, weight: 3, labels: {version: v1}}
"""
RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
"""


def task(*names, maps=(), **options):
    """The task's own files."""
    rules, warnings = compile_manifests(
        [str(TASK / f"{name}.yaml") for name in names], maps=maps, **options
    )
    return msgspec.to_builtins(rules), warnings


def compiled(*texts, **options):
    """Each text as a file of its own: f0.yaml, f1.yaml ..."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, text in enumerate(texts):
            path = Path(folder) / f"f{number}.yaml"
            path.write_text(text, encoding="utf-8")
            paths.append(str(path))
        try:
            rules, warnings = compile_manifests(paths, **options)
        except ManifestError as error:
            raise ManifestError([p.replace(f"{folder}/", "") for p in error.problems]) from None
        assert isinstance(rules, Rules)
        return msgspec.to_builtins(rules), [w.replace(f"{folder}/", "") for w in warnings]


def refused(*texts, **options):
    with pytest.raises(ManifestError) as caught:
        compiled(*texts, **options)
    return caught.value.problems


def answers(rules, host, target="/", *headers, method="GET"):
    """What answers a request: the first label of a service, or a status."""
    name, port = host_and_port(host.encode())
    fields = Fields()
    for pair in (("host", host), *headers):
        fields.add(*(part.encode() for part in pair))
    request = Request(method.encode(), target.encode(), name, fields, b"10.0.0.1", port)
    table = RouteTable(msgspec.convert(rules, Rules))
    entry = table.find(request)
    if entry is None:
        return 404
    if entry.name.startswith("service/"):
        return entry.name
    (route,) = (route for route in rules["routes"] if route["name"] == entry.name)
    if "to" not in route:
        return (route.get("direct_response") or {"status": 301} | route["redirect"])["status"]
    (to,) = route["to"]
    return to["service"].partition(".")[0] if "service" in to else to["status"]


def mirrors(rules):
    return [mirror for route in rules["routes"] for mirror in route["mirrors"]]


def vs(name, hosts, target):
    return VS.replace("name: web", f"name: {name}").replace("[web]", hosts) + ROUTE.replace(
        "host: web", f"host: {target}"
    )
