"""Real servers behind the proxy, all with one application:

    GET /hello        hello and a line feed, with a length
    GET /stream?n=N   N times 1000 octets, without a length
    GET /nothing      204
    POST /digest      the SHA-256 of the body, in hexadecimal

Invariant: a server that is started listens when ``start`` returns, or its test is skipped or fails.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.backends import Connection, sized
from e2e.conftest import Started
from e2e.procs import LOOPBACK, Process, free_port, is_open, wait_until

from .programs import need

APPS = Path(__file__).parent / "apps"

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend in
    bind {address}:{port}
    default_backend out
backend out
    server app {address}:{app}
"""

NGINX = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log warn;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    client_max_body_size 0;
    upstream app {{ server {address}:{app}; keepalive 8; }}
    types {{ text/plain txt; }}
    gzip on;
    gzip_types text/plain;
    server {{
        listen {address}:{port};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location /files/ {{ alias {directory}/files/; }}
    }}
}}
"""


async def application(conn: Connection) -> None:
    """For the servers that have none of their own: nginx and HAProxy pass requests on to it."""
    while request := await conn.request():
        path = request.target.partition("?")[0]
        if path == "/nothing":
            await conn.answer(b"", 204, length=False)
        elif path == "/stream":
            parts = [b"%07d\n" % i * 125 for i in range(sized(request))]
            await conn.answer(b"".join(parts), length=False)
        else:
            await conn.answer(b"hello\n" if path == "/hello" else request.sha256.encode())


@dataclass(frozen=True)
class Server:
    """``argv`` of a port and a directory; ``app``: it needs the application's port."""

    name: str
    argv: Callable[[int, Path], list[str]]
    module: str | None = None  # that Python must have
    takes_chunked: bool = True

    def start(self, started: Started, app: int) -> int:
        """The port on which it listens."""
        if self.module is not None and importlib.util.find_spec(self.module) is None:
            pytest.skip(f"the package {self.module} is not installed (dependency group test)")
        port = free_port()
        directory = started.directory / self.name.replace(" ", "-")
        directory.mkdir()
        for name, text in (("haproxy.cfg", HAPROXY), ("nginx.conf", NGINX)):
            config = text.format(address=LOOPBACK, port=port, app=app, directory=directory)
            (directory / name).write_text(config)
        process = Process(self.argv(port, directory), directory, cwd=APPS.parent)
        started.add(process)
        wait_until(lambda: is_open(port) or process.popen.poll() is not None, self.name)
        assert process.popen.poll() is None, process.stderr
        return port


def gunicorn(*options: str) -> Callable[[int, Path], list[str]]:
    words = ["-m", "gunicorn", "--no-control-socket", "--log-level", "error", *options]
    return lambda port, _: [sys.executable, *words, "-b", f"{LOOPBACK}:{port}", "apps.wsgi:app"]


SERVERS = [
    Server(
        "gunicorn sync",
        gunicorn("-k", "sync", "-w", "2"),
        "gunicorn",
    ),
    Server(
        "gunicorn gthread",
        gunicorn("-k", "gthread", "--threads", "8", "--keep-alive", "60"),
        "gunicorn",
    ),
    Server(
        "uvicorn",
        lambda port, _: [
            *(sys.executable, "-m", "uvicorn", "apps.asgi:app", "--host", LOOPBACK),
            *("--port", str(port), "--log-level", "error", "--timeout-keep-alive", "60"),
        ],
        "uvicorn",
    ),
    Server(
        "aiohttp",
        lambda port, _: [sys.executable, str(APPS / "aiohttp_server.py"), str(port)],
        "aiohttp",
    ),
    Server(
        "Python's in HTTP 1.0",
        lambda port, _: [sys.executable, str(APPS / "stdlib_server.py"), str(port), "HTTP/1.0"],
        takes_chunked=False,
    ),
    Server(
        "Python's in HTTP 1.1",
        lambda port, _: [sys.executable, str(APPS / "stdlib_server.py"), str(port), "HTTP/1.1"],
        takes_chunked=False,
    ),
    Server("Node", lambda port, _: [need("node"), str(APPS / "server.js"), str(port)]),
    Server(
        "HAProxy",
        lambda _, directory: [need("haproxy"), "-db", "-f", str(directory / "haproxy.cfg")],
    ),
    Server(
        "nginx",
        lambda _, directory: [
            *(need("nginx"), "-p", str(directory), "-c", str(directory / "nginx.conf")),
            *("-e", str(directory / "error.log")),
        ],
    ),
]


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def streamed(count: int) -> bytes:
    return b"".join(b"%07d\n" % i * 125 for i in range(count))
