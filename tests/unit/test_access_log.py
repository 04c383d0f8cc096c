"""The access log: lines as documented, and never a wait for whoever reads them."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastmirror import counts
from fastmirror._core import now
from fastmirror.counts import SharedCounts, WorkerCounts
from fastmirror.proxy import access_log
from fastmirror.proxy.access_log import AccessLog, LogWriter
from fastmirror.rules.address import Address
from fastmirror.rules.request import Request

from .building import fields


def until(condition, seconds: float = 10.0) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def writer(path) -> Iterator[LogWriter]:
    found = LogWriter(str(path))
    found.start()
    yield found
    found.close(10)
    assert not found.is_alive()


def test_lines_are_written_in_order(writer, path):
    lines = [f"line {at}\n" for at in range(1000)]
    assert all(writer.offer(line) for line in lines)
    until(lambda: path.read_text() == "".join(lines))


def test_what_waits_is_written_when_it_closes(path):
    writer = LogWriter(str(path))
    for at in range(100):
        writer.offer(f"{at}\n")
    writer.start()
    writer.close(10)
    assert not writer.is_alive()
    assert len(path.read_text().splitlines()) == 100


def test_a_file_that_is_there_is_continued(path):
    path.write_text("before\n")
    writer = LogWriter(str(path))
    writer.start()
    writer.offer("after\n")
    writer.close(10)
    assert path.read_text() == "before\nafter\n"


def test_reopen_after_a_rename(writer, path):
    writer.offer("one\n")
    until(lambda: path.read_text() == "one\n")
    old = path.rename(path.with_suffix(".1"))
    writer.offer("two\n")
    until(lambda: old.read_text() == "one\ntwo\n")
    assert not path.exists()
    writer.reopen()
    until(path.exists)
    writer.offer("three\n")
    until(lambda: path.read_text() == "three\n")
    assert old.read_text() == "one\ntwo\n"


def test_reopen_closes_what_was_open(writer, path):
    before = writer.fd
    for at in range(20):
        path.rename(path.with_suffix(f".{at}"))
        writer.reopen()
        until(path.exists)
    until(lambda: not writer.reopen_wanted)
    assert writer.fd - before <= 2


def test_a_file_that_cannot_be_reopened_is_written_on(writer, path, capsys):
    writer.offer("one\n")
    until(lambda: path.read_text() == "one\n")
    old = path.rename(path.with_suffix(".1"))
    path.mkdir()
    writer.reopen()
    writer.offer("two\n")
    until(lambda: old.read_text() == "one\ntwo\n")
    assert str(path) in capsys.readouterr().err


def test_a_directory_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match="directory"):
        LogWriter(str(tmp_path))


# ---- a pipe that nobody reads


@pytest.fixture
def pipe(tmp_path) -> Iterator[tuple[LogWriter, int]]:
    """A writer into a pipe, and the end that could be read."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    found = LogWriter(str(path))
    found.start()
    yield found, reader
    found.closing = True
    found.ready.set()
    while found.is_alive():
        try:
            os.read(reader, 1 << 20)
        except BlockingIOError:
            time.sleep(0.001)
    os.close(reader)


def test_offering_never_waits_and_says_when_there_is_no_room(pipe, monkeypatch):
    monkeypatch.setattr(access_log, "MAX_WAITING", 1000)
    writer, _ = pipe
    line = "x" * 999 + "\n"
    # Were it to wait for the pipe, this would never end.
    taken = sum(writer.offer(line) for _ in range(50_000))
    assert len(writer.lines) <= 1000
    assert taken < 50_000
    # What was taken may have been handed to the pipe since, once.
    assert not all(writer.offer(line) for _ in range(5_000))


