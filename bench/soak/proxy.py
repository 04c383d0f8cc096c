"""The proxy that is soaked: its process, its rules, and what it and /proc say of it.

Invariants: it is ended by its own pid; every version of the rules has the same routes and mirrors,
so that what is counted under their names adds up over reloads.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from ..load.machine import LOOPBACK, free_port

Page = dict[tuple[str, tuple[tuple[str, str], ...]], int]

_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? ([0-9.e+]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
# What was not handled: Python's words, the event loop's, a sanitizer's.
_UNHANDLED = re.compile(
    r"Traceback|Exception |exception was never|Segmentation|AddressSanitizer|runtime error:"
)


class Proxy:
    """``primary``, ``shadow``: ports."""

    def __init__(self, place: Path, primary: int, shadow: int) -> None:
        self.port, self.admin = free_port(), free_port()
        self.ports = {"primary": primary, "shadow": shadow}
        self.file = place / "rules.json"
        self.errors = place / "stderr"
        self._write(0)
        argv = [sys.executable, "-m", "fastmirror", "--listen", f"{LOOPBACK}:{self.port}"]
        argv += ["--rules", str(self.file), "--admin", f"{LOOPBACK}:{self.admin}"]
        argv += ["--upstream-idle-timeout", "1", "--log-level", "warning", "--drain-time", "2"]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=errors)

    def _write(self, version: int) -> None:
        odd = version % 2 == 1
        short = {"response_timeout": "1s", "service": "shadow"}
        mirrors = {
            "a": [
                {"name": "all", **short},
                {"name": "some", "percent": 60 if odd else 10, "max_body": "64KiB", **short},
            ],
            "b": [{"name": "pipelined", "pipeline": 16, **short}],
        }
        document = {
            "version": 1,
            "services": [
                {"name": name, "endpoints": [{"address": f"{LOOPBACK}:{port}"}]}
                for name, port in self.ports.items()
            ],
            "routes": [
                {
                    "name": name,
                    "match": [{"path": {"prefix": f"/{name}/"}}],
                    "to": [{"service": "primary"}],
                    "timeout": "20s" if odd else "30s",
                    "mirrors": each,
                }
                for name, each in mirrors.items()
            ],
        }
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(document))
        new.replace(self.file)

    def reload(self, version: int) -> None:
        """Other rules, which are seen when the file is looked at; or at once, every other time."""
        self._write(version)
        if version % 2:
            self.process.send_signal(signal.SIGHUP)

    def wait_ready(self) -> None:
        end = time.monotonic() + 20
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the proxy did not start: {self.errors.read_text()}")
            try:
                self._page("/readyz")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)

    def _page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.admin}{path}", timeout=20) as page:
            text: str = page.read().decode()
            return text

    def metrics(self) -> Page:
        """Every sample by its name and labels."""
        return {
            (name, tuple(_LABEL.findall(labels or ""))): int(float(value))
            for name, labels, value in _SAMPLE.findall(self._page("/metrics"))
        }

    def rss(self) -> int:
        """Resident memory, in bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        run = Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]
        return int(run) / 1e9

    def descriptors(self) -> int:
        """Those that stay: connections to the admin listener come and go."""

        def look() -> int:
            time.sleep(0.1)
            return len(os.listdir(f"/proc/{self.process.pid}/fd"))

        return min(look() for _ in range(5))

    def stop(self) -> list[str]:
        """End it; what is to be said against how it ended."""
        wrong = []
        if self.process.poll() is not None:
            wrong.append(f"the proxy had ended with {self.process.returncode}")
        self.process.terminate()
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if status != 0:
            wrong.append(f"exit status {status}")
        text = self.errors.read_text(errors="replace")
        if _UNHANDLED.search(text):
            wrong.append(f"on standard error: {text[-4000:]}")
        return wrong
