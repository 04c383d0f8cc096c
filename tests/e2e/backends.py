"""Backends that do as they are told: record what they were sent, or misbehave in one way each.

They run on one asyncio loop in a thread, on raw sockets, so that each decides byte by byte what
it reads and sends. h11 parses what the proxy sends: a request that it refuses is recorded in
``errors``, which the tests expect to be empty.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import h11

from .procs import LOOPBACK

T = TypeVar("T")

CHUNK = 256 * 1024


@dataclass
class Request:
    """What arrived, with its body as length and hash."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    length: int = 0
    sha256: str = ""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = False

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def value(self, name: str) -> str | None:
        """The one value of a header that must not be there twice."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times: {values}"
        return values[0] if values else None

    @property
    def host(self) -> str | None:
        return self.value("host")

    def describe(self) -> bytes:
        return json.dumps(self.__dict__).encode()


def text(pairs: Any) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]


class Connection:
    """One accepted connection."""

    def __init__(self, backend: Backend, sock: socket.socket) -> None:
        self.backend = backend
        self.sock = sock
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        self.to_head = False  # the answer under way is one to HEAD: no body, whatever it says

    async def receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.sock, CHUNK)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def _event(self) -> Any:
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.h11.receive_data(await self.receive())
        return event

    async def head(self) -> Request | None:
        """The next request's head; None when the other side has closed between requests."""
        if self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE:
            self.h11.start_next_cycle()
        if self.h11.our_state is h11.MUST_CLOSE:
            return None
        event = await self._event()
        if not isinstance(event, h11.Request):
            return None
        request = Request(
            event.method.decode(),
            event.target.decode("latin-1"),
            event.http_version.decode(),
            text(event.headers),
        )
        self.to_head = request.method == "HEAD"
        self.backend.heads.append(request)
        return request

    async def body(self, request: Request) -> Request:
        digest = hashlib.sha256()
        if self.h11.they_are_waiting_for_100_continue:
            await self.inform(100)
        while True:
            event = await self._event()
            if isinstance(event, h11.Data):
                digest.update(event.data)
                request.length += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                request.trailers = text(event.headers)
                request.sha256 = digest.hexdigest()
                request.complete = True
                self.backend.requests.append(request)
                return request
            else:
                raise ConnectionResetError("closed within a request")

    async def request(self) -> Request | None:
        head = await self.head()
        return head and await self.body(head)

    def answered(self) -> None:
        """An answer was sent by hand, whole."""
        self.h11.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        self.h11.send(h11.EndOfMessage())

    async def inform(self, status: int, *headers: tuple[str, str]) -> None:
        await self.send(
            self.h11.send(h11.InformationalResponse(status_code=status, headers=list(headers)))
        )

    async def answer(
        self, body: bytes = b"", status: int = 200, *headers: tuple[str, str], length: bool = True
    ) -> None:
        """A whole answer; without ``length`` it is chunked, or ended by close for HTTP/1.0."""
        own = [("content-length", str(len(body)))] if length else []
        head = self.h11.send(h11.Response(status_code=status, headers=[*own, *headers]))
        data = self.h11.send(h11.Data(data=body)) if body and not self.to_head else b""
        await self.send(head + data + self.h11.send(h11.EndOfMessage()))


Handler = Callable[[Connection], Awaitable[None]]


