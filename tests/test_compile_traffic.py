"""DestinationRule: how a host, its ports and its subsets take requests."""

from __future__ import annotations

import pytest
from compiling import ROUTE, RULE, VS, WEB, compiled, refused

TWO_PORTS = WEB.replace("[{port: 80}]", "[{name: a, port: 80}, {name: b, port: 81}]")
TO_BOTH = ROUTE + "    mirror: {host: web, port: {number: 81}}\n"


def service(policy, *, subsets="", kind=WEB, routes=ROUTE):
    rule = RULE + f"  trafficPolicy: {policy}\n" + subsets
    rules, warnings = compiled(kind, rule, VS + routes)
    return rules["services"][0], warnings


HASHES = [
    ("{httpHeaderName: x-user}", {"hash": {"header": "x-user"}}),
    ("{httpQueryParameterName: user}", {"hash": {"query": "user"}}),
    ("{useSourceIp: true}", {"hash": "source_ip"}),
    ("{httpCookie: {name: user}}", {"hash": {"cookie": "user"}}),
    ("{httpCookie: {name: user, path: /a}}", {"hash": {"cookie": "user"}}),
    ("{httpCookie: {name: user, ttl: 0s}}",
     {"hash": {"cookie": "user"}, "set_cookie": {"ttl": 0.0}}),
    ("{httpCookie: {name: user, path: /a, ttl: 90s}}",
     {"hash": {"cookie": "user"}, "set_cookie": {"ttl": 90.0, "path": "/a"}}),
    ("{useSourceIp: true, minimumRingSize: 2048}", {"hash": "source_ip", "table_size": 2048}),
    ("{useSourceIp: true, ringHash: {}}", {"hash": "source_ip"}),
    ("{useSourceIp: true, ringHash: {minimumRingSize: 512}}",
     {"hash": "source_ip", "table_size": 512}),
    ("{useSourceIp: true, maglev: {}}", {"hash": "source_ip", "algorithm": "maglev"}),
    ("{useSourceIp: true, maglev: {tableSize: 251}}",
     {"hash": "source_ip", "algorithm": "maglev", "table_size": 251}),
]  # fmt: skip


@pytest.mark.parametrize(("consistent", "expected"), HASHES)
def test_consistent_hash(consistent, expected):
    found, warnings = service(f"{{loadBalancer: {{consistentHash: {consistent}}}}}")
    assert found["balance"] == {"algorithm": "ring"} | expected
    assert warnings == []


POOLS = [
    ("{tcp: {}}", {}),
    ("{tcp: {maxConnections: 10, connectTimeout: 30ms}}",
     {"max_connections": 10, "connect_timeout": 0.03}),
    ("{tcp: {maxConnectionDuration: 1h, idleTimeout: 5m}}",
     {"max_connection_duration": 3600.0, "idle_timeout": 300.0}),
    ("{tcp: {tcpKeepalive: {}}}", {"tcp_keepalive": {}}),
    ("{tcp: {tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}}}",
     {"tcp_keepalive": {"probes": 3, "time": 7200.0, "interval": 75.0}}),
    ("{http: {http1MaxPendingRequests: 1, http2MaxRequests: 2, maxRequestsPerConnection: 3,"
     " maxRetries: 4}}",
     {"max_pending_requests": 1, "max_requests": 2, "max_requests_per_connection": 3,
      "max_retries": 4}),
    # 0 is no limit, nor is what nobody reaches; HTTP's idle time goes first, TCP's 0 is for ever.
    ("{tcp: {maxConnections: 0}, http: {maxRetries: 0}}", {}),
    ("{tcp: {maxConnections: 2147483647}}", {"max_connections": 1_000_000}),
    ("{tcp: {idleTimeout: 5m}, http: {idleTimeout: 1s}}", {"idle_timeout": 1.0}),
    ("{tcp: {idleTimeout: 0s}}", {"idle_timeout": 366 * 86400.0}),
    # Without meaning over HTTP/1.1.
    ("{http: {maxConcurrentStreams: 5, useClientProtocol: true, h2UpgradePolicy: DEFAULT}}", {}),
    ("{http: {h2UpgradePolicy: DO_NOT_UPGRADE}}", {}),
]  # fmt: skip


