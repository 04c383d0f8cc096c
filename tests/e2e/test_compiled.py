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
from fastmirror.rules.model import (
    ConnectionPool,
    HashBalance,
    Key,
    OutlierDetection,
    Rules,
    SetCookie,
)

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

# Which rule took a request is what the backend sees in x-rule.
SELECTED = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec:
  hosts: [root.test]
  http:
  - match: [{uri: {prefix: /team}}, {headers: {x-team: {exact: 'yes'}}}]
    delegate: {name: leaf, namespace: team}
    headers: {request: {set: {x-rule: root}}}
    timeout: 1s
    retries: {attempts: 3, retryOn: '5xx,503', perTryTimeout: 250ms}
  - match: [{uri: {prefix: /nobody}}]
    delegate: {name: nobody}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: leaf, namespace: team}
spec:
  http:
  - match: [{uri: {exact: /team/first}}]
    headers: {request: {set: {x-rule: first}}}
    route: [{destination: {host: web.default.svc.cluster.local}}]
  - match: [{uri: {prefix: /other}}]
    headers: {request: {set: {x-rule: other}}}
    route: [{destination: {host: web.default.svc.cluster.local}}]
  - match: [{method: {exact: GET}}]
    route: [{destination: {host: web.default.svc.cluster.local}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: matched}
spec:
  hosts: [matched.test]
  gateways: [mesh, outside]
  http:
  - match: [{port: 8081}]
    headers: {request: {set: {x-rule: port}}}
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /without}, withoutHeaders: {x-env: {exact: prod}, x-skip: {}}}]
    headers: {request: {set: {x-rule: without}}}
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /labels}, sourceLabels: {app: server}}]
    headers: {request: {set: {x-rule: server}}}
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /labels}, sourceLabels: {app: client}, sourceNamespace: default}]
    headers: {request: {set: {x-rule: client}}}
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /gateways}, gateways: [outside]}]
    headers: {request: {set: {x-rule: outside}}}
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /gateways}, gateways: [mesh]}]
    headers: {request: {set: {x-rule: mesh}}}
    route: [{destination: {host: web}}]
  - headers: {request: {set: {x-rule: last}}}
    route: [{destination: {host: web}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: outside}
spec:
  hosts: [outside.test, matched.test]
  gateways: [outside]
  http:
  - route: [{destination: {host: web}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy:
    loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}}}
    connectionPool: {tcp: {maxConnections: 100}, http: {http1MaxPendingRequests: 50}}
    outlierDetection: {consecutive5xxErrors: 3}
"""

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"


@pytest.fixture(scope="module")
def proxy(
    module_started: Started, module_backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    directory = tmp_path_factory.mktemp("compiled")
    manifests = directory / "all.yaml"
    manifests.write_text("---\n".join([SERVICE, ISTIO, GATEWAY]))
    backend = module_backends.start(echo)
    rules, _ = compile_manifests([str(manifests)], maps=[f"web={LOOPBACK}:{backend.port}"])
    path = Path(directory / "rules.msgpack")
    path.write_bytes(encode_rules(rules))
    yield module_started.proxy(path)
    assert backend.errors == []


@pytest.fixture(scope="module")
def selected(
    module_started: Started, module_backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxy, Rules]]:
    """A sidecar of the workload app=client, and what it was compiled to."""
    directory = tmp_path_factory.mktemp("selected")
    manifests = directory / "all.yaml"
    manifests.write_text("---\n".join([SERVICE, SELECTED]))
    backend = module_backends.start(echo)
    rules, warnings = compile_manifests(
        [str(manifests)],
        maps=[f"web={LOOPBACK}:{backend.port}"],
        gateways=["mesh"],
        workload_labels="app=client,version=v1",
    )
    (warning,) = warnings
    assert "no VirtualService default/nobody without hosts" in warning
    path = Path(directory / "rules.msgpack")
    path.write_bytes(encode_rules(rules))
    yield module_started.proxy(path), rules
    assert backend.errors == []


@pytest.mark.parametrize(
    ("host", "target", "headers", "rule"),
    [
        ("root.test", "/team/first", (), "first"),
        ("root.test", "/team/second", (), "root"),
        ("root.test", "/x", (("X-Team", "yes"),), "root"),
        ("root.test", "/other", (("X-Team", "yes"),), "other"),
        ("root.test", "/other", (), None),
        ("root.test", "/nobody", (), None),
        ("matched.test:8081", "/", (), "port"),
        ("matched.test:8082", "/", (), "last"),
        ("matched.test", "/", (), "last"),
        ("matched.test", "/without", (), "without"),
        ("matched.test", "/without", (("X-Env", "test"),), "without"),
        ("matched.test", "/without", (("X-Env", "prod"),), "last"),
        ("matched.test", "/without", (("X-Skip", ""),), "last"),
        ("matched.test", "/labels", (), "client"),
        ("matched.test", "/gateways", (), "mesh"),
        ("outside.test", "/", (), None),
    ],
)
def test_delegates_ports_headers_labels_and_gateways(
    selected: tuple[Proxy, Rules],
    host: str,
    target: str,
    headers: tuple[tuple[str, str], ...],
    rule: str | None,
) -> None:
    with Client(selected[0].port) as client:
        answer = client.get(target, *headers, host=host)
    if rule is None:
        assert answer.status == 404
    else:
        assert dict(json.loads(answer.body)["headers"])["x-rule"] == rule


def test_what_is_compiled_says_retries_limits_outliers_and_tables(
    selected: tuple[Proxy, Rules],
) -> None:
    rules = selected[1]
    for route in rules.routes[:2]:  # of the delegate's, by the root's
        assert route.timeout == 1.0
        assert route.retries.attempts == 3
        assert route.retries.retry_on == ["5xx", 503]
        assert route.retries.per_try_timeout == 0.25
    service = rules.services[0]
    assert service.balance == HashBalance(
        hash=Key(cookie="user"), algorithm="ring", set_cookie=SetCookie(ttl=0.0)
    )
    assert service.connection_pool == ConnectionPool(max_connections=100, max_pending_requests=50)
    assert service.outlier_detection == OutlierDetection(consecutive_5xx_errors=3)


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
