"""A DestinationRule's trafficPolicy: balancing, limits of connections, passive ejection.

Invariant: absent and 0 mean what Istio makes of them; what belongs to TLS, HTTP/2 or localities is
refused by name, save where it changes nothing over HTTP/1.1 in clear text.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastmirror.manifests.fields import Field
from fastmirror.manifests.istio_hash import read_consistent_hash
from fastmirror.manifests.traffic import Traffic, TrafficPolicy
from fastmirror.rules.model import Balance, ConnectionPool, OutlierDetection, TcpKeepalive
from fastmirror.rules.units import LONGEST

_PARTS = ("connectionPool", "loadBalancer", "outlierDetection", "tls")
_BALANCE: dict[str, Balance | None] = {
    "UNSPECIFIED": None,  # ours to choose, as it is Istio's
    "ROUND_ROBIN": "round_robin",
    "LEAST_REQUEST": "least_request",
    "LEAST_CONN": "least_request",  # its deprecated name
    "RANDOM": "random",
}
_HIGHEST = 2**31 - 1  # of an int32
_UNLIMITED = 1_000_000  # a limit beyond this is never reached


def read_traffic_policy(at: Field) -> TrafficPolicy:
    """A rule's or a subset's; absent: it says nothing."""
    _something(at.knows(*_PARTS, "portLevelSettings"))
    return TrafficPolicy(_traffic(at), dict(_ports(at["portLevelSettings"])))


def _something(at: Field) -> None:
    """As Istio refuses it."""
    if at.value == {}:
        at.expected("one field at least")


def _ports(at: Field) -> Iterator[tuple[int, Traffic]]:
    seen = set()
    for item in at.items():
        item.knows(*_PARTS, "port")
        if not any(item[name].given for name in _PARTS):
            item.problem(f"expected one of {', '.join(_PARTS)} beside port")
        number = item["port"].knows("number")["number"].integer(1, 65535)
        if number in seen:
            item["port"].problem(f"port {number} is given twice")
        seen.add(number)
        yield number, _traffic(item)


def _traffic(at: Field) -> Traffic:
    pool, outliers = at["connectionPool"], at["outlierDetection"]
    _check_tls(at["tls"])
    return Traffic(
        _balance(at["loadBalancer"]),
        _pool(pool) if pool.given else None,
        _outliers(outliers) if outliers.given else None,
    )


def _check_tls(at: Field) -> None:
    mode = at["mode"]
    if mode.text("DISABLE") != "DISABLE":
        mode.unsupported(f"{mode.value} (the proxy speaks plain HTTP to endpoints)")
    else:
        at.knows("mode")


def _balance(at: Field) -> Balance | None:
    at.knows("consistentHash", "localityLbSetting", "simple")
    locality, simple = at["localityLbSetting"], at["simple"]
    if locality.given and locality["enabled"].boolean(True):
        locality.unsupported("balancing by locality")
    if at["consistentHash"].given:
        if simple.given:
            simple.problem("simple and consistentHash cannot be used together")
        return read_consistent_hash(at["consistentHash"])
    name = simple.text("UNSPECIFIED")
    if name not in _BALANCE:
        simple.unsupported(f"load balancer {name}")
    balance = _BALANCE.get(name)
    # A policy that is given stands in the place of a wider one's, also with what is its default.
    return balance or ("round_robin" if at.given else None)


# -- connectionPool


def _pool(at: Field) -> ConnectionPool:
    _something(at)
    tcp = at.knows("http", "tcp")["tcp"].knows(
        "connectTimeout", "idleTimeout", "maxConnectionDuration", "maxConnections", "tcpKeepalive"
    )
    # What is of HTTP/2, and the protocol of the client's side, changes nothing over HTTP/1.1.
    http = at["http"].knows(
        "h2UpgradePolicy", "http1MaxPendingRequests", "http2MaxRequests", "idleTimeout",
        "maxRequestsPerConnection", "maxRetries",
        over=("http2KeepAlive", "maxConcurrentStreams", "useClientProtocol"),
    )  # fmt: skip
    upgrade = http["h2UpgradePolicy"]
    if upgrade.text("DEFAULT") == "UPGRADE":
        upgrade.unsupported("HTTP/2")
    elif upgrade.text("DEFAULT") not in ("DEFAULT", "DO_NOT_UPGRADE"):
        upgrade.expected("DEFAULT, DO_NOT_UPGRADE or UPGRADE")
    idle = (http["idleTimeout"].seconds(least=0.001), tcp["idleTimeout"].seconds(zero=LONGEST))
    keepalive = tcp["tcpKeepalive"]
    return ConnectionPool(
        max_connections=_limit(tcp["maxConnections"]),
        max_pending_requests=_limit(http["http1MaxPendingRequests"]),
        max_requests=_limit(http["http2MaxRequests"]),
        max_retries=_limit(http["maxRetries"]),
        max_requests_per_connection=_limit(http["maxRequestsPerConnection"]),
        max_connection_duration=tcp["maxConnectionDuration"].seconds(least=0.001),
        connect_timeout=tcp["connectTimeout"].seconds(least=0.001),
        idle_timeout=idle[0] or idle[1],
        tcp_keepalive=_keepalive(keepalive) if keepalive.given else None,
    )


def _limit(at: Field) -> int | None:
    """0 is no limit, as Istio has it."""
    return min(at.integer(0, _HIGHEST, default=0), _UNLIMITED) or None


def _keepalive(at: Field) -> TcpKeepalive:
    at.knows("interval", "probes", "time")
    return TcpKeepalive(
        time=at["time"].seconds(least=1),
        interval=at["interval"].seconds(least=1),
        probes=at["probes"].integer(0, 127, default=0) or None,
    )


# -- outlierDetection


def _outliers(at: Field) -> OutlierDetection:
    """With Envoy's defaults, as Istio leaves them."""
    at.knows(
        "baseEjectionTime", "consecutive5xxErrors", "consecutiveErrors", "consecutiveGatewayErrors",
        "consecutiveLocalOriginFailures", "interval", "maxEjectionPercent", "minHealthPercent",
        "splitExternalLocalOriginErrors",
    )  # fmt: skip
    default = OutlierDetection()
    old = at["consecutiveErrors"]
    old.integer(0, _HIGHEST, default=0)
    if old.given:
        old.warn("has no effect: expected consecutive5xxErrors or consecutiveGatewayErrors")

    local = at["consecutiveLocalOriginFailures"]
    if local.value and at["splitExternalLocalOriginErrors"].value is not True:
        local.problem("has no effect without splitExternalLocalOriginErrors")

    def count(name: str, absent: int) -> int:
        return min(at[name].integer(0, _HIGHEST, default=absent), _UNLIMITED)

    def percent(name: str) -> int:
        return at[name].integer(0, 100, default=0)

    return OutlierDetection(
        consecutive_5xx_errors=count("consecutive5xxErrors", default.consecutive_5xx_errors),
        consecutive_gateway_errors=count("consecutiveGatewayErrors", 0),
        # Istio does not hand on a 0 of these two.
        consecutive_local_origin_failures=count("consecutiveLocalOriginFailures", 0)
        or default.consecutive_local_origin_failures,
        max_ejection_percent=percent("maxEjectionPercent") or default.max_ejection_percent,
        split_external_local_origin_errors=at["splitExternalLocalOriginErrors"].boolean(False),
        interval=at["interval"].seconds(least=0.001) or default.interval,
        base_ejection_time=at["baseEjectionTime"].seconds(least=0.001)
        or default.base_ejection_time,
        min_health_percent=percent("minHealthPercent"),
    )
