"""Two rule sets that differ in all that a request meets, and traffic that tells them apart.

Under set A a request goes to backend A, with x-set: A, below /A, is answered with x-set: A, and is
copied to shadow A under the host a.test; and so for B. One loop serves backends and shadows and
sends the requests; an answer, or a copy, with marks of both sets fails the test.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from .documents import Document
from .procs import LOOPBACK, free_port

SETS = ("A", "B")
SLOW = 0.5  # seconds: an answer or an upload that several reloads fall into


def document(tag: str, ports: dict[str, int]) -> Document:
    def route(name: str, path: str) -> dict[str, Any]:
        changes = {"set": {"x-set": tag}}
        return {
            "name": name,
            "match": [{"path": {"prefix": path}}],
            "to": [{"service": f"backend{tag}"}],
            "headers": {"request": changes, "response": changes},
            "rewrite": {"prefix": f"/{tag}{path}"},
            "mirrors": [
                {
                    "service": f"shadow{tag}",
                    "name": "m",
                    "host": {"literal": f"{tag.lower()}.test"},
                    "max_queued": 100_000,
                }
            ],
        }

    return {
        "version": 1,
        "services": [
            {"name": f"{kind}{tag}", "endpoints": [{"address": f"{LOOPBACK}:{ports[kind + tag]}"}]}
            for kind in ("backend", "shadow")
        ],
        # The first is there in one of the sets alone: it goes and comes back with every reload.
        "routes": [route(f"only{tag}", "/only/"), route("both", "/")],
    }


def fields(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}


async def read_message(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """First line, fields and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    has = fields(head)
    body = await reader.readexactly(int(has.get("content-length", 0)))
    return head.split(b"\r\n", 1)[0].decode(), has, body


class Traffic:
    """``answers`` and ``copies`` count by set; ``routes``: the requests of each route."""

    def __init__(self) -> None:
        self.ports = {f"{kind}{tag}": free_port() for kind in ("backend", "shadow") for tag in SETS}
        self.answers: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.routes: Counter[str] = Counter()
        self.problems: list[str] = []
        self.over = False
        self.servers: list[asyncio.Server] = []
        self.open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        for name, port in self.ports.items():
            self.servers.append(
                await asyncio.start_server(self._serving(name), LOOPBACK, port, backlog=4096)
            )

    def _serving(self, name: str) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.open.add(writer)
            try:
                while True:
                    line, has, body = await read_message(reader)
                    path = line.split(" ")[1]
                    seen = f"{name[-1]} {path[1:2]} {has['x-set']}"
                    if name.startswith("shadow"):
                        self._check(self.copies, f"{seen} {has['host'][0].upper()}", line)
                    if "/slow" in path and name.startswith("backend"):
                        await asyncio.sleep(SLOW)
                    answer = f"{seen} {len(body)}".encode()
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer)
                    )
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                self.open.discard(writer)
                writer.close()

        return serve

    def _check(self, counts: Counter[str], seen: str, line: str) -> None:
        marks = set(seen.split(" "))
        if len(marks) == 1 and marks <= set(SETS):
            counts[marks.pop()] += 1
        else:
            self.problems.append(f"{line}: of more than one set: {seen}")

    async def _ask(
        self, port: int, path: str, connection: Any = None, pieces: int = 0
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A request, on a new connection unless there is one; ``pieces``: of a slow upload."""
        reader, writer = connection or await asyncio.open_connection(LOOPBACK, port)
        method = "POST" if pieces else "GET"
        head = f"{method} {path} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {pieces * 1000}\r\n"
        writer.write(f"{head}\r\n".encode())
        for _ in range(pieces):
            await asyncio.sleep(SLOW / pieces)
            writer.write(b"x" * 1000)
        line, has, body = await asyncio.wait_for(read_message(reader), 30)
        seen, length = body.decode().rsplit(" ", 1) if " 200 " in line else ("", "0")
        if " 200 " not in line or int(length) != pieces * 1000:
            self.problems.append(f"{path}: {line} {body!r}")
        else:
            self._check(self.answers, f"{seen} {has['x-set']}", path)
            self.routes[f"only{has['x-set']}" if path.startswith("/only/") else "both"] += 1
        return reader, writer

    async def send(self, port: int, kind: str) -> None:
        """Requests of one kind, one after the other, until it is over."""
        connection: Any = None
        count = 0
        try:
            while not self.over:
                count += 1
                path = f"/{'only/' if count % 2 else ''}{'slow' if kind == 'slow' else count}"
                pieces = 8 if kind == "upload" else 0
                used = await self._ask(port, path, connection, pieces)
                if kind == "new":
                    used[1].close()
                else:
                    connection = used
        except Exception as error:
            self.problems.append(f"{kind}, request {count}: {error!r}")
        finally:
            if connection is not None:
                connection[1].close()

    async def stop(self) -> None:
        for each in (*self.servers, *self.open):
            each.close()
        while self.open:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # a loop must not end with handles that are closing
