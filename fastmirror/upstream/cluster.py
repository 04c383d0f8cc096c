"""The endpoints of a service or of one subset, and the balancing between them.

Invariants: ``pick`` is O(1) for equal weights and never waits; it gives None just when there is
no endpoint, or all are ejected, and never one that is ejected, unless so many are that all are
used; over any run of requests round robin gives each endpoint its exact share.
"""

from __future__ import annotations

import math

from fastmirror._core import random64, xxh64
from fastmirror.rules.model import Balance, HashBalance
from fastmirror.rules.request import KeyReader, Request
from fastmirror.upstream.limited import Limits
from fastmirror.upstream.outliers import Health, OutlierDetector
from fastmirror.upstream.pool import Pool
from fastmirror.upstream.sticky import StickyCookie
from fastmirror.upstream.tables import HashTable, Maglev, Ring

ROUND_ROBIN, LEAST_REQUEST, RANDOM, HASH = range(4)
_KINDS = {"round_robin": ROUND_ROBIN, "least_request": LEAST_REQUEST, "random": RANDOM}
RING_SIZE, MAGLEV_SIZE = 1024, 65537  # as Envoy's


class Member:
    """One address of an endpoint."""

    def __init__(self, pool: Pool, name: bytes, weight: int) -> None:
        self.pool = pool
        self.name = name
        self.weight = weight
        self.key = str(pool.address).encode()
        self.health: Health | None = None
        self.credit = 0

    def answered(self, status: int) -> int:
        """It gave this answer."""
        health = self.health
        return 0 if health is None else health.answered(status)

    def failed(self, status: int) -> int:
        """It could not be reached, or gave no valid answer, or none in time; ``status``: what the
        client gets, or would.
        """
        health = self.health
        return 0 if health is None else health.failed(status)


