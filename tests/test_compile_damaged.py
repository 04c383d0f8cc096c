"""Whatever the manifests, compiling them ends in rules or in one ManifestError."""

from __future__ import annotations

import yaml
from compiling import BACKEND, ENTRY, GRANT, HR, ROUTE, RULE, SLICE, VS, WEB, WORKLOAD, compiled
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmirror.manifests.source import ManifestError

NASTY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70_000),
    st.floats(),
    st.sampled_from(
        ["", "x", "a b", "*", "/", "(", "\n", "é", "0", "web", "STATIC", "1s", "a" * 300]
    ),
    st.builds(list),
    st.builds(dict),
    st.builds(lambda: [None]),
    st.builds(lambda: [[]]),
    st.builds(lambda: {"": {}}),
)
POLICY = """\
  trafficPolicy:
    loadBalancer:
      consistentHash: {httpCookie: {name: a, path: /, ttl: 1s}, maglev: {tableSize: 7}}
    connectionPool: {tcp: {maxConnections: 1, connectTimeout: 1s, idleTimeout: 1s, tcpKeepalive:
      {time: 1s, probes: 1}}, http: {http2MaxRequests: 1, maxRetries: 1, h2UpgradePolicy: DEFAULT}}
    outlierDetection: {consecutive5xxErrors: 1, interval: 1s, maxEjectionPercent: 1}
    portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]
    tls: {mode: DISABLE}
  subsets: [{name: v1, labels: {a: b}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]
"""
ROOT = """\
  - delegate: {name: leaf, namespace: default}
    match: [{uri: {prefix: /a}, headers: {b: {prefix: c}}, port: 80, withoutHeaders: {d: {}}}]
    retries: {attempts: 1, perTryTimeout: 1s, retryOn: '5xx,503', backoff: 1s}
    mirror: {host: web, subset: v1}
    timeout: 1s
"""
LEAF = (
    VS.replace("name: web", "name: leaf").replace("  hosts: [web]\n", "")
    + ROUTE
    + """\
    match: [{uri: {exact: /a/b}, sourceLabels: {app: a}}, {gateways: [mesh], sourceNamespace: a}]
    mirrors: [{destination: {host: web, subset: v1}}]
"""
)
LISTENERS = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: fast
  listeners:
  - {name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: HTTPRoute}], namespaces:
      {from: Selector, selector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: In,
        values: [d]}]}}}}
  - {name: b, port: 81, protocol: HTTP, hostname: '*.test',
      allowedRoutes: {namespaces: {from: All}}}
  - {name: c, port: 443, protocol: HTTPS, hostname: a.test, tls: {mode: Terminate}}
"""
ATTACHED = (
    HR.replace("name: web", "name: attached").replace(
        "[{name: gateway}]",
        "[{name: gw, sectionName: b, port: 81}, {name: gw},"
        " {kind: Service, group: '', name: web, port: 80}]\n  hostnames: [a.test, '*.b.test']",
    )
    + BACKEND
    + """\
    timeouts: {request: 2s, backendRequest: 1s}
    retry: {codes: [503], attempts: 1, backoff: 1s}
  - backendRefs: [{name: web, port: 80, filters: [{type: URLRewrite, urlRewrite: {hostname: a}},
      {type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}]}]
"""
)
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {a: b, c: d}}\n"
SEEDS = [
    LISTENERS, ATTACHED, NAMESPACE,
    WEB, LEAF, SLICE, ENTRY + "  resolution: DNS\n", WORKLOAD, GRANT,
    RULE + "  workloadSelector: {matchLabels: {app: a}}\n" + POLICY,
    RULE.replace("name: web", "name: more") + "  subsets: [{name: v2, labels: {a: b}}]\n",
    VS.replace("name: web", "name: root").replace("hosts:", "gateways: [mesh]\n  hosts:") + ROOT,
    VS + ROUTE + "    match: [{uri: {prefix: /}, headers: {a: {exact: b}}}]\n"
    "    mirror: {host: web, subset: v1, port: {number: 80}}\n    mirrorPercentage: {value: 1.0}\n",
    HR + BACKEND + "    matches: [{path: {value: /}, headers: [{name: a, value: b}]}]\n"
    "    filters: [{type: RequestMirror, requestMirror: "
    "{backendRef: {name: web, port: 80}, percent: 4}}]\n",
    VS.replace("name: web", "name: edits") + ROUTE
    + "    rewrite: {uri: /b, authority: a.b}\n"
    "    headers: {request: {set: {a: b}, remove: [c]}, response: {add: {d: e}}}\n"
    "    match: [{authority: {exact: a}, scheme: {exact: http}, ignoreUriCase: true}]\n"
    "  - redirect: {uri: /, authority: a, port: 80, scheme: http, redirectCode: 302}\n"
    "  - redirect: {uri: /, derivePort: FROM_REQUEST_PORT}\n"
    "  - directResponse: {status: 200, body: {string: a}}\n"
    "  - directResponse: {status: 200, body: {bytes: YQ==}}\n" + ROUTE
    + "    rewrite: {uriRegexRewrite: {match: '(a)', rewrite: '\\1'}}\n",
    HR.replace("name: web", "name: edits")
    + "  - backendRefs: [{name: web, port: 80, filters: [{type: ResponseHeaderModifier, "
    "responseHeaderModifier: {add: [{name: a, value: b}], remove: [c]}}]}]\n"
    "    filters: [{type: RequestHeaderModifier, requestHeaderModifier: "
    "{set: [{name: a, value: b}]}}, {type: URLRewrite, urlRewrite: "
    "{hostname: a.b, path: {type: ReplacePrefixMatch, replacePrefixMatch: /a}}}]\n"
    "  - filters: [{type: RequestRedirect, requestRedirect: {scheme: https, port: 1, hostname: a, "
    "statusCode: 301, path: {type: ReplaceFullPath, replaceFullPath: /a}}}]\n",
]  # fmt: skip

# What is said of the whole.
OF_NO_PLACE = (
    "routes of several gateways ",
    "--gateway",
    "web is in several namespaces",
    "web.",
    "api.example",
    "b.example",
)


def places(data, path=()):
    yield path
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_manifest_is_rules_or_a_manifest_error(data):
    documents = [yaml.safe_load(text) for text in SEEDS]
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(documents))[1:]))
        parent = documents
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = data.draw(NASTY)
    text = yaml.safe_dump_all(documents)
    try:
        rules, warnings = compiled(
            text,
            lenient=data.draw(st.booleans()),
            dns=data.draw(st.booleans()),
            workload_labels=data.draw(st.sampled_from([None, "app=a"])),
            gateways=data.draw(st.sampled_from([[], ["mesh"]])),
        )
    except ManifestError as error:
        rules, lines = {"version": 1}, error.problems
    else:
        lines = [warning for warning in warnings if not warning.startswith(OF_NO_PLACE)]
    assert rules["version"] == 1
    assert all(line.startswith("f0.yaml:") and "\n" not in line for line in lines), lines
