"""A Gateway's listeners, compiled and run: each sees the requests that are its own alone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from fastmirror.manifests.compile import compile_manifests
from fastmirror.rules.load import encode_rules

from .backends import Backends, echo
from .client import Client
from .conftest import Started
from .procs import LOOPBACK, Proxy

LISTENERS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: listeners}
spec:
  gatewayClassName: fast
  listeners:
  - {name: wide, port: 80, protocol: HTTP, hostname: '*.listeners.test'}
  - {name: narrow, port: 80, protocol: HTTP, hostname: one.listeners.test}
  - {name: other, port: 8080, protocol: HTTP, hostname: '*.listeners.test'}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wide}
spec:
  parentRefs: [{name: listeners, sectionName: wide}]
  rules:
  - matches: [{path: {value: /wide}}]
    backendRefs:
    - name: web
      port: 80
      filters:
      - type: URLRewrite
        urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: narrow}
spec:
  parentRefs: [{name: listeners, sectionName: narrow}]
  rules: [{matches: [{path: {value: /narrow}}], backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: other}
spec:
  parentRefs: [{name: listeners, sectionName: other}]
  rules: [{matches: [{path: {value: /other}}], backendRefs: [{name: web, port: 80}]}]
"""

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"


@pytest.fixture(scope="module")
def proxy(
    module_started: Started, module_backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    directory = tmp_path_factory.mktemp("listeners")
    manifests = directory / "all.yaml"
    manifests.write_text("---\n".join([SERVICE, LISTENERS]))
    backend = module_backends.start(echo)
    rules, _ = compile_manifests([str(manifests)], maps=[f"web={LOOPBACK}:{backend.port}"])
    path = directory / "rules.msgpack"
    path.write_bytes(encode_rules(rules))
    yield module_started.proxy(path)
    assert backend.errors == []


@pytest.mark.parametrize(
    ("host", "target", "seen"),
    [
        ("x.listeners.test", "/wide/x", "/x"),
        ("one.listeners.test", "/wide/x", None),
        ("one.listeners.test", "/narrow", "/narrow"),
        ("x.listeners.test", "/narrow", None),
        ("x.listeners.test", "/other", None),
        ("x.listeners.test:8080", "/other", "/other"),
        ("x.listeners.test:8080", "/wide/x", None),
        ("x.listeners.test:15001", "/wide/x", "/x"),
    ],
)
def test_a_request_belongs_to_one_listener(
    proxy: Proxy, host: str, target: str, seen: str | None
) -> None:
    with Client(proxy.port) as client:
        answer = client.get(target, host=host)
    assert answer.status == (404 if seen is None else 200)
    assert seen is None or json.loads(answer.body)["target"] == seen
