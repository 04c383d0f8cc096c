"""HTTP/1 on intercepted connections: what a rule takes, what none does, in both orders."""

from __future__ import annotations

import asyncio

import pytest

from fastmirror.intercept import captured

from .intercepting import intercepting, reset
from .test_connecting import deaf

ROUTED = b"GET /api HTTP/1.1\r\nHost: app:8080\r\n\r\n"
OTHER = b"GET /other HTTP/1.1\r\nHost: app:8080\r\nX-Own:  as it is \r\n\r\n"
CONNECT = b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n"
ELSEWHERE = b"GET /api HTTP/1.1\r\nHost: elsewhere\r\n\r\n"


class Site:
    """Answers with its name, and keeps the heads."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.heads: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader, writer):
        self.connections += 1
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + self.name)
        except asyncio.IncompleteReadError:
            writer.close()


def conversation(*requests: bytes, **options: str) -> tuple[list[bytes], Site, Site, object]:
    """The answers' bodies, the service of the rule, the original destination, and the proxy."""
    service, original = Site(b"rules"), Site(b"there")
    answers = []

    async def test(proxy):
        proxy.apply(hosts=["app"], to=await proxy.destination(service), path="/api")
        reader, writer = await proxy.client()
        for request in requests:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answers.append(head.split(b" ")[1] + b" " + await reader.readexactly(length))
        writer.close()

    return answers, service, original, intercepting(test, original, **options)


def test_a_request_that_a_rule_takes_is_routed():
    answers, service, original, proxy = conversation(ROUTED, ROUTED)
    assert answers == [b"200 rules"] * 2
    assert (len(service.heads), original.connections) == (2, 0)
    assert b"x-request-id" in service.heads[0]
    assert b"x-forwarded-for: 127.0.0.1" in service.heads[0]
    assert proxy.tunnels() == {}


@pytest.mark.parametrize("requests", [(ROUTED, OTHER, ROUTED), (OTHER, ROUTED, OTHER)])
def test_for_a_host_that_a_rule_names_each_request_is_looked_at(requests):
    answers, service, original, proxy = conversation(*requests)
    assert answers == [b"200 rules" if each is ROUTED else b"200 there" for each in requests]
    assert len(service.heads) == requests.count(ROUTED)
    assert len(original.heads) == requests.count(OTHER)
    assert original.connections == 1  # kept alive, with the client's
    for head in original.heads:
        lines = head.lower().split(b"\r\n")
        assert lines[0] == b"get /other http/1.1"
        assert sorted(lines[1:-2]) == [b"host: app:8080", b"x-own: as it is"]
    assert proxy.tunnels() == {}
    assert proxy.log.routes == ["app" if each is ROUTED else "passthrough" for each in requests]


def test_a_connection_whose_first_host_no_rule_names_is_bytes_from_then_on():
    answers, service, original, proxy = conversation(ELSEWHERE, ROUTED)
    assert answers == [b"200 there"] * 2
    assert original.heads == [ELSEWHERE, ROUTED]
    assert service.heads == []
    assert proxy.tunnels() == {"passthrough": 1}


def test_another_host_later_goes_to_the_original_destination():
    answers, service, original, _ = conversation(ROUTED, ELSEWHERE, ROUTED)
    assert answers == [b"200 rules", b"200 there", b"200 rules"]
    assert [head.split(b"\r\n")[1] for head in original.heads] == [b"host: elsewhere"]
    assert len(service.heads) == 2


