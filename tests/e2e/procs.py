"""Real processes on loopback: the proxy under test, nginx as a backend, and what /proc says.

Invariant: whatever is started here is ended here, by its own process id, and a proxy that
wrote a traceback, or did not leave with status 0 when asked to, fails the test that used it.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .metrics import Counters, Metrics

ROOT = Path(__file__).parents[2]
LOOPBACK = "127.0.0.1"

# What the proxy is started with; another build of it can be tested by naming its command.
COMMAND = shlex.split(os.environ.get("E2E_COMMAND", "")) or [sys.executable, "-m", "fastmirror"]

# The words of an unhandled error: Python's, the event loop's exception handler's, a crash's.
UNHANDLED = re.compile(
    r"Traceback \(most|Exception in callback|Exception ignored|exception was never retrieved"
    r"|Unhandled exception|Fatal |Segmentation fault|AddressSanitizer|runtime error:"
)

T = TypeVar("T")


def wait_until(
    check: Callable[[], T], what: str, *, timeout: float = 15.0, every: float = 0.01
) -> T:
    """Poll until ``check`` gives something true, and return that."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what} (last: {value!r})")
        time.sleep(every)


# Below the ephemeral range: a port from there could become the local end of some connection
# between our asking for it and its owner's listening. Each run starts somewhere else.
_FIRST, _COUNT = 11_000, 20_000
_offset = random.randrange(_COUNT)
_candidates = (_FIRST + (_offset + i) % _COUNT for i in itertools.count())


def free_port() -> int:
    for port in _candidates:
        with socket.socket() as sock:
            try:
                sock.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the candidates do not end")


