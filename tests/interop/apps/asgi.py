"""The application of servers.py for ASGI servers."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qs


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    digest = hashlib.sha256()
    more = True
    while more:
        message = await receive()
        digest.update(message.get("body", b""))
        more = message.get("more_body", False)

    async def start(status: int, *headers: tuple[bytes, bytes]) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def part(data: bytes, more: bool = False) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": more})

    path = scope["path"]
    if path == "/nothing":
        await start(204)
        await part(b"")
    elif path == "/stream":
        await start(200)
        for i in range(int(parse_qs(scope["query_string"].decode())["n"][0])):
            await part(b"%07d\n" % i * 125, True)
        await part(b"")
    else:
        answer = b"hello\n" if path == "/hello" else digest.hexdigest().encode()
        await start(200, (b"content-length", b"%d" % len(answer)))
        await part(answer)
