"""Manifests with one mistake each: the error names the line and the field."""

from __future__ import annotations

import pytest
from compiling import compiled, refused

GOOD = {
    "HTTPRoute": """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: shop
spec:
  parentRefs:
  - name: gw
    sectionName: http
  hostnames:
  - shop.test
  rules:
  - name: first
    matches:
    - path:
        type: Exact
        value: /a
      method: GET
      headers:
      - name: x-one
        value: "1"
      queryParams:
      - name: q
        value: "1"
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set:
        - name: x-set
          value: "1"
    - type: RequestMirror
      requestMirror:
        backendRef:
          name: shadow
          port: 80
        percent: 10
    timeouts:
      request: 10s
      backendRequest: 2s
    retry:
      codes: [503]
      attempts: 2
      backoff: 100ms
    backendRefs:
    - name: web
      port: 80
      weight: 1
  - name: second
    matches:
    - path:
        value: /old
    filters:
    - type: RequestRedirect
      requestRedirect:
        hostname: new.test
        scheme: https
        statusCode: 301
        path:
          type: ReplaceFullPath
          replaceFullPath: /new
""",
    "Gateway": """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: gw
spec:
  gatewayClassName: fast
  listeners:
  - name: http
    port: 80
    protocol: HTTP
    hostname: "*.test"
    allowedRoutes:
      namespaces:
        from: Selector
        selector:
          matchExpressions:
          - key: team
            operator: NotIn
            values: [b]
      kinds:
      - kind: HTTPRoute
""",
    "ReferenceGrant": """\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata:
  name: grant
spec:
  from:
  - group: gateway.networking.k8s.io
    kind: HTTPRoute
    namespace: other
  to:
  - group: ""
    kind: Service
    name: web
""",
    "Service": """\
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  type: ClusterIP
  ports:
  - name: http
    port: 80
    protocol: TCP
    targetPort: 8080
    appProtocol: http
---
apiVersion: v1
kind: Service
metadata:
  name: shadow
spec:
  ports:
  - port: 80
""",
    "EndpointSlice": """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  labels:
    kubernetes.io/service-name: web
addressType: IPv4
ports:
- name: http
  port: 8080
  protocol: TCP
endpoints:
- addresses:
  - 10.0.0.1
  conditions:
    ready: true
""",
}
RULE = "spec.rules[0]"
LISTENER = "spec.listeners[0]"