class Process:
    """A child process with its standard error in a file."""

    def __init__(
        self,
        argv: Sequence[str],
        directory: Path,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._stderr = directory / "stderr"
        self._stdout = directory / "stdout"
        with self._stderr.open("wb") as err, self._stdout.open("wb") as out:
            self.popen = subprocess.Popen(
                list(argv), cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(errors="replace")

    @property
    def stdout(self) -> str:
        return self._stdout.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout: float = 20.0) -> int:
        return self.popen.wait(timeout)

    def stop(self, timeout: float = 20.0) -> int:
        """SIGTERM, and the exit status; SIGKILL if it stays."""
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.popen.args!r} did not end on SIGTERM") from None

    def kill(self) -> None:
        for pid in reversed(self.tree()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.popen.wait(10)

    def tree(self) -> list[int]:
        """The process and its descendants: workers are children of the first process."""
        found = [self.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    found += map(int, children.read_text().split())
                except OSError:
                    pass
        return found

    def _memory(self, field: str) -> int:
        total = 0
        for pid in self.tree():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            match = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
            total += int(match.group(1)) * 1024 if match else 0
        return total

    def rss(self) -> int:
        return self._memory("VmRSS")

    def peak_rss(self) -> int:
        return self._memory("VmHWM")

    def reset_peak_rss(self) -> int:
        """Let the kernel's high-water mark begin anew; returns the memory as of now."""
        for pid in self.tree():
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        return self.rss()


def clean_environment(**extra: str) -> dict[str, str]:
    """Without options for the proxy that the caller's shell may hold."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("FASTMIRROR_")}
    return env | {"PYTHONFAULTHANDLER": "1"} | extra


Finished = subprocess.CompletedProcess[str]


def run_cli(*args: str | Path, timeout: float = 20.0, **env: str) -> Finished:
    """The command, run to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, args)],
        cwd=ROOT,
        env=clean_environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Proxy(Process):
    """``fastmirror`` with a rules file, a listener and an admin listener of its own."""

    def __init__(
        self,
        rules: Mapping[str, Any] | Path,
        directory: Path,
        *options: str,
        listen: str | None = None,
        **env: str,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if isinstance(rules, Path):
            self.rules = rules
        else:
            self.rules = directory / "rules.json"
            self.write_rules(rules)
        self.port = free_port()
        self.admin = free_port()
        self.expected_exit: tuple[int, ...] = (0,)
        argv = [*COMMAND, "--listen", listen or f"{LOOPBACK}:{self.port}"]
        argv += ["--rules", str(self.rules), "--admin", f"{LOOPBACK}:{self.admin}"]
        if "--drain-time" not in options:
            argv += ["--drain-time", "1"]  # a test leaves stalled copies behind; do not wait long
        super().__init__([*argv, *options], directory, cwd=ROOT, env=clean_environment(**env))
        try:
            wait_until(self._ready, "the proxy ready")
        except BaseException:
            self.kill()
            raise

    def write_rules(self, rules: Mapping[str, Any] | str) -> None:
        """Replace the rules file in one step, as a careful writer does."""
        text = rules if isinstance(rules, str) else json.dumps(rules, indent=1)
        new = self.rules.with_suffix(".new")
        new.write_text(text)
        new.replace(self.rules)

    def _ready(self) -> bool:
        if self.popen.poll() is not None:
            raise AssertionError(f"the proxy left with {self.popen.returncode}: {self.stderr}")
        try:
            return self.ask("/readyz")[0] == 200
        except OSError:
            return False

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        """A request to the admin listener: status and body."""
        connection = http.client.HTTPConnection(LOOPBACK, self.admin, timeout=10)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metrics(self) -> Metrics:
        status, text = self.ask("/metrics")
        assert status == 200, text
        return Metrics(text)

    def settled(
        self, matched: int, *, route: str = "app", mirror: str = "app/v2", timeout: float = 15.0
    ) -> Counters:
        """The counters as soon as so many requests matched and no copy is under way.

        They must add up at every look on the way there, not only at the end.
        """

        def look() -> Counters | None:
            counters = self.metrics().counters(route, mirror)
            counters.assert_adds_up()
            over = counters.matched >= matched and counters.in_flight == 0
            return counters if over else None

        what = f"{matched} requests matched and no copy in flight"
        try:
            counters = wait_until(look, what, timeout=timeout, every=0.03)
        except AssertionError as problem:
            raise AssertionError(f"{problem}: {self.metrics().counters(route, mirror)}") from None
        assert counters.matched == matched, counters
        return counters

    def assert_sound(self) -> None:
        """Nothing that nobody handled was reported so far."""
        match = UNHANDLED.search(self.stderr)
        assert match is None, f"unhandled error in the proxy:\n{self.stderr}"

    def finish(self) -> None:
        """The end of every test: still running, ends when asked to, and never complained."""
        early = self.popen.poll()
        status = self.stop()
        self.assert_sound()
        expected = self.expected_exit
        assert early in (None, *expected), f"the proxy had ended with {early}:\n{self.stderr}"
        assert status in expected, f"exit status {status} after SIGTERM:\n{self.stderr}"


NGINX_CONFIG = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    log_format e2e escape=json '{{"host": "$http_host", "method": "$request_method", '
        '"uri": "$request_uri", "copy": "$http_x_fastmirror_copy", '
        '"length": $request_length, "id": "$http_x_request_id", '
        '"authorization": "$http_authorization", "cookie": "$http_cookie"}}';
    access_log {directory}/access.log e2e;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    client_max_body_size 0;
    keepalive_requests 1000000;
    server {{
        listen {address}:{port} backlog=4096;
        location / {{ return 200 "{name}\\n"; }}
    }}
}}
"""


class Nginx(Process):
    """nginx that answers its name to everything and logs one JSON line a request."""

    def __init__(self, name: str, directory: Path, *, port: int | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.port = port or free_port()
        self.log_path = directory / "access.log"
        config = directory / "nginx.conf"
        config.write_text(
            NGINX_CONFIG.format(directory=directory, address=LOOPBACK, port=self.port, name=name)
        )
        super().__init__(
            ["nginx", "-p", str(directory), "-c", str(config), "-e", str(directory / "error.log")],
            directory,
        )
        wait_until(lambda: is_open(self.port) or self.popen.poll() is not None, f"{name} listening")
        assert self.popen.poll() is None, (directory / "error.log").read_text()

    def log(self) -> list[dict[str, Any]]:
        if not self.log_path.exists():
            return []
        text = self.log_path.read_text()
        # A line may be half written; it is whole at the next look.
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_for(self, count: int, timeout: float = 15.0) -> list[dict[str, Any]]:
        """The log, as soon as it holds at least so many lines."""

        def look() -> list[dict[str, Any]]:
            lines = self.log()
            return lines if len(lines) >= count else []

        if count == 0:
            return self.log()
        return wait_until(look, f"{count} lines in the log of {self.name}", timeout=timeout)


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((LOOPBACK, port)) == 0
