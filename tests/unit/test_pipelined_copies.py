"""``pipeline``: copies that share a connection, and every way in which a shadow can fail them.

A burst is one request on each of BURST client connections, all written before the event loop turns,
so that their copies are of one turn.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from fastmirror.counts import MIRROR_BUFFERED

from .place import ANSWER, Place, conversation

BURST = 8
CLOSE = ANSWER.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2;a=b\r\nok\r\n10\r\n0123456789abcdef\r\n0\r\nx-sum: 1\r\n\r\n"
)
EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nas long as it goes"
HUGE = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n" + b"x" * 100_000
HUGE_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4000\r\n" + b"x" * 0x4000
GARBAGE = b"what is this\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"


class Shadow(asyncio.Protocol):
    """One connection. ``script(turn)`` is what it answers the request of a burst with: bytes, and
    whether it then closes; ``pace`` cuts what is written, 0: all in one piece.
    """

    def __init__(self, log: Log) -> None:
        self.log = log
        self.data = b""
        self.answered = 0
        self.closed = False
        self.writing: asyncio.Task[None] | None = None

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.log.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        count = self.data.count(b"\r\n\r\n")
        self.log.pieces.append(count)
        answers = b""
        while b"\r\n\r\n" in self.data and not self.closed:
            head, _, self.data = self.data.partition(b"\r\n\r\n")
            target = head.split(b" ")[1].decode()
            self.log.targets.append(target)
            answer, self.closed = self.log.script(self.answered, target)
            self.answered += 1
            answers += answer
        if self.log.pace:
            self.writing = asyncio.get_running_loop().create_task(self.drip(answers))
        else:
            self.transport.write(answers)
            if self.closed:
                self.transport.close()

    async def drip(self, answers: bytes) -> None:
        for at in range(0, len(answers), self.log.pace):
            self.transport.write(answers[at : at + self.log.pace])
            await asyncio.sleep(0)
        if self.closed:
            self.transport.close()


class Log:
    """What all of a shadow's connections saw."""

    def __init__(self, script: Callable[[int, str], tuple[bytes, bool]], pace: int = 0) -> None:
        self.script = script
        self.pace = pace
        self.connections: list[Shadow] = []
        self.pieces: list[int] = []  # requests in what was read in one go
        self.targets: list[str] = []

    def protocol(self) -> Shadow:
        return Shadow(self)


async def burst(place: Place, name: str, method: str = "GET", size: int = BURST) -> None:
    """One request on each of so many connections, at once; each is answered by the primary."""
    body = "content-length: 2\r\n\r\nhi" if method == "POST" else "\r\n"
    clients = []
    for _ in range(size):
        clients.append(await asyncio.open_connection("127.0.0.1", place.port))
    for at, (_, writer) in enumerate(clients):
        writer.write(f"{method} /{name}/{at} HTTP/1.1\r\nhost: a\r\n{body}".encode())
    for reader, writer in clients:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
    await place.settled()


async def warmed(place: Place) -> None:
    """One connection to the shadow is there, and known to be kept alive."""
    await place.ask("/warm")
    await place.settled()


def plain(turn: int, target: str) -> tuple[bytes, bool]:
    return ANSWER, False


def adds_up(place: Place, sent: int) -> None:
    """Nothing waits, nothing is held, every copy has one end."""
    assert place.sent == sent == place.completed + sum(place.failed().values())
    assert place.dropped() == {}
    assert place.count(MIRROR_BUFFERED) == [0]
    assert place.runtime.copies() == 0


@pytest.mark.parametrize("pipeline", [1, 2, 3, BURST, 64])
def test_copies_of_one_turn_share_a_connection(pipeline):
    log = Log(plain)

    async def scenario(place: Place) -> None:
        await warmed(place)
        await burst(place, "first")
        assert max(log.pieces) == min(pipeline, BURST)
        assert sorted(log.targets) == sorted(["/warm", *[f"/first/{at}" for at in range(BURST)]])
        adds_up(place, 1 + BURST)
        assert place.failed() == {}

    conversation(scenario, {"pipeline": pipeline}, shadow=log.protocol)


@pytest.mark.parametrize("pace", [0, 1, 7], ids=["whole", "a byte at a time", "in sevens"])
@pytest.mark.parametrize(
    "answer",
    [ANSWER, CHUNKED, NO_CONTENT, EARLY + ANSWER, EARLY + CHUNKED],
    ids=["length", "chunked", "none", "103-length", "103-chunked"],
)
@pytest.mark.parametrize("between", [ANSWER, CHUNKED], ids=["among-length", "among-chunked"])
def test_every_framing_in_every_order(answer, between, pace):
    log = Log(lambda turn, target: (answer if turn % 2 else between, False), pace)

    async def scenario(place: Place) -> None:
        await warmed(place)
        for name in ("a", "b", "c"):
            await burst(place, name)
        assert max(log.pieces) == BURST
        assert len(log.connections) == 1
        adds_up(place, 1 + 3 * BURST)
        assert place.completed == 1 + 3 * BURST

    conversation(scenario, {"pipeline": 64}, shadow=log.protocol)