class Cluster:
    """``members`` may change while running, as names resolve to other addresses."""

    def __init__(self, name: str, balance: Balance, limits: Limits | None = None) -> None:
        self.name = name
        self.limits = limits
        self.outliers: OutlierDetector | None = None
        self.key: KeyReader | None = None
        self.hashing: HashBalance | None = None
        self.sticky: StickyCookie | None = None
        if isinstance(balance, HashBalance):
            self.balance = HASH
            self.hashing = balance
            self.key = KeyReader(balance.hash)
            if balance.set_cookie is not None:
                self.sticky = StickyCookie(self.key.name, balance.set_cookie)
        else:
            self.balance = _KINDS[balance]
        self.next = 0
        self.set_members([])

    def set_members(self, members: list[Member]) -> None:
        """Balance between these from now on. Those that were here keep their health."""
        self.members = members
        if self.outliers is not None:
            self.outliers.watch([member.key.decode() for member in members])
            for member in members:
                member.health = self.outliers.health(member.key.decode())
        self.table = table_of(self.hashing, members) if self.hashing is not None else None
        self.use_well()

    def use_well(self) -> None:
        """Use the endpoints that are not ejected; all, if these are too few."""
        usable = [member for member in self.members if member_is_well(member)]
        if self.outliers is not None:
            least = self.outliers.min_health_percent
            if len(usable) * 100 < least * len(self.members):
                usable = self.members
        self.usable = usable if len(usable) < len(self.members) else self.members
        weights = [member_weight(member) for member in self.usable]
        self.weighted = len(set(weights)) > 1
        self.total = sum(weights)
        for member in self.members:
            forget_credit(member)

    def pick(self, request: Request, made: bytes | None) -> Member | None:
        """The endpoint for a request. ``made``: a key that it got because it had none."""
        count = len(self.usable)
        if count == 0:
            return None
        if count == 1:
            return member_at(self.usable, 0)
        if self.balance == HASH and self.key is not None:
            key = made if made is not None else self.key.read(request)
            return self._random() if key is None else self._by_key(key)
        if self.balance == LEAST_REQUEST:
            return self._least_loaded()
        if self.balance == RANDOM:
            return self._random()
        if self.weighted:
            return self._by_weight()
        self.next = (self.next + 1) % count
        return member_at(self.usable, self.next)

    def _by_weight(self) -> Member:
        """Smooth weighted round robin, as in nginx: no endpoint gets its share in a burst."""
        best = member_at(self.usable, 0)
        for index in range(len(self.usable)):
            member = member_at(self.usable, index)
            member.credit += member.weight
            if member.credit > best.credit:
                best = member
        best.credit -= self.total
        return best

    def _random(self) -> Member:
        if not self.weighted:
            return member_at(self.usable, random64() % len(self.usable))
        point = random64() % self.total
        for index in range(len(self.usable)):
            member = member_at(self.usable, index)
            if point < member.weight:
                return member
            point -= member.weight
        return member_at(self.usable, 0)

    def _least_loaded(self) -> Member:
        """The less loaded of two chosen at random, as Envoy's LEAST_REQUEST."""
        one = self._random()
        two = self._random()
        # (active + 1) / weight, without the division.
        if (one.pool.active + 1) * two.weight <= (two.pool.active + 1) * one.weight:
            return one
        return two

    def _by_key(self, key: bytes) -> Member:
        """Where it is ejected, the endpoint whose place in the table comes next: so only the keys
        of that one move.
        """
        table = self.table
        if table is None:
            return self._by_rendezvous(key)
        at = table.find(xxh64(key))
        for _ in range(table.size):
            member = member_at(self.members, table.owner(at))
            if self.usable is self.members or member_is_well(member):
                return member
            at = at + 1 if at + 1 < table.size else 0
        return self._random()  # an endpoint that has no place: there are more of them than places

    def _by_rendezvous(self, key: bytes) -> Member:
        """Rendezvous hashing: an endpoint that goes away moves only its own keys."""
        best, best_score = member_at(self.usable, 0), -math.inf
        seed = xxh64(key)
        for index in range(len(self.usable)):
            member = member_at(self.usable, index)
            share = (xxh64(member.key, seed) + 0.5) / 2**64
            score = -member.weight / math.log(share) if share < 1.0 else math.inf
            if score > best_score:
                best, best_score = member, score
        return best

    def other(self, tried: list[Pool]) -> Member | None:
        """An endpoint that was not tried; where all were, one that is not the last of them; None:
        there is no other.
        """
        count = len(self.usable)
        start = random64() % count if count else 0
        found: Member | None = None
        for step in range(count):
            member = member_at(self.usable, (start + step) % count)
            if member.pool not in tried:
                return member
            if member.pool is not tried[-1]:
                found = member
        return found

    def retry_begins(self) -> bool:
        """Whether another attempt of a request may be made; then ``retry_ended`` is owed."""
        return self.limits is None or self.limits.retry_begins()

    def retry_ended(self) -> int:
        """An attempt for which ``retry_begins`` was true is over."""
        return 0 if self.limits is None else self.limits.retry_ended()


# Elements of a list have no C type; these give them one.
def member_at(members: list[Member], index: int) -> Member:
    """``members[index]``."""
    return members[index]


def member_weight(member: Member) -> int:
    """``member.weight``."""
    return member.weight


def member_is_well(member: Member) -> bool:
    """Not ejected."""
    return member.health is None or not member.health.ejected


def forget_credit(member: Member) -> int:
    """``member.credit = 0``."""
    member.credit = 0
    return 0


def table_of(spec: HashBalance, members: list[Member]) -> HashTable | None:
    """What hashing looks members up in; None: rendezvous hashing needs no table."""
    if not members or spec.algorithm == "rendezvous":
        return None
    names = [member.key for member in members]
    weights = [member.weight for member in members]
    if spec.algorithm == "ring":
        return Ring(names, weights, spec.table_size or RING_SIZE)
    return Maglev(names, weights, spec.table_size or MAGLEV_SIZE)
