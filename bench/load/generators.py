"""The load: wrk for as fast as it goes, openloop.c for a fixed rate; and the requests they send.

Invariant: every proxy gets the same bytes in a scenario, from one thread of the generator.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .machine import LOOPBACK

SOURCES = Path(__file__).parent

# About what a browser or a service client sends; the first is Host.
HEADERS = [
    ("Host", "app.test"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ("Referer", "http://app.test/some/page"),
    ("X-User", "user-1234"),
]

WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = string.rep("x", tonumber(os.getenv("BODY")))
"""


@dataclass(frozen=True)
class Request:
    """What one client asks for, over and over."""

    path: str = "/some/path?with=query"
    headers: int = 8
    body: int = 0
    close: bool = False
    host: str = "app.test"

    def fields(self) -> list[tuple[str, str]]:
        more = [(f"X-Header-{at}", "value of the header") for at in range(self.headers)]
        found = [("Host", self.host), *HEADERS[1:], *more][: self.headers]
        return [*found, ("Connection", "close")] if self.close else found

    def text(self) -> bytes:
        lines = [f"{'POST' if self.body else 'GET'} {self.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.fields()]
        if self.body:
            lines.append(f"Content-Length: {self.body}")
        return "\r\n".join([*lines, "", ""]).encode() + b"x" * self.body


@dataclass(frozen=True)
class Closed:
    """What wrk reports."""

    requests: int
    seconds: float
    errors: int
    p50: float
    p99: float


@dataclass(frozen=True)
class Open:
    """What openloop.c reports; latencies in seconds, from when a request was due."""

    due: int
    finished: int
    failed: int
    unanswered: int
    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    cpu: float  # the generator's own, in seconds


class Generators:
    """Both generators, the second compiled into a directory for the time being."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._openloop = compiled("openloop", directory)
        self._script = directory / "body.lua"
        self._script.write_text(WRK_SCRIPT)

    def closed(
        self, port: int, request: Request, *, seconds: float, connections: int, cores: str
    ) -> Closed:
        """wrk takes whole seconds."""
        argv = ["taskset", "-c", cores, "wrk", "-t", "1", "-c", str(connections)]
        argv += ["-d", f"{max(1, round(seconds))}s", "--latency", "--timeout", "10s"]
        for name, value in request.fields():
            argv += ["-H", f"{name}: {value}"]
        if request.body:
            argv += ["-s", str(self._script)]
        argv.append(f"http://{LOOPBACK}:{port}{request.path}")
        environment = {**os.environ, "BODY": str(request.body)}
        result = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
        return parse(result.stdout)

    def open(
        self,
        port: int,
        request: Request,
        *,
        rate: float,
        warmup: float,
        seconds: float,
        connections: int,
        cores: str,
    ) -> Open:
        """Waits up to a second for the last answers."""
        file = self._directory / "request"
        file.write_bytes(request.text())
        argv = ["taskset", "-c", cores, str(self._openloop), str(port), str(connections)]
        argv += [f"{rate:.1f}", str(warmup), str(seconds), "1", str(file)]
        result = subprocess.run(argv, capture_output=True, text=True, check=True)
        found = json.loads(result.stdout)
        counts = {name: found[name] for name in ("due", "finished", "failed", "unanswered")}
        times = {name: found[name] / 1e6 for name in ("p50", "p90", "p99", "p999", "max")}
        return Open(**counts, **times, cpu=found["cpu"])


def compiled(name: str, directory: Path) -> Path:
    """The program of a C file here. Raises RuntimeError with the compiler's words."""
    program = directory / name
    argv = ["cc", "-O2", "-o", str(program), str(SOURCES / f"{name}.c")]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{name}.c does not compile: {result.stderr}")
    return program


UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def duration(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if found is None:
        raise ValueError(f"no duration: {text}")
    return float(found.group(1)) * UNITS[found.group(2)]


def parse(report: str) -> Closed:
    """Raises ValueError for what is no report of wrk's."""
    total = re.search(r"(\d+) requests in ([\d.]+\w+)", report)
    if total is None:
        raise ValueError(f"wrk reported no requests:\n{report}")
    errors = 0
    socket_errors = re.search(r"Socket errors: (.+)", report)
    if socket_errors:
        errors += sum(map(int, re.findall(r"\d+", socket_errors.group(1))))
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    if statuses:
        errors += int(statuses.group(1))
    quantile = dict(re.findall(r"^\s+(\d+)%\s+(\S+)$", report, re.MULTILINE))
    return Closed(
        requests=int(total.group(1)),
        seconds=duration(total.group(2)),
        errors=errors,
        p50=duration(quantile["50"]),
        p99=duration(quantile["99"]),
    )
