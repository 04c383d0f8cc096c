"""The demo's own logic, and the demo itself as a person would run it."""

import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys

import pytest

from fastmirror.demo.counters import Counters, expected_range, plausible
from fastmirror.demo.errors import UnmetError
from fastmirror.demo.layout import clip, shorten, side_by_side
from fastmirror.demo.processes import Process, wait_until
from fastmirror.demo.screen import Screen
from fastmirror.demo.steps import MANIFESTS, STEPS

METRICS = r"""# HELP fastmirror_mirror_matched_total requests of the route
# TYPE fastmirror_mirror_matched_total counter
fastmirror_mirror_matched_total{route="a",mirror="b"} 10
fastmirror_mirror_matched_total{route="odd \"}\\ name",mirror="b"} 2 1700000000000
fastmirror_mirror_not_sampled_total{route="a",mirror="b"} 3.0
fastmirror_mirror_dropped_total{route="a",mirror="b",reason="breaker"} 4
fastmirror_mirror_dropped_total{route="a",mirror="b",reason="queue_full"} 0
fastmirror_mirror_sent_total{route="a",mirror="b"} 5
fastmirror_mirror_completed_total{route="a",mirror="b",code_class="2xx"} 3
fastmirror_mirror_failed_total{route="a",mirror="b",kind="connect"} 1
fastmirror_mirror_in_flight{route="a",mirror="b"} 1
fastmirror_build_info 1
"""


# --- layout


def test_columns_share_the_width() -> None:
    rows = side_by_side(["left 1", "left 2", "x" * 99], ["right 1"], 80)
    assert [row.index("|") for row in rows] == [39, 39, 39]
    assert rows[0].split("|")[1].strip() == "right 1"
    assert all(len(row) <= 80 for row in rows)


def test_the_right_column_goes_below_where_two_do_not_fit() -> None:
    assert side_by_side(["a", "b" * 60], ["c"], 50) == ["a", "b" * 49 + "~", "c"]


@pytest.mark.parametrize("width", [1, 40, 72, 73, 80, 200])
def test_no_row_is_wider_than_asked(width: int) -> None:
    rows = side_by_side(["200 httpbin:8000 /get?n=3000"] * 3, ["y" * 300], width)
    assert max(map(len, rows)) <= width


def test_a_clipped_text_says_that_it_is() -> None:
    assert clip("abcdef", 6) == "abcdef"
    assert clip("abcdef", 5) == "abcd~"


@pytest.mark.parametrize(("count", "limit"), [(0, 5), (5, 5), (6, 5), (100, 5), (100, 8)])
def test_shortened_lines_are_the_first_and_the_last(count: int, limit: int) -> None:
    lines = [str(i) for i in range(count)]
    short = shorten(lines, limit)
    assert len(short) == min(count, limit)
    if count > limit:
        left_out = next(int(m[1]) for line in short if (m := re.match(r"\.\.\. (\d+) more", line)))
        assert left_out == count - (limit - 1)
        assert (short[0], short[-1]) == (lines[0], lines[-1])


# --- counters


def test_counters_are_read_and_add_up() -> None:
    counters = Counters.read(METRICS.replace("} 2 1700000000000", "} 0 1700000000000"))
    assert counters == Counters(
        matched=10,
        not_sampled=3,
        sent=5,
        in_flight=1,
        dropped={"breaker": 4},
        completed={"2xx": 3},
        failed={"connect": 1},
    )
    assert not counters.add_up()  # 10 is not 3 + 4 + 5
    assert Counters.read(METRICS).add_up()  # escaped labels, and a time stamp


def test_the_second_sum_counts_too() -> None:
    assert Counters(matched=5, sent=5, completed={"2xx": 3}, failed={"reset": 2}).add_up()
    assert not Counters(matched=5, sent=5, completed={"2xx": 3}).add_up()


def test_what_happened_between_two_readings() -> None:
    before = Counters(matched=4, sent=4, completed={"2xx": 4})
    after = Counters(matched=9, sent=7, completed={"2xx": 4, "5xx": 3}, dropped={"breaker": 2})
    since = after.since(before)
    assert since.completed == {"5xx": 3}
    assert (since.matched, since.sent, since.dropped) == (5, 3, {"breaker": 2})
    assert since.add_up()


def test_four_sigma() -> None:
    assert expected_range(3000, 10) == (235, 365)
    assert plausible(235, 3000, 10)
    assert plausible(365, 3000, 10)
    assert not plausible(234, 3000, 10)
    assert not plausible(366, 3000, 10)
    assert expected_range(50, 100) == (50, 50)
    assert expected_range(50, 0) == (0, 0)


# --- screen


def test_plain_output_is_text_alone() -> None:
    out = io.StringIO()
    screen = Screen(plain=True, out=out)
    screen.heading("1. Title")
    screen.progress("never shown")
    screen.logs([("v1", ["a"]), ("v2", [])])
    screen.table("copies", [("matched", 3, "")])
    screen.command(["curl", "http://h/?n=[1-6]"])
    screen.passed("held")
    assert out.getvalue().splitlines() == [
        "== 1. Title",
        "v1 log: a",
        "v2 log: (nothing)",
        "copies: matched 3",
        "$ curl 'http://h/?n=[1-6]'",
        "ok   held",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_on_a_terminal_unless_asked_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    Screen(plain=False, out=(coloured := Terminal())).passed("held")
    monkeypatch.setenv("NO_COLOR", "1")
    Screen(plain=False, out=(bare := Terminal())).passed("held")
    assert "\x1b[32m" in coloured.getvalue()
    assert bare.getvalue() == "ok   held\n"


# --- processes


def test_a_wait_that_ends_says_what_for(tmp_path) -> None:
    with pytest.raises(UnmetError, match="the moon rises: not within"):
        wait_until("the moon rises", lambda: False, seconds=0.05)
    process = Process("liar", [sys.executable, "-c", "exit(3)"], tmp_path / "log")
    with pytest.raises(UnmetError, match="liar ended with status 3 before it spoke"):
        wait_until("it spoke", lambda: False, alive=process)


def test_a_process_that_will_not_stop_is_killed(tmp_path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    argv = [sys.executable, "-c", f"{code}; time.sleep(60)"]
    process = Process("deaf", argv, tmp_path / "log")
    wait_until("it speaks", lambda: process.tail() == ["1"], alive=process)
    assert process.end(patience=0.1) == -9


# --- the whole


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.skipif(importlib.util.find_spec("httpbin") is None, reason="httpbin not installed")
def test_the_demo_holds(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fastmirror", "demo", "--plain"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    for title, _ in STEPS:
        assert f". {title}" in said
    for manifest in MANIFESTS.glob("*.yaml"):
        assert f"--- {manifest.name}" in said
    assert "v2 log: 200 httpbin-shadow:8000 /get?n=1" in said
    assert "ok   v2 saw each of the 6 requests that v1 saw" in said
    assert re.search(r"matched 3000 = not sampled \d+ \+ dropped 0 \+ sent \d+", said)
    assert re.search(r"failed connect \d+( reset \d+)?; dropped breaker \d+", said)
    assert "== All 6 steps held" in said
    assert "\x1b" not in said
    assert not list(tmp_path.iterdir())