class Backend:
    """A listening socket whose connections are each given to ``handler``.

    ``rcvbuf`` bounds what the kernel takes in for a handler that does not read.
    """

    def __init__(self, handler: Handler, *, rcvbuf: int | None = None, port: int = 0) -> None:
        self.handler = handler
        self.heads: list[Request] = []
        self.requests: list[Request] = []  # the complete ones
        self.errors: list[str] = []
        self.accepted = 0
        self.open = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self._sock.bind((LOOPBACK, port))
        self._sock.listen(1024)
        self._sock.setblocking(False)
        self.port: int = self._sock.getsockname()[1]

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sock, self._accept, loop)
        try:
            await loop.create_future()
        finally:
            loop.remove_reader(self._sock)
            self._sock.close()

    def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not sock_accept: cancelled with a connection in its hands, it would drop it unclosed.
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted += 1
        task = loop.create_task(self._serve_one(sock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # One that is cancelled before it has begun closes nothing.
        task.add_done_callback(lambda _: sock.close())

    async def _serve_one(self, sock: socket.socket) -> None:
        self.open += 1
        with sock:
            try:
                await self.handler(Connection(self, sock))
            except OSError:
                pass  # the other side went away: what it meant is for the test to say
            except h11.RemoteProtocolError as error:
                # Going away within a request is the sender's right; anything else is bad HTTP.
                if "closed" not in str(error):
                    self.errors.append(str(error))
            except Exception as error:
                # A mistake of a handler's, which must not pass for the proxy's doing.
                self.errors.append(repr(error))
                raise
            finally:
                self.open -= 1

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Backends:
    """The loop in its thread, and every backend started on it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._started: list[tuple[Backend, asyncio.Future[None]]] = []

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def start(self, handler: Handler, *, rcvbuf: int | None = None, port: int = 0) -> Backend:
        backend = Backend(handler, rcvbuf=rcvbuf, port=port)

        async def begin() -> asyncio.Future[None]:
            return asyncio.ensure_future(backend.serve())

        self._started.append((backend, self.call(begin())))
        return backend

    def stop(self, backend: Backend) -> None:
        """No longer there: the listener and every connection closed."""

        async def end(serving: asyncio.Future[None]) -> None:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await backend.stop()

        for entry in [entry for entry in self._started if entry[0] is backend]:
            self._started.remove(entry)
            self.call(end(entry[1]))

    def gate(self) -> Gate:
        return Gate(self._loop)

    def close(self) -> None:
        for backend, _ in list(self._started):
            self.stop(backend)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Gate:
    """What a handler waits at until the test opens it. Starts closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    async def passed(self) -> None:
        await self._event.wait()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)


# --- Backends that do right -------------------------------------------------------------------


async def echo(conn: Connection) -> None:
    """Answers each request with its description as JSON."""
    while request := await conn.request():
        await conn.answer(request.describe(), 200, ("content-type", "application/json"))


def sized(request: Request, default: int = 0) -> int:
    """The ``n`` of the query: how long an answer is wanted."""
    return int(parse_qs(urlsplit(request.target).query).get("n", [default])[0])


# --- Backends that do wrong: one fault each ----------------------------------------------------


async def never_reads(conn: Connection) -> None:
    """Accepts and reads nothing. Start it with a small ``rcvbuf``."""
    await asyncio.Event().wait()


async def never_answers(conn: Connection) -> None:
    """Reads everything and says nothing."""
    while await conn.receive():
        pass


async def resets_on_accept(conn: Connection) -> None:
    conn.reset()


async def resets_after_head(conn: Connection) -> None:
    await conn.head()
    conn.reset()


async def resets_mid_body(conn: Connection) -> None:
    """Resets within the body: the request's if it has one, else that of the answer."""
    head = await conn.head()
    if head is None:
        return
    if head.value("content-length") not in (None, "0"):
        await conn.receive()
    else:
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegun")
    conn.reset()


async def drips(conn: Connection) -> None:
    """Answers correctly, at a byte a second."""
    await conn.request()
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n":
        await conn.send(bytes([byte]))
        await asyncio.sleep(1)


async def answers_garbage(conn: Connection) -> None:
    await conn.request()
    await conn.send(b"\x00\x01 this is not HTTP \xff\r\n\r\n" * 3)
    await never_answers(conn)


async def answers_huge(conn: Connection, size: int = 10 << 20) -> None:
    while await conn.request():
        await conn.answer(bytes(size))


async def answers_huge_chunked(conn: Connection, size: int = 10 << 20) -> None:
    """As answers_huge, without announcing it."""
    while await conn.request():
        await conn.answer(bytes(size), length=False)


async def closes_each(conn: Connection) -> None:
    """Promises keep-alive, answers one request, and closes."""
    if await conn.request():
        await conn.answer(b"ok\n")


async def answers_500(conn: Connection) -> None:
    while await conn.request():
        await conn.answer(b"no\n", 500)


async def answers_early(conn: Connection) -> None:
    """Answers as soon as it has the head, and then takes the body."""
    while head := await conn.head():
        await conn.answer(b"early\n")
        await conn.body(head)
