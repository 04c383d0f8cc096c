"""When a file counts as changed, at moments that the test chooses."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fastmirror.rules.watch import INTERVAL, REST, SOON, FileWatch


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.json"
    path.write_text("1")
    return path


def taken(watch: FileWatch, now: float) -> bool:
    """As the reloader does: what has changed is taken."""
    if watch.changed(now):
        watch.take()
        return True
    return False


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def test_nothing_happens(file: Path) -> None:
    watch = FileWatch(str(file))
    assert not any(taken(watch, at * INTERVAL) for at in range(20))
    assert watch.next_look() == INTERVAL


def test_a_rename_is_taken_at_the_second_look(file: Path) -> None:
    watch = FileWatch(str(file))
    replace(file, "2")
    assert [taken(watch, at * SOON) for at in range(5)] == [False, True, False, False, False]


def test_renames_without_end_are_taken_in_between(file: Path) -> None:
    watch = FileWatch(str(file))
    seen = 0
    for at in range(20):
        if at % 2 == 0:
            replace(file, str(at))
        seen += taken(watch, at * SOON)
    assert seen == 10


def test_what_is_written_in_place_must_rest(file: Path) -> None:
    watch = FileWatch(str(file))
    for at in range(30):
        with file.open("a") as out:
            out.write("2")
        assert not taken(watch, at * 0.1)
        assert watch.next_look() == SOON
    assert not taken(watch, 2.9 + REST * 0.9)
    assert taken(watch, 2.9 + REST * 1.1)
    assert watch.next_look() == INTERVAL


def test_times_that_were_set_back_hide_nothing(file: Path) -> None:
    watch = FileWatch(str(file))
    status = file.stat()
    time.sleep(0.05)  # the clock of a file system has ticks
    file.write_text("2")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not taken(watch, 0.0)
    assert taken(watch, REST * 1.1)


def test_gone_for_good(file: Path) -> None:
    watch = FileWatch(str(file))
    file.unlink()
    assert [taken(watch, at * 0.6) for at in range(5)] == [False, False, True, False, False]


def test_what_is_read_on_request_is_no_change_later(file: Path) -> None:
    watch = FileWatch(str(file))
    file.write_text("2")
    watch.take()
    assert not any(taken(watch, at * 1.0) for at in range(5))
