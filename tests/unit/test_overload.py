"""Copies give way when the load is above the limit: the controller by itself, with loads that the
test makes up; and a mirror's decisions, through real connections.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmirror import counts
from fastmirror.counts import SharedCounts, SlotMap, WorkerCounts
from fastmirror.mirror import overload
from fastmirror.mirror.control import MirrorControl
from fastmirror.mirror.overload import Admission, LoadGuard, ThreadLoad

from .place import Place, conversation

limits = st.integers(1, 100).map(lambda percent: percent / 100)
loads = st.lists(st.floats(0, 1.5), max_size=100)

# ---- the share of copies


@given(limits, loads)
def test_the_share_is_a_share_and_follows_from_the_loads(limit, measured):
    one, other = Admission(limit), Admission(limit)
    shares = [one.measured(load) for load in measured]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert shares == [other.measured(load) for load in measured]


@given(limits, loads, st.floats(0, 1))
def test_overload_that_stays_ends_all_copies(limit, before, above):
    admission = Admission(limit)
    for load in before:
        admission.measured(load)
    shares = [admission.measured(limit + above) for _ in range(15)]
    assert shares == sorted(shares, reverse=True)
    assert shares[6] < 0.1
    assert shares[-1] == 0.0


@given(limits, loads)
def test_all_are_admitted_when_the_load_is_gone(limit, before):
    admission = Admission(limit)
    for load in before:
        admission.measured(load)
    shares = [admission.measured(limit * 0.8) for _ in range(51)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@given(limits, loads, st.floats(0.901, 0.999))
def test_just_below_the_limit_nothing_changes(limit, before, close):
    admission = Admission(limit)
    for load in before:
        admission.measured(load)
    share = admission.share
    assert admission.measured(limit * close) == share


@given(st.floats(0.05, 0.7), st.floats(0.2, 2.0))
def test_the_load_comes_to_rest_at_the_limit(requests, copies):
    """A load that is the requests' and what the copies add, in proportion to the share."""
    admission = Admission(0.8)
    share, history = 1.0, []
    for _ in range(300):
        load = min(1.0, requests + copies * share)
        history.append(load)
        share = admission.measured(load)
    rest = history[100:]
    if requests + copies < 0.8:
        assert set(history) == {requests + copies}
    else:
        assert max(rest) < 0.8 + overload.INCREASE * copies
        assert sum(rest) / len(rest) > 0.6
        assert min(rest) > requests


# ---- the load of a thread


