"""The proxy as a sidecar: in a host's namespace, as a user of its own, without capabilities."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2e.metrics import Metrics
from e2e.procs import COMMAND, ROOT, Process, Proxy, clean_environment, wait_until

from .network import Host

PORT, ADMIN = 15001, 15000


class Sidecar(Proxy):
    """As ``Proxy``, but in a namespace. ``net_admin``: with CAP_NET_ADMIN."""

    def __init__(
        self,
        host: Host,
        rules: Mapping[str, Any],
        directory: Path,
        *options: str,
        net_admin: bool = False,
    ) -> None:
        self.host = host
        directory.mkdir(parents=True, exist_ok=True)
        self.rules = directory / "rules.json"
        self.write_rules(rules)
        self.log = directory / "access.log"
        self.log.touch()
        for path in (directory, self.rules, self.log):
            path.chmod(0o777)
        self.port, self.admin = PORT, ADMIN
        self.expected_exit = (0,)
        argv = [*COMMAND, "--listen", f":{PORT}", "--rules", str(self.rules)]
        argv += ["--access-log", str(self.log), "--access-log-format", "json"]
        if "--drain-time" not in options:
            argv += ["--drain-time", "1"]
        argv = host.proxy_argv(*argv, *options, net_admin=net_admin)
        Process.__init__(self, argv, directory, cwd=ROOT, env=clean_environment())
        try:
            wait_until(self._ready, "the proxy ready")
        except BaseException:
            self.kill()
            raise

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", ADMIN, timeout=10)
        connection.sock = self.host.connect("127.0.0.1", ADMIN)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def tunnels(self) -> dict[str, int]:
        """Of each kind that there were."""
        return tunnels(self.metrics())

    def lines(self) -> list[dict[str, Any]]:
        """The access log."""
        text = self.log.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def relay(self, address: str, port: int) -> dict[str, Any]:
        """The last line of a relay to there, as soon as there is one."""
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

        def look() -> dict[str, Any]:
            lines = [line for line in self.lines() if "tunnel" in line]
            found = [line for line in lines if line["upstream_host"] == where]
            return found[-1] if found else {}

        return wait_until(look, f"a relay to {where} in the log")

    def descriptors(self) -> int:
        """How many are open."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.tree())


def tunnels(metrics: Metrics) -> dict[str, int]:
    """``fastmirror_tunnels_total`` by kind, without zeros."""
    return {
        has["kind"]: int(value)
        for name, has, value in metrics.samples
        if name == "fastmirror_tunnels_total" and value
    }


def read_all(sock: socket.socket) -> bytes:
    """To the other side's end."""
    pieces = []
    while data := sock.recv(1 << 20):
        pieces.append(data)
    return b"".join(pieces)
