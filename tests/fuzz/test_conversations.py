"""Whole conversations through the proxy: valid ones cut anywhere, and damaged ones.

What must be true after each is in ``wire.py``; here is what must be true of the answers as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from . import strict, talk
from .wire import Place, conversation

CALM = {"idle_timeout": 5.0}
# So short that a damaged request that is never whole costs little.
HASTY = {"idle_timeout": 0.15, "request_head_timeout": 0.15, "upstream_idle_timeout": 0.5}

cuts = st.lists(st.integers(-1, 1 << 14), max_size=8)


def methods(asks: list[talk.Ask]) -> Callable[[int, strict.Message], bytes]:
    """The request that an answer is for, where all were valid: they are answered in order."""
    return lambda index, _: asks[index].method if index < len(asks) else b"GET"


def is_own(answer: strict.Message) -> bool:
    """Whether it is an error of the proxy's own."""
    return answer.value(b"server") == b"fastmirror" and answer.start[0][:1] in (b"4", b"5")


def check_answers(
    data: bytes, method_of: Callable[[int, strict.Message], bytes]
) -> list[strict.Message]:
    """Every answer is one for h11 too; the last may be cut."""
    answers, end = strict.read_answers(data, method_of)
    for index, answer in enumerate(answers):
        octets = data[answer.begin : answer.end]
        strict.check_answer(octets, answer, method_of(index, answer))
    if end < len(data):
        strict.check_answer(data[end:], None, b"GET")
    assert talk.FROM_SHADOW not in data
    return answers


# ---- valid conversations


def held(asks: list[talk.Ask], pieces: list[bytes], half_close: bool) -> tuple[Any, ...]:
    """What the primary got and what the client got, of a conversation in these pieces."""
    place = Place(talk.answer_to, talk.shadow_answer_to, {}, CALM, timeout="5s")
    got: list[bytes] = []

    def enough(received: bytes) -> bool:
        answers, end = strict.read_answers(received, methods(asks))
        all_there = len(answers) == len(asks) and end == len(received)
        return all_there and not answers[-1].until_close

    async def scenario() -> None:
        got.append(await place.talk(await place.connect(enough), pieces, half_close))

    conversation(place, scenario)
    requests = sorted(place.primary.requests(), key=lambda each: each.value(b"x-id"))
    copies = {talk.as_got(each)[0]: talk.as_got(each) for each in place.shadow.requests()}
    answers = check_answers(got[0], methods(asks))
    for each in requests:
        assert copies[each.value(b"x-id")] == talk.as_got(each)
        each.fields = [pair for pair in each.fields if pair[0] != b"x-request-id"]
    return [each.content for each in requests], [each.content for each in answers], answers


@settings(max_examples=100)
@given(talk.asks(), cuts, st.booleans())
def test_how_it_is_cut_makes_no_difference(asks, cut, half_close):
    data = b"".join(ask.data for ask in asks)
    requests, contents, answers = held(asks, [data], half_close)
    assert held(asks, talk.cut(data, cut), half_close)[:2] == (requests, contents)
    assert len(answers) == len(asks) == len(requests)
    expected = sorted((ask.expected for ask in asks), key=lambda each: each[0])
    for (start, fields, body, trailers), ask in zip(requests, expected, strict=True):
        assert (dict(fields)[b"x-id"], *start, body, trailers) == ask
    for answer, ask in zip(answers, asks, strict=True):
        assert answer.start[0] == (b"204" if ask.style == b"none" else b"200")
        assert answer.value(b"x-id") == ask.id
        note = talk.note_for(ask.id, ask.method, ask.body)
        assert answer.body == (b"" if ask.method == b"HEAD" or ask.style == b"none" else note)


# ---- damaged requests


def told_by(data: bytes, received: bytes) -> Callable[[int, strict.Message], bytes]:
    """The method that an answer is for, where the requests are damaged: the primary says so."""

    def method_of(index: int, answer: strict.Message) -> bytes:
        said = answer.values(b"x-method")
        if said:
            return said[0]
        assert is_own(answer) or answer.start[0].startswith(b"1"), answer.start
        behind = received[answer.head_end :]
        none = behind == b"" or behind.startswith(b"HTTP/1.1 ")
        return b"HEAD" if none and b"HEAD" in data else b"GET"

    return method_of


