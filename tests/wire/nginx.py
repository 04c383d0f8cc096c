"""nginx between the proxy and a recording backend: another reader of what the proxy writes.

Invariant: nginx's log has a line for each request that nginx found in what it got, whatever its
answer was, and so says into how many requests it split a connection's octets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from e2e.procs import LOOPBACK, Process, free_port, is_open, wait_until

# Limits beyond the proxy's own, so that nginx judges the form alone.
CONFIG = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log info;
events {{ }}
http {{
    log_format wire escape=json '{{"method": "$request_method", "target": "$request_uri", '
        '"status": $status, "line": "$request"}}';
    access_log {directory}/access.log wire;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    client_max_body_size 0;
    large_client_header_buffers 8 128k;
    keepalive_requests 1000000;
    upstream recorder {{
        server {address}:{backend};
        keepalive 8;
        keepalive_requests 1000000;
    }}
    server {{
        listen {address}:{port};
        location / {{
            proxy_pass http://recorder;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Line:
    """One request, as nginx understood it."""

    method: str
    target: str
    status: int
    line: str


class ProxyingNginx(Process):
    """nginx that passes everything on to a port."""

    def __init__(self, directory: Path, backend: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._log = directory / "access.log"
        self._taken = 0
        config = directory / "nginx.conf"
        config.write_text(
            CONFIG.format(directory=directory, address=LOOPBACK, port=self.port, backend=backend)
        )
        errors = directory / "error.log"
        super().__init__(
            ["nginx", "-p", str(directory), "-c", str(config), "-e", str(errors)], directory
        )
        wait_until(lambda: is_open(self.port) or self.popen.poll() is not None, "nginx listening")
        assert self.popen.poll() is None, errors.read_text()

    def new_lines(self) -> list[Line]:
        """What was logged since the last call."""
        text = self._log.read_bytes()[self._taken :] if self._log.exists() else b""
        text = text[: text.rfind(b"\n") + 1]
        self._taken += len(text)
        return [Line(**json.loads(line)) for line in text.decode("latin-1").splitlines()]
