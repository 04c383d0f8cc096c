"""The client's side: one that checks every answer with h11, and one that sends many requests."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import h11

from .procs import LOOPBACK

HOST = "app.test"
CHUNK = 256 * 1024

Headers = Iterable[tuple[str, str]]


@dataclass
class Response:
    status: int
    version: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    length: int = 0
    sha256: str = ""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    informational: list[int] = field(default_factory=list)

    def value(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} is there {len(values)} times: {values}"
        return values[0] if values else None


def request_bytes(
    method: str,
    target: str,
    headers: Headers = (),
    body: bytes | Sequence[bytes] | None = None,
    *,
    host: str | None = HOST,
    version: str = "1.1",
    trailers: Headers = (),
) -> bytes:
    """A request as it goes over the wire; a body in a list goes as those chunks."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in headers]
    payload = b""
    if isinstance(body, bytes):
        lines.append(f"Content-Length: {len(body)}")
        payload = body
    elif body is not None:
        lines.append("Transfer-Encoding: chunked")
        end = "0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in trailers) + "\r\n"
        payload = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in body) + end.encode()
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + payload


class Client:
    """One connection. Requests go out as raw bytes; answers must satisfy h11."""

    def __init__(self, port: int, *, timeout: float = 20.0, rcvbuf: int | None = None) -> None:
        self.sock = socket.socket()
        if rcvbuf is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect((LOOPBACK, port))
        self.h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes, pieces: int | None = None) -> None:
        """All at once, or in pieces of so many bytes, each a segment of its own."""
        if pieces is None:
            self.sock.sendall(data)
            return
        for start in range(0, len(data), pieces):
            self.sock.sendall(data[start : start + pieces])

    def request(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | Sequence[bytes] | None = None,
        *,
        host: str | None = HOST,
        trailers: Headers = (),
    ) -> Response:
        self.send(request_bytes(method, target, headers, body, host=host, trailers=trailers))
        return self.response(method)

    def get(self, target: str, *headers: tuple[str, str], host: str = HOST) -> Response:
        return self.request("GET", target, headers, host=host)

    def _event(self) -> Any:
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.h11.receive_data(self.sock.recv(CHUNK))
        return event

    def head(self, method: str) -> Response:
        """The head of the next answer; the 1xx before it are recorded in it."""
        if self.h11.our_state is h11.DONE:
            self.h11.start_next_cycle()
        if self.h11.our_state is h11.IDLE:
            # The request went out by hand; h11 needs to know of it to judge the answer.
            self.h11.send(h11.Request(method=method, target="/", headers=[("host", HOST)]))
            self.h11.send(h11.EndOfMessage())
        informational = []
        while isinstance(event := self._event(), h11.InformationalResponse):
            informational.append(event.status_code)
        assert isinstance(event, h11.Response), event
        return Response(
            event.status_code,
            event.http_version.decode(),
            [(name.decode(), value.decode("latin-1")) for name, value in event.headers],
            informational=informational,
        )

    def body(self, response: Response) -> Iterator[bytes]:
        """The parts of the body as they come; the trailers are in ``response`` after the last."""
        digest = hashlib.sha256()
        while True:
            event = self._event()
            if isinstance(event, h11.Data):
                digest.update(event.data)
                response.length += len(event.data)
                yield bytes(event.data)
            else:
                assert isinstance(event, h11.EndOfMessage), event
                response.trailers = [(n.decode(), v.decode()) for n, v in event.headers]
                response.sha256 = digest.hexdigest()
                return

    def response(self, method: str = "GET") -> Response:
        response = self.head(method)
        response.body = b"".join(self.body(response))
        return response

    def at_end(self) -> bool:
        """The other side has closed, and has sent nothing that was not asked for."""
        data, _ = self.h11.trailing_data
        rest = self.sock.recv(CHUNK)
        assert data + rest == b"", f"after the last answer: {(data + rest)[:200]!r}"
        return True


def exchange(port: int, data: bytes, *methods: str, pieces: int | None = None) -> list[Response]:
    """Send bytes on a new connection and read one answer for each method."""
    with Client(port) as client:
        client.send(data, pieces)
        return [client.response(method) for method in methods]


def raw_answer(port: int, data: bytes, timeout: float = 10.0) -> bytes:
    """Send bytes and read what comes until the other side closes."""
    received = b""
    with socket.create_connection((LOOPBACK, port), timeout=timeout) as sock:
        sock.sendall(data)
        while True:
            try:
                part = sock.recv(CHUNK)
            except ConnectionResetError:
                return received
            if not part:
                return received
            received += part


async def _one_connection(port: int, requests: Sequence[bytes], answers: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        for request in requests:
            writer.write(request)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            length = 0
            for line in head.split(b"\r\n"):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = await reader.readexactly(length)
            answers.append(head.split(b" ", 2)[1] + b" " + body)
    finally:
        writer.close()
        await writer.wait_closed()


def blast(port: int, requests: Sequence[bytes], *, connections: int = 16) -> list[bytes]:
    """All the requests over so many kept-alive connections: "STATUS BODY" of each answer.

    The answers must carry Content-Length; that a connection ends early is an error.
    """
    answers: list[bytes] = []

    async def run() -> None:
        shares = [requests[i::connections] for i in range(connections)]
        await asyncio.gather(*(_one_connection(port, share, answers) for share in shares if share))

    asyncio.run(run())
    return answers


def gets(count: int, prefix: str = "/r/", *headers: tuple[str, str]) -> list[bytes]:
    """So many GET requests, each with a target of its own."""
    return [request_bytes("GET", f"{prefix}{i}", headers) for i in range(count)]


def stalled(sock: socket.socket, data: bytes, *, quiet: float = 0.5, limit: int = 1 << 30) -> int:
    """Send ``data`` over and over until nothing is taken for ``quiet`` seconds: bytes taken."""
    sock.setblocking(False)
    view = memoryview(data)
    sent, last = 0, time.monotonic()
    while sent < limit and time.monotonic() - last < quiet:
        begin = sent % len(data)
        try:
            sent += sock.send(view[begin : begin + limit - sent])
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    return sent
