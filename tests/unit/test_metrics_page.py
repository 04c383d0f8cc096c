"""The metrics page: Prometheus' own parser reads it, and its numbers add up."""

from __future__ import annotations

import os
import random
import re
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastmirror import __version__, counts
from fastmirror.counts import SharedCounts, SlotMap
from fastmirror.metrics import MetricsPage
from fastmirror.runtime import declare_slots

from .building import rules

ODD = 'm "quoted" back\\slash {a="b"} # x'
DOCUMENT = {
    "services": [{"name": "httpbin"}, {"name": "other"}],
    "routes": [
        {
            "name": "first",
            "to": [{"service": "httpbin"}],
            "mirrors": [{"service": "other"}, {"service": "other", "name": ODD}],
        },
        {"name": "second", "to": [{"service": "other"}], "mirrors": [{"service": "httpbin"}]},
    ],
}


@pytest.fixture
def counted() -> tuple[SharedCounts, SlotMap]:
    """Two workers that have counted something everywhere."""
    shared, slots = SharedCounts(2), SlotMap()
    declare_slots(rules(DOCUMENT), slots)
    chance = random.Random(7)
    for region in shared.regions:
        for slot in range(slots.next):
            region.add(slot, chance.randrange(1000))
        for key, base in slots.bases.items():
            if key[0] == "mirror":
                region.add(base + counts.MIRROR_COMPLETED, -region.get(base))  # never counted
                region.add(base + counts.MIRROR_SENT, 100_000)
    shared.set(counts.GLOBAL_MIRROR_OFF, 1)
    return shared, slots


class Page:
    """A page, taken apart."""

    def __init__(self, shared: SharedCounts, slots: SlotMap) -> None:
        self.text = MetricsPage(shared, slots, 1234.5).render([os.getpid()])
        self.families = {
            family.name: family for family in text_string_to_metric_families(self.text)
        }

    def samples(self, name: str, **labels: str) -> list[float]:
        stem = re.sub("_(total|bucket|sum|count)$", "", name)
        family = self.families[stem]
        return [
            sample.value
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def one(self, name: str, **labels: str) -> float:
        (value,) = self.samples(name, **labels)
        return value


MIRRORS = [("first", "other"), ("first", ODD), ("second", "httpbin")]


def test_every_family_has_help_a_type_and_samples(counted):
    page = Page(*counted)
    names = [line.split()[2] for line in page.text.splitlines() if line.startswith("# TYPE")]
    assert len(set(names)) == len(names)
    helped = [line.split()[2] for line in page.text.splitlines() if line.startswith("# HELP")]
    assert helped == names
    assert page.text.endswith("\n")
    assert all(family.samples for family in page.families.values())
    assert all(family.type != "unknown" for family in page.families.values())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fastmirror_requests", "counter"),
        ("fastmirror_request_duration_seconds", "histogram"),
        ("fastmirror_mirror_matched", "counter"),
        ("fastmirror_mirror_not_sampled", "counter"),
        ("fastmirror_mirror_dropped", "counter"),
        ("fastmirror_mirror_sent", "counter"),
        ("fastmirror_mirror_completed", "counter"),
        ("fastmirror_mirror_failed", "counter"),
        ("fastmirror_mirror_in_flight", "gauge"),
        ("fastmirror_mirror_buffered_bytes", "gauge"),
        ("fastmirror_mirror_duration_seconds", "histogram"),
        ("fastmirror_connections", "gauge"),
        ("fastmirror_tunnels", "counter"),
        ("fastmirror_rules_reloads", "counter"),
        ("fastmirror_build_info", "gauge"),
        ("process_cpu_seconds", "counter"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_open_fds", "gauge"),
        ("process_start_time_seconds", "gauge"),
    ],
)
def test_the_families_of_the_specification(counted, name, kind):
    assert Page(*counted).families[name].type == kind


@pytest.mark.parametrize(("route", "mirror"), MIRRORS)
def test_a_mirrors_numbers_add_up(counted, route, mirror):
    page, labels = Page(*counted), {"route": route, "mirror": mirror}

    def total(name: str) -> float:
        return sum(page.samples(f"fastmirror_mirror_{name}", **labels))

    assert page.one("fastmirror_mirror_matched_total", **labels) == (
        total("not_sampled_total") + total("dropped_total") + total("sent_total")
    )
    assert page.one("fastmirror_mirror_sent_total", **labels) == (
        total("completed_total") + total("failed_total") + total("in_flight")
    )
    assert total("in_flight") > 0
    reasons = [
        sample.labels["reason"]
        for sample in page.families["fastmirror_mirror_dropped"].samples
        if labels.items() <= sample.labels.items()
    ]
    assert reasons == list(counts.DROP_REASONS)
    kinds = {sample.labels["kind"] for sample in page.families["fastmirror_mirror_failed"].samples}
    assert kinds == set(counts.FAILURE_KINDS)


