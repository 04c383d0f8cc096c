"""What DestinationRules say of a host: how its ports, and the subsets of each, take requests.

Invariant: as in Istio, what is said of a port stands in the place of all that is said of the host,
and what is said of a subset goes before both, part by part.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fastmirror.rules.model import Balance, ConnectionPool, OutlierDetection, SubsetPolicy

Labels = dict[str, str]
DEFAULT_BALANCE: Balance = "round_robin"
_NO_OUTLIERS = OutlierDetection(consecutive_5xx_errors=0)  # every count is off


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a policy says; None: nothing."""

    balance: Balance | None = None
    pool: ConnectionPool | None = None
    outliers: OutlierDetection | None = None

    def over(self, other: Traffic) -> Traffic:
        return Traffic(
            other.balance if self.balance is None else self.balance,
            other.pool if self.pool is None else self.pool,
            other.outliers if self.outliers is None else self.outliers,
        )


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    every: Traffic = Traffic()
    ports: dict[int, Traffic] = field(default_factory=dict)

    def at(self, port: int) -> Traffic:
        return self.ports.get(port, self.every)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the DestinationRules of a host say."""

    subsets: dict[str, Labels] = field(default_factory=dict)
    traffic: TrafficPolicy = TrafficPolicy()
    of_subsets: dict[str, TrafficPolicy] = field(default_factory=dict)

    def subset_policies(self, port: int) -> dict[str, SubsetPolicy]:
        """Where a subset of a port differs from the port itself."""
        found = {
            name: _difference(self._of_subset(policy, port), self.traffic.at(port))
            for name, policy in self.of_subsets.items()
        }
        return {name: policy for name, policy in found.items() if policy != SubsetPolicy()}

    def _of_subset(self, policy: TrafficPolicy, port: int) -> Traffic:
        if port in policy.ports:
            return policy.ports[port]
        return policy.every.over(self.traffic.at(port))


def _difference(own: Traffic, whole: Traffic) -> SubsetPolicy:
    balance, pool = own.balance or DEFAULT_BALANCE, own.pool or ConnectionPool()
    return SubsetPolicy(
        balance=None if balance == (whole.balance or DEFAULT_BALANCE) else balance,
        connection_pool=None if pool == (whole.pool or ConnectionPool()) else pool,
        outlier_detection=(
            None if own.outliers == whole.outliers else own.outliers or _NO_OUTLIERS
        ),
    )