@settings(max_examples=250)
@given(
    talk.asks(),
    talk.edits,
    cuts,
    st.sampled_from([True, True, True, False]),
    st.sampled_from([{}, {"max_body": 30}, {"pipeline": 16}, {"percent": 50}]),
    st.sampled_from([False, False, False, True]),
)
def test_damaged_requests(asks, changes, cut, half_close, mirror, dead):
    data = talk.damaged(b"".join(ask.data for ask in asks), changes)
    place = Place(talk.answer_to, talk.shadow_answer_to, mirror, HASTY, dead=dead)

    async def scenario() -> None:
        received = await place.talk(await place.connect(), talk.cut(data, cut), half_close)
        check_answers(received, told_by(data, received))

    conversation(place, scenario)


# ---- damaged answers

# By client and by request: what is done to the answer, and whether its connection is then closed.
_damage = st.none() | st.tuples(talk.edits, st.sampled_from([True, True, True, False]))
_plans = st.lists(_damage, min_size=len(talk.IDS), max_size=len(talk.IDS))


@st.composite
def _clients(draw: st.DrawFn) -> list[list[talk.Ask]]:
    """Conversations that are held at once; no id is in two of them. Some are a burst of requests
    whose copies may share a connection.
    """
    names = iter(talk.IDS)
    if draw(st.booleans()):
        return [[draw(talk.get(next(names)))] for _ in range(draw(st.integers(2, 8)))]
    found = []
    for _ in range(draw(st.integers(1, 3))):
        asks = draw(talk.asks(last_style=False))[:4]
        found.append([_renamed(ask, next(names)) for ask in asks])
    return found


def _renamed(ask: talk.Ask, name: bytes) -> talk.Ask:
    trailers = [(field, name) for field, _ in ask.trailers]
    data = ask.data.replace(b"x-id: " + ask.id, b"x-id: " + name)
    if trailers:
        data = data.replace(b"X-Sum: " + ask.id, b"X-Sum: " + name)
    return talk.Ask(name, data, ask.method, ask.target, ask.body, trailers, ask.style)


def _damaging(script: Callable[..., tuple[bytes, bool]], plans: list[Any]) -> Any:
    def answer(message: strict.Message) -> tuple[bytes, bool]:
        data, closes = script(message)
        plan = dict(zip(talk.IDS, plans, strict=True)).get(message.first(b"x-id"))
        if plan is not None:
            changes, close = plan
            data, closes = talk.damaged(data, changes), closes or close
        return data, closes

    return answer


def names_in(octets: bytes) -> set[bytes]:
    return {name for name in talk.IDS if name in octets}


@pytest.mark.parametrize("pipeline", [1, 16])
@settings(max_examples=100)
@given(_clients(), _plans, _plans)
def test_damaged_answers(pipeline, clients, primary, shadow):
    """What comes behind an answer's end, or in another's stead, is never part of a later answer."""
    place = Place(
        _damaging(talk.answer_to, primary),
        _damaging(talk.shadow_answer_to, shadow),
        {"pipeline": pipeline},
        {**HASTY, "idle_timeout": 2.0},
    )

    async def scenario() -> None:
        # A connection to the shadow that was kept alive: the condition for a pipeline.
        first = b"GET / HTTP/1.1\r\nhost: a\r\nx-id: first\r\n\r\n"
        await place.talk(await place.connect(), [first], True)
        await place.settled()
        connected = [await place.connect() for _ in clients]
        talks = [
            place.talk(client, [b"".join(ask.data for ask in asks)], True)
            for client, asks in zip(connected, clients, strict=True)
        ]
        for asks, received in zip(clients, await asyncio.gather(*talks), strict=True):
            answers = check_answers(received, methods(asks))
            assert len(answers) <= len(asks)
            for answer, ask in zip(answers, asks, strict=False):
                assert names_in(received[answer.begin : answer.end]) <= {ask.id}
            rest = received[answers[-1].end if answers else 0 :]
            if rest:
                assert len(answers) < len(asks), rest
                assert names_in(rest) <= {asks[len(answers)].id}

    conversation(place, scenario)
