"""The load generator: wrk, and what it reports."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

# Eight request headers, Host included: about what a browser or a service client sends.
HEADERS = {
    "Host": "app.test",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "Referer": "http://app.test/some/page",
    "X-User": "user-1234",
}

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Load:
    requests: int
    seconds: float
    errors: int
    p50: float
    p99: float


def seconds(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if found is None:
        raise ValueError(f"no duration: {text}")
    return float(found.group(1)) * UNITS[found.group(2)]


def run(port: int, *, duration: int, connections: int, core: int) -> Load:
    argv = ["taskset", "-c", str(core), "wrk", "-t", "1", "-c", str(connections)]
    argv += ["-d", f"{duration}s", "--latency", "--timeout", "10s"]
    for name, value in HEADERS.items():
        argv += ["-H", f"{name}: {value}"]
    argv.append(f"http://127.0.0.1:{port}/some/path?with=query")
    result = subprocess.run(argv, capture_output=True, text=True, check=True)
    return parse(result.stdout)


def parse(report: str) -> Load:
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
    return Load(
        requests=int(total.group(1)),
        seconds=seconds(total.group(2)),
        errors=errors,
        p50=seconds(quantile["50"]),
        p99=seconds(quantile["99"]),
    )
