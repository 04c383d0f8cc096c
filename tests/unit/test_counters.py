"""Counters in shared memory: what a slot holds, who has which, and sums over workers."""

from __future__ import annotations

import mmap
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmirror import counts
from fastmirror._counters import DURATION_BUCKETS, Counters
from fastmirror.counts import SharedCounts, SlotMap
from fastmirror.rules.load import RulesError
from fastmirror.runtime import declare_slots

from .building import rules

amounts = st.integers(-(2**40), 2**40)
SHARED = SharedCounts(3)


def counters(slots: int) -> Counters:
    return Counters(memoryview(bytearray(slots * 8)))


def test_a_counter_begins_at_0_and_adds():
    found = counters(3)
    found.add(1, 5)
    found.add(1, 2)
    assert [found.get(slot) for slot in range(3)] == [0, 7, 0]


def test_the_buffer_is_what_is_counted_in():
    buffer = bytearray(16)
    Counters(memoryview(buffer)).add(1, 258)
    assert buffer == bytes(8) + (258).to_bytes(8, "little")


@pytest.mark.parametrize("slot", [-1, 3, 2**40, -(2**40)])
def test_a_slot_that_is_not_there(slot):
    found = counters(3)
    with pytest.raises(IndexError):
        found.add(slot, 1)
    with pytest.raises(IndexError):
        found.get(slot)
    with pytest.raises(IndexError):
        found.observe(slot, 0.1)


def test_a_histogram_needs_room_for_all_its_buckets_and_the_sum():
    assert len(DURATION_BUCKETS) + 1 == counts.BUCKETS
    counters(counts.BUCKETS + 1).observe(0, 0.1)
    with pytest.raises(IndexError):
        counters(counts.BUCKETS).observe(0, 0.1)
    with pytest.raises(IndexError):
        counters(counts.BUCKETS + 1).observe(1, 0.1)


def test_a_buffer_must_be_writable():
    with pytest.raises((BufferError, ValueError)):
        Counters(memoryview(bytes(64)))


def observed(*seconds: float) -> tuple[list[int], int]:
    found = counters(counts.BUCKETS + 1)
    for value in seconds:
        found.observe(0, value)
    return [found.get(at) for at in range(counts.BUCKETS)], found.get(counts.BUCKETS)


def test_buckets_begin_at_a_quarter_of_a_millisecond():
    assert DURATION_BUCKETS[0] == 0.00025
    assert list(DURATION_BUCKETS) == sorted(set(DURATION_BUCKETS))


@pytest.mark.parametrize("at", range(len(DURATION_BUCKETS)))
def test_a_value_on_a_bound_is_in_its_bucket(at):
    bound = DURATION_BUCKETS[at]
    (buckets, _), (above, _) = observed(bound), observed(bound * 1.0001)
    assert buckets.index(1) == at
    assert above.index(1) == at + 1


@given(st.lists(st.floats(0, 100), max_size=30))
def test_a_histogram_counts_each_value_once(values):
    buckets, micros = observed(*values)
    bounds = [*DURATION_BUCKETS, float("inf")]
    for at, bound in enumerate(bounds):
        assert sum(buckets[: at + 1]) == sum(value <= bound for value in values)
    assert micros == sum(int(value * 1e6) for value in values)


# ---- over several workers


@given(st.lists(st.lists(amounts, max_size=5), min_size=3, max_size=3))
def test_a_total_is_the_sum_over_workers_negative_ones_too(changes):
    shared, slot = SHARED, counts.GLOBAL_SLOTS
    before = shared.total(slot)
    for region, each in zip(shared.regions, changes, strict=True):
        for amount in each:
            region.add(slot, amount)
    assert shared.total(slot) - before == sum(map(sum, changes))


def test_a_gauge_may_be_negative_in_one_worker_and_in_all():
    shared = SharedCounts(2)
    shared.regions[0].add(100, 3)
    shared.regions[1].add(100, -2)
    assert shared.total(100) == 1
    shared.regions[1].add(100, -2)
    assert shared.total(100) == -1
    assert shared.total(99) == shared.total(101) == 0


def test_regions_do_not_overlap():
    shared = SharedCounts(2)
    last = counts.REGION_BYTES // 8 - 1
    shared.regions[0].add(last, 1)
    shared.regions[1].add(0, 1)
    assert (shared.regions[0].get(0), shared.regions[1].get(last)) == (0, 0)
    with pytest.raises(IndexError):
        shared.regions[0].add(last + 1, 1)


def test_another_process_sees_the_same_counts():
    shared = SharedCounts(2)
    child = os.fork()
    if child == 0:
        inherited = SharedCounts(2, shared.fd)
        inherited.regions[1].add(50, 7)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert shared.total(50) == 7


def test_memory_is_taken_when_it_is_written():
    shared = SharedCounts(4)
    for region in shared.regions:
        region.add(0, 1)
    assert os.fstat(shared.fd).st_blocks * 512 <= 4 * 2 * mmap.PAGESIZE


def test_set_is_of_the_first_region():
    shared = SharedCounts(2)
    for value in (1, 1, 0, 5):
        shared.set(counts.GLOBAL_MIRROR_OFF, value)
        assert shared.total(counts.GLOBAL_MIRROR_OFF) == value
    assert shared.regions[1].get(counts.GLOBAL_MIRROR_OFF) == 0