def test_lines_are_taken_again_when_it_is_read(pipe, monkeypatch):
    monkeypatch.setattr(access_log, "MAX_WAITING", 100)
    writer, reader = pipe
    line = "y" * 999 + "\n"
    until(lambda: not writer.offer(line))

    def read_and_offer() -> bool:
        try:
            os.read(reader, 1 << 20)
        except BlockingIOError:
            pass
        return writer.offer(line)

    until(read_and_offer)


def test_a_pipe_that_is_closed_does_no_harm(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = LogWriter(str(path))
    writer.start()
    os.close(reader)
    for _ in range(100):
        assert writer.offer("line\n")
    writer.close(10)
    assert not writer.is_alive()


# ---- lines

SHARED = SharedCounts(1)


class Lines:
    """In the place of a writer."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.full = False

    def offer(self, line: str) -> bool:
        if not self.full:
            self.lines.append(line)
        return not self.full


def exchange(*headers: tuple[bytes, bytes], **changed):
    """What a log needs of an exchange."""
    given = fields(*(headers or [(b"User-Agent", b"curl/8"), (b"x-request-id", b"id-1")]))
    asked = Request(b"GET", b"/status/200?a=b", b"httpbin", given, b"10.0.0.1")
    began = now() - 0.25
    return SimpleNamespace(
        **{
            "request": asked,
            "fields": given,
            "method": b"GET",
            "host": b"httpbin:8000",
            "http10": False,
            "status": 200,
            "flags": "-",
            "details": None,
            "bytes_in": 5,
            "bytes_out": 1234,
            "began": began,
            "answered_at": began + 0.125,
            "member": SimpleNamespace(pool=SimpleNamespace(address=Address("127.0.0.1", 8001))),
            "action": SimpleNamespace(name="httpbin"),
            **changed,
        }
    )


def logged(form: str, what) -> str:
    lines = Lines()
    AccessLog(lines, form, WorkerCounts(SHARED.regions[0]), True).exchange(what)
    (line,) = lines.lines
    assert line.endswith("\n")
    assert line.count("\n") == 1
    return line


STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def test_a_text_line_is_envoys():
    line = logged("text", exchange())
    assert re.fullmatch(
        rf'\[{STAMP}\] "GET /status/200\?a=b HTTP/1\.1" 200 - 5 1234 2\d\d 125 '
        r'"10\.0\.0\.1" "curl/8" "id-1" "httpbin:8000" "127\.0\.0\.1:8001"\n',
        line,
    )


def test_a_json_line_has_istios_keys():
    line = json.loads(logged("json", exchange()))
    assert re.fullmatch(STAMP, line.pop("start_time"))
    assert line.pop("duration") >= 250
    assert line == {
        "method": "GET",
        "path": "/status/200?a=b",
        "protocol": "HTTP/1.1",
        "response_code": 200,
        "response_flags": "-",
        "bytes_received": 5,
        "bytes_sent": 1234,
        "upstream_service_time": 125,
        "x_forwarded_for": "10.0.0.1",
        "user_agent": "curl/8",
        "request_id": "id-1",
        "authority": "httpbin:8000",
        "upstream_host": "127.0.0.1:8001",
        "route_name": "httpbin",
        "response_code_details": "-",
    }


def test_what_was_refused_before_it_was_routed():
    refused = exchange(
        (b"x", b"y"),
        request=None,
        method=b"-",
        host=b"",
        status=400,
        flags="DPE",
        answered_at=0.0,
        member=None,
        action=None,
        details="not a valid request",
    )
    text = logged("text", refused)
    assert ' "- - HTTP/1.1" 400 DPE 5 1234 ' in text
    assert text.endswith(' - "-" "-" "-" "-" "-"\n')
    line = json.loads(logged("json", refused))
    assert line["upstream_service_time"] is None
    assert line["response_code_details"] == "not a valid request"
    assert (line["route_name"], line["upstream_host"], line["path"]) == ("-", "-", "-")


def test_forwarded_for_is_not_appended_where_that_is_off():
    lines = Lines()
    AccessLog(lines, "json", WorkerCounts(SHARED.regions[0]), False).exchange(exchange())
    assert json.loads(lines.lines[0])["x_forwarded_for"] == "-"


def test_http_1_0_and_forwarded_for():
    line = json.loads(logged("json", exchange((b"x-forwarded-for", b"1.1.1.1"), http10=True)))
    assert (line["protocol"], line["x_forwarded_for"]) == ("HTTP/1.0", "1.1.1.1, 10.0.0.1")


def test_a_client_cannot_break_out_of_its_quotes():
    line = logged("text", exchange((b"user-agent", b'" 200 - "\\" x\\'), (b"x", b"y")))
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
    assert len(quoted) == 6
    assert quoted[2].replace('\\"', '"').replace("\\\\", "\\") == '" 200 - "\\" x\\'


@pytest.mark.parametrize("agent", [b'a "quoted" \\ agent', b"plain", b"tab\there"])
def test_json_says_what_the_client_said(agent):
    assert json.loads(logged("json", exchange((b"user-agent", agent))))["user_agent"] == (
        agent.decode()
    )


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("value", [b"\xff\xfe", "é".encode(), b"\xc2\x85"])
def test_a_line_is_one_line_of_printable_ascii(form, value):
    line = logged(form, exchange((b"user-agent", value)))
    assert line.isascii()
    assert line[:-1].isprintable()


def copy_of(outcome: str):
    """What a log needs of a copy."""
    return SimpleNamespace(
        on_end=None,
        status=503,
        outcome=outcome,
        body_bytes=lambda: 5,
        answer_bytes=lambda: 77,
        host=lambda: b"httpbin-shadow:8000",
        endpoint=lambda: Address("127.0.0.1", 8002),
        mirror_name=lambda: "v2 canary",
    )


@pytest.mark.parametrize(("outcome", "flags"), [("completed", "-"), ("timeout", "MIRROR")])
def test_a_copy_has_a_line_of_its_own_with_the_same_request_id(outcome, flags):
    lines, what, copy = Lines(), exchange(), copy_of(outcome)
    for form in ("json", "text"):
        AccessLog(lines, form, WorkerCounts(SHARED.regions[0]), True).watch(copy, what)
        copy.on_end(copy)
    line = json.loads(lines.lines[0])
    assert line["request_id"] == "id-1"
    assert line["mirror"] == "v2 canary"
    assert line["response_code_details"] == f"mirror_{outcome}"
    assert (line["response_code"], line["response_flags"]) == (503, flags)
    assert (line["bytes_received"], line["bytes_sent"]) == (5, 77)
    assert (line["authority"], line["upstream_host"]) == ("httpbin-shadow:8000", "127.0.0.1:8002")
    assert lines.lines[1].endswith(
        f'"id-1" "httpbin-shadow:8000" "127.0.0.1:8002" mirror=v2 canary mirror_{outcome}\n'
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_without_room_is_lost_and_counted(form):
    lines, before = Lines(), SHARED.total(counts.GLOBAL_ACCESS_LOST)
    log = AccessLog(lines, form, WorkerCounts(SHARED.regions[0]), True)
    lines.full = True
    log.exchange(exchange())
    copy = copy_of("completed")
    log.watch(copy, exchange())
    copy.on_end(copy)
    assert lines.lines == []
    assert SHARED.total(counts.GLOBAL_ACCESS_LOST) - before == 2


def test_a_fifo_that_nobody_reads_is_an_error(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        LogWriter(str(path))


def test_lines_that_cannot_be_written_are_counted():
    counters = SharedCounts(1)
    writer = LogWriter("/dev/full")
    log = AccessLog(writer, "text", WorkerCounts(counters.regions[0]), True)
    writer.start()
    for _ in range(3):
        assert log.writer.offer("a line\n")
    writer.close(10)
    assert counters.total(counts.GLOBAL_ACCESS_LOST) == 3
