"""What the types cannot say of services. Invariant: as of ``checks``; a host belongs to one service
at most.
"""

from __future__ import annotations

from fastmirror.rules.address import parse_address, parse_host_pattern
from fastmirror.rules.checks import Checks
from fastmirror.rules.model import (
    Balance,
    ConnectionPool,
    HashBalance,
    Key,
    OutlierDetection,
    Service,
)
from fastmirror.rules.units import seconds

_POOL_TIMES = ("max_connection_duration", "connect_timeout", "idle_timeout")
_COOKIE_PATH = frozenset(map(chr, range(0x21, 0x7F))) - set(";")


def check_service(checks: Checks, service: Service, path: str, owners: dict[str, str]) -> None:
    """Add a service's problems; ``owners``: the services of the hosts so far."""
    hosts = service.hosts if service.hosts is not None else [service.name]
    for index, host in enumerate(hosts):
        at = f"{path}.hosts[{index}]" if service.hosts is not None else f"{path}.name"
        try:
            pattern = parse_host_pattern(host)
        except ValueError as error:
            hint = "" if service.hosts is not None else " (or give hosts)"
            checks.add(at, f"{error}{hint}")
            continue
        if pattern == "*":
            checks.add(at, 'expected a name or "*.suffix": "*" is for routes')
        if owners.setdefault(pattern, service.name) != service.name:
            checks.add(at, f'"{host}" is already a host of service "{owners[pattern]}"')
    for index, endpoint in enumerate(service.endpoints):
        checks.parses(parse_address, endpoint.address, f"{path}.endpoints[{index}].address")
    _balance(checks, service.balance, f"{path}.balance")
    _pool(checks, service.connection_pool, f"{path}.connection_pool")
    _outliers(checks, service.outlier_detection, f"{path}.outlier_detection")
    for name, policy in service.subset_policies.items():
        at = f"{path}.subset_policies.{name}"
        if name not in service.subsets:
            known = ", ".join(sorted(service.subsets)[:8]) or "none"
            checks.add(at, f"expected the name of a subset (there are: {known})")
        _balance(checks, policy.balance, f"{at}.balance")
        _pool(checks, policy.connection_pool, f"{at}.connection_pool")
        _outliers(checks, policy.outlier_detection, f"{at}.outlier_detection")


def _balance(checks: Checks, balance: Balance | None, path: str) -> None:
    if not isinstance(balance, HashBalance):
        return
    checks.key(balance.hash, f"{path}.hash")
    if balance.table_size is not None:
        if balance.algorithm == "rendezvous":
            checks.add(f"{path}.table_size", "expected none: rendezvous hashing has no table")
        elif balance.algorithm == "maglev" and not _is_prime(balance.table_size):
            checks.add(f"{path}.table_size", "expected a prime number, as maglev needs")
    if balance.set_cookie is not None:
        cookie = balance.set_cookie
        if not (isinstance(balance.hash, Key) and balance.hash.cookie):
            checks.add(f"{path}.set_cookie", "expected none: the key is no cookie")
        elif balance.hash.cookie:
            checks.token(balance.hash.cookie, f"{path}.hash.cookie", "a cookie's name")
        checks.parses(seconds, cookie.ttl, f"{path}.set_cookie.ttl")
        if cookie.path is not None and not (
            cookie.path.startswith("/") and _COOKIE_PATH.issuperset(cookie.path)
        ):
            checks.add(f"{path}.set_cookie.path", f'expected a path from "/", got {cookie.path!r}')


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % low for low in range(2, int(number**0.5) + 1))


def _pool(checks: Checks, pool: ConnectionPool | None, path: str) -> None:
    if pool is None:
        return
    for name in _POOL_TIMES:
        checks.positive(getattr(pool, name), f"{path}.{name}")
    if pool.tcp_keepalive is not None:
        for name in ("time", "interval"):
            value = getattr(pool.tcp_keepalive, name)
            at = f"{path}.tcp_keepalive.{name}"
            checks.positive(value, at)
            try:
                if value is not None and 0 < seconds(value) < 1:
                    checks.add(at, f"expected a second or more, got {value!r}")
            except ValueError:
                pass  # said above


def _outliers(checks: Checks, outliers: OutlierDetection | None, path: str) -> None:
    if outliers is not None:
        checks.positive(outliers.interval, f"{path}.interval")
        checks.positive(outliers.base_ejection_time, f"{path}.base_ejection_time")
