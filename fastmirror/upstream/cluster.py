"""The endpoints of a service or of one subset, and the balancing between them.

Invariants: ``pick`` is O(1) for equal weights and never waits; it gives None just when there is
no endpoint; over any run of requests round robin gives each endpoint its exact share.
"""

from __future__ import annotations

import math

from fastmirror._core import random64, xxh64
from fastmirror.rules.model import Balance, HashBalance
from fastmirror.rules.request import KeyReader, Request
from fastmirror.upstream.pool import Pool

ROUND_ROBIN, LEAST_REQUEST, RANDOM, HASH = range(4)
_KINDS = {"round_robin": ROUND_ROBIN, "least_request": LEAST_REQUEST, "random": RANDOM}


class Member:
    """One address of an endpoint."""

    def __init__(self, pool: Pool, name: bytes, weight: int) -> None:
        self.pool = pool
        self.name = name
        self.weight = weight
        self.credit = 0


class Cluster:
    """``members`` may change while running, as names resolve to other addresses."""

    def __init__(self, name: str, balance: Balance) -> None:
        self.name = name
        self.key: KeyReader | None = None
        if isinstance(balance, HashBalance):
            self.balance = HASH
            self.key = KeyReader(balance.hash)
        else:
            self.balance = _KINDS[balance]
        self.next = 0
        self.set_members([])

    def set_members(self, members: list[Member]) -> None:
        """Balance between these from now on."""
        self.members = members
        self.weighted = len({member_weight(member) for member in members}) > 1
        self.total = sum([member_weight(member) for member in members])

    def pick(self, request: Request) -> Member | None:
        """The endpoint for a request."""
        count = len(self.members)
        if count == 0:
            return None
        if count == 1:
            return member_at(self.members, 0)
        if self.balance == HASH and self.key is not None:
            key = self.key.read(request)
            return self._random() if key is None else self._by_key(key)
        if self.balance == LEAST_REQUEST:
            return self._least_loaded()
        if self.balance == RANDOM:
            return self._random()
        if self.weighted:
            return self._by_weight()
        self.next = (self.next + 1) % count
        return member_at(self.members, self.next)

    def _by_weight(self) -> Member:
        """Smooth weighted round robin, as in nginx: no endpoint gets its share in a burst."""
        best = member_at(self.members, 0)
        for index in range(len(self.members)):
            member = member_at(self.members, index)
            member.credit += member.weight
            if member.credit > best.credit:
                best = member
        best.credit -= self.total
        return best

    def _random(self) -> Member:
        if not self.weighted:
            return member_at(self.members, random64() % len(self.members))
        point = random64() % self.total
        for index in range(len(self.members)):
            member = member_at(self.members, index)
            if point < member.weight:
                return member
            point -= member.weight
        return member_at(self.members, 0)

    def _least_loaded(self) -> Member:
        """The less loaded of two chosen at random, as Envoy's LEAST_REQUEST."""
        one = self._random()
        two = self._random()
        # (active + 1) / weight, without the division.
        if (one.pool.active + 1) * two.weight <= (two.pool.active + 1) * one.weight:
            return one
        return two

    def _by_key(self, key: bytes) -> Member:
        """Rendezvous hashing: an endpoint that goes away moves only its own keys."""
        best, best_score = member_at(self.members, 0), -math.inf
        seed = xxh64(key)
        for index in range(len(self.members)):
            member = member_at(self.members, index)
            share = (xxh64(str(member.pool.address).encode(), seed) + 0.5) / 2**64
            score = -member.weight / math.log(share) if share < 1.0 else math.inf
            if score > best_score:
                best, best_score = member, score
        return best

    def other(self, tried: list[Pool]) -> Member | None:
        """An endpoint that was not tried; where all were, one that is not the last of them; None:
        there is no other.
        """
        count = len(self.members)
        start = random64() % count if count else 0
        found: Member | None = None
        for step in range(count):
            member = member_at(self.members, (start + step) % count)
            if member.pool not in tried:
                return member
            if member.pool is not tried[-1]:
                found = member
        return found


# Elements of a list have no C type; these give them one.
def member_at(members: list[Member], index: int) -> Member:
    """``members[index]``."""
    return members[index]


def member_weight(member: Member) -> int:
    """``member.weight``."""
    return member.weight