def test_a_sample_is_the_sum_over_workers(counted):
    shared, slots = counted
    page = Page(shared, slots)
    base = slots.bases[("mirror", "first", ODD)]
    for at, reason in enumerate(counts.DROP_REASONS):
        slot = base + counts.MIRROR_DROPPED + at
        expected = sum(region.get(slot) for region in shared.regions)
        labels = {"route": "first", "mirror": ODD, "reason": reason}
        assert page.one("fastmirror_mirror_dropped_total", **labels) == expected
    base = slots.bases[("route", "second")]
    for at, code in enumerate(counts.CODE_CLASSES):
        expected = sum(region.get(base + at) for region in shared.regions)
        labels = {"route": "second", "code_class": code}
        assert page.one("fastmirror_requests_total", **labels) == expected


def test_every_route_is_there_and_every_default_policy(counted):
    samples = Page(*counted).families["fastmirror_requests"].samples
    names = ["none", "first", "second", "service/httpbin", "service/other"]
    assert sorted({sample.labels["route"] for sample in samples}) == sorted(names)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("fastmirror_request_duration_seconds", {}),
        ("fastmirror_mirror_duration_seconds", {"route": "first", "mirror": ODD}),
    ],
)
def test_histograms_are_cumulative_and_end_in_their_count(counted, name, labels):
    shared, slots = counted
    page = Page(shared, slots)
    first = slots.bases[("mirror", "first", ODD)] + counts.MIRROR_DURATION if labels else 0
    values = [shared.total(first + at) for at in range(counts.BUCKETS)]
    buckets = page.samples(f"{name}_bucket", **labels)
    assert buckets == [sum(values[: at + 1]) for at in range(counts.BUCKETS)]
    assert page.one(f"{name}_count", **labels) == buckets[-1] == sum(values)
    micros = shared.total(first + counts.BUCKETS)
    assert page.one(f"{name}_sum", **labels) == pytest.approx(micros / 1e6)
    bounds = [
        sample.labels["le"]
        for sample in page.families[name].samples
        if sample.name.endswith("_bucket") and labels.items() <= sample.labels.items()
    ]
    assert bounds[0] == "0.00025"
    assert bounds[-1] == "+Inf"
    assert [float(bound) for bound in bounds] == sorted(float(bound) for bound in bounds)


def test_what_a_worker_counts_that_belongs_to_no_route(counted):
    shared, slots = counted
    page = Page(shared, slots)
    for at, side in enumerate(("downstream", "upstream", "shadow")):
        expected = shared.total(counts.GLOBAL_CONNECTIONS + at)
        assert page.one("fastmirror_connections", side=side) == expected
    assert page.one("fastmirror_tunnels_total", kind="upgrade") == shared.total(
        counts.GLOBAL_TUNNELS
    )
    assert page.one("fastmirror_access_log_lines_lost_total") == shared.total(
        counts.GLOBAL_ACCESS_LOST
    )


def test_the_switch_and_the_reloads():
    shared = SharedCounts(3)
    page = MetricsPage(shared, SlotMap(), time.time())
    for off in (1, 0):
        shared.set(counts.GLOBAL_MIRROR_OFF, off)
        assert f"\nfastmirror_mirror_off {off}\n" in page.render([])
    page.reloads["failure"] += 2
    assert '\nfastmirror_rules_reloads_total{result="failure"} 2\n' in page.render([])
    assert '\nfastmirror_rules_reloads_total{result="success"} 0\n' in page.render([])
    assert '\nfastmirror_rules_reloads_total{result="unchanged"} 0\n' in page.render([])


def test_gauges_of_connections_are_never_below_0():
    shared = SharedCounts(2)
    shared.regions[1].add(counts.GLOBAL_CONNECTIONS, -1)
    assert Page(shared, SlotMap()).one("fastmirror_connections", side="downstream") == 0


def test_processes_are_added_up(counted):
    shared, slots = counted
    page = Page(shared, slots)
    assert page.one("process_resident_memory_bytes") > 1 << 20
    assert page.one("process_open_fds") > 3
    assert page.one("process_start_time_seconds") == 1234.5
    assert page.one("fastmirror_build_info", version=__version__) == 1
    gone = MetricsPage(shared, slots, 0.0).render([2**22 + 1])
    assert "\nprocess_open_fds 0\n" in gone