# Kind, what is replaced, by what, and the line, the field and words of the one problem.
MISTAKES = [
    ("HTTPRoute", "v1\n", "v2\n", "1: HTTPRoute/shop: apiVersion", "gateway.networking.k8s.io/v1"),
    ("HTTPRoute", "HTTPRoute\n", "HttpRoute\n", "2: HttpRoute/shop: kind", "expected one of"),
    ("HTTPRoute", "shop\nspec", "Shop\nspec", "4: HTTPRoute/Shop: metadata.name", "lower case"),
    ("HTTPRoute", "spec:\n", "spec:\n  rule: []\n", "6: HTTPRoute/shop: spec.rule", "supported"),
    ("HTTPRoute", "- name: gw", "- names: gw", "7: HTTPRoute/shop: spec.parentRefs[0].name",
     "required"),
    ("HTTPRoute", "sectionName", "section", "8: HTTPRoute/shop: spec.parentRefs[0].section",
     "not supported"),
    ("HTTPRoute", "- shop.test", "- shop.test:80", "10: HTTPRoute/shop: spec.hostnames[0]",
     "without a port"),
    ("HTTPRoute", "- shop.test", "- '*'", "10: HTTPRoute/shop: spec.hostnames[0]", "*.suffix"),
    ("HTTPRoute", "- shop.test", "- a.*.test", "10: HTTPRoute/shop: spec.hostnames[0]", "host"),
    ("HTTPRoute", "first", "second", "47: HTTPRoute/shop: spec.rules[1].name", "another rule"),
    ("HTTPRoute", "type: Exact", "type: exact",
     f"15: HTTPRoute/shop: {RULE}.matches[0].path.type", "Exact, PathPrefix"),
    ("HTTPRoute", "value: /a", "value: a", f"16: HTTPRoute/shop: {RULE}.matches[0].path.value",
     "begins with /"),
    ("HTTPRoute", "value: /a", "value: /a//b",
     f"16: HTTPRoute/shop: {RULE}.matches[0].path.value", "without //"),
    ("HTTPRoute", "value: /a", "value: /a/../b",
     f"16: HTTPRoute/shop: {RULE}.matches[0].path.value", "dot segments"),
    ("HTTPRoute", "value: /a", "value: /a?b", f"16: HTTPRoute/shop: {RULE}.matches[0].path.value",
     "as requests have it"),
    ("HTTPRoute", "type: Exact\n        value: /a", "type: RegularExpression\n        value: '(/'",
     f"16: HTTPRoute/shop: {RULE}.matches[0].path.value", ""),
    ("HTTPRoute", "method: GET", "method: Get", f"17: HTTPRoute/shop: {RULE}.matches[0].method",
     "one of GET"),
    ("HTTPRoute", "x-one", "x one", f"19: HTTPRoute/shop: {RULE}.matches[0].headers[0].name",
     "without spaces"),
    ("HTTPRoute", 'x-one\n        value: "1"', "x-one\n        value: 1",
     f"20: HTTPRoute/shop: {RULE}.matches[0].headers[0].value", "not 1"),
    ("HTTPRoute", "- name: q", "- type: Prefix\n        name: q",
     f"22: HTTPRoute/shop: {RULE}.matches[0].queryParams[0].type", "Exact or Regular"),
    ("HTTPRoute", "- type: RequestHeaderModifier", "- type: HeaderModifier",
     f"25: HTTPRoute/shop: {RULE}.filters[0]", "filter HeaderModifier is not supported"),
    ("HTTPRoute", "requestHeaderModifier:", "responseHeaderModifier:",
     f"26: HTTPRoute/shop: {RULE}.filters[0].responseHeaderModifier", "not supported"),
    ("HTTPRoute", "name: x-set", "name: 'x:set'",
     f"29: HTTPRoute/shop: {RULE}.filters[0].requestHeaderModifier.set[0].value", "name of a"),
    ("HTTPRoute", "name: x-set", "name: Content-Length",
     f"29: HTTPRoute/shop: {RULE}.filters[0].requestHeaderModifier.set[0].value", "belongs to one"),
    ("HTTPRoute", "percent: 10", "percent: 101",
     f"35: HTTPRoute/shop: {RULE}.filters[1].requestMirror.percent", "from 0 to 100"),
    ("HTTPRoute", "percent: 10", "percent: 10\n        fraction: {numerator: 1}",
     f"36: HTTPRoute/shop: {RULE}.filters[1].requestMirror.fraction", "together"),
    ("HTTPRoute", "name: shadow", "name: web",
     f"32: HTTPRoute/shop: {RULE}.filters[1].requestMirror.backendRef", "twice"),
    ("HTTPRoute", "request: 10s", "request: 10", f"37: HTTPRoute/shop: {RULE}.timeouts.request",
     "a duration such as"),
    ("HTTPRoute", "request: 10s", "request: 1.5s", f"37: HTTPRoute/shop: {RULE}.timeouts.request",
     "a duration such as"),
    ("HTTPRoute", "request: 10s", "request: 99999h", f"37: HTTPRoute/shop: {RULE}.timeouts.request",
     "a year"),
    ("HTTPRoute", "backendRequest: 2s", "backendRequest: 11s",
     f"38: HTTPRoute/shop: {RULE}.timeouts.backendRequest", "longer than request"),
    ("HTTPRoute", "codes: [503]", "codes: [200]", f"40: HTTPRoute/shop: {RULE}.retry.codes[0]",
     "from 400 to 599"),
    ("HTTPRoute", "attempts: 2", "attempts: -1", f"41: HTTPRoute/shop: {RULE}.retry.attempts",
     "from 0 to 100"),
    ("HTTPRoute", "backoff: 100ms", "backoff: soon", f"42: HTTPRoute/shop: {RULE}.retry.backoff",
     "a duration such as"),
    ("HTTPRoute", "    retry:\n", "    sessionPersistence: {}\n    retry:\n",
     f"39: HTTPRoute/shop: {RULE}.sessionPersistence", "not supported"),
    ("HTTPRoute", "port: 80\n      weight", "port: 0\n      weight",
     f"45: HTTPRoute/shop: {RULE}.backendRefs[0].port", "from 1 to 65535"),
    ("HTTPRoute", "weight: 1", "weight: 1000001",
     f"46: HTTPRoute/shop: {RULE}.backendRefs[0].weight", "from 0 to"),
    ("HTTPRoute", "hostname: new.test", "hostname: '*.test'",
     "54: HTTPRoute/shop: spec.rules[1].filters[0].requestRedirect.hostname", "without wildcard"),
    ("HTTPRoute", "scheme: https", "scheme: ftp",
     "55: HTTPRoute/shop: spec.rules[1].filters[0].requestRedirect.scheme", "http or https"),
    ("HTTPRoute", "statusCode: 301", "statusCode: 300",
     "56: HTTPRoute/shop: spec.rules[1].filters[0].requestRedirect.statusCode", "301, 302"),
    ("HTTPRoute", "replaceFullPath: /new", "replacePrefixMatch: /new",
     "59: HTTPRoute/shop: spec.rules[1].filters[0].requestRedirect.path.replacePrefixMatch",
     "cannot be used"),
    ("HTTPRoute", "type: ReplaceFullPath", "type: Replace",
     "58: HTTPRoute/shop: spec.rules[1].filters[0].requestRedirect.path.type", "ReplaceFull"),
    ("Gateway", "name: http\n", "title: http\n", f"8: Gateway/gw: {LISTENER}.name", "required"),
    ("Gateway", "port: 80", "port: 70000", f"9: Gateway/gw: {LISTENER}.port", "from 1 to 65535"),
    ("Gateway", "    port: 80\n", "", f"8: Gateway/gw: {LISTENER}.port", "required"),
    ("Gateway", "protocol: HTTP", "protocol: http", f"10: Gateway/gw: {LISTENER}.protocol",
     "one of HTTP"),
    ("Gateway", '"*.test"', '"*"', f"11: Gateway/gw: {LISTENER}.hostname", "*.suffix"),
    ("Gateway", "from: Selector", "from: Any",
     f"14: Gateway/gw: {LISTENER}.allowedRoutes.namespaces.from", "All, Same or Selector"),
    ("Gateway", "operator: NotIn", "operator: Not",
     f"18: Gateway/gw: {LISTENER}.allowedRoutes.namespaces.selector.matchExpressions[0].operator",
     "one of In"),
    ("Gateway", "operator: NotIn", "operator: Exists",
     f"19: Gateway/gw: {LISTENER}.allowedRoutes.namespaces.selector.matchExpressions[0].values",
     "none values"),
    ("Gateway", "- kind: HTTPRoute", "- kinds: HTTPRoute",
     f"21: Gateway/gw: {LISTENER}.allowedRoutes.kinds[0].kind", "required"),
    ("Gateway", "  listeners:\n", "  listener:\n", "7: Gateway/gw: spec.listener", "supported"),
    ("ReferenceGrant", "  to:\n", "  for:\n", "10: ReferenceGrant/grant: spec.for", "supported"),
    ("ReferenceGrant", "    namespace: other\n", "",
     "7: ReferenceGrant/grant: spec.from[0].namespace", "required"),
    ("ReferenceGrant", "    kind: Service\n", "", "11: ReferenceGrant/grant: spec.to[0].kind",
     "required"),
    ("ReferenceGrant", "name: web", 'name: ""', "13: ReferenceGrant/grant: spec.to[0].name",
     "not empty"),
    ("Service", "type: ClusterIP", "type: External", "6: Service/web: spec.type", "one of Cluster"),
    ("Service", "port: 80\n    protocol", "port: http\n    protocol",
     "9: Service/web: spec.ports[0].port", "from 1 to 65535"),
    ("Service", "protocol: TCP", "protocol: HTTP", "10: Service/web: spec.ports[0].protocol",
     "TCP, UDP"),
    ("Service", "targetPort: 8080", "targetPort: 80808",
     "11: Service/web: spec.ports[0].targetPort", "from 1 to"),
    ("EndpointSlice", "kubernetes.io/service-name: web", "app: web",
     "5: EndpointSlice/web-1: metadata.labels['kubernetes.io/service-name']", "required"),
    ("EndpointSlice", "addressType: IPv4", "addressType: IP", "7: EndpointSlice/web-1: addressType",
     "IPv4, IPv6"),
    ("EndpointSlice", "port: 8080", "port: -1", "10: EndpointSlice/web-1: ports[0].port", "from 1"),
    ("EndpointSlice", "- 10.0.0.1", "- 10.0.0.1:80",
     "14: EndpointSlice/web-1: endpoints[0].addresses[0]", "IP address"),
    ("EndpointSlice", "ready: true", "ready: yes please",
     "16: EndpointSlice/web-1: endpoints[0].conditions.ready", "true or false"),
]  # fmt: skip


def test_without_the_mistakes_all_is_well():
    _, warnings = compiled(*GOOD.values())
    assert not warnings


@pytest.mark.parametrize(("kind", "old", "new", "start", "words"), MISTAKES)
def test_a_mistake_is_named_with_its_line_and_its_field(kind, old, new, start, words):
    text = GOOD[kind]
    assert old in text
    problems = refused(*(t for k, t in GOOD.items() if k != kind), text.replace(old, new, 1))
    assert any(p.startswith(f"f4.yaml:{start}: ") and words in p for p in problems), problems
    # What is named beside it is the same thing: a field that has another name now is missing.
    assert all(p.startswith("f4.yaml:") for p in problems)
    assert len(problems) <= 2, problems
