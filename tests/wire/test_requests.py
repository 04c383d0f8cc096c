"""Every request of the corpus: whole, an octet at a time, and with another one behind it.

Invariant: what comes of an entry does not depend on the pieces in which it comes, and what is
behind it is a request of its own or nothing.
"""

from __future__ import annotations

import pytest

from .corpus import RequestEntry, params, requests
from .peers import Asker
from .world import SECOND, World, judge_refused, judge_seen

ENTRIES = requests()
IN_PIECES = [entry for entry in ENTRIES if len(entry.data) <= 4096]
FOLLOWED = [entry for entry in ENTRIES if not entry.unfinished and not entry.then]


def judge(world: World, entry: RequestEntry, asker: Asker) -> None:
    """What the entry says has come of it, and nothing else; the second request not yet judged."""
    if entry.unfinished:
        asker.finish()
        world.ends(asker)
        assert [answer.status for answer in asker.answers] in ([], [400], [408])
        assert world.primary.requests == []
        return
    answer = world.answered(asker, 1)
    if entry.forwarded is None or (entry.status and answer.status != 200):
        judge_refused(world, entry, asker, answer)
        return
    assert answer.status == 200, (answer.status, answer.body)
    seen = world.primary.requests[0]
    judge_seen(entry.forwarded, seen)
    if entry.method != "HEAD":
        assert answer.body == f"{seen.method} {seen.target}".encode("latin-1")
    if entry.then:
        behind = world.answered(asker, 2)
        assert behind.status in entry.then
    if entry.then or entry.closes:
        world.ends(asker)
    assert len(world.primary.requests) == 1


@params(ENTRIES)
def test_whole(world: World, entry: RequestEntry) -> None:
    with world.ask(entry.data, entry.method, "GET") as asker:
        judge(world, entry, asker)
    world.probe()


@params(IN_PIECES)
def test_an_octet_at_a_time(world: World, entry: RequestEntry) -> None:
    with world.ask(entry.data, entry.method, "GET", piece=1) as asker:
        judge(world, entry, asker)
    world.probe()


@params(FOLLOWED)
@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "octets"])
def test_with_another_behind(world: World, entry: RequestEntry, piece: int | None) -> None:
    if piece and len(entry.data) > 4096:
        piece = 1024
    with world.ask(entry.data + SECOND, entry.method, "GET", piece=piece) as asker:
        first = world.answered(asker, 1)
        assert first.status in [*entry.status, *([200] if entry.forwarded else [])]
        passed = entry.forwarded if first.status == 200 else None
        if entry.keeps or (passed is not None and not entry.closes):
            second = world.answered(asker, 2)
            assert (second.status, second.body) == (200, b"GET /second")
        else:
            world.ends(asker)
    world.probe()
    seen = world.primary.requests[:-1]
    if passed is not None:
        judge_seen(passed, seen.pop(0))
    assert [request.target for request in seen] == ["/second"] * (len(asker.answers) - 1)


@params([entry for entry in FOLLOWED if entry.status and not entry.keeps])
def test_refused_and_another_later(world: World, entry: RequestEntry) -> None:
    """A client that goes on as if nothing had happened is not heard any more."""
    with world.ask(entry.data, entry.method, "GET") as asker:
        judge(world, entry, asker)
        seen = len(world.primary.requests)
        if asker.ended:
            asker.send(SECOND)
            world.wait(lambda: not asker.unsent, "all sent")
        world.probe()
    assert len(world.primary.requests) == seen + 1


def test_the_corpus_is_whole() -> None:
    """It is read to its end: nobody has cut it short."""
    assert len(ENTRIES) >= 200
    assert sum(1 for entry in ENTRIES if entry.forwarded) >= 50


@pytest.mark.parametrize("count", [1, 2, 100])
def test_many_refused_at_once(world: World, count: int) -> None:
    """Only the first is answered: what is behind it is nothing any more."""
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n" * count
    with world.ask(data, "GET") as asker:
        assert world.answered(asker, 1).status == 400
        world.ends(asker)
    world.probe()
