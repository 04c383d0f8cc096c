"""What ``explain`` says of a request, and what a proxy does with it: random rules, random requests,
through real connections on the loopback. Heads are compared to the last byte.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import msgspec
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastmirror.counts import SharedCounts, SlotMap
from fastmirror.explain.asking import request_head
from fastmirror.explain.outcomes import explain
from fastmirror.explain.report import Answer, Outcome, Report
from fastmirror.explain.stage import Stage
from fastmirror.options import Options
from fastmirror.proxy.downstream import Downstream
from fastmirror.rules.load import decode_rules
from fastmirror.rules.model import Rules
from fastmirror.runtime import Runtime
from fastmirror.timers import Wheel

from .random_rules import documents, requests

RULE_SETS = 300
SERVICES = ("one", "two", "shadow")
ENDPOINTS = 3  # of each
Heads = dict[tuple[str, str], bytes]  # by service or mirror, and x-request-id


class Backend(asyncio.Protocol):
    """Answers each request, and keeps its head."""

    def __init__(self, service: str, place: Place) -> None:
        self.service = service
        self.place = place
        self.data = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.address = "{}:{}".format(*transport.get_extra_info("sockname"))

    def data_received(self, data: bytes) -> None:
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, rest = self.data.partition(b"\r\n\r\n")
            body = 0
            if size := re.search(rb"\r\ncontent-length: (\d+)", head):
                body = int(size[1])
            elif b"\r\ntransfer-encoding: chunked" in head:
                end = rest.find(b"0\r\n\r\n")
                body = end + 5 if end >= 0 else len(rest) + 1
            if len(rest) < body:
                return
            self.data = rest[body:]
            self.place.keep(self.service, self.address, head)
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


class Place:
    """A proxy that takes one document after the other, and its backends."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.shared, self.slots = SharedCounts(1), SlotMap()
        self.runtime = Runtime(Options(), Wheel(self.loop), self.shared, 0, self.slots)
        self.runtime.context.access_log = self
        self.addresses: dict[str, list[str]] = {service: [] for service in SERVICES}
        self.routes: dict[str, str | None] = {}
        self.primary: Heads = {}
        self.copies: Heads = {}
        self.reached: dict[tuple[str, str], str] = {}  # the address that got which of them
        self.stage = Stage()
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        self.servers = []
        for service in SERVICES * ENDPOINTS:
            port = await self._listen(lambda service=service: Backend(service, self))
            self.addresses[service].append(f"127.0.0.1:{port}")
        self.port = await self._listen(lambda: Downstream(self.runtime.context))

    async def _listen(self, protocol) -> int:
        server = await self.loop.create_server(protocol, "127.0.0.1", 0)
        self.servers.append(server)
        return server.sockets[0].getsockname()[1]

    def close(self) -> None:
        for server in self.servers:
            server.close()
        self.runtime.close()
        self.loop.run_until_complete(asyncio.sleep(0.05))
        self.loop.close()
        self.stage.close()

    # -- what the proxy and its backends saw

    def exchange(self, exchange) -> None:
        number = exchange.fields.request_id
        name = exchange.action.name if exchange.action is not None else None
        self.routes[number.decode()] = name

    def watch(self, copy, exchange) -> None:
        pass

    def keep(self, service: str, address: str, head: bytes) -> None:
        marker = re.findall(rb"\r\nx-fastmirror-copy: (.*)", head)
        number = re.search(rb"(?i)\r\nx-request-id: (\S+)", head)[1].decode()
        of_shadow = marker and head.endswith(marker[-1]) and marker[-1] != b"theirs"
        kept, key = (self.copies, marker[-1].decode()) if of_shadow else (self.primary, service)
        assert (key, number) not in kept
        self.reached[key, number] = address
        kept[key, number] = head + b"\r\n\r\n"

    # -- asking it

    async def ask(self, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        """The answer's head and body, on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"\r\ncontent-length: (\d+)", answer)
            length = 0 if size is None or head.startswith(b"HEAD ") else int(size[1])
            return answer, await reader.readexactly(length)
        finally:
            writer.close()

    async def settled(self) -> None:
        while self.runtime.copies():
            await asyncio.sleep(0)
            await asyncio.sleep(0.0005)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    found = Place()
    yield found
    found.close()


# -- the comparison


def compare(
    place: Place, rules: Rules, report: Report, number: str, answer: tuple[bytes, bytes]
) -> None:
    assert place.routes[number] == report.route
    check_trace(report, rules)
    [outcome] = report.outcomes
    assert outcome.percent == 100.0
    sent = {key[0]: head for key, head in place.primary.items() if key[1] == number}
    if outcome.forwarded is not None:
        assert sent == {outcome.to: joined(outcome.forwarded.head)}
        reached = place.reached[str(outcome.to), number]
        assert outcome.endpoints in ([reached], place.addresses[str(outcome.to)])
        assert answer[0].startswith(b"HTTP/1.1 200 ")
    else:
        assert sent == {}
        check_answer(outcome.answer, *answer)
    check_copies(place, outcome, number)


def check_trace(report: Report, rules: Rules) -> None:
    """Each route that is asked and does not take it has a condition in each of its blocks."""
    for considered in report.routes:
        blocks = {failed.block for failed in considered.failed}
        if considered.host_matches and not considered.taken:
            assert blocks == set(range(len(rules.routes[considered.index].match)))
            assert blocks
        else:
            assert not blocks
    assert [each.route for each in report.routes if each.taken] == (
        [report.route] if report.by == "rule" else []
    )


def check_answer(said: Answer | None, head: bytes, body: bytes) -> None:
    assert said is not None
    lines = head.decode().split("\r\n")[:-2]
    assert said.status == int(lines[0].split(" ")[1])
    assert said.headers == [line for line in lines[1:] if not line.startswith("date:")]
    assert said.body == body.decode()


def check_copies(place: Place, outcome: Outcome, number: str) -> None:
    copies = {key[0]: head for key, head in place.copies.items() if key[1] == number}
    for mirror in outcome.mirrors:
        copied = copies.pop(mirror.mirror, None)
        if mirror.key is not None and mirror.key.bucket is not None:
            below = int(mirror.key.bucket, 16) < int(mirror.threshold, 16)
            assert mirror.sampled == below
        if mirror.copied is not None:
            assert (copied is not None) == mirror.copied
        if copied is not None:
            assert mirror.copy is not None
            [end] = [
                end
                for end in mirror.copy.endpoints
                if end.address == place.reached[mirror.mirror, number]
            ]
            line, _, *rest = mirror.copy.head
            assert copied == joined([line, f"host: {end.host}", *rest])
    assert copies == {}


def joined(lines: list[str]) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode()


def rules_of(place: Place, document: dict) -> Rules:
    services = [
        {**service, "endpoints": [{"address": each} for each in place.addresses[service["name"]]]}
        for service in document["services"]
    ]
    services.append({"name": "empty"})
    return decode_rules(msgspec.msgpack.encode({**document, "services": services}), "r")


@settings(max_examples=RULE_SETS, suppress_health_check=list(HealthCheck))
@given(documents(), st.lists(requests(), min_size=4, max_size=12))
def test_the_proxy_does_what_explain_says(place, document, asked):
    rules = rules_of(place, document)
    place.runtime.apply(rules)
    for kept in (place.routes, place.primary, place.copies, place.reached):
        kept.clear()
    heads = [
        request_head(method, url, [*headers, f"x-request-id: id-{number}"])
        for number, (method, url, headers, _) in enumerate(asked)
    ]

    async def ask_all() -> list[tuple[bytes, bytes]]:
        async with asyncio.timeout(20):
            asking = [place.ask(head, each[3]) for head, each in zip(heads, asked, strict=True)]
            answers = await asyncio.gather(*asking)
            await place.settled()
        return answers

    answers = place.loop.run_until_complete(ask_all())
    for number, (head, answer) in enumerate(zip(heads, answers, strict=True)):
        report = explain(rules, head, "127.0.0.1", place.stage)
        compare(place, rules, report, f"id-{number}", answer)