@pytest.mark.parametrize(("pool", "expected"), POOLS)
def test_connection_pool(pool, expected):
    found, warnings = service(f"{{connectionPool: {pool}}}")
    assert (found.get("connection_pool", {}), warnings) == (expected, [])


OUTLIERS = [
    ("{}", {}),
    ("{consecutive5xxErrors: 7, interval: 5m, baseEjectionTime: 15m}",
     {"consecutive_5xx_errors": 7, "interval": 300.0, "base_ejection_time": 900.0}),
    ("{consecutive5xxErrors: 0, consecutiveGatewayErrors: 3}",
     {"consecutive_5xx_errors": 0, "consecutive_gateway_errors": 3}),
    ("{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2}",
     {"split_external_local_origin_errors": True, "consecutive_local_origin_failures": 2}),
    ("{maxEjectionPercent: 100, minHealthPercent: 50}",
     {"max_ejection_percent": 100, "min_health_percent": 50}),
    # Istio does not tell 0 from absent here.
    ("{maxEjectionPercent: 0, consecutiveLocalOriginFailures: 0, "
     "splitExternalLocalOriginErrors: true}", {"split_external_local_origin_errors": True}),
]  # fmt: skip


@pytest.mark.parametrize(("outliers", "expected"), OUTLIERS)
def test_outlier_detection(outliers, expected):
    found, warnings = service(f"{{outlierDetection: {outliers}}}")
    assert (found["outlier_detection"], warnings) == (expected, [])


def test_what_has_no_effect_any_more_is_warned_of():
    found, (warning,) = service("{outlierDetection: {consecutiveErrors: 1}}")
    assert found["outlier_detection"] == {}
    assert warning.startswith(
        "f1.yaml:6: DestinationRule/web: spec.trafficPolicy.outlierDetection.consecutiveErrors: "
    )


@pytest.mark.parametrize(
    "policy",
    [
        "{tls: {mode: DISABLE}}", "{tls: {}}", "{loadBalancer: {localityLbSetting: "
        "{enabled: false}}}", "{connectionPool: {http: {}}}",
    ],
)  # fmt: skip
def test_what_changes_nothing(policy):
    found, warnings = service(policy)
    assert not found.keys() & {"balance", "connection_pool", "outlier_detection"}
    assert warnings == []


# -- ports and subsets


def test_a_port_s_settings_stand_in_the_place_of_all_others():
    policy = """
    loadBalancer: {simple: RANDOM}
    connectionPool: {tcp: {maxConnections: 1}}
    outlierDetection: {consecutive5xxErrors: 1}
    portLevelSettings:
    - port: {number: 81}
      loadBalancer: {simple: LEAST_REQUEST}
"""
    rules, _ = compiled(TWO_PORTS, RULE + "  trafficPolicy:" + policy, VS + TO_BOTH)
    first, second = rules["services"]
    assert first["balance"] == "random"
    assert first["connection_pool"] == {"max_connections": 1}
    assert first["outlier_detection"] == {"consecutive_5xx_errors": 1}
    assert second["name"].endswith(":81")
    assert second["balance"] == "least_request"
    assert not second.keys() & {"connection_pool", "outlier_detection"}


WHOLE = ("{loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 1}}, "
         "outlierDetection: {}}")  # fmt: skip
SUBSETS = [
    ("{loadBalancer: {simple: LEAST_REQUEST}}", {"balance": "least_request"}),
    ("{loadBalancer: {simple: RANDOM}}", None),  # as the whole
    ("{loadBalancer: {}}", {"balance": "round_robin"}),
    ("{connectionPool: {http: {maxRetries: 2}}}", {"connection_pool": {"max_retries": 2}}),
    ("{connectionPool: {tcp: {}}}", {"connection_pool": {}}),
    ("{outlierDetection: {interval: 1s}}", {"outlier_detection": {"interval": 1.0}}),
    # What is said of another port says nothing of this one.
    ("{portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: LEAST_REQUEST}}]}", None),
    # Of what is said of this one, nothing is inherited: no outliers are detected.
    ("{portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: LEAST_REQUEST}}]}",
     {"balance": "least_request", "connection_pool": {},
      "outlier_detection": {"consecutive_5xx_errors": 0}}),
    ("{loadBalancer: {simple: LEAST_REQUEST}, portLevelSettings: [{port: {number: 80}, "
     "outlierDetection: {}, connectionPool: {tcp: {maxConnections: 1}}}]}",
     {"balance": "round_robin"}),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "expected"), SUBSETS)
