"""The timer wheel: never early, at most a tick late, nothing left of what was closed.

First its own source with a clock and a loop of ours, where every moment is exact; then the
compiled one under a client's connection, on uvloop.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import sys
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmirror._core import now
from fastmirror.counts import RouteCounts, SharedCounts, SlotMap, WorkerCounts
from fastmirror.options import Options
from fastmirror.proxy.context import ProxyContext
from fastmirror.proxy.downstream import Downstream
from fastmirror.rules.model import Rules
from fastmirror.rules.table import RouteTable
from fastmirror.timers import LOOK_AHEAD, TICK, Wheel

from .building import uncompiled

timers = uncompiled("timers")
EPSILON = 1e-6


class Handle:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Time passes in ``advance`` alone; what is due is called in order, at its exact time."""

    def __init__(self, start: float = 1000.0) -> None:
        self.time = start
        self.queue: list[tuple[float, int, Handle]] = []
        self.order = itertools.count()
        self.delays: list[float] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        assert delay >= 0
        self.delays.append(delay)
        handle = Handle(callback)
        heapq.heappush(self.queue, (self.time + delay, next(self.order), handle))
        return handle

    def live(self) -> int:
        return sum(not handle.cancelled for _, _, handle in self.queue)

    def advance(self, seconds: float) -> None:
        end = self.time + seconds
        while self.queue and self.queue[0][0] <= end:
            due, _, handle = heapq.heappop(self.queue)
            if not handle.cancelled:
                self.time = max(self.time, due)
                handle.callback()
        self.time = end


class Connection(timers.Timed):
    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self.loop = loop
        self.due = 0.0
        self.expirations: list[float] = []

    def arm(self, wheel, seconds: float) -> None:
        self.due = self.loop.time + seconds
        wheel.arm(self, seconds)

    def close(self) -> None:
        self.due = 0.0
        self.deadline = 0.0

    def forget(self, wheel) -> None:
        self.due = 0.0
        wheel.forget(self)

    def expired(self) -> int:
        assert self.due, "called although it was closed, or had been called"
        assert self.loop.time >= self.due - EPSILON, "early"
        assert self.loop.time <= self.due + TICK + EPSILON, "late"
        self.expirations.append(self.loop.time)
        self.due = 0.0
        return 0


def held(wheel) -> list[Connection]:
    """What the wheel has, each where it says that it is."""
    for tick, bucket in wheel.buckets.items():
        assert all(each.looked_at == tick for each in bucket)
        assert all(bucket[each.place] is each for each in bucket)
    return [each for bucket in wheel.buckets.values() for each in bucket]


@pytest.fixture
def loop(monkeypatch):
    found = Loop()
    monkeypatch.setattr(timers, "now", lambda: found.time)
    return found


@pytest.mark.parametrize("seconds", [0, 0.001, 0.05, 0.5, 4.99, 5, 5.01, 30, 600])
def test_called_once_when_its_time_has_come(loop, seconds):
    wheel, connection = timers.Wheel(loop), Connection(loop)
    connection.arm(wheel, seconds)
    loop.advance(seconds + TICK + EPSILON)
    assert len(connection.expirations) == 1
    loop.advance(1000)
    assert len(connection.expirations) == 1


def test_a_deadline_that_moves_on_is_the_one_that_counts(loop):
    wheel, connection = timers.Wheel(loop), Connection(loop)
    for _ in range(100):
        connection.arm(wheel, 1)
        loop.advance(0.9)
    assert connection.expirations == []
    loop.advance(1)
    assert len(connection.expirations) == 1


def test_a_deadline_that_comes_nearer_is_the_one_that_counts(loop):
    wheel, connection = timers.Wheel(loop), Connection(loop)
    for seconds in (600, 60, 4, 1, 0.3):
        connection.arm(wheel, seconds)
    loop.advance(0.3 + TICK + EPSILON)
    assert len(connection.expirations) == 1
    loop.advance(1000)
    assert len(connection.expirations) == 1


def test_arming_again_costs_no_timer(loop):
    wheel, connection = timers.Wheel(loop), Connection(loop)
    for _ in range(1000):
        connection.arm(wheel, 30)
        loop.advance(0.001)
    assert len(loop.delays) <= 2


