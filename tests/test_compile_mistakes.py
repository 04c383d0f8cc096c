"""Manifests with one mistake each: the error has the line that is wrong, and the field's path.

Each mistake is a line of a whole manifest, written differently. The line that is wrong ends in a
comment, by which the test finds it: it knows nothing of how lines are counted.
"""

from __future__ import annotations

import pytest
from compiling import compiled, refused

VIRTUAL_SERVICE = """\
# Two documents in a file: lines are those of the file.
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  ports:
  - port: 80
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: web
  namespace: default
spec:
  hosts:
  - web
  - web.example
  gateways:
  - mesh
  http:
  - name: first
    match:
    - uri:
        prefix: /a
      ignoreUriCase: false
      method:
        exact: GET
      authority:
        exact: web
      scheme:
        exact: http
      headers:
        x-env:
          exact: prod
      withoutHeaders:
        x-skip:
          exact: "1"
      queryParams:
        q:
          exact: x
      port: 80
      gateways:
      - mesh
    - uri:
        exact: /b
      sourceLabels:
        app: a
      sourceNamespace: default
    route:
    - destination:
        host: web
        port:
          number: 80
      weight: 100
      headers:
        request:
          set:
            x-a: b
          remove:
          - x-b
    mirror:
      host: shadow.example
    mirrorPercentage:
      value: 10
    timeout: 5s
    retries:
      attempts: 3
      perTryTimeout: 1s
      retryOn: 5xx
      backoff: 25ms
      retryIgnorePreviousHosts: true
    rewrite:
      uri: /c
    fault:
      delay:
        fixedDelay: 1s
        percentage:
          value: 1
      abort:
        httpStatus: 500
        percentage:
          value: 2
    corsPolicy:
      allowOrigins:
      - exact: https://a.example
      allowMethods:
      - PUT
      maxAge: 1h
      unmatchedPreflights: FORWARD
    headers:
      response:
        add:
          x-c: d
  - name: second
    match:
    - uri:
        exact: /r
    redirect:
      authority: other.example
      redirectCode: 302
      scheme: https
      port: 8443
  - name: third
    match:
    - uri:
        exact: /d
    directResponse:
      status: 200
      body:
        string: short
  - name: fourth
    match:
    - uri:
        exact: /e
    delegate:
      name: leaf
  - name: last
    rewrite:
      uriRegexRewrite:
        match: ^/u/([0-9]+)
        rewrite: /users/0
    route:
    - destination:
        host: web
    mirrors:
    - destination:
        host: shadow.example
      percentage:
        value: 1
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: leaf
spec:
  http:
  - route:
    - destination:
        host: leaf-web
"""
# What is right, to the end of its line; what stands there instead; the path under spec; words of
# the message. The first line of what is wrong is at fault, or the one that is marked.
IN_VIRTUAL_SERVICE = [
    ("- web.example", "- web.example:80", "hosts[1]", "without a port"),
    ("- web.example", "- '*web.example'", "hosts[1]", "host name"),
    ("  - mesh", "  - [mesh]", "gateways[0]", "a string"),
    ("gateways:", "gatewais:", "gatewais", "not supported"),
    ("prefix: /a", "prefix: a", "http[0].match[0].uri.prefix", "begins with /"),
    ("prefix: /a", "regex: (", "http[0].match[0].uri.regex", "regular"),
    ("prefix: /a", "suffix: /a", "http[0].match[0].uri.suffix", "not supported"),
    ("ignoreUriCase: false", "ignoreUriCase: maybe", "http[0].match[0].ignoreUriCase", "true or"),
    ("exact: GET", "exact: G T", "http[0].match[0].method.exact", "a method"),
    ("        exact: web", "        exact: web:80", "http[0].match[0].authority.exact", "a port"),
    ("exact: http", "exact: [http]", "http[0].match[0].scheme.exact", "a string"),
    ("x-env:", "x env:", "http[0].match[0].headers['x env']", "header"),
    ("x-env:", "'@request.auth.claims.sub':",
     "http[0].match[0].headers['@request.auth.claims.sub']", "a claim of a JWT is not supported"),
    ("exact: prod", "exact: 1", "http[0].match[0].headers.x-env.exact", "a string"),
    ("x-skip:", "x skip:", "http[0].match[0].withoutHeaders['x skip']", "header"),
    ('exact: "1"', "exact: 1", "http[0].match[0].withoutHeaders.x-skip.exact", "a string"),
    ("exact: x", "regex: '[a'", "http[0].match[0].queryParams.q.regex", "regular"),
    ("      port: 80", "      port: 70000", "http[0].match[0].port", "65535"),
    ("      - mesh", "      - 1", "http[0].match[0].gateways[0]", "a string"),
    ("app: a", "app: 1", "http[0].match[1].sourceLabels.app", "a string"),
    ("sourceNamespace: default", "sourceNamespace: A", "http[0].match[1].sourceNamespace", "DNS"),
    ("        host: web", "        host: w*", "http[0].route[0].destination.host", "host name"),
    ("number: 80", "number: 0", "http[0].route[0].destination.port.number", "65535"),
    ("number: 80", "name: http", "http[0].route[0].destination.port.name", "not supported"),
    ("weight: 100", "weight: 1.5", "http[0].route[0].weight", "whole number"),
    ("x-a: b", "x-a: '%X%'", "http[0].route[0].headers.request.set.x-a", "variables"),
    ("- x-b", "- te", "http[0].route[0].headers.request.remove[0]", "not supported"),
    ("    mirror:\n      host: shadow.example", "    mirror: #!\n      host: web", "http[0].mirror",
     "sent there twice"),
    ("      host: shadow.example", "      hosts: x", "http[0].mirror.hosts", "not supported"),
    ("      value: 10", "      value: 101", "http[0].mirrorPercentage.value", "0 to 100"),
    ("timeout: 5s", "timeout: 5", "http[0].timeout", "duration"),
    ("attempts: 3", "attempts: -3", "http[0].retries.attempts", "from 0"),
    ("attempts: 3\n      perTryTimeout: 1s", "attempts: 0\n      perTryTimeout: 1s #!",
     "http[0].retries.perTryTimeout", "nothing is tried again"),
    ("perTryTimeout: 1s", "perTryTimeout: 1", "http[0].retries.perTryTimeout", "duration"),
    ("retryOn: 5xx", "retryOn: 5yy", "http[0].retries.retryOn", "5yy is none"),
    ("backoff: 25ms", "backoff: fast", "http[0].retries.backoff", "duration"),
    ("retryIgnorePreviousHosts: true", "retryIgnorePreviousHosts: false",
     "http[0].retries.retryIgnorePreviousHosts", "not supported"),
    ("uri: /c", "uri: c", "http[0].rewrite.uri", "path"),
    ("fixedDelay: 1s", "exponentialDelay: 1s", "http[0].fault.delay.exponentialDelay", "supported"),
    ("httpStatus: 500", "grpcStatus: '13'", "http[0].fault.abort.grpcStatus", "not supported"),
    ("          value: 2", "          value: -2", "http[0].fault.abort.percentage.value", "0 to"),
    ("- exact: https://a.example", "- exact: 1", "http[0].corsPolicy.allowOrigins[0].exact", "str"),
    ("- PUT", "- P T", "http[0].corsPolicy.allowMethods[0]", "the name of"),
    ("maxAge: 1h", "maxAge: 1", "http[0].corsPolicy.maxAge", "duration"),
    ("unmatchedPreflights: FORWARD", "unmatchedPreflights: IGNORE",
     "http[0].corsPolicy.unmatchedPreflights", "not supported"),
    ("x-c: d", "x-c: [d]", "http[0].headers.response.add.x-c", "a string"),
    ("authority: other.example", "authority: a b", "http[1].redirect.authority", "host name"),
    ("redirectCode: 302", "redirectCode: 200", "http[1].redirect.redirectCode", "301"),
    ("scheme: https", "scheme: ftp", "http[1].redirect.scheme", "http or https"),
    ("port: 8443", "derivePort: SAME", "http[1].redirect.derivePort", "FROM_"),
    ("status: 200", "status: 99", "http[2].directResponse.status", "from 200"),
    ("string: short", "bytes: '?'", "http[2].directResponse.body.bytes", "base64"),
    ("      name: leaf", "      name: 1", "http[3].delegate.name", "a string"),
    ("      name: leaf", "      name: leaf\n      kind: x #!", "http[3].delegate.kind", "not"),
    ("      name: leaf", "      name: leaf\n      namespace: [x] #!", "http[3].delegate.namespace",
     "a string"),
    ("match: ^/u/([0-9]+)", "match: (", "http[4].rewrite.uriRegexRewrite.match", "regular"),
    ("rewrite: /users/0", "rewrite: 5", "http[4].rewrite.uriRegexRewrite.rewrite", "a string"),
    ("    - destination:\n        host: shadow.example",
     "    - destination: #!\n        host: web", "http[4].mirrors[0].destination", "there twice"),
    ("      percentage:\n        value: 1", "      percentage:\n        value: .inf #!",
     "http[4].mirrors[0].percentage.value", "from 0 to 100"),
]  # fmt: skip

