"""Every answer of the corpus: whole, an octet at a time, and as an answer to HEAD.

Invariants: a client gets the answer as it should be, the proxy's own, or can tell that it was cut;
and never gets an octet of it as another request's answer, which the probe behind each entry shows.
"""

from __future__ import annotations

import pytest

from .corpus import Passed, ResponseEntry, octets, params, responses
from .peers import Answer, Asker, Peer, Seen
from .world import World, judge_fields

ENTRIES = responses()
IN_PIECES = [entry for entry in ENTRIES if len(entry.data) <= 4096]
TO_GET = [entry for entry in ENTRIES if entry.request == "GET"]


class Script:
    """A primary that answers the entry's request with the entry, and every other one right."""

    def __init__(self, world: World, entry: ResponseEntry, piece: int | None) -> None:
        self.world = world
        self.entry = entry
        self.piece = piece
        self.peer: Peer | None = None  # who got the request
        world.primary.early = self.head if entry.early else None
        world.primary.respond = self.request

    def head(self, seen: Seen) -> None:
        if seen.target == "/entry":
            self.send(seen.connection)

    def request(self, seen: Seen) -> None:
        if seen.target != "/entry":
            seen.connection.answer(seen)
            return
        if not self.entry.early:
            self.send(seen.connection)
        seen.connection.anew()

    def send(self, peer: Peer) -> None:
        self.peer = peer
        peer.piece = self.piece
        peer.send(self.entry.data)
        if self.entry.close:
            peer.finish()

    def never_again(self) -> None:
        """The proxy closes the connection, and so nothing can come over it."""
        peer = self.peer
        assert peer is not None
        self.world.wait(lambda: peer.ended, "the upstream connection closed")
        self.world.probe()

    def used_again(self) -> None:
        """The next request comes over the same connection."""
        peer = self.peer
        assert peer is not None
        peer.piece = None
        self.world.wait(lambda: not peer.unsent, "all sent")
        assert self.world.probe().connection is peer


def ask(world: World, entry: ResponseEntry, method: str) -> Asker:
    """The request; of an early answer's, only a part of the body."""
    length = "Content-Length: 10\r\n" if entry.early else ""
    head = f"{method} /entry HTTP/1.1\r\nHost: a\r\n{length}\r\n".encode()
    return world.ask(head + (b"01234" if entry.early else b""), method)


def judge_passed(world: World, expected: Passed, answer: Answer) -> None:
    assert answer.status == expected.status
    assert answer.interim == expected.interim
    assert answer.body == octets(expected.body)
    assert len(answer.values("date")) == 1
    judge_fields(expected.trailers, expected.fields, expected.absent, answer)


def judge_own(entry: ResponseEntry, answer: Answer) -> None:
    """The answer is the proxy's own, and nothing of the upstream's is in it."""
    assert answer.status in (entry.status or [502])
    assert answer.values("content-type") == ["text/plain"]
    assert answer.values("x-a") == []


def behind_the_head(data: bytes) -> bytes:
    """What follows the final head."""
    head, _, rest = data.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 1"):
        head, _, rest = rest.partition(b"\r\n\r\n")
    return rest


def judge(world: World, entry: ResponseEntry, piece: int | None) -> None:
    script = Script(world, entry, piece)
    with ask(world, entry, entry.request) as asker:
        if entry.cut:
            world.wait(lambda: asker.over(1), "the answer, or its end")
            for answer in asker.answers:
                judge_own(entry, answer)
            assert asker.answers or asker.ended
            script.never_again()
            return
        if entry.early and entry.passed is None:
            asker.send(b"56789")  # the proxy's own answer to a small body comes behind it
        answer = world.answered(asker, 1)
        if entry.passed is None or (entry.status and answer.status in entry.status):
            judge_own(entry, answer)
            script.never_again()
            return
        judge_passed(world, entry.passed, answer)
        if entry.early:
            asker.send(b"56789")
        if entry.passed.reused:
            script.used_again()
        else:
            script.never_again()


@params(ENTRIES)
def test_whole(world: World, entry: ResponseEntry) -> None:
    judge(world, entry, None)


@params(IN_PIECES)
def test_an_octet_at_a_time(world: World, entry: ResponseEntry) -> None:
    judge(world, entry, 1)


@params(TO_GET)
@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "octets"])
def test_to_head(world: World, entry: ResponseEntry, piece: int | None) -> None:
    """The same answer to HEAD: there is no body, whatever the head says; what is behind the head
    is nobody's answer."""
    if piece and len(entry.data) > 4096:
        piece = None
    script = Script(world, entry, piece)
    with ask(world, entry, "HEAD") as asker:
        answer = world.answered(asker, 1)
        assert answer.body == b""
        passed = 200 if entry.passed is None else entry.passed.status
        assert answer.status in {passed, 502, *entry.status}
        if entry.passed is not None and not entry.status:
            assert answer.status == passed
        peer = script.peer
        assert peer is not None
        if answer.status != passed or behind_the_head(entry.data) or entry.close:
            script.never_again()
        else:
            world.probe()


def test_the_corpus_is_whole() -> None:
    """It is read to its end: nobody has cut it short."""
    assert len(ENTRIES) >= 140