def test_what_is_closed_is_never_called_and_soon_forgotten(loop):
    wheel = timers.Wheel(loop)
    connections = [Connection(loop) for _ in range(50)]
    for at, connection in enumerate(connections):
        connection.arm(wheel, at * 20)
        connection.close()
    loop.advance(LOOK_AHEAD + TICK + EPSILON)
    assert wheel.buckets == {}
    assert all(connection.expirations == [] for connection in connections)


def test_what_is_forgotten_is_not_held(loop):
    """However many are armed and forgotten before their buckets come up."""
    wheel = timers.Wheel(loop)
    kept = [Connection(loop) for _ in range(7)]
    for at, connection in enumerate(kept):
        for other in (1, 2):
            passing = Connection(loop)
            passing.arm(wheel, at % 3 * other)
            connection.arm(wheel, 1)
            passing.forget(wheel)
            passing.forget(wheel)
    assert sorted(map(id, held(wheel))) == sorted(map(id, kept))
    kept[3].forget(wheel)
    loop.advance(5)
    assert [len(connection.expirations) for connection in kept] == [1, 1, 1, 0, 1, 1, 1]
    assert held(wheel) == []


def test_one_that_forgets_others_and_arms_them_again_in_the_same_turn(loop):
    wheel = timers.Wheel(loop)
    others = [Connection(loop) for _ in range(4)]

    class First(Connection):
        def expired(self) -> int:
            for other in others:
                other.forget(wheel)
            others[0].arm(wheel, 0)
            others[1].arm(wheel, 3)
            return super().expired()

    First(loop).arm(wheel, 1)
    for other in others:
        other.arm(wheel, 1)
    loop.advance(2)
    assert [len(other.expirations) for other in others] == [1, 0, 0, 0]
    assert held(wheel) == [others[1]]
    loop.advance(5)
    assert [len(other.expirations) for other in others] == [1, 1, 0, 0]


def test_an_idle_wheel_has_no_timer(loop):
    wheel, connection = timers.Wheel(loop), Connection(loop)
    assert loop.live() == 0
    connection.arm(wheel, 1)
    assert loop.live() == 1
    loop.advance(2)
    assert loop.live() == 0
    assert wheel.timer is None
    assert wheel.buckets == {}


def test_one_timer_for_all(loop):
    wheel = timers.Wheel(loop)
    for at in range(100):
        Connection(loop).arm(wheel, (at * 37 % 100) / 10)
        assert loop.live() == 1


def test_a_turn_that_comes_early_calls_nothing(loop):
    wheel, connection = timers.Wheel(loop), Connection(loop)
    connection.arm(wheel, 1)
    (_, _, handle), *_ = loop.queue
    handle.cancel()
    loop.time += 0.4
    handle.callback()
    assert connection.expirations == []
    assert loop.live() == 1
    loop.advance(1)
    assert len(connection.expirations) == 1


def test_armed_again_where_it_expired(loop):
    wheel = timers.Wheel(loop)

    class Repeating(Connection):
        def expired(self) -> int:
            super().expired()
            if len(self.expirations) < 5:
                self.arm(wheel, 0.1)
            return 0

    connection = Repeating(loop)
    connection.arm(wheel, 0.1)
    loop.advance(10)
    assert len(connection.expirations) == 5
    assert wheel.timer is None


def test_one_that_closes_another_in_the_same_turn(loop):
    wheel = timers.Wheel(loop)
    second = Connection(loop)

    class First(Connection):
        def expired(self) -> int:
            second.close()
            return super().expired()

    First(loop).arm(wheel, 1)
    second.arm(wheel, 1)
    loop.advance(5)
    assert second.expirations == []


def test_closing_the_wheel_ends_its_timer(loop):
    wheel, connection = timers.Wheel(loop), Connection(loop)
    connection.arm(wheel, 1)
    wheel.close()
    assert loop.live() == 0
    loop.advance(10)
    assert connection.expirations == []