DESTINATION_RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: web
spec:
  host: web
  workloadSelector:
    matchLabels:
      app: a
  trafficPolicy:
    loadBalancer:
      consistentHash:
        httpCookie:
          name: user
          path: /a
          ttl: 60s
        ringHash:
          minimumRingSize: 64
    connectionPool:
      tcp:
        maxConnections: 10
        connectTimeout: 1s
        maxConnectionDuration: 1h
        idleTimeout: 1m
        tcpKeepalive:
          probes: 3
          time: 2h
          interval: 75s
      http:
        http1MaxPendingRequests: 5
        http2MaxRequests: 10
        maxRequestsPerConnection: 6
        maxRetries: 4
        idleTimeout: 2m
        h2UpgradePolicy: DO_NOT_UPGRADE
    outlierDetection:
      consecutive5xxErrors: 5
      consecutiveGatewayErrors: 6
      interval: 10s
      baseEjectionTime: 30s
      maxEjectionPercent: 10
      minHealthPercent: 20
      splitExternalLocalOriginErrors: true
    tls:
      mode: DISABLE
    portLevelSettings:
    - port:
        number: 81
      loadBalancer:
        simple: RANDOM
  subsets:
  - name: v1
    labels:
      version: v1
    trafficPolicy:
      loadBalancer:
        simple: LEAST_CONN
