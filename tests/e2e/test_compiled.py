"""Manifests compiled and run: what clients and backends see is what Istio's and the Gateway API's
documents say of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastmirror.manifests.compile import compile_manifests
from fastmirror.rules.load import encode_rules

from .backends import Backends, echo
from .client import Client
from .conftest import Started
from .procs import LOOPBACK, Proxy

ISTIO = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: istio}
spec:
  hosts: [istio.test]
  http:
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, redirectCode: 302}
  - match: [{uri: {exact: /elsewhere}}]
    redirect: {authority: other.test}
  - match: [{uri: {exact: /secure}}]
    redirect: {scheme: https}
  - match: [{uri: {exact: /teapot}}]
    directResponse: {status: 418, body: {string: short and stout}}
    headers: {response: {set: {x-from: proxy}}}
  - match: [{uri: {prefix: /a/}}, {uri: {exact: /whole}}, {uri: {regex: '/re/.*'}}]
    rewrite: {uri: /b/, authority: rewritten.test}
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /twice}}]
    rewrite: {uri: /}
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /users}}]
    rewrite: {uriRegexRewrite: {match: '^/users/([0-9]+)', rewrite: '/u/\\1'}}
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /CaseLess}, ignoreUriCase: true, scheme: {exact: http}}]
    route:
    - destination: {host: web}
      headers:
        request: {set: {x-set: '100%%', Host: set.test}, add: {x-add: '2'}, remove: [x-gone]}
"""

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: gateway}
spec:
  parentRefs: [{name: gateway}]
  hostnames: [gateway.test]
  rules:
  - matches: [{path: {value: /prefix}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /replaced}}
  - matches: [{path: {value: /full}}]
    filters:
    - type: RequestRedirect
      requestRedirect:
        hostname: example.org
        port: 8443
        scheme: https
        statusCode: 301
        path: {type: ReplaceFullPath, replaceFullPath: /whole}
  - matches: [{path: {value: /strip}}]
    filters:
    - type: URLRewrite
      urlRewrite: {hostname: one.test, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /nowhere}}]
    backendRefs: [{name: web, port: 80, namespace: elsewhere}]
  - matches: [{path: {value: /none}}]
  - matches: [{path: {value: /some}}]
    backendRefs: [{name: web, port: 80, weight: 1}, {name: x, kind: Bucket, group: y, weight: 1}]
  - filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /base}}
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-Set, value: new}], remove: [x-gone]}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {add: [{name: X-Answer, value: '%'}]}
    backendRefs: [{name: web, port: 80}]
"""

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
    directory = tmp_path_factory.mktemp("compiled")
    manifests = directory / "all.yaml"
    manifests.write_text("---\n".join([SERVICE, ISTIO, GATEWAY, LISTENERS]))
    backend = module_backends.start(echo)
    rules, _ = compile_manifests([str(manifests)], maps=[f"web={LOOPBACK}:{backend.port}"])
    path = Path(directory / "rules.msgpack")
    path.write_bytes(encode_rules(rules))
    yield module_started.proxy(path)
    assert backend.errors == []


@pytest.mark.parametrize(
    ("host", "target", "status", "location"),
    [
        ("istio.test", "/old/x?q", 302, "http://istio.test/new?q"),
        ("istio.test:81", "/old", 302, "http://istio.test:81/new"),
        ("istio.test:81", "/elsewhere?q", 301, "http://other.test/elsewhere?q"),
        ("istio.test:81", "/secure", 301, "https://istio.test/secure"),
        ("gateway.test:81", "/prefix/x?q", 302, "http://gateway.test:81/replaced/x?q"),
        ("gateway.test", "/prefix", 302, "http://gateway.test/replaced"),
        ("gateway.test", "/full/x?q", 301, "https://example.org:8443/whole?q"),
    ],
)
def test_redirects(proxy: Proxy, host: str, target: str, status: int, location: str) -> None:
    with Client(proxy.port) as client:
        answer = client.get(target, host=host)
    assert (answer.status, answer.value("location")) == (status, location)


@pytest.mark.parametrize(
    ("host", "target", "seen", "seen_host"),
    [
        ("istio.test", "/a/x?q", "/b/x?q", "rewritten.test"),
        ("istio.test", "/whole?q", "/b/?q", "rewritten.test"),
        ("istio.test", "/re/x", "/b/", "rewritten.test"),
        ("istio.test", "/twice/x", "//x", "istio.test"),
        ("istio.test", "/users/12/x", "/u/12/x", "istio.test"),
        ("istio.test", "/caseless/X", "/caseless/X", "set.test"),
        ("gateway.test", "/strip/x?q", "/x?q", "one.test"),
        ("gateway.test", "/strip", "/", "one.test"),
        ("gateway.test:81", "/x", "/base/x", "gateway.test:81"),
        ("gateway.test", "/", "/base/", "gateway.test"),
        ("gateway.test", "/stripped", "/base/stripped", "gateway.test"),
    ],
)
def test_rewrites(proxy: Proxy, host: str, target: str, seen: str, seen_host: str) -> None:
    with Client(proxy.port) as client:
        request = json.loads(client.get(target, host=host).body)
    assert (request["target"], dict(request["headers"])["host"]) == (seen, seen_host)


@pytest.mark.parametrize(
    ("host", "target", "expected"),
    [
        ("istio.test", "/CASELESS", {"x-set": ["100%"], "x-add": ["1", "2"], "x-gone": []}),
        ("gateway.test", "/x", {"x-set": ["new"], "x-add": ["1"], "x-gone": []}),
    ],
)
def test_header_changes(
    proxy: Proxy, host: str, target: str, expected: dict[str, list[str]]
) -> None:
    sent = (("X-Set", "old"), ("x-add", "1"), ("X-Gone", "1"))
    with Client(proxy.port) as client:
        answer = client.get(target, *sent, host=host)
    headers = json.loads(answer.body)["headers"]
    for name, values in expected.items():
        assert [value for key, value in headers if key.lower() == name] == values
    assert answer.value("x-answer") == ("%" if host == "gateway.test" else None)


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


def test_a_direct_response(proxy: Proxy) -> None:
    with Client(proxy.port) as client:
        answer = client.get("/teapot", host="istio.test")
    assert (answer.status, answer.body) == (418, b"short and stout")
    assert (answer.value("content-type"), answer.value("x-from")) == ("text/plain", "proxy")


def test_what_has_no_valid_backend_is_answered_with_500(proxy: Proxy) -> None:
    with Client(proxy.port) as client:
        for target in ("/nowhere", "/none/x"):
            assert client.get(target, host="gateway.test").status == 500
        counts = Counter(client.get("/some", host="gateway.test").status for _ in range(400))
    assert counts.keys() == {200, 500}
    assert 120 < counts[500] < 280
