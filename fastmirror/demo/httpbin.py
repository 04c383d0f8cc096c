"""One version of the service: httpbin under gunicorn, and what its access log says.

Invariant: ``requests()`` is what this version was really asked, as its own log has it; nothing of
it comes from the proxy.
"""

import http.client
import os
import socket
import sys
from pathlib import Path

from fastmirror.demo.processes import Process, wait_until

LOG_FORMAT = "%(s)s %({host}i)s %(U)s?%(q)s"  # short: two of them share a terminal's width
PROBE = "/status/204"
START_TIME = 20.0
BACKLOG = 2048  # gunicorn's own; copies come in bursts, as nothing holds them back


class Httpbin:
    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.access_log = directory / f"{name}.access.log"
        self.address = ""
        self.process: Process | None = None
        self._mark = 0

    def start(self) -> None:
        """On a free port: it is bound here and handed down, so that nobody can take it."""
        with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
            host, port = listener.getsockname()
            self.address = f"{host}:{port}"
            settings = {
                "bind": f"fd://{listener.fileno()}",
                "worker-class": "gthread",
                "workers": "1",
                "threads": "8",
                "keep-alive": "65",
                "access-logfile": str(self.access_log),
                "access-logformat": LOG_FORMAT,
            }
            options = [f"--{name}={value}" for name, value in settings.items()]
            self.process = Process(
                f"httpbin {self.name}",
                [sys.executable, "-m", "gunicorn", "httpbin:app", "--no-control-socket", *options],
                self.directory / f"{self.name}.log",
                directory=self.directory,  # gunicorn reads a gunicorn.conf.py where it starts
                environment={k: v for k, v in os.environ.items() if k != "GUNICORN_CMD_ARGS"},
                inherit=[listener.fileno()],
            )

    def wait_ready(self) -> None:
        seen = self._lines()
        wait_until(f"{self.name} answers", self._answers, seconds=START_TIME, alive=self.process)
        wait_until(f"{self.name} logs", lambda: len(self._lines()) > len(seen))
        self.mark()

    def mark(self) -> None:
        """What was logged up to now is not told again."""
        self._mark = len(self._lines())

    def requests(self) -> list[str]:
        """The lines since the mark: status, Host, path and query."""
        return self._lines()[self._mark :]

    def wait_requests(self, count: int) -> list[str]:
        """The log has a request a moment after its client has the answer."""
        wait_until(f"{self.name} logs {count} requests", lambda: len(self.requests()) >= count)
        return self.requests()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.address, timeout=START_TIME)
        try:
            connection.request("GET", PROBE)
            return connection.getresponse().status == http.HTTPStatus.NO_CONTENT
        except OSError:
            return False
        finally:
            connection.close()

    def _lines(self) -> list[str]:
        try:
            text = self.access_log.read_text()
        except FileNotFoundError:
            return []
        return text[: text.rfind("\n") + 1].splitlines()