"""
TRAFFIC = "trafficPolicy"
POOL, OUTLIERS = f"{TRAFFIC}.connectionPool", f"{TRAFFIC}.outlierDetection"
BALANCER = f"{TRAFFIC}.loadBalancer"
IN_DESTINATION_RULE = [
    ("host: web", "host: w b", "host", "host name"),
    ("app: a", "app: 1", "workloadSelector.matchLabels.app", "a string"),
    ("name: user", "name: u s", f"{BALANCER}.consistentHash.httpCookie.name", "cookie's name"),
    ("path: /a", "path: a", f"{BALANCER}.consistentHash.httpCookie.path", "a path"),
    ("ttl: 60s", "ttl: 60", f"{BALANCER}.consistentHash.httpCookie.ttl", "duration"),
    ("ttl: 60s", "attributes: []", f"{BALANCER}.consistentHash.httpCookie.attributes", "supported"),
    ("minimumRingSize: 64", "minimumRingSize: -1",
     f"{BALANCER}.consistentHash.ringHash.minimumRingSize", "from 0"),
    ("ringHash:\n          minimumRingSize: 64", "maglev:\n          tableSize: 64 #!",
     f"{BALANCER}.consistentHash.maglev.tableSize", "a prime number"),
    ("    loadBalancer:", "    loadBalancer:\n      warmupDurationSecs: 1s #!",
     f"{BALANCER}.warmupDurationSecs", "not supported"),
    ("    loadBalancer:", "    loadBalancer:\n      simple: RANDOM #!", f"{BALANCER}.simple",
     "cannot be used together"),
    ("    loadBalancer:", "    loadBalancer:\n      localityLbSetting: {enabled: true} #!",
     f"{BALANCER}.localityLbSetting", "locality"),
    ("maxConnections: 10", "maxConnections: many", f"{POOL}.tcp.maxConnections", "whole number"),
    ("connectTimeout: 1s", "connectTimeout: 0s", f"{POOL}.tcp.connectTimeout", "0.001s or more"),
    ("maxConnectionDuration: 1h", "maxConnectionDuration: 1", f"{POOL}.tcp.maxConnectionDuration",
     "duration"),
    ("idleTimeout: 1m", "idleTimeout: x", f"{POOL}.tcp.idleTimeout", "duration"),
    ("probes: 3", "probes: 300", f"{POOL}.tcp.tcpKeepalive.probes", "127"),
    ("time: 2h", "time: 2ms", f"{POOL}.tcp.tcpKeepalive.time", "1s or more"),
    ("interval: 75s", "interval: 75", f"{POOL}.tcp.tcpKeepalive.interval", "duration"),
    ("http1MaxPendingRequests: 5", "http1MaxPendingRequests: -5",
     f"{POOL}.http.http1MaxPendingRequests", "from 0"),
    ("http2MaxRequests: 10", "http2MaxRequest: 10", f"{POOL}.http.http2MaxRequest", "supported"),
    ("maxRequestsPerConnection: 6", "maxRequestsPerConnection: '6'",
     f"{POOL}.http.maxRequestsPerConnection", "whole number"),
    ("maxRetries: 4", "maxRetries: 4.0", f"{POOL}.http.maxRetries", "whole number"),
    ("DO_NOT_UPGRADE", "UPGRADE", f"{POOL}.http.h2UpgradePolicy", "HTTP/2 is not supported"),
    ("DO_NOT_UPGRADE", "SOMETIMES", f"{POOL}.http.h2UpgradePolicy", "expected DEFAULT"),
    ("consecutive5xxErrors: 5", "consecutive5xxErrors: -1",
     f"{OUTLIERS}.consecutive5xxErrors", "from 0"),
    ("consecutiveGatewayErrors: 6", "consecutiveGatewayErrors: x",
     f"{OUTLIERS}.consecutiveGatewayErrors", "whole"),
    ("interval: 10s", "interval: 0s", f"{OUTLIERS}.interval", "0.001s or more"),
    ("baseEjectionTime: 30s", "baseEjectionTime: 30", f"{OUTLIERS}.baseEjectionTime", "duration"),
    ("maxEjectionPercent: 10", "maxEjectionPercent: 101", f"{OUTLIERS}.maxEjectionPercent", "100"),
    ("minHealthPercent: 20", "minHealthPercent: 2%", f"{OUTLIERS}.minHealthPercent", "whole"),
    ("splitExternalLocalOriginErrors: true", "splitExternalLocalOriginErrors: 1",
     f"{OUTLIERS}.splitExternalLocalOriginErrors", "true or false"),
    ("splitExternalLocalOriginErrors: true", "consecutiveLocalOriginFailures: 1",
     f"{OUTLIERS}.consecutiveLocalOriginFailures", "has no effect without split"),
    ("ringHash:", "minimumRingSize: 5 #!\n        ringHash:",
     f"{BALANCER}.consistentHash.minimumRingSize", "cannot be used together"),
    ("idleTimeout: 2m", "idleTimeout: 0s", f"{POOL}.http.idleTimeout", "0.001s or more"),
    ("    - port:\n        number: 81\n      loadBalancer:\n        simple: RANDOM",
     "    - port: #!\n        number: 81", f"{TRAFFIC}.portLevelSettings[0]",
     "beside port"),
    ("    trafficPolicy:\n      loadBalancer:\n        simple: LEAST_CONN", "    trafficPolicy: {}",
     "subsets[0].trafficPolicy", "one field at least"),
    ("mode: DISABLE", "mode: SIMPLE", f"{TRAFFIC}.tls.mode", "SIMPLE (the proxy speaks plain HTTP"),
    ("mode: DISABLE", "mode: MUTUAL", f"{TRAFFIC}.tls.mode", "not supported"),
    ("mode: DISABLE", "sni: x", f"{TRAFFIC}.tls.sni", "not supported"),
    ("number: 81", "number: x", f"{TRAFFIC}.portLevelSettings[0].port.number", "65535"),
    ("simple: RANDOM", "simple: PASSTHROUGH", f"{TRAFFIC}.portLevelSettings[0].loadBalancer.simple",
     "load balancer PASSTHROUGH is not"),
    ("    tls:", "    proxyProtocol: {version: V2} #!\n    tls:", f"{TRAFFIC}.proxyProtocol",
     "not supported"),
    ("    tls:", "    tunnel: {targetHost: a} #!\n    tls:", f"{TRAFFIC}.tunnel", "not supported"),
    ("    tls:", "    retryBudget: {percent: 1} #!\n    tls:", f"{TRAFFIC}.retryBudget",
     "not supported"),
    ("- name: v1", "- name: ''", "subsets[0].name", "a name"),
    ("version: v1", "version: 1", "subsets[0].labels.version", "a string"),
    ("simple: LEAST_CONN", "simple: LEAST",
     "subsets[0].trafficPolicy.loadBalancer.simple", "load balancer LEAST is not"),
    ("  subsets:", "  subset:", "subset", "not supported"),
]  # fmt: skip

SERVICE_ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: api
spec:
  hosts:
  - api.example
  location: MESH_EXTERNAL
  resolution: STATIC
  ports:
  - number: 80
    name: http
    protocol: HTTP
    targetPort: 8080
  endpoints:
  - address: 10.0.0.1
    labels:
      version: v1
    weight: 2
    ports:
      http: 81
  workloadSelector:
    labels:
      app: api
"""
IN_SERVICE_ENTRY = [
    ("- api.example", "- '*.example'", "hosts[0]", "without wildcard"),
    ("resolution: STATIC", "resolution: NONE", "resolution", "STATIC, DNS"),
    ("- number: 80", "- number: 0", "ports[0].number", "65535"),
    ("name: http", "name: ''", "ports[0].name", "not empty"),
    ("targetPort: 8080", "targetPort: http", "ports[0].targetPort", "65535"),
    ("- address: 10.0.0.1", "- address: 10.0.0.1/8", "endpoints[0].address", "an IP address"),
    ("version: v1", "version: 2", "endpoints[0].labels.version", "a string"),
    ("weight: 2", "weight: 0", "endpoints[0].weight", "from 1"),
    ("http: 81", "http: x", "endpoints[0].ports.http", "65535"),
    ("app: api", "app: []", "workloadSelector.labels.app", "a string"),
]
WORKLOAD_ENTRY = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: vm
spec:
  address: 10.0.0.1
  ports:
    http: 8080
  labels:
    app: api
  weight: 1
