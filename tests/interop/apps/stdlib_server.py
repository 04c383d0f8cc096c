"""The application of servers.py on http.server. Usage: PORT HTTP/1.0|HTTP/1.1."""

from __future__ import annotations

import hashlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # 5 by default: more at a time find no place


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/stream":
            self.stream(int(parse_qs(url.query)["n"][0]))
        elif url.path == "/nothing":
            self.send_response(204)
            self.end_headers()
        else:
            self.answer(b"hello\n")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(body).hexdigest().encode())

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stream(self, count: int) -> None:
        chunked = self.protocol_version == "HTTP/1.1"
        self.send_response(200)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(count):
            part = b"%07d\n" % i * 125
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    Handler.protocol_version = sys.argv[2]
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
