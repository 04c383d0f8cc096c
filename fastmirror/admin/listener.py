"""The admin listener: a small HTTP/1.1 server for operators and probes, one request a connection.

Invariants: what changes state answers POST alone; a request is bounded in size and time, their
number too, and the pages that slow clients hold; nothing behind a connection's first request is
read; a page of another origin changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from fastmirror.admin.origin import is_foreign
from fastmirror.admin.pages import Answer, answer
from fastmirror.listeners import bind_tcp, bind_unix
from fastmirror.rules.address import Address

if TYPE_CHECKING:
    from fastmirror.server import Server

MAX_REQUEST = 65536  # bytes
MAX_TIME = 10.0  # seconds for a request to come
MAX_ANSWER_TIME = 60.0  # and for its answer: a reload waits for every worker
MAX_CLIENTS = 64
MAX_HELD = 64 << 20  # bytes of pages that others have not read to their end, for another to be sent
SMALL = 65536  # bytes of a page that is sent even so

_logger = logging.getLogger("fastmirror")


class AdminServer:
    """Bound when it is made, so that a port in use is known before anything runs.

    Raises OSError, its ``filename`` the address.
    """

    def __init__(self, address: Address) -> None:
        self.clients: set[_Client] = set()
        self.listener: asyncio.Server | None = None
        try:
            self.socket = (
                bind_unix(address.host)
                if address.is_unix
                else bind_tcp(address.host, address.port, shared=False)
            )
        except OSError as error:
            error.filename = str(address)
            raise

    async def start(self, server: Server) -> None:
        """Answer."""
        loop = asyncio.get_running_loop()

        def client() -> asyncio.Protocol:
            return _Client(server, self.clients)

        if self.socket.family == socket.AF_UNIX:
            self.listener = await loop.create_unix_server(client, sock=self.socket)
        else:
            self.listener = await loop.create_server(client, sock=self.socket)

    async def close(self) -> None:
        """Stop answering."""
        if self.listener is not None:
            self.listener.close()
        for client in list(self.clients):
            client.close()


class _Client(asyncio.Protocol):
    def __init__(self, server: Server, clients: set[_Client]) -> None:
        self.server = server
        self.clients = clients
        self.parser: Any = HttpRequestParser(self)
        self.transport: Any = None
        self.url = b""
        self.host = self.origin = b""
        self.hosts = 0
        self.size = 0
        self.body: list[bytes] = []  # others may have the same
        self.answered = self.half_closed = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.clients.add(self)
        self.timer = asyncio.get_running_loop().call_later(MAX_TIME, self.close)
        if len(self.clients) > MAX_CLIENTS and not self._take_a_place():
            self._send(Answer(503, "too many admin connections\n"))

    def connection_lost(self, error: Exception | None) -> None:
        self.clients.discard(self)
        self.transport = None
        self.parser = None
        if self.timer is not None:
            self.timer.cancel()

    def close(self) -> None:
        """Now, whatever is unsent."""
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        if self.task is not None or self.answered or self.parser is None:
            return
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            if self.task is None:  # or it is behind the request
                self._send(Answer(400, f"not a valid request: {error}\n"))
            return
        if self.size > MAX_REQUEST and self.task is None:
            self._send(Answer(413, "the request is too large\n"))

    def eof_received(self) -> bool:
        self.half_closed = True
        return self.task is not None  # it may still read the answer

    def _take_a_place(self) -> bool:
        """That of a client which sends no more: it may well be gone."""
        for client in self.clients:
            if client.half_closed:
                client.close()
                self.clients.discard(client)
                return True
        return False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"host":
            self.host = value
            self.hosts += 1
        elif name.lower() == b"origin":
            self.origin = value

    def on_message_complete(self) -> None:
        if self.task is not None or self.answered:
            return
        if self.hosts > 1:
            self._send(Answer(400, "not a valid request: more than one Host\n"))
            return
        method = self.parser.get_method().decode()
        # Any page of the web may have its visitor's browser post here; it says so then.
        if method == "POST" and self.origin and is_foreign(self.origin, self.host):
            self._send(Answer(403, "refused: a page of another origin asks for it\n"))
            return
        path = self.url.decode("ascii", "replace")
        loop = asyncio.get_running_loop()
        if self.timer is not None:
            self.timer.cancel()
        self.timer = loop.call_later(MAX_ANSWER_TIME, self.close)
        self.task = loop.create_task(self._answer(method, path))

    async def _answer(self, method: str, path: str) -> None:
        try:
            reply = await answer(self.server, method, path)
        except Exception:  # ours; nobody else would say so
            _logger.exception("admin: cannot answer %s %s", method, path)
            reply = Answer(500, "an error of fastmirror's own: see its log\n")
        self._send(reply, method == "HEAD")

    def _is_too_much(self, size: int) -> bool:
        """Whether clients that read slowly hold so much that another page has to wait."""
        pages = {id(client.body): sum(map(len, client.body)) for client in self.clients}
        return size > SMALL and sum(pages.values()) > MAX_HELD

    def _send(self, reply: Answer, head_only: bool = False) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        self.answered = True
        body = [reply.text.encode()] if isinstance(reply.text, str) else reply.text
        length = sum(map(len, body))
        if not head_only and self._is_too_much(length):
            reply = Answer(503, "others have not read their pages yet: ask again\n")
            body = [str(reply.text).encode()]
            length = len(body[0])
        head = (
            f"HTTP/1.1 {reply.status} {reply.reason}\r\ncontent-type: {reply.content_type}\r\n"
            f"content-length: {length}\r\ncache-control: no-store\r\nconnection: close\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
            + "\r\n"
        )
        if not head_only:
            self.body = body
        self.transport.writelines([head.encode(), *self.body])
        self.transport.close()
