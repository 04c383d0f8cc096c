"""The application of servers.py on aiohttp's server. Usage: PORT."""

from __future__ import annotations

import hashlib
import sys

from aiohttp import web


async def hello(request: web.Request) -> web.Response:
    return web.Response(body=b"hello\n")


async def nothing(request: web.Request) -> web.Response:
    return web.Response(status=204)


async def digest(request: web.Request) -> web.Response:
    made = hashlib.sha256()
    async for part in request.content.iter_any():
        made.update(part)
    return web.Response(text=made.hexdigest())


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for i in range(int(request.query["n"])):
        await response.write(b"%07d\n" % i * 125)
    await response.write_eof()
    return response


if __name__ == "__main__":
    app = web.Application(client_max_size=1 << 30)
    app.router.add_get("/hello", hello)
    app.router.add_get("/nothing", nothing)
    app.router.add_post("/digest", digest)
    app.router.add_get("/stream", stream)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
