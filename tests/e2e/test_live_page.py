"""The live page in a browser: where there are no rules, or thousands, and after a new start."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fastmirror.admin.live import LIVE_HEADERS, LIVE_PAGE

from .procs import LOOPBACK

chromium = shutil.which("chromium")
pytestmark = pytest.mark.skipif(chromium is None, reason="chromium is not installed")

BOUNDS = [0.001, 0.01, 0.1]


def histogram(*numbers: int) -> dict[str, Any]:
    return {"bounds": BOUNDS, "counts": list(numbers), "count": sum(numbers), "sum": 1.0}


def stats(time: float, started: float, numbers: dict[str, Any], count: int = 1) -> dict[str, Any]:
    routes = [
        {"route": f'r{at}<b>"', "requests": {"2xx": 9}, "retries": 0, "mirrors": []}
        for at in range(count)
    ]
    return {
        "version": "1", "state": "ready", "time": time, "started": started, "workers": 1,
        "mirroring": "on", "connections": {"downstream": 1, "upstream": 1, "shadow": 0},
        "rules": {"since": 1.0, "routes": count, "services": count, "problem": None},
        "process": {"cpu_seconds": 1.0, "resident_bytes": 1 << 20, "open_fds": 9},
        "request_duration": numbers, "routes": routes,
    }  # fmt: skip


def services(count: int, workers: int = 1) -> dict[str, Any]:
    known: dict[str, Any] = {
        "primary": {"open": 0, "active": 0},
        "shadow": {"open": 0, "active": 0},
    }
    address = {
        "address": "127.0.0.1:1",
        "health": "healthy",
        "ejected_by": {},
        "connections": known,
    }
    endpoint = {"address": "127.0.0.1:1", "labels": {}, "weight": 1}
    good = {**endpoint, "health": "healthy", "addresses": [address]}
    unknown = {**endpoint, "health": "unresolved", "addresses": []}
    return {
        "workers": workers,
        "services": [
            {"service": f"s{at}", "hosts": [f"s{at}"], "balance": "round_robin",
             "endpoints": [good if workers else unknown]}
            for at in range(count)
        ],
    }  # fmt: skip


def shown(directory: Path, answers: dict[str, list[Any]]) -> str:
    """The page's elements after its looks; of a path's answers the last stays, and None is none."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body: bytes | None = LIVE_PAGE.encode()
            if self.path != "/":
                known = answers[self.path]
                found = known.pop(0) if len(known) > 1 else known[0]
                body = json.dumps(found).encode() if found is not None else None
            if body is None:
                return  # and the connection is closed
            self.send_response(200)
            if self.path == "/":
                self.send_header("content-type", "text/html; charset=utf-8")
                for name, value in LIVE_HEADERS:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            done = subprocess.run(
                [str(chromium), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
                 "--enable-logging=stderr", f"--user-data-dir={directory / 'profile'}",
                 "--virtual-time-budget=8000", f"http://{LOOPBACK}:{server.server_port}/"],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        finally:
            server.shutdown()
            thread.join()
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert [line for line in console if "Failed to load resource" not in line] == []
    return done.stdout


def test_a_proxy_that_was_started_again(tmp_path: Path) -> None:
    many, few = histogram(900, 90, 9, 1), histogram(0, 5, 0, 0)
    answers = [stats(10, 1, many), None, stats(20, 19, few), None]
    dom = shown(tmp_path, {"/stats.json": answers, "/services": [services(1)]})
    assert ">not reached</span>" in dom  # and what was known stays to be read
    assert '<span class="dim">p50</span><b>5.5 ms</b>' in dom
    assert '<td>r0&lt;b&gt;"</td>' in dom


def test_workers_that_drain_say_nothing_of_their_endpoints(tmp_path: Path) -> None:
    numbers = histogram(1, 0, 0, 0)
    answers = [stats(at, 1, numbers) for at in (1, 2, 3)]
    found = [services(1), services(1, workers=0)]
    dom = shown(tmp_path, {"/stats.json": answers, "/services": found})
    assert '<td class="good">healthy</td>' in dom
    assert "unresolved" not in dom


@pytest.mark.parametrize(
    ("count", "texts"),
    [(0, ["none", "none"]), (5000, ["the busiest 100 of 5000", "the first 100 of 5000"])],
)
def test_how_many(tmp_path: Path, count: int, texts: list[str]) -> None:
    numbers = histogram(0, 0, 0, 0)
    answers = [stats(at, 1, numbers, count) for at in (1, 2, 3)]
    dom = shown(tmp_path, {"/stats.json": answers, "/services": [services(count)]})
    for name, text in zip(("shown", "listed"), texts, strict=True):
        assert f'<span id="{name}" class="dim">{text}</span>' in dom
