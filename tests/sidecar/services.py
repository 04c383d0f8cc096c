"""Services in a namespace, on threads: what they do is a function of one connection."""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from .network import Host, program

Handler = Callable[[socket.socket], None]
BLOCK = bytes(range(256)) * 4096


class Service:
    """A handler behind a port, for IPv4 and IPv6. ``at_once``: one connection after the other."""

    def __init__(self, host: Host, port: int, handler: Handler, *, at_once: bool = False) -> None:
        self.handler = handler
        self.at_once = at_once
        self.accepted = 0
        self.peers: list[str] = []
        self.sock = host.listen(port)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self.sock.accept()
            except OSError:
                return
            self.accepted += 1
            self.peers.append(peer[0].removeprefix("::ffff:"))
            if self.at_once:
                self._serve(sock)
            else:
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(60)
        with sock:
            try:
                self.handler(sock)
            except OSError:
                pass  # the other side went away: what it meant is for the test to say

    def close(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self.sock.close()


def echo(sock: socket.socket) -> None:
    while data := sock.recv(1 << 20):
        sock.sendall(data)


def greet(sock: socket.socket) -> None:
    """A server that speaks first, as SMTP's do."""
    sock.sendall(b"220 mail ready\r\n")
    for line in sock.makefile("rb"):
        if line.startswith(b"QUIT"):
            sock.sendall(b"221 bye\r\n")
            return
        sock.sendall(b"250 ok\r\n")


def digest(sock: socket.socket) -> None:
    """Reads to the end of the client's half, and answers with a hash of all."""
    found = hashlib.sha256()
    while data := sock.recv(1 << 20):
        found.update(data)
    sock.sendall(found.hexdigest().encode())


def pour(size: int) -> Handler:
    """Sends so many bytes, and closes its half; then a hash of what the client said meanwhile is
    not sent any more.
    """

    def handler(sock: socket.socket) -> None:
        for _ in range(size // len(BLOCK)):
            sock.sendall(BLOCK)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 20):
            pass

    return handler


class Site:
    """An HTTP server that answers with what it was asked, as JSON."""

    def __init__(
        self, host: Host, port: int, name: str, certificate: tuple[Path, Path] | None = None
    ) -> None:
        self.requests: list[dict[str, object]] = []
        site = self

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                asked = {
                    "site": name,
                    "method": self.command,
                    "path": self.path,
                    "fields": [[key.lower(), value] for key, value in self.headers.items()],
                    "size": len(body),
                }
                site.requests.append(asked)
                data = json.dumps(asked).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_FROBNICATE = answer

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("", 0), Answer, bind_and_activate=False)
        self.server.daemon_threads = True
        self.server.socket.close()
        self.server.socket = host.listen(port)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate for a name, signed by itself, and its key."""
    chain, key = directory / "chain.pem", directory / "key.pem"
    subprocess.run(
        [
            *(program("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(chain)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return chain, key