moves = st.lists(
    st.one_of(
        st.tuples(st.just("arm"), st.integers(0, 3), st.floats(0, 12)),
        st.tuples(st.just("arm"), st.integers(0, 3), st.floats(0, 0.2)),
        st.tuples(st.just("close"), st.integers(0, 3), st.just(0.0)),
        st.tuples(st.just("forget"), st.integers(0, 3), st.just(0.0)),
        st.tuples(st.just("wait"), st.just(0), st.floats(0, 6)),
        st.tuples(st.just("wait"), st.just(0), st.floats(0, 0.1)),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(moves, st.floats(0, 1e7))
def test_whatever_is_armed_moved_and_closed(script, start):
    loop, real = Loop(start), timers.now
    timers.now = lambda: loop.time
    try:
        wheel = timers.Wheel(loop)
        connections = [Connection(loop) for _ in range(4)]
        for move, which, seconds in script:
            if move == "arm":
                connections[which].arm(wheel, seconds)
            elif move == "close":
                connections[which].close()
            elif move == "forget":
                connections[which].forget(wheel)
                assert connections[which] not in held(wheel)
            else:
                loop.advance(seconds)
            assert loop.live() <= 1
            assert len(set(map(id, held(wheel)))) == len(held(wheel))
            for connection in connections:
                assert not connection.due or loop.time <= connection.due + TICK + EPSILON
        loop.advance(12 + LOOK_AHEAD + 1)
        assert all(connection.due == 0 for connection in connections)
        assert wheel.buckets == {}
        assert loop.live() == 0
    finally:
        timers.now = real


# ---- compiled, on uvloop, under a client's connection


class Transport:
    """What a connection asks of a transport; notes when it was told to go."""

    def __init__(self) -> None:
        self.written = b""
        self.gone: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def get_extra_info(self, name: str) -> object:
        return None

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, data: list[bytes]) -> None:
        self.written += b"".join(data)

    def abort(self) -> None:
        if not self.gone.done():
            self.gone.set_result(now())

    close = abort

    def is_closing(self) -> bool:
        return self.gone.done()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.abort()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


class Watched:
    """The real loop, and what a wheel asked of it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.delays: list[float] = []
        self.due: list[float] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self.delays.append(delay)
        self.due.append(now() + delay)
        return self.loop.call_later(delay, callback)


def connected(loop: Watched, **options: float) -> tuple[Downstream, Transport]:
    counters, slots = SHARED.regions[0], SlotMap()
    context = ProxyContext(
        Options(**options),
        Wheel(loop),
        WorkerCounts(counters),
        RouteCounts(counters, slots, "none"),
        RouteTable(Rules(version=1)),
    )
    client, transport = Downstream(context), Transport()
    client.connection_made(transport)
    return client, transport


SHARED = SharedCounts(1)


def run(scenario: Callable[[Watched], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Watched())

    uvloop.run(main())


@pytest.mark.parametrize("idle", [0.02, 0.3])
def test_an_idle_connection_is_closed_no_earlier(idle):
    async def scenario(loop: Watched) -> None:
        began = now()
        _, transport = connected(loop, idle_timeout=idle)
        # What is asked of the loop is late by a tick at most; the loop itself by what it is late.
        assert loop.delays[0] <= idle + TICK
        assert await transport.gone - began >= idle

    run(scenario)


def test_a_deadline_beyond_what_the_wheel_looks_ahead():
    idle = LOOK_AHEAD + 0.2

    async def scenario(loop: Watched) -> None:
        began = now()
        _, transport = connected(loop, idle_timeout=idle)
        assert loop.delays[0] <= LOOK_AHEAD + TICK
        assert await transport.gone - began >= idle
        await asyncio.sleep(0.1)
        assert max(loop.due) <= now()  # there is no later one

    run(scenario)


def test_a_deadline_that_is_moved_by_what_comes():
    async def scenario(loop: Watched) -> None:
        client, transport = connected(loop, idle_timeout=0.2, request_head_timeout=0.6)
        await asyncio.sleep(0.1)
        began = now()
        client.data_received(b"GET / HTTP/1.1\r\nhost")
        await transport.gone
        assert transport.written.startswith(b"HTTP/1.1 408 ")
        assert now() - began >= 0.6

    run(scenario)


def test_a_connection_that_is_lost_is_forgotten():
    async def scenario(loop: Watched) -> None:
        client, transport = connected(loop, idle_timeout=0.1)
        client.connection_lost(None)
        assert sys.getrefcount(client) == 2  # this function's, and the call's: no wheel's
        await asyncio.sleep(0.3)
        assert not transport.gone.done()
        assert max(loop.due) <= now()  # nor is there a later timer for it

    run(scenario)