STRANGE = [
    b"FROBNICATE / HTTP/1.1\r\nHost: app\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: app\r\n\r\n",
    b"GET /api HTTP/1.1\r\n\r\n",
    b"GET /api HTTP/1.1\r\nHost: app\r\nHost: app\r\n\r\n",
    b"GET /api HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"GET /api HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    b"GET /api#top HTTP/1.1\r\nHost: app\r\n\r\n",
    b"GET /api HTTP/1.1\r\nHost: app\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET /api HTTP/1.1\r\nHost: app\r\n" + b"X: a\r\n" * 200 + b"\r\n",
    b"GET http://elsewhere/api HTTP/1.1\r\nHost: elsewhere\r\nProxy-Authorization: a\r\n\r\n",
    b"GET http://app/other HTTP/1.1\r\nHost: app\r\n\r\n",
    b"GET /api/../other HTTP/1.1\r\nHost: app\r\n\r\n",
    b"GET /api\r\n\r\n",
    b"GET /api HTTP/1.1\nHost: app\r\n\r\n",
    b"\x00 what is this\r\n\r\n",
]


async def strange(proxy, pieces, service):
    """Sends; the answers until the end. The destination closes after three requests."""
    proxy.apply(hosts=["app"], to=await proxy.destination(service), path="/api")
    reader, writer = await proxy.client()
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.002)
    writer.write_eof()
    answers = await reader.read(-1)
    writer.close()
    return answers


@pytest.mark.parametrize("request_", STRANGE, ids=range(len(STRANGE)))
@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("pieces", ["one", "each", "octets"])
def test_what_is_refused_elsewhere_goes_on_as_it_came(request_, before, pieces):
    """As the first request of its connection, and behind others, pipelined or not."""
    heard, service, answers = [], Site(b"rules"), []
    whole = [ROUTED] * before + [request_, OTHER, ROUTED]
    if pieces == "one":
        sent = [b"".join(whole)]
    elif pieces == "each":
        sent = whole
    else:
        sent = [*whole[:before], *(bytes([octet]) for octet in request_[:60]), request_[60:]]
        sent += whole[before + 1 :]

    async def original(reader, writer):
        heard.append(await reader.read(-1))
        writer.write(b"heard")
        writer.close()

    async def test(proxy):
        answers.append(await strange(proxy, sent, service))

    proxy = intercepting(test, original, detect_timeout=5.0)
    assert heard == [request_ + OTHER + ROUTED]
    assert len(service.heads) == before
    assert answers[0].count(b"200 OK") == before
    assert answers[0].endswith(b"heard")
    assert sum(proxy.tunnels().values()) == 1


def test_what_is_refused_behind_a_request_that_closes_is_not_heard():
    service, answers = Site(b"rules"), []
    last = ROUTED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    async def never(reader, writer):
        raise AssertionError("it was not to be asked")

    async def test(proxy):
        answers.append(await strange(proxy, [last, STRANGE[0]], service))

    proxy = intercepting(test, never)
    assert answers[0].count(b"200 OK") == 1
    assert proxy.tunnels() == {}


def test_a_large_body_is_refused_where_there_is_a_limit():
    answers = []
    large = b"POST /api HTTP/1.1\r\nHost: app\r\nContent-Length: 100\r\n\r\n"

    async def test(proxy):
        answers.append(await strange(proxy, [large], Site(b"rules")))

    assert intercepting(test, None, max_body_bytes=10).tunnels() == {}
    assert answers[0].startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("request_", STRANGE[:3])