@pytest.mark.parametrize("pace", [0, 1], ids=["whole", "a byte at a time"])
@pytest.mark.parametrize(
    ("answer", "closes", "failed", "again", "held_off"),
    [
        (CLOSE, True, {}, BURST - 3, False),
        (UNTIL_CLOSE, True, {}, BURST - 3, False),
        (ANSWER, True, {}, BURST - 3, True),
        (b"", True, {}, BURST - 2, True),
        (GARBAGE, False, {"protocol": 1}, BURST - 3, True),
        (SWITCHED, False, {"protocol": 1}, BURST - 3, True),
        (CUT, True, {"reset": 1}, BURST - 3, True),
    ],
    ids=["close", "until-close", "closes", "closes-before", "garbage", "switches", "cut"],
)
def test_what_is_behind_an_early_end_is_sent_again(answer, closes, failed, again, held_off, pace):
    def script(turn: int, target: str) -> tuple[bytes, bool]:
        return (answer, closes) if turn == 3 else (ANSWER, False)  # the third of the burst

    log = Log(script, pace)

    async def scenario(place: Place) -> None:
        await warmed(place)
        await burst(place, "a")
        adds_up(place, 1 + BURST)
        assert place.failed() == failed
        seen = [target for target in log.targets if target.startswith("/a/")]
        assert len(set(seen)) == BURST
        unanswered = [target for target in set(seen) if seen.count(target) > 1]
        assert len(log.connections) == 1 + again
        assert len(unanswered) <= again
        # None of a second burst is batched by an endpoint that did not answer one in order.
        log.pieces.clear()
        log.script = plain
        await burst(place, "b")
        adds_up(place, 1 + 2 * BURST)
        assert (max(log.pieces) == 1) == held_off

    conversation(scenario, {"pipeline": 64}, shadow=log.protocol)


@pytest.mark.parametrize("answer", [HUGE, HUGE_CHUNKED], ids=["announced", "chunked"])
def test_an_answer_that_is_too_large_ends_the_batch(answer):
    log = Log(lambda turn, target: (answer if target == "/a/2" else ANSWER, False))

    async def scenario(place: Place) -> None:
        await warmed(place)
        await burst(place, "a")
        adds_up(place, 1 + BURST)
        assert place.completed == 1 + BURST

    conversation(scenario, {"pipeline": 64, "max_response": "10KiB"}, shadow=log.protocol)


def test_one_that_is_never_answered_fails_alone():
    log = Log(lambda turn, target: (b"" if target == "/a/4" else ANSWER, False))

    async def scenario(place: Place) -> None:
        await warmed(place)

        # What comes behind it must not be taken for its answer: the shadow falls silent.
        def script(turn: int, target: str) -> tuple[bytes, bool]:
            silent = target == "/a/4" or (turn > 4 and len(log.connections) == 1)
            return b"" if silent else ANSWER, False

        log.script = script
        await burst(place, "a")
        adds_up(place, 1 + BURST)
        assert place.failed() == {"timeout": 1}

    conversation(scenario, {"pipeline": 64, "response_timeout": "100ms"}, shadow=log.protocol)


def test_more_answers_than_requests_are_not_the_next_ones():
    log = Log(lambda turn, target: (ANSWER * 2 if target == "/a/7" else ANSWER, False))

    async def scenario(place: Place) -> None:
        await warmed(place)
        await burst(place, "a")
        await burst(place, "b")
        assert len(log.connections) > 1
        adds_up(place, 1 + 2 * BURST)
        assert place.failed() == {}

    conversation(scenario, {"pipeline": 64}, shadow=log.protocol)


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_only_requests_without_a_body_share(method):
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    log = Log(lambda turn, target: (answer if method == "HEAD" else ANSWER, False))

    async def scenario(place: Place) -> None:
        log.script = plain
        await warmed(place)
        if method == "HEAD":
            log.script = lambda turn, target: (answer, False)
        log.pieces.clear()
        await burst(place, "a", method)
        assert max(log.pieces) == 1
        adds_up(place, 1 + BURST)

    conversation(scenario, {"pipeline": 64}, shadow=log.protocol)


@pytest.mark.parametrize("when", ["before it is sent", "before an answer", "between answers"])
def test_mirroring_stops_while_a_batch_is_under_way(when):
    answers = 0 if when == "before an answer" else 3
    log = Log(lambda turn, target: (ANSWER if turn <= answers else b"", False))

    async def scenario(place: Place) -> None:
        await warmed(place)
        clients = [await asyncio.open_connection("127.0.0.1", place.port) for _ in range(BURST)]
        for _, writer in clients:
            writer.write(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n")
        while place.sent < 1 + BURST:
            await asyncio.sleep(0)
        if when != "before it is sent":
            while len(log.targets) < 1 + BURST or place.completed < 1 + answers:
                await asyncio.sleep(0.001)
        place.runtime.stop_copies()
        await asyncio.sleep(0.02)
        adds_up(place, 1 + BURST)
        assert place.failed() == {"shutdown": 1 + BURST - place.completed}
        for _, writer in clients:
            writer.close()

    conversation(scenario, {"pipeline": 64}, shadow=log.protocol)


def test_a_connection_that_is_lost_before_the_batch_is_sent():
    log = Log(plain)

    async def scenario(place: Place) -> None:
        await warmed(place)
        for name in "abc":
            for shadow in log.connections:
                shadow.transport.abort()  # read by the proxy in the very turn of the requests
            await burst(place, name)
            adds_up(place, place.sent)
            assert place.failed() == {}
        assert place.sent == 1 + 3 * BURST

    conversation(scenario, {"pipeline": 64}, shadow=log.protocol)


def test_copies_name_their_own_answers():
    """The status that is counted is that of the copy's own answer."""

    def script(turn: int, target: str) -> tuple[bytes, bool]:
        found = re.fullmatch(r"/a/(\d)", target)
        status = b"500 No" if found and int(found[1]) % 2 else b"200 OK"
        return ANSWER.replace(b"200 OK", status), False

    log = Log(script)

    async def scenario(place: Place) -> None:
        await warmed(place)
        await burst(place, "a")
        assert max(log.pieces) == BURST
        page = place.classes()
        assert page == {"2xx": 1 + BURST // 2, "5xx": BURST // 2}

    conversation(scenario, {"pipeline": 64}, shadow=log.protocol)
