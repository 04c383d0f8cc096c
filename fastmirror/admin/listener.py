"""The admin listener: a small HTTP/1.1 server for operators and probes, one request a connection.

Invariants: what changes state answers POST alone; a request is bounded in size and time, and
their number too; nothing here runs for longer than a page takes to render; a page of another origin
changes nothing.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from fastmirror.admin.pages import Answer, answer
from fastmirror.listeners import bind_tcp, bind_unix
from fastmirror.rules.address import Address

if TYPE_CHECKING:
    from fastmirror.server import Server

MAX_REQUEST = 65536  # bytes
MAX_TIME = 10.0  # seconds for a request to come
MAX_ANSWER_TIME = 60.0  # and for its answer: a reload waits for every worker
MAX_CLIENTS = 64


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
        self.size = 0
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.clients.add(self)
        self.timer = asyncio.get_running_loop().call_later(MAX_TIME, self.close)
        if len(self.clients) > MAX_CLIENTS:
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
        if self.task is not None or self.parser is None:
            return
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            self._send(Answer(400, f"not a valid request: {error}\n"))
            return
        if self.size > MAX_REQUEST and self.task is None:
            self._send(Answer(413, "the request is too large\n"))

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"host":
            self.host = value
        elif name.lower() == b"origin":
            self.origin = value

    def on_message_complete(self) -> None:
        if self.task is None:
            method = self.parser.get_method().decode()
            # Any page of the web may have its visitor's browser post here; it says so then.
            if method == "POST" and self.origin and self.origin != b"http://" + self.host:
                self._send(Answer(403, "refused: a page of another origin asks for it\n"))
                return
            path = self.url.decode("ascii", "replace")
            loop = asyncio.get_running_loop()
            if self.timer is not None:
                self.timer.cancel()
            self.timer = loop.call_later(MAX_ANSWER_TIME, self.close)
            self.task = loop.create_task(self._answer(method, path))

    async def _answer(self, method: str, path: str) -> None:
        self._send(await answer(self.server, method, path), method == "HEAD")

    def _send(self, reply: Answer, head_only: bool = False) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        body = [reply.text.encode()] if isinstance(reply.text, str) else reply.text
        length = sum(len(piece) for piece in body)
        head = (
            f"HTTP/1.1 {reply.status} {reply.reason}\r\ncontent-type: {reply.content_type}\r\n"
            f"content-length: {length}\r\ncache-control: no-store\r\nconnection: close\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
            + "\r\n"
        )
        self.transport.writelines([head.encode(), *(() if head_only else body)])
        self.transport.close()
