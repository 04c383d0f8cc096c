"""Which endpoints are ejected: the counts against a plain account of Envoy's rules, and the times
with a real wheel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastmirror.counts import SERVICE_EJECTIONS, ServiceCounts, SharedCounts, SlotMap
from fastmirror.rules.model import OutlierDetection
from fastmirror.timers import Wheel
from fastmirror.upstream.outliers import OutlierDetector

GATEWAY = (502, 503, 504)


class Made:
    """A detector and what it has counted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoints: int, **spec) -> None:
        self.shared, self.slots = SharedCounts(1), SlotMap()
        counts = ServiceCounts(self.shared.regions[0], self.slots, "app")
        self.changes = 0
        self.then: Callable[[], object] = int
        self.wheel = Wheel(loop)
        self.detector = OutlierDetector(
            "app", OutlierDetection(**spec), self.wheel, counts, self.changed
        )
        self.names = [f"10.0.0.{number}:80" for number in range(endpoints)]
        self.detector.watch(self.names)
        self.healths = [self.detector.health(name) for name in self.names]

    def changed(self) -> None:
        self.changes += 1
        self.then()

    def ejections(self) -> int:
        return self.shared.total(self.slots.bases[("service", "app")] + SERVICE_EJECTIONS)

    def ejected(self) -> list[int]:
        return [at for at, health in enumerate(self.healths) if health.ejected]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def plain(events: list[tuple[str, int]], errors: int, gateway: int, local: int, split: bool) -> int:
    """At which event an endpoint is ejected, the first time; -1: never."""
    in_row = {"errors": 0, "gateway": 0, "local": 0}
    for at, (kind, status) in enumerate(events):
        if kind == "failed" and split:
            in_row["local"] += 1
            if in_row["local"] == local:
                return at
            continue
        in_row["local"] = 0
        if status < 500:
            in_row["errors"] = in_row["gateway"] = 0
            continue
        in_row["errors"] += 1
        in_row["gateway"] = in_row["gateway"] + 1 if status in GATEWAY else 0
        if in_row["errors"] == errors or (gateway and in_row["gateway"] == gateway):
            return at
    return -1


events = st.lists(
    st.one_of(
        st.tuples(st.just("answered"), st.sampled_from([200, 404, 500, 501, 502, 503, 504])),
        st.tuples(st.just("failed"), st.sampled_from(GATEWAY)),
    ),
    max_size=40,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events, st.integers(0, 4), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_an_endpoint_is_ejected_after_so_many_in_a_row(
    loop, happened, errors, gateway, local, split
):
    made = Made(
        loop,
        10,
        consecutive_5xx_errors=errors,
        consecutive_gateway_errors=gateway,
        consecutive_local_origin_failures=local,
        split_external_local_origin_errors=split,
    )
    expected = plain(happened, errors, gateway, local, split)
    health = made.healths[3]
    for at, (kind, status) in enumerate(happened):
        health.answered(status) if kind == "answered" else health.failed(status)
        assert health.ejected == (0 <= expected <= at)
    assert made.ejections() == made.changes == (expected >= 0)
    made.wheel.close()


@pytest.mark.parametrize(
    ("endpoints", "percent", "most"),
    [(10, 10, 1), (10, 0, 0), (1, 10, 1), (3, 10, 1), (3, 67, 2), (10, 55, 5), (4, 100, 4)],
)
def test_no_more_are_ejected_than_may_be(loop, endpoints, percent, most, caplog):
    made = Made(loop, endpoints, consecutive_5xx_errors=2, max_ejection_percent=percent)
    with caplog.at_level(logging.WARNING):
        for health in made.healths * 5:
            health.answered(500)
    assert made.ejected() == list(range(most))
    assert made.ejections() == most == len(caplog.records)
    if most:
        assert caplog.messages[0] == (
            "service app: 10.0.0.0:80 is ejected for 30 s: 2 answers of 5xx in a row"
        )
    made.wheel.close()


def test_one_that_could_not_be_ejected_is_when_there_is_room(loop):
    made = Made(loop, 10, consecutive_5xx_errors=3)
    for _ in range(7):
        made.healths[0].answered(500)
        made.healths[1].answered(500)
    assert made.ejected() == [0]
    made.detector.watch(made.names[1:])  # the first has gone
    made.healths[1].answered(500)
    assert not made.healths[1].ejected  # its row was begun anew, at the third and sixth
    made.healths[1].answered(500)
    assert made.healths[1].ejected
    made.wheel.close()


def test_what_an_endpoint_did_is_kept_while_others_come_and_go(loop):
    made = Made(loop, 3, consecutive_5xx_errors=2, max_ejection_percent=100)
    for health in made.healths[:2] * 2:
        health.answered(500)
    made.detector.watch([made.names[1], "10.1.0.0:80"])
    assert made.detector.health(made.names[1]).ejected
    assert made.detector.ejected == 1
    for _ in range(2):
        made.healths[2].answered(500)  # of an exchange that outlives its endpoint
    assert not made.healths[2].ejected
    made.wheel.close()


def test_ejections_end_and_grow_longer_and_are_forgiven():
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        made = Made(loop, 1, consecutive_5xx_errors=1, interval=0.05, base_ejection_time=0.1)
        [health] = made.healths
        times: list[float] = []
        made.then = lambda: times.append(loop.time())
        health.answered(500)
        for number in (2, 3):
            while health.ejected:
                await until_changed(made)
            # Before the next interval can pass.
            health.answered(500)
            assert (health.ejected, health.ejections) == (True, number)
        while health.ejected:
            await until_changed(made)
        lasted = [end - begin for begin, end in zip(times[::2], times[1::2], strict=True)]
        assert [duration >= 0.1 * at - 0.001 for at, duration in enumerate(lasted, 1)] == [True] * 3
        while health.ejections or turns_of_a_wheel(loop):  # no timer runs for ever
            await asyncio.sleep(0.01)
        made.wheel.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))


async def until_changed(made: Made) -> None:
    """Until the turn of the loop in which an endpoint is ejected or comes back."""
    before = made.changes
    while made.changes == before:
        await asyncio.sleep(0)


def turns_of_a_wheel(loop: asyncio.AbstractEventLoop) -> bool:
    handles = loop._scheduled  # type: ignore[attr-defined]
    return any("_turn" in repr(each) for each in handles if not each.cancelled())


def test_a_long_ejection_is_bounded(loop, caplog):
    made = Made(loop, 1, consecutive_5xx_errors=1, base_ejection_time=200, interval=1000)
    [health] = made.healths
    health.answered(500)
    assert "for 200 s" in caplog.text
    made.wheel.close()
    very_long = Made(loop, 1, consecutive_5xx_errors=1, base_ejection_time=1000, interval=1000)
    very_long.healths[0].answered(500)
    assert "for 1000 s" in caplog.text
    very_long.wheel.close()
