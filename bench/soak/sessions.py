"""The sessions of the soak: each is a connection that behaves well, or badly in one way.

Invariant: a session leaves no request in doubt: what the proxy may or may not have read is not sent
(a client that resets has first seen that its request was taken).
"""

from __future__ import annotations

import asyncio
import random

from .clients import HEAD, Client, Tally
from .services import reset

PARTS = {
    "length": 600, "chunked": 100, "none": 50, "early": 30, "until-close": 10, "closing": 10,
    "bye": 10, "before": 5, "cut": 3, "slow": 5, "large": 2,
}  # fmt: skip
STYLES = [style.encode() for style, weight in PARTS.items() for _ in range(weight)]
GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01",
    b"GET / HTTP/1.1\nhost: a\n\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",
    b"GET  / HTTP/1.1\r\n\r\n",
    b"WHAT / HTTP/1.1\r\nhost: a\r\n\r\n",
]


async def plain(client: Client) -> None:
    """Requests in pipelines of 1 to 8, on one connection."""
    for _ in range(random.randrange(1, 40)):
        depth = random.choice((1, 1, 2, 4, 8))
        asks = [client.request(random.choice(STYLES)) for _ in range(depth)]
        client.transport.write(b"".join(asks))
        if not await client.all_answered():
            return


async def half_closed(client: Client) -> None:
    """It sends no more, and still reads."""
    client.transport.write(client.request(b"length") + client.request(b"chunked"))
    client.transport.write_eof()
    await client.all_answered()
    await client.end()


async def dripping(client: Client) -> None:
    """A request in small pieces."""
    data = client.request(b"length")
    for at in range(0, 160, 16):
        client.transport.write(data[at : at + 16])
        await asyncio.sleep(0)
    client.transport.write(data[160:])
    await client.all_answered()


async def garbage(client: Client) -> None:
    """A request, and behind it what is none."""
    data = client.request(b"length", b"GET") if random.random() < 0.5 else b""
    client.tally.made += 1
    client.asks.append((client.tally.made, b"GET", b"garbage"))
    client.transport.write(data + random.choice(GARBAGE))
    await client.all_answered()
    await client.end()


async def nothing(client: Client) -> None:
    """It connects, and goes; or has begun a head. The proxy has no request to count."""
    if random.random() < 0.7:
        client.transport.write(b"GET /a/length/0 HTTP/1.1\r\nho")
        await asyncio.sleep(0.005)
    if random.random() < 0.5:
        reset(client.transport)


async def body_stops(client: Client) -> None:
    """Half of a body, once the primary has asked for it; then a reset, or an end."""
    more = b"content-length: 5000\r\nexpect: 100-continue\r\n"
    client.transport.write(client.request(b"length", b"POST", more))
    while not (client.continued or client.lost):
        await client.heard()
    if client.lost:  # the primary had closed the connection that the proxy had for it: 503
        await client.all_answered()
        return
    client.transport.write(b"x" * random.choice((0, 1, 2500)))
    await asyncio.sleep(0.002)
    way = random.randrange(3)
    if way == 0:
        reset(client.transport)
    elif way == 1:
        client.transport.write_eof()
    else:
        client.transport.close()
    await client.end()
    client.tally.aborted += len(client.asks)


async def answer_not_read(client: Client) -> None:
    """A reset within an answer."""
    client.transport.write(client.request(b"large", b"GET"))
    while client.state == HEAD and client.asks and not client.lost:
        await asyncio.sleep(0.001)
    reset(client.transport)
    await client.end()
    client.tally.aborted += len(client.asks)


SESSIONS = {plain: 70, half_closed: 4, dripping: 6, garbage: 5, nothing: 6}
SESSIONS |= {body_stops: 5, answer_not_read: 4}


async def crowd(tally: Tally, port: int, wanted: int) -> None:
    """One session after the other, until so many requests are counted."""
    loop = asyncio.get_running_loop()
    kinds, weights = list(SESSIONS), list(SESSIONS.values())
    while tally.counted < wanted:
        [session] = random.choices(kinds, weights)
        tally.sessions[session.__name__] += 1
        _, client = await loop.create_connection(lambda: Client(tally), "127.0.0.1", port)
        try:
            await session(client)
        except TimeoutError:
            tally.complain(f"{session.__name__}: nothing came: {list(client.asks)[:2]}")
        client.transport.close()
