"""A mirror's bounds: queue, breaker and rate. Uncompiled, so that their clock can be ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmirror._counters import Counters

from .building import uncompiled

limits = uncompiled("mirror.limits")


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(limits, "now", found)
    return found


# ---- the queue


def test_the_oldest_copy_leaves_first():
    queue = limits.CopyQueue(10, 100)
    for copy in ("a", "b", "c"):
        queue.push(copy)
    queue.remove("b")
    assert [queue.pop(), queue.pop(), queue.pop(), queue.pop()] == ["a", "c", None, None]


def test_the_first_copy_can_be_seen_where_it_is():
    queue = limits.CopyQueue(10, 100)
    assert queue.first() is None
    queue.push("a")
    queue.push("b")
    assert [queue.first(), queue.first(), queue.pop(), queue.first()] == ["a", "a", "a", "b"]


def test_a_copy_that_is_not_there_can_be_removed():
    queue = limits.CopyQueue(10, 100)
    queue.push("a")
    queue.remove("b")
    assert queue.pop() == "a"
    queue.remove("a")


def test_room_in_number_and_in_bytes():
    queue = limits.CopyQueue(2, 100)
    assert queue.has_room()
    queue.push("a")
    assert queue.has_room()
    queue.push("b")
    assert not queue.has_room()
    queue.pop()
    assert queue.has_room()
    queue.size = 60
    assert queue.has_room_for(40)
    assert not queue.has_room_for(41)
    assert queue.has_room_for(-60)


def test_a_queue_of_nothing():
    queue = limits.CopyQueue(0, 0)
    assert not queue.has_room()
    assert queue.has_room_for(0)
    assert not queue.has_room_for(1)
    assert queue.pop() is None


steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 20)),
        st.tuples(st.just("remove"), st.integers(0, 20)),
        st.just(("pop", 0)),
    ),
    max_size=60,
)


@given(steps, st.integers(0, 5))
def test_a_queue_is_a_list_with_an_end(script, bound):
    queue, model = limits.CopyQueue(bound, 0), []
    for step, copy in script:
        if step == "push" and copy not in model:
            assert queue.has_room() is (len(model) < bound)
            if queue.has_room():
                queue.push(copy)
                model.append(copy)
        elif step == "remove":
            queue.remove(copy)
            model = [other for other in model if other != copy]
        elif step == "pop":
            assert queue.pop() == (model.pop(0) if model else None)
    assert [queue.pop() for _ in range(len(model) + 1)] == [*model, None]


# ---- the breaker


def failing(threshold: int, times: int, open_time: float = 1.0):
    breaker = limits.Breaker(threshold, open_time)
    for _ in range(times):
        assert not breaker.refuses()
        breaker.failed()
    return breaker


def test_a_breaker_opens_after_so_many_failures_in_a_row(clock):
    assert not failing(3, 2).is_open()
    breaker = failing(3, 3)
    assert breaker.is_open()
    assert breaker.refuses()


def test_a_success_between_them_begins_anew(clock):
    breaker = failing(3, 2)
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
    assert not breaker.is_open()
    breaker.failed()
    assert breaker.is_open()


def test_what_says_nothing_changes_nothing(clock):
    breaker = failing(3, 2)
    breaker.inconclusive()
    breaker.failed()
    assert breaker.is_open()


def test_one_copy_is_tried_when_its_time_is_up(clock):
    breaker = failing(1, 1, open_time=2.0)
    clock.time += 1.999
    assert breaker.refuses()
    clock.time += 0.002
    assert not breaker.is_open()
    assert not breaker.refuses()  # the probe
    assert breaker.is_open()
    assert breaker.refuses()
    clock.time += 100
    assert breaker.refuses()


@pytest.mark.parametrize("failures_before", [1, 5])
def test_the_probe_decides(clock, failures_before):
    breaker = failing(failures_before, failures_before, open_time=2.0)
    clock.time += 2
    assert not breaker.refuses()
    breaker.failed()
    assert breaker.refuses()
    clock.time += 2
    assert not breaker.refuses()
    breaker.inconclusive()
    assert not breaker.refuses()  # the next one is the probe
    assert breaker.refuses()
    breaker.succeeded()
    assert not breaker.is_open()
    assert not breaker.refuses()
    assert not breaker.refuses()


def test_a_threshold_of_0_never_opens(clock):
    breaker = failing(0, 1000)
    assert not breaker.is_open()


def test_asking_whether_it_is_open_is_no_probe(clock):
    breaker = failing(1, 1)
    clock.time += 1
    for _ in range(3):
        assert not breaker.is_open()
    assert not breaker.refuses()


events = st.lists(
    st.sampled_from(["ask", "fail", "succeed", "unknown", "wait"]), min_size=1, max_size=60
)


@given(events, st.integers(1, 4))
def test_there_is_no_second_probe_before_something_has_ended(script, threshold):
    clock, real = Clock(), limits.now
    limits.now = clock
    try:
        breaker = limits.Breaker(threshold, 1.0)
        in_flight = probes = 0
        for event in script:
            if event == "wait":
                clock.time += 0.6
            elif event == "ask":
                was_open = breaker.open_until != 0
                if not breaker.refuses():
                    in_flight += 1
                    probes += was_open
                    assert probes <= 1
            elif in_flight:
                in_flight -= 1
                probes = 0
                getattr(
                    breaker,
                    {"fail": "failed", "succeed": "succeeded", "unknown": "inconclusive"}[event],
                )()
    finally:
        limits.now = real


# ---- the rate


def test_a_rate_begins_with_a_seconds_worth(clock):
    rate = limits.RateLimit(5)
    assert [rate.take() for _ in range(7)] == [True] * 5 + [False] * 2


def test_tokens_come_with_time_and_no_more_than_a_seconds_worth(clock):
    rate = limits.RateLimit(5)
    while rate.take():
        pass
    clock.time += 0.2001
    assert [rate.take(), rate.take()] == [True, False]
    clock.time += 1000
    assert [rate.take() for _ in range(6)] == [True] * 5 + [False]


def test_a_rate_below_one_a_second(clock):
    rate = limits.RateLimit(0.1)
    assert [rate.take(), rate.take()] == [True, False]
    clock.time += 9.99
    assert not rate.take()
    clock.time += 0.02
    assert [rate.take(), rate.take()] == [True, False]


@given(
    st.floats(0.01, 1000),
    st.lists(st.floats(0, 3), min_size=1, max_size=80),
)
def test_never_more_than_the_rate_and_a_seconds_worth(per_second, waits):
    clock, real = Clock(), limits.now
    limits.now = clock
    try:
        rate = limits.RateLimit(per_second)
        taken = 0
        for wait in waits:
            clock.time += wait
            taken += rate.take()
        elapsed = clock.time - 1000
        assert taken <= max(1.0, per_second) + elapsed * per_second + 1e-6
    finally:
        limits.now = real


def test_a_refusal_costs_nothing(clock):
    rate = limits.RateLimit(2)
    while rate.take():
        pass
    taken = 0
    for _ in range(100):  # one second, asked for every 10 ms
        clock.time += 0.0101
        taken += rate.take()
    assert taken == 2


def test_a_burst_bounds_what_is_saved_up(clock):
    rate = limits.RateLimit(1000, 3)
    assert [rate.take() for _ in range(5)] == [True] * 3 + [False] * 2
    clock.time += 1000
    assert [rate.take() for _ in range(5)] == [True] * 3 + [False] * 2
    clock.time += 0.0021
    assert [rate.take() for _ in range(3)] == [True] * 2 + [False]


def test_what_is_spent_beyond_the_rate_is_owed(clock):
    rate = limits.RateLimit(10, 1)
    for _ in range(3):
        rate.spend()
    clock.time += 0.2001  # two of three are paid
    assert not rate.has()
    clock.time += 0.1
    assert rate.has()
    assert rate.has()  # asking takes nothing
    assert rate.take()
    assert not rate.has()


# ---- the memory of all copies together


def test_control_says_whether_copies_are_shed():
    control = uncompiled("mirror.control").MirrorControl(0, Counters(memoryview(bytearray(8))), 0)
    assert (control.share, control.shedding) == (1.0, False)
    control.admit_share(0.5)
    assert (control.share, control.shedding) == (0.5, True)
    control.admit_share(1.0)
    assert not control.shedding


def test_control_charges_and_switches():
    switch = Counters(memoryview(bytearray(64)))
    control = uncompiled("mirror.control").MirrorControl(100, switch, 3)
    assert control.fits(100)
    assert not control.fits(101)
    control.charge(60)
    assert control.fits(40)
    assert not control.fits(41)
    control.charge(-60)
    assert control.used == 0
    assert not control.off()
    switch.add(3, 1)
    assert control.off()
    switch.add(3, -1)
    assert not control.off()
