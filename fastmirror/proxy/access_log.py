"""The access log: a line a request and a copy.

Invariant: writing a line never waits. Lines go to a thread of their own; when its file or pipe
takes them too slowly, lines are dropped and counted, and nothing else is.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastmirror._core import now
from fastmirror.counts import WorkerCounts

if TYPE_CHECKING:
    from fastmirror.mirror.copy import Copy
    from fastmirror.proxy.exchange import Exchange
    from fastmirror.rules.request import Request

MAX_WAITING = 65536  # lines

_REQUEST_KEYS = (
    "method",
    "path",
    "protocol",
    "x_forwarded_for",
    "user_agent",
    "request_id",
    "authority",
    "route_name",
)


class LogWriter(threading.Thread):
    """Writes lines to a file that can be reopened, or to standard output (``-``)."""

    def __init__(self, path: str) -> None:
        super().__init__(name="access-log", daemon=True)
        self.path = path
        self.lines: deque[str] = deque()  # append and popleft are atomic
        self.ready = threading.Event()
        self.reopen_wanted = False
        self.closing = False
        self.on_lost: Callable[[int], None] = lambda lines: None
        self.fd = self._open()

    def _open(self) -> int:
        """Raises OSError."""
        if self.path == "-":
            return sys.stdout.fileno()
        # A FIFO that nobody reads is an error now (ENXIO), not a start that never ends.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self.path, flags, 0o644)
        os.set_blocking(fd, True)
        return fd

    def offer(self, line: str) -> bool:
        """False: there is no room, and the line is lost."""
        if len(self.lines) >= MAX_WAITING:
            return False
        self.lines.append(line)
        if not self.ready.is_set():
            self.ready.set()
        return True

    def reopen(self) -> None:
        """Open the file anew, by its name (it was rotated)."""
        self.reopen_wanted = True
        self.ready.set()

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits, for at most so long."""
        self.closing = True
        self.ready.set()
        self.join(timeout)

    def run(self) -> None:
        while True:
            self.ready.wait()
            self.ready.clear()
            if self.reopen_wanted and self.path != "-":
                self.reopen_wanted = False
                try:
                    fd = self._open()
                except OSError as error:
                    print(f"fastmirror: {self.path}: {error.strerror}", file=sys.stderr)
                else:
                    os.close(self.fd)
                    self.fd = fd
            lines = [self.lines.popleft() for _ in range(len(self.lines))]
            data = "".join(lines).encode(errors="surrogateescape")
            while data:
                try:
                    data = data[os.write(self.fd, data) :]
                except OSError:  # a full disk or a closed pipe
                    self.on_lost(data.count(b"\n"))
                    break
            if self.closing and not self.lines:
                return


def _text(value: bytes | None) -> str:
    """A header's value, "-" where there is none."""
    return value.decode(errors="backslashreplace") if value else "-"


def _quoted(text: str) -> str:
    """Text in quotes that it cannot break out of, in printable ASCII."""
    return '"' + text.encode("unicode_escape").decode().replace('"', r"\"") + '"'


class AccessLog:
    """Makes the lines: Envoy's default text format, or JSON with Istio's key names."""

    def __init__(self, writer: LogWriter, form: str, counts: WorkerCounts, append: bool) -> None:
        self.writer = writer
        self.json = form == "json"
        self.counts = counts
        self.append = append  # the client's address to x-forwarded-for
        writer.on_lost = self._lost

    def _lost(self, lines: int) -> None:
        for _ in range(lines):
            self.counts.access_lines_lost()

    def _forwarded(self, request: Request | None) -> str:
        """x-forwarded-for as the primary got it."""
        if request is None:
            return "-"
        addresses = [request.fields.forwarded_for, request.source_ip if self.append else None]
        return _text(b", ".join(each for each in addresses if each))

    def exchange(self, exchange: Exchange) -> None:
        """A request has ended."""
        ended = now()
        request, fields = exchange.request, exchange.fields
        waited = exchange.answered_at - exchange.began if exchange.answered_at else -1.0
        self._write(
            ended - exchange.began,
            {
                "method": exchange.method.decode(),
                "path": _text(request.target if request is not None else None),
                "protocol": "HTTP/1.0" if exchange.http10 else "HTTP/1.1",
                "response_code": exchange.status,
                "response_flags": exchange.flags,
                "bytes_received": exchange.bytes_in,
                "bytes_sent": exchange.bytes_out,
                "duration": int((ended - exchange.began) * 1000),
                "upstream_service_time": int(waited * 1000) if waited >= 0 else None,
                "x_forwarded_for": self._forwarded(request),
                "user_agent": _text(fields.get(b"user-agent")),
                "request_id": _text(fields.request_id),
                "authority": _text(exchange.host),
                "upstream_host": (
                    str(exchange.member.pool.address) if exchange.member is not None else "-"
                ),
                "route_name": exchange.action.name if exchange.action is not None else "-",
                "response_code_details": exchange.details or "-",
            },
        )

    def watch(self, copy: Copy, exchange: Exchange) -> None:
        """Write a copy's own line when it ends, with its request's id."""
        request, fields, began = exchange.request, exchange.fields, exchange.began
        protocol = "HTTP/1.0" if exchange.http10 else "HTTP/1.1"

        def ended(copy: Copy) -> None:
            duration = now() - began
            self._write(
                duration,
                {
                    "method": exchange.method.decode(),
                    "path": _text(request.target if request is not None else None),
                    "protocol": protocol,
                    "response_code": copy.status,
                    "response_flags": "-" if copy.outcome == "completed" else "MIRROR",
                    "bytes_received": copy.body_bytes(),
                    "bytes_sent": copy.answer_bytes(),
                    "duration": int(duration * 1000),
                    "upstream_service_time": None,
                    "x_forwarded_for": self._forwarded(request),
                    "user_agent": _text(fields.get(b"user-agent")),
                    "request_id": _text(fields.request_id),
                    "authority": _text(copy.host()),
                    "upstream_host": str(copy.endpoint()),
                    "route_name": exchange.action.name if exchange.action is not None else "-",
                    "response_code_details": f"mirror_{copy.outcome}",
                    "mirror": copy.mirror_name(),
                },
            )

        copy.on_end = ended

    def relay(self, entry: dict[str, Any], age: float) -> None:
        """Bytes were relayed, for so many seconds; what is no request has no fields of one."""
        self._write(
            age,
            dict.fromkeys(_REQUEST_KEYS, "-")
            | {"response_code": 0, "duration": int(age * 1000), "upstream_service_time": None}
            | entry,
        )

    def _write(self, age: float, entry: dict[str, Any]) -> None:
        """``age``: how many seconds ago it began."""
        whole, part = divmod(time.time() - age, 1)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int(part * 1000):03}Z"
        if self.json:
            line = json.dumps({"start_time": stamp, **entry})
        else:
            spent = entry["upstream_service_time"]
            request = f"{entry['method']} {entry['path']} {entry['protocol']}"
            names = ("x_forwarded_for", "user_agent", "request_id", "authority", "upstream_host")
            line = (
                f"[{stamp}] {_quoted(request)} {entry['response_code']} {entry['response_flags']} "
                f"{entry['bytes_received']} {entry['bytes_sent']} {entry['duration']} "
                f"{'-' if spent is None else spent} "
                + " ".join(_quoted(entry[name]) for name in names)
            )
            if "mirror" in entry:
                line += f" mirror={entry['mirror']} {entry['response_code_details']}"
            if "tunnel" in entry:
                line += f" tunnel={entry['tunnel']} {entry['requested_server_name']}"
        if not self.writer.offer(line + "\n"):
            self._lost(1)