"""
IN_WORKLOAD_ENTRY = [
    ("address: 10.0.0.1", "address: ''", "address", "not empty"),
    ("http: 8080", "http: 80800", "ports.http", "65535"),
    ("app: api", "app: true", "labels.app", "a string"),
    ("weight: 1", "weight: -1", "weight", "from 1"),
    ("weight: 1", "height: 1", "height", "not supported"),
]
MISTAKES = [
    (kind, text, *mistake)
    for kind, text, mistakes in (
        ("VirtualService/web", VIRTUAL_SERVICE, IN_VIRTUAL_SERVICE),
        ("DestinationRule/web", DESTINATION_RULE, IN_DESTINATION_RULE),
        ("ServiceEntry/api", SERVICE_ENTRY, IN_SERVICE_ENTRY),
        ("WorkloadEntry/vm", WORKLOAD_ENTRY, IN_WORKLOAD_ENTRY),
    )
    for mistake in mistakes
]
OPTIONS = {"gateways": ["mesh"], "workload_labels": "app=a"}


def test_without_a_mistake_they_are_right():
    rules, warnings = compiled(VIRTUAL_SERVICE, **OPTIONS)
    assert len(rules["routes"]) == 5
    assert [warning for warning in warnings if "nothing defines" not in warning] == []
    for text in (DESTINATION_RULE, SERVICE_ENTRY, WORKLOAD_ENTRY):
        compiled(text, **OPTIONS)


@pytest.mark.parametrize(("label", "text", "right", "wrong", "path", "words"), MISTAKES)
def test_the_line_and_the_field_are_named(label, text, right, wrong, path, words):
    at = text.index(f"{right}\n")
    if "#!" not in wrong:
        first, *rest = wrong.split("\n")
        wrong = "\n".join([f"{first} #!", *rest])
    changed = text[:at] + wrong + text[at + len(right) :]
    line = changed.count("\n", 0, changed.index("#!")) + 1
    problem, *_ = refused(changed, **OPTIONS)  # a field that is misspelt is missing, too
    assert problem.startswith(f"f0.yaml:{line}: {label}: spec.{path}: ")
    assert words in problem