def test_subsets(policy, expected):
    subsets = f"  subsets: [{{name: v1, labels: {{}}, trafficPolicy: {policy}}}, {{name: v2}}]\n"
    found, warnings = service(WHOLE, subsets=subsets, kind=TWO_PORTS, routes=TO_BOTH)
    assert found.get("subset_policies", {}) == ({"v1": expected} if expected else {})
    assert [w for w in warnings if "several ports" not in w] == []


def test_the_most_specific_name_of_a_host_is_asked():
    wide = RULE.replace("name: web", "name: wide").replace("host: web", "host: '*.local'")
    narrow = wide.replace("wide", "narrow").replace("*.local", "*.default.svc.cluster.local")
    rules = [
        text + f"  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {count}}}}}}}\n"
        for count, text in enumerate((wide, narrow), 1)
    ]
    found, _ = compiled(WEB, *rules)
    assert found["services"][0]["connection_pool"] == {"max_connections": 2}


def test_of_several_rules_for_a_host_the_oldest_goes_first():
    def rule(name, created, policy, subset):
        metadata = f"{{name: {name}, creationTimestamp: '{created}'}}"
        text = RULE.replace("{name: web}", metadata) + f"  trafficPolicy: {policy}\n"
        return text + f"  subsets: [{{name: v1, labels: {{by: {name}}}}}, {{name: {subset}}}]\n"

    pool = "{connectionPool: {tcp: {maxConnections: 1}}}"
    rules, warnings = compiled(
        WEB,
        rule("young", "2026-01-02T00:00:00Z", "{loadBalancer: {simple: RANDOM}}", "v2"),
        rule("old", "2026-01-01T00:00:00Z", pool, "v3"),
    )
    (found,) = rules["services"]
    assert found["subsets"] == {"v1": {"by": "old"}, "v3": {}, "v2": {}}
    assert found["connection_pool"] == {"max_connections": 1}
    assert "balance" not in found  # a policy is taken whole
    assert [warning.partition(": DestinationRule/young: ")[2] for warning in warnings] == [
        "spec.host: DestinationRule old is for web.default.svc.cluster.local as well, and goes "
        "first: this one only adds what that has not",
        "spec.subsets[0].name: has no effect: subset v1 was given before",
        "spec.trafficPolicy: has no effect: a trafficPolicy was given before",
    ]


def test_a_rule_without_a_policy_leaves_it_to_the_next():
    first = RULE + "  subsets: [{name: v1, trafficPolicy: {outlierDetection: {}}}]\n"
    second = RULE.replace("name: web", "name: other") + f"  trafficPolicy: {WHOLE}\n"
    rules, (warning,) = compiled(WEB, first, second)
    assert rules["services"][0]["balance"] == "random"
    assert warning.startswith("f2.yaml:5: DestinationRule/other: spec.host: ")


def test_settings_of_a_port_that_the_host_has_not_are_warned_of():
    policy = "{portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: RANDOM}}]}"
    _, (warning,) = service(policy)
    assert warning.startswith(
        "f1.yaml:6: DestinationRule/web: spec.trafficPolicy.portLevelSettings[0].port.number: "
        "has no effect: web.default.svc.cluster.local has no port 81"
    )


def test_a_port_that_only_a_policy_names_is_no_port_of_the_host():
    policy = "{portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: RANDOM}}]}"
    rules, warnings = compiled(RULE + f"  trafficPolicy: {policy}\n", maps=["web=10.0.0.1"])
    assert rules["services"][0]["endpoints"] == [{"address": "10.0.0.1:80"}]
    assert warnings == []


def test_what_is_not_supported_is_left_out_when_lenient():
    rule = (
        RULE
        + "  trafficPolicy:\n    tls: {mode: ISTIO_MUTUAL}\n    loadBalancer: {simple: RANDOM}\n"
    )
    (problem,) = refused(WEB, rule)
    assert problem == (
        "f1.yaml:7: DestinationRule/web: spec.trafficPolicy.tls.mode: ISTIO_MUTUAL (the proxy "
        "speaks plain HTTP to endpoints) is not supported (--lenient ignores it)"
    )
    rules, (warning,) = compiled(WEB, rule, lenient=True)
    assert rules["services"][0]["balance"] == "random"
    assert warning.endswith("ignored")
