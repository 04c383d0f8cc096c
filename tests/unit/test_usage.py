"""What the processes use is what /proc says, also where the kernel does not count descriptors."""

from __future__ import annotations

import os
import resource
import time

import pytest

from fastmirror.usage import Usage


def read(*pids: int) -> tuple[Usage, int]:
    usage = Usage(pids)
    return usage, sum(1 for _ in usage.read())


@pytest.mark.parametrize("counted", [True, False])
def test_it_is_what_this_process_uses(monkeypatch: pytest.MonkeyPatch, counted: bool) -> None:
    if not counted:

        class Uncounted:
            st_size = 0

        monkeypatch.setattr(os, "stat", lambda path: Uncounted())
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(600)]
    try:
        usage, steps = read(os.getpid())
        there = len(os.listdir("/proc/self/fd")) - 1  # the list's own
    finally:
        for descriptor in opened:
            os.close(descriptor)
    assert abs(usage.open_fds - there) <= 1
    assert counted or steps >= 3  # 600 at 256 a step, and the process
    assert usage.cpu_seconds == pytest.approx(time.process_time(), abs=0.1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    assert peak / 10 < usage.resident_bytes <= peak + (1 << 20)


def test_a_process_that_is_gone_uses_nothing() -> None:
    usage, steps = read(1 << 30)
    assert (usage.cpu_seconds, usage.resident_bytes, usage.open_fds, steps) == (0, 0, 0, 0)


def test_processes_are_added_up() -> None:
    one, _ = read(os.getpid())
    two, _ = read(os.getpid(), 1 << 30, os.getpid())
    assert abs(two.open_fds - 2 * one.open_fds) <= 2
