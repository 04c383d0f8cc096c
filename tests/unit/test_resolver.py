"""Names to addresses: each address of each name is used, the last good answer holds, and what is
gone leaves nothing behind. Names are asked of a table here, in the place of the system's resolver.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from fastmirror.counts import UPSTREAM, SharedCounts, SlotMap, WorkerCounts
from fastmirror.rules.address import Address
from fastmirror.rules.load import decode_rules
from fastmirror.timers import Wheel
from fastmirror.upstream import resolve
from fastmirror.upstream.dial import Dialer
from fastmirror.upstream.flows import Flows
from fastmirror.upstream.registry import ClusterSet, Registry
from fastmirror.upstream.resolve import Resolver


class Names:
    """An event loop as far as the resolver needs one. ``answers``: by name; None: there is none."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.answers: dict[str, list[str] | None] = {}
        self.asked: Counter[str] = Counter()

    def create_task(self, work) -> asyncio.Task[None]:
        return self.loop.create_task(work)

    async def getaddrinfo(self, host: str, port: int, *, type: int) -> list:
        self.asked[host] += 1
        found = self.answers.get(host)
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, type, 6, "", (address, port)) for address in found]

    async def asked_again(self, host: str) -> None:
        """Until an answer that was not under way yet has come."""
        before = self.asked[host]
        while self.asked[host] < before + 2:
            await asyncio.sleep(0.001)


class Made:
    """A resolver, a registry and the clusters of a document."""

    def __init__(self, names: Names, *addresses: str) -> None:
        self.resolver = Resolver(names)  # type: ignore[arg-type]
        shared, slots = SharedCounts(1), SlotMap()
        counts = WorkerCounts(shared.regions[0])
        self.wheel = Wheel(asyncio.get_running_loop())
        dialer = Dialer(self.wheel.loop, Flows(shared.regions, 0), 0)
        self.registry = Registry(
            self.wheel, counts, self.resolver, UPSTREAM, 60.0, 1, slots, dialer
        )
        endpoints = ", ".join(f'{{"address": "{address}"}}' for address in addresses)
        service = f'{{"name": "app", "endpoints": [{endpoints}]}}'
        rules = decode_rules(f'{{"version": 1, "services": [{service}]}}'.encode(), "r.json")
        self.clusters = ClusterSet(rules, self.registry)
        self.cluster = self.clusters.get("app", None)

    def found(self) -> dict[str, int]:
        return {str(each.pool.address): each.weight for each in self.cluster.members}

    def pools(self) -> set[str]:
        return {str(address) for address, _ in self.registry.pools}


Scenario = Callable[[Names], Awaitable[None]]


def run(scenario: Scenario) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario(Names())

    asyncio.run(bounded())


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "REFRESH", 0.002)


def test_each_address_of_each_name_is_an_endpoint():
    async def scenario(names: Names) -> None:
        names.answers = {"a.test": ["10.0.0.1", "10.0.0.2", "10.0.0.2"], "b.test": ["10.0.0.2"]}
        made = Made(names, "a.test:80", "b.test:80", "b.test:81", "10.0.0.9:80", "missing.test:80")
        assert made.found() == {"10.0.0.9:80": 1}
        await made.resolver.first_answers(5)
        # What two names share has the weight of both.
        assert made.found() == {
            "10.0.0.1:80": 1,
            "10.0.0.2:80": 2,
            "10.0.0.2:81": 1,
            "10.0.0.9:80": 1,
        }
        made.resolver.close()

    run(scenario)


def test_the_last_good_answer_holds_and_a_new_one_takes_its_place():
    async def scenario(names: Names) -> None:
        names.answers = {"a.test": ["10.0.0.1", "10.0.0.2"]}
        made = Made(names, "a.test:80")
        await made.resolver.first_answers(5)
        for bad in (None, []):
            names.answers["a.test"] = bad
            await names.asked_again("a.test")
            assert set(made.found()) == {"10.0.0.1:80", "10.0.0.2:80"}
        former = {member.pool for member in made.cluster.members}
        for number in range(3, 20):
            names.answers["a.test"] = ["10.0.0.2", f"10.0.0.{number}"]
            await names.asked_again("a.test")
            assert set(made.found()) == made.pools() == {"10.0.0.2:80", f"10.0.0.{number}:80"}
        assert len(former & {member.pool for member in made.cluster.members}) == 1  # it is kept
        made.resolver.close()

    run(scenario)


def test_a_name_that_nobody_uses_is_asked_for_no_more():
    async def scenario(names: Names) -> None:
        names.answers = {"a.test": ["10.0.0.1"]}
        made = Made(names, "a.test:80", "a.test:81")
        await made.resolver.first_answers(5)
        made.clusters.close()
        assert (made.resolver.tasks, made.resolver.answers, made.pools()) == ({}, {}, set())
        asked = names.asked["a.test"]
        await asyncio.sleep(0.05)
        assert names.asked["a.test"] == asked

    run(scenario)


def test_a_name_is_asked_for_once_however_many_use_it():
    async def scenario(names: Names) -> None:
        names.answers = {"a.test": ["10.0.0.1"]}
        resolver = Resolver(names)  # type: ignore[arg-type]
        name, called = Address("a.test", 80), []
        for number in range(5):
            resolver.watch(name, lambda number=number: called.append(number))
        await resolver.first_answers(5)
        assert len(resolver.tasks) == 1
        assert called == [0, 1, 2, 3, 4]
        await names.asked_again("a.test")
        assert len(called) == 5  # the answer was the same
        resolver.close()

    run(scenario)
