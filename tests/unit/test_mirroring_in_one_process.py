"""A proxy, its primary and its shadow in one event loop: what a mirror decides and counts, seen
through real connections on the loopback.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from fractions import Fraction

import pytest
import xxhash

from fastmirror import counts

from .place import ANSWER, Place, conversation

# ---- which requests

SEED = xxhash.xxh64_intdigest(b"r/m")  # the salt of route r's mirror m
KEYS = [f"user-{at}" for at in range(40)]


def expected(key: str) -> bool:
    return xxhash.xxh64_intdigest(key.encode(), SEED) < Fraction(1, 2) * 2**64


@pytest.mark.parametrize(
    ("sample_by", "target", "headers"),
    [
        ({"header": "X-User"}, "/", {"x_user": "{}"}),
        ({"cookie": "user"}, "/", {"cookie": "a=b; user={}; c=d"}),
        ({"query": "user"}, "/?a=b&user={}&c", {}),
        ("request_id", "/", {"x_request_id": "{}"}),
        ({"request_id": True}, "/", {"x_request_id": "{}"}),
    ],
    ids=["header", "cookie", "query", "request_id", "request_id-as-key"],
)
def test_by_key_as_anyone_can_recompute(sample_by, target, headers):
    async def scenario(place: Place) -> None:
        for key in KEYS:
            sent = {name: value.format(key) for name, value in headers.items()}
            await place.ask(target.format(key), **sent)
        await place.settled()
        wanted = [key for key in KEYS if expected(key)]
        assert 5 < len(wanted) < 35
        copied = [re.search(rb"user-\d+", head)[0].decode() for head in place.shadow_heads]
        assert sorted(copied) == sorted(wanted)
        assert (place.sent, place.not_sampled) == (len(wanted), len(KEYS) - len(wanted))

    conversation(scenario, {"percent": 50, "sample_by": sample_by})


def test_by_path():
    async def scenario(place: Place) -> None:
        for key in KEYS:
            await place.ask(f"/{key}?any=thing")
        await place.settled()
        copied = {head.split(b" ")[1].decode() for head in place.shadow_heads}
        assert copied == {f"/{key}?any=thing" for key in KEYS if expected(f"/{key}")}

    conversation(scenario, {"percent": 50, "sample_by": "path"})


def test_by_source_ip_is_all_or_nothing():
    async def scenario(place: Place) -> None:
        for _ in range(10):
            await place.ask()
        await place.settled()
        assert place.sent == (10 if expected("127.0.0.1") else 0)

    conversation(scenario, {"percent": 50, "sample_by": "source_ip"})


@pytest.mark.parametrize(("missing", "sent"), [("skip", 0), ("always", 20)])
def test_a_key_that_is_missing(missing, sent):
    async def scenario(place: Place) -> None:
        for _ in range(20):
            await place.ask()
        await place.settled()
        assert (place.sent, place.not_sampled) == (sent, 20 - sent)

    conversation(scenario, {"percent": 50, "sample_by": {"header": "x-user"}, "missing": missing})


@pytest.mark.parametrize(("percent", "sent"), [(0, 0), (100, 30), (None, 30)])
def test_never_and_always(percent, sent):
    async def scenario(place: Place) -> None:
        for _ in range(30):
            await place.ask()
        await place.settled()
        assert (place.sent, place.not_sampled) == (sent, 30 - sent)
        assert place.completed == sent == len(place.shadow_heads)

    conversation(scenario, {} if percent is None else {"percent": percent})


# ---- what the copy looks like


@pytest.mark.parametrize(
    ("host", "asked", "copied"),
    [
        ({"suffix": "-shadow"}, "httpbin:8000", "httpbin-shadow:8000"),
        ({"suffix": "-shadow"}, "httpbin", "httpbin-shadow"),
        ({"suffix": ".shadow.example"}, "a.b:80", "a.b.shadow.example:80"),
        ({"suffix": "-shadow"}, "[::1]:8000", "[::1]:8000"),
        ("keep", "httpbin:8000", "httpbin:8000"),
        ({"literal": "other:1"}, "httpbin:8000", "other:1"),
    ],
)
def test_the_host_of_a_copy(host, asked, copied):
    async def scenario(place: Place) -> None:
        place.writer.write(f"GET / HTTP/1.1\r\nhost: {asked}\r\n\r\n".encode())
        await place.reader.readuntil(b"ok")
        await place.settled()
        (primary,), (copy,) = place.primary_heads, place.shadow_heads
        assert f"\r\nhost: {asked}\r\n".encode() in primary
        assert f"\r\nhost: {copied}\r\n".encode() in copy

    conversation(scenario, {"host": host})


def test_the_copy_is_the_request_as_the_primary_gets_it():
    async def scenario(place: Place) -> None:
        await place.ask(
            "/a/../b?c", authorization="Bearer t", cookie="d=e", connection="x-g", x_g="h"
        )
        await place.settled()
        (primary,), (copy,) = place.primary_heads, place.shadow_heads
        assert primary.startswith(b"GET /b?c HTTP/1.1\r\nhost: httpbin:8000\r\n")
        assert b"x-g" not in primary
        made = re.search(rb"x-request-id: (\S+)", primary)
        assert uuid.UUID(made[1].decode()).version == 4
        assert copy == primary.replace(b"httpbin:8000", b"httpbin-shadow:8000") + (
            b"\r\nx-fastmirror-copy: m"
        )

    conversation(scenario, {})


def test_a_copy_is_not_copied_again():
    async def scenario(place: Place) -> None:
        await place.ask(x_fastmirror_copy="elsewhere")
        await place.settled()
        assert (place.sent, place.dropped()) == (0, {"loop": 1})
        assert b"x-fastmirror-copy: elsewhere" in place.primary_heads[0]

    conversation(scenario, {})


# ---- how much it may cost


def test_a_rate():
    async def scenario(place: Place) -> None:
        for _ in range(20):
            assert b" 200 " in await place.ask()
        await place.settled()
        assert place.sent + place.dropped()["rate"] == 20
        assert place.sent >= 2
        assert place.dropped()["rate"] >= 10

    conversation(scenario, {"rate": 2})


def test_methods():
    async def scenario(place: Place) -> None:
        await place.ask()
        await place.settled()
        assert (place.sent, place.dropped()) == (0, {"unsafe_method": 1})

    conversation(scenario, {"methods": ["POST", "get"]})


def test_a_shadow_that_never_answers_fills_the_queue_and_no_more():
    async def scenario(place: Place) -> None:
        for _ in range(20):
            assert b" 200 " in await place.ask()
        assert place.sent == 3
        assert place.runtime.copies() == 3 + 5
        assert place.dropped() == {"queue_full": 12}
        assert place.count(counts.MIRROR_BUFFERED)[0] > 0
        place.runtime.stop_copies()
        assert place.runtime.copies() == 0
        assert place.dropped() == {"queue_full": 12, "off": 5}
        assert place.failed() == {"shutdown": 3}
        assert place.count(counts.MIRROR_BUFFERED) == [0]

    conversation(scenario, {"max_in_flight": 3, "max_queued": 5}, shadow_answer=b"")


def test_a_queue_is_bounded_in_bytes():
    async def scenario(place: Place) -> None:
        for _ in range(10):
            await place.ask(x_large="x" * 1000)
        held = place.count(counts.MIRROR_BUFFERED)[0]
        assert 2000 < held <= 4096
        assert place.sent == 1
        assert place.dropped()["bytes_full"] + place.runtime.copies() == 10

    conversation(scenario, {"max_in_flight": 1, "max_queued_bytes": "4KiB"}, shadow_answer=b"")


def test_what_waits_is_sent_when_there_is_room():
    async def scenario(place: Place) -> None:
        place.writer.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n" * 12)
        for _ in range(12):
            await place.reader.readuntil(b"\r\n\r\nok")
        await place.settled()
        assert place.sent == place.completed == len(place.shadow_heads) == 12
        assert place.count(counts.MIRROR_BUFFERED) == [0]

    conversation(scenario, {"max_in_flight": 1})


def test_a_breaker_keeps_a_dead_shadow_from_being_asked():
    async def scenario(place: Place) -> None:
        for _ in range(12):
            assert b" 200 " in await place.ask()
            await place.settled()
        assert (place.sent, place.failed(), place.dropped()) == (
            4,
            {"connect": 4},
            {"breaker": 8},
        )

    conversation(
        scenario,
        {"breaker": {"consecutive_failures": 4, "open_time": "1h"}},
        shadow_dead=True,
    )


def test_a_probe_closes_the_breaker_when_the_shadow_is_back():
    async def scenario(place: Place) -> None:
        for _ in range(2):
            await place.ask()
            await place.settled()
        assert place.failed() == {"connect": 2}
        sock, place.shadow_sock = place.shadow_sock, None
        await place.serve(sock, place.shadow_heads, ANSWER)
        while not place.completed:  # until its time is up
            await place.ask()
            await place.settled()
        refused = place.dropped().get("breaker", 0)
        for _ in range(5):
            await place.ask()
            await place.settled()
        assert place.completed == 6
        assert place.dropped().get("breaker", 0) == refused

    conversation(
        scenario,
        {"breaker": {"consecutive_failures": 2, "open_time": "50ms"}},
        shadow_dead=True,
    )


def test_a_threshold_of_0_keeps_asking():
    async def scenario(place: Place) -> None:
        for _ in range(12):
            await place.ask()
            await place.settled()
        assert place.failed() == {"connect": 12}

    conversation(scenario, {"breaker": {"consecutive_failures": 0}}, shadow_dead=True)


@pytest.mark.parametrize("status", [b"200", b"302", b"404", b"500", b"503"])
def test_what_the_shadow_answers_is_counted_and_thrown_away(status):
    async def scenario(place: Place) -> None:
        for _ in range(8):
            assert await place.ask() == b"HTTP/1.1 200 OK"
            await place.settled()
        classes = place.count(counts.MIRROR_COMPLETED, len(counts.CODE_CLASSES))
        assert classes[int(status) // 100] == sum(classes) == 8

    conversation(scenario, {}, shadow_answer=ANSWER.replace(b"200", status))


@pytest.mark.parametrize("status", [b"000", b"099", b"600", b"999"])
def test_a_status_that_is_none_is_a_failure_and_counts_once(status):
    async def scenario(place: Place) -> None:
        await place.ask()
        await place.settled()
        assert (place.sent, place.completed, place.failed()) == (1, 0, {"protocol": 1})

    conversation(
        scenario, {"response_timeout": "500ms"}, shadow_answer=ANSWER.replace(b"200", status)
    )


@pytest.mark.parametrize("pipeline", [1, 16])
def test_a_healthy_shadow_loses_no_copy_to_a_crowd(pipeline):
    """A crowd's first copies wait for connections; those behind must not wait for ever."""
    clients, requests = 64, 60

    async def one(place: Place) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n" * requests)
        for _ in range(requests):
            await reader.readuntil(b"\r\n\r\nok")
        writer.close()

    async def scenario(place: Place) -> None:
        await asyncio.gather(*[one(place) for _ in range(clients)])
        await place.settled()
        assert place.dropped() == place.failed() == {}
        assert place.completed == len(place.shadow_heads) == clients * requests

    conversation(scenario, {"max_queued": 500, "pipeline": pipeline})