def test_rejected_requests_are_refused_as_elsewhere(request_):
    answers = []

    async def test(proxy):
        answers.append(await strange(proxy, [request_], Site(b"rules")))

    assert intercepting(test, None, unmatched="reject").tunnels() == {}
    assert answers[0][:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5")


@pytest.mark.parametrize(("port", "site"), [(True, b"rules"), (False, b"there")])
def test_the_port_of_a_request_is_its_original_destinations(port, site):
    """Whatever its Host says."""
    service, original = Site(b"rules"), Site(b"there")

    async def test(proxy):
        to = await proxy.destination(service)
        wanted = proxy.kernel.to.port if port else 8080
        proxy.apply(hosts=["app"], to=to, path="/api", port=wanted)
        reader, writer = await proxy.client()
        writer.write(ROUTED)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(5) == site
        writer.close()

    intercepting(test, original)


def test_rejected_requests_get_404():
    for request in (ELSEWHERE, OTHER):
        answers, _, original, _ = conversation(request, unmatched="reject")
        assert [answer[:3] for answer in answers] == [b"404"]
        assert original.connections == 0


def test_a_request_made_to_the_port_gets_404():
    async def test(proxy):
        proxy.kernel.to = None
        reader, writer = await proxy.client()
        writer.write(ELSEWHERE)
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        writer.close()

    intercepting(test, None)


def test_a_request_that_comes_in_pieces_is_read_whole():
    async def test(proxy):
        service = Site(b"rules")
        proxy.apply(hosts=["app"], to=await proxy.destination(service))
        reader, writer = await proxy.client()
        whole = b"POST /api HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\n"
        for octet in whole:
            writer.write(bytes([octet]))
            await asyncio.sleep(0.001)
        writer.write(b"abc" + ROUTED)
        assert await reader.readuntil(b"rules")
        writer.close()

    async def never(reader, writer):
        raise AssertionError("it was not to be asked")

    intercepting(test, never, detect_timeout=5.0)


def test_connect_is_the_destinations_to_answer():
    """Whatever --allow-connect says: where it was going there may be a proxy."""
    heard, service = [], Site(b"rules")

    async def original(reader, writer):
        heard.append(await reader.read(-1))
        writer.close()

    async def test(proxy):
        await strange(proxy, [ROUTED, CONNECT], service)

    intercepting(test, original, allow_connect=True)
    assert heard == [CONNECT]


async def late(reader, writer):
    """Silent before an answer, and within it."""
    while line := await reader.readline():
        if line == b"\r\n":
            await asyncio.sleep(1)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
            await asyncio.sleep(1)
            writer.write(b"b")
    writer.close()


@pytest.mark.parametrize("request_", [ROUTED, OTHER], ids=["routed", "other"])
def test_silence_is_for_both_sides_to_bear(request_):
    """--idle-timeout is for clients of ours: what was quiet for hours without us may be so."""
    answers = []

    async def test(proxy):
        proxy.apply(hosts=["app"], to=await proxy.destination(late), path="/api")
        reader, writer = await proxy.client()
        for _ in range(2):
            writer.write(request_)
            await reader.readuntil(b"\r\n\r\n")
            answers.append(await reader.readexactly(2))
            await asyncio.sleep(1)
        writer.close()

    intercepting(test, late, idle_timeout=0.2)
    assert answers == [b"ab"] * 2


def test_a_silent_tunnel_stays():
    answers = []

    async def switch(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
        )
        writer.write(await reader.readexactly(1))
        writer.close()

    async def test(proxy):
        proxy.apply(hosts=["app"], to=await proxy.destination(switch), path="/api")
        reader, writer = await proxy.client()
        writer.write(ROUTED[:-2] + b"Upgrade: x\r\nConnection: upgrade\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(1)
        writer.write(b"1")
        answers.append(await reader.read(-1))
        writer.close()

    intercepting(test, switch, idle_timeout=0.2)
    assert answers == [b"1"]


@pytest.mark.parametrize("leave", [reset, asyncio.StreamWriter.close])
def test_a_client_that_is_gone_is_not_connected_for(monkeypatch, leave):
    monkeypatch.setattr(captured, "LEFT_TIME", 0.2)

    async def test(proxy):
        service = Site(b"rules")
        proxy.apply(hosts=["app"], to=await proxy.destination(service), path="/api")
        with deaf() as (address, _):
            proxy.kernel.to = address
            reader, writer = await proxy.client()
            writer.write(ROUTED)
            await reader.readuntil(b"rules")
            writer.write(OTHER)
            await asyncio.sleep(0.1)
            assert len(asyncio.all_tasks()) > 1
            leave(writer)
            async with asyncio.timeout(20):
                while any("Pool._connect" in repr(task) for task in asyncio.all_tasks()):
                    await asyncio.sleep(0.01)

    intercepting(test, None)