class Kernel:
    """What the kernel would say, in place of its file and its clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time, self.ran, self.waited = 10**9, 10**6, 0
        monkeypatch.setattr(overload.time, "monotonic_ns", lambda: self.time)
        monkeypatch.setattr(overload.time, "thread_time_ns", lambda: self.ran)
        monkeypatch.setattr(overload.os, "pread", lambda *_: b"%d %d 9\n" % self.both())

    def both(self) -> tuple[int, int]:
        return self.ran, self.waited

    def passes(self, milliseconds: int, ran: int, waited: int) -> None:
        self.time += milliseconds * 10**6
        self.ran += ran * 10**6
        self.waited += waited * 10**6


@pytest.fixture
def kernel(monkeypatch):
    return Kernel(monkeypatch)


def test_the_load_is_what_ran_and_what_waited(kernel):
    load = ThreadLoad()
    for passed, expected in [((100, 30, 20), 0.5), ((200, 0, 0), 0.0), ((50, 40, 10), 1.0)]:
        kernel.passes(*passed)
        assert load.measure() == expected
    load.close()
    load.close()  # once more is no error


def test_a_kernel_without_the_figures(kernel, monkeypatch):
    """No file, or one that says something else: the time that the thread ran."""
    for content in (None, b"0 0 0\n", b"", b"none\n"):
        with monkeypatch.context() as patched:
            if content is None:
                patched.setattr(overload.os, "open", fails)
            patched.setattr(overload.os, "pread", lambda *_, content=content: content)
            load = ThreadLoad()
            assert load.file == -1
            kernel.passes(100, 30, 20)
            assert load.measure() == 0.3


def fails(*_: object) -> int:
    raise FileNotFoundError


def test_the_thread_that_asks_is_measured():
    """Not the process: what another thread does is no load. Not timed: only that time was spent."""
    files = len(os.listdir("/proc/self/fd"))
    own, other = ThreadLoad(), []

    def work() -> None:
        load = ThreadLoad()
        begun = time.thread_time()
        while time.thread_time() - begun < 0.2:
            pass
        other.append(load.busy)
        load.measure()
        other.append(load.busy)
        load.close()

    before = own.busy
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    own.measure()
    assert other[1] - other[0] > 0.15e9
    assert own.busy - before < other[1] - other[0]
    own.close()
    assert len(os.listdir("/proc/self/fd")) == files


# ---- both together, and the mirror that asks


def test_the_guard_measures_until_it_is_closed(monkeypatch):
    monkeypatch.setattr(overload, "PERIOD", 0.001)
    shared = SharedCounts(2)
    control = MirrorControl(0, shared.regions[0], counts.GLOBAL_MIRROR_OFF)

    async def until(share: float) -> None:
        async with asyncio.timeout(10):
            while control.share != share:
                await asyncio.sleep(0.001)

    async def scenario() -> None:
        guard = LoadGuard(asyncio.get_running_loop(), control, WorkerCounts(shared.regions[1]), 80)
        try:
            monkeypatch.setattr(guard.load, "measure", lambda: 0.9)
            await until(0.0)
            assert shared.admitted() == 0.0  # the least of all workers
            monkeypatch.setattr(guard.load, "measure", lambda: 0.1)
            await until(1.0)
            assert shared.admitted() == 1.0
            monkeypatch.setattr(guard.load, "measure", lambda: 0.9)
        finally:
            guard.close()
        await asyncio.sleep(0.02)
        assert control.share == 1.0

    asyncio.run(scenario())


def test_a_worker_that_died_admits_all_again():
    shared = SharedCounts(2)
    WorkerCounts(shared.regions[1]).copies_admitted(0.25)
    assert shared.admitted() == 0.75 - 0.5
    shared.worker_died(1, SlotMap())
    assert shared.admitted() == 1.0


def test_dropped_as_overload_and_by_key_the_same_ones():
    keys = [f"user-{at}" for at in range(40)]

    async def copied(place: Place, share: float) -> set[bytes]:
        place.shadow_heads.clear()
        place.runtime.control.admit_share(share)
        for key in keys:
            await place.ask(f"/{key}")
        await place.settled()
        return {head.split(b" ")[1] for head in place.shadow_heads}

    async def scenario(place: Place) -> None:
        every = await copied(place, 1.0)
        half = await copied(place, 0.5)
        fifth = await copied(place, 0.2)
        assert await copied(place, 0.0) == set()
        assert await copied(place, 1.0) == every
        assert fifth < half < every
        assert await copied(place, 0.5) == half
        sent = 2 * len(every) + 2 * len(half) + len(fifth)
        assert place.sent == sent
        assert place.dropped() == {"overload": 4 * len(every) + 2 * len(every) - sent}
        assert place.not_sampled == 6 * (len(keys) - len(every))

    conversation(scenario, {"percent": 80, "sample_by": "path"})


def test_without_a_key_by_chance_and_not_what_is_dropped_anyway():
    async def scenario(place: Place) -> None:
        place.runtime.control.admit_share(0.5)
        for _ in range(100):
            await place.ask()
        await place.ask(x_fastmirror_copy="other")
        await place.settled()
        dropped = place.dropped()
        assert dropped.pop("loop") == 1
        assert 10 < dropped["overload"] < 90
        assert place.sent + dropped["overload"] == 100

    conversation(scenario, {})