def test_a_worker_that_is_gone_has_no_connections():
    shared = SharedCounts(2)
    for region in shared.regions:
        for side in range(len(counts.SIDES)):
            region.add(counts.GLOBAL_CONNECTIONS + side, side + 1)
        region.add(counts.GLOBAL_TUNNELS, 4)
    shared.worker_died(0, SlotMap())
    assert [shared.total(counts.GLOBAL_CONNECTIONS + side) for side in range(3)] == [1, 2, 3]
    assert shared.total(counts.GLOBAL_TUNNELS) == 8


def test_what_a_worker_that_is_gone_had_in_flight_has_failed():
    shared, slots = SharedCounts(2), SlotMap()
    base = slots.base(("mirror", "r", "m"), counts.MIRROR_SLOTS)
    for region in shared.regions:
        region.add(base + counts.MIRROR_SENT, 10)
        region.add(base + counts.MIRROR_COMPLETED + 2, 6)
        region.add(base + counts.MIRROR_FAILED + counts.FAILED_TIMEOUT, 1)
        region.add(base + counts.MIRROR_BUFFERED, 500)
    shared.worker_died(0, slots)
    assert shared.total(base + counts.MIRROR_FAILED + counts.FAILED_SHUTDOWN) == 3
    assert shared.total(base + counts.MIRROR_SENT) == 20
    assert shared.total(base + counts.MIRROR_BUFFERED) == 500
    shared.worker_died(0, slots)
    assert shared.total(base + counts.MIRROR_FAILED + counts.FAILED_SHUTDOWN) == 3


def test_a_gauge_that_is_negative_in_one_worker_can_be_cleared():
    shared = SharedCounts(1)
    shared.regions[0].add(counts.GLOBAL_CONNECTIONS, -1)
    shared.worker_died(0, SlotMap())
    assert shared.total(counts.GLOBAL_CONNECTIONS) == 0


# ---- who has which slot


def test_slots_are_given_once_and_kept():
    slots = SlotMap()
    first = slots.base(("route", "a"), 6)
    second = slots.base(("mirror", "a", "b"), counts.MIRROR_SLOTS)
    assert first >= counts.GLOBAL_SLOTS
    assert second >= first + 6
    assert slots.base(("route", "a"), 6) == first
    assert slots.base(("route", "b"), 6) >= second + counts.MIRROR_SLOTS


def test_global_slots_do_not_overlap():
    taken = [
        *range(counts.GLOBAL_DURATION, counts.GLOBAL_DURATION + counts.BUCKETS + 1),
        *range(counts.GLOBAL_CONNECTIONS, counts.GLOBAL_CONNECTIONS + len(counts.SIDES)),
        *range(counts.GLOBAL_TUNNELS, counts.GLOBAL_TUNNELS + len(counts.TUNNEL_KINDS)),
        counts.GLOBAL_ACCESS_LOST,
        counts.GLOBAL_MIRROR_OFF,
    ]
    assert len(set(taken)) == len(taken)
    assert max(taken) < counts.GLOBAL_SLOTS


def test_there_is_an_end_to_slots():
    slots = SlotMap(counts.GLOBAL_SLOTS + 10)
    slots.base(("route", "a"), 6)
    with pytest.raises(MemoryError, match="too many"):
        slots.base(("route", "b"), 6)
    assert slots.base(("route", "a"), 6) == counts.GLOBAL_SLOTS
    assert slots.base(("route", "c"), 4) == counts.GLOBAL_SLOTS + 6


def document(*names: str):
    return rules(
        {
            "services": [{"name": "httpbin"}],
            "routes": [
                {
                    "name": name,
                    "to": [{"service": "httpbin"}],
                    "mirrors": [{"service": "httpbin"}, {"service": "httpbin", "name": "m"}],
                }
                for name in names
            ],
        }
    )


def test_workers_that_see_the_same_documents_have_the_same_slots():
    one, two = SlotMap(), SlotMap()
    for slots in (one, two):
        declare_slots(document("a", "b"), slots)
        declare_slots(document("c", "a"), slots)
    assert one.bases == two.bases
    assert ("mirror", "b", "m") in one.bases  # kept: what a name ever counted stays


@pytest.mark.parametrize("name", ["service/httpbin", "none"])
def test_no_route_may_have_the_name_of_what_else_is_counted(name):
    with pytest.raises(RulesError, match=r"routes\[0\]\.name: expected another name"):
        document(name)


def test_the_names_are_the_specifications():
    assert " ".join(counts.DROP_REASONS) == (
        "queue_full bytes_full body_too_large rate off loop unsafe_method upgrade client_abort "
        "no_endpoint breaker not_routed overflow overload"
    )
    assert " ".join(counts.FAILURE_KINDS) == (
        "connect timeout reset protocol slow client_abort shutdown"
    )
    assert counts.DROP_REASONS[counts.NO_ENDPOINT] == "no_endpoint"
    assert counts.DROP_REASONS[counts.BREAKER] == "breaker"
    assert counts.FAILURE_KINDS[counts.FAILED_SHUTDOWN] == "shutdown"
