"""Who is in front of the proxy and behind it: an Asker, and Servers with their Peers. h11 reads for
both, as somebody who has nothing to do with the proxy.

Invariants: what h11 refuses is a ``problem``, and no test passes with one; a Peer's requests keep
their octets, so that what the proxy wrote can be read again by others.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h11
from e2e.procs import LOOPBACK

from .driver import End, Listener, Loop

MAX_HEAD = 1 << 20

Pairs = list[tuple[str, str]]


def pairs(headers: Any) -> Pairs:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


@dataclass
class Message:
    """What requests and answers have in common."""

    fields: Pairs
    body: bytes = b""
    trailers: Pairs = field(default_factory=list)
    complete: bool = False

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name.lower()]

    def add(self, event: Any) -> None:
        """More of it, or its end."""
        if isinstance(event, h11.Data):
            self.body += bytes(event.data)
        else:
            self.trailers = pairs(event.headers)
            self.complete = True


@dataclass
class Answer(Message):
    status: int = 0
    interim: list[int] = field(default_factory=list)


@dataclass
class Seen(Message):
    """A request as a Peer got it; ``raw``: its octets, once it is complete."""

    method: str = ""
    target: str = ""
    version: str = ""
    raw: bytes = b""
    connection: Any = None


class Asker(End):
    """A client's connection; an answer is expected for each of the methods, in order."""

    def __init__(self, loop: Loop, port: int, *methods: str, piece: int | None = None) -> None:
        super().__init__(loop, socket.create_connection((LOOPBACK, port)), piece)
        self._methods = list(methods)
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._current: Answer | None = None
        self._interim: list[int] = []
        self.answers: list[Answer] = []  # the complete ones
        self.problem: str | None = None
        self.beyond = b""  # what came behind the last answer that is expected
        self._waiting = False
        self._expect()

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def over(self, answers: int) -> bool:
        """So many answers are there, or will never be."""
        return len(self.answers) >= answers or self.ended or self.problem is not None

    def _expect(self) -> None:
        """Tell h11 of the next request, whose octets go their own way."""
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        self._waiting = bool(self._methods) and self._h11.our_state is h11.IDLE
        if self._waiting:
            method = self._methods.pop(0)
            self._h11.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
            self._h11.send(h11.EndOfMessage())

    def took(self, data: bytes) -> None:
        if self.problem is None:
            self._feed(data)

    def took_end(self) -> None:
        if self.problem is None and not self.was_reset:
            self._feed(b"")

    def _feed(self, data: bytes) -> None:
        if not self._waiting:
            self.beyond += data
            return
        try:
            self._h11.receive_data(data)
            while self._take(self._h11.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self.problem = str(error)

    def _take(self, event: Any) -> bool:
        """One event; whether there may be more."""
        if isinstance(event, h11.InformationalResponse):
            self._interim.append(event.status_code)
        elif isinstance(event, h11.Response):
            self._current = Answer(
                pairs(event.headers), status=event.status_code, interim=self._interim
            )
            self._interim = []
        elif isinstance(event, h11.Data | h11.EndOfMessage):
            assert self._current is not None
            self._current.add(event)
            if self._current.complete:
                self.answers.append(self._current)
                rest = self._h11.trailing_data[0]
                self._expect()
                if not self._waiting:
                    self.beyond += rest
                return self._waiting
        else:
            return False
        return True


class Peer(End):
    """A connection that a Server accepted."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        super().__init__(server.loop, sock)
        self.server = server
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._current: Seen | None = None
        self._begin = 0  # where in ``received`` the request under way begins

    def anew(self) -> None:
        """The answer went out by hand, and so h11 has not seen it: another one for what follows."""
        rest = self._h11.trailing_data[0]
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        if rest:
            self._h11.receive_data(rest)

    def took(self, data: bytes) -> None:
        try:
            self._h11.receive_data(data)
            while self._take(self._h11.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self.server.problems.append(f"{error}: {bytes(self.received[self._begin :])!r}")
            self.close()

    def took_end(self) -> None:
        self.close()

    def _take(self, event: Any) -> bool:
        """One event; whether there may be more."""
        if isinstance(event, h11.Request):
            self._current = Seen(
                pairs(event.headers),
                method=event.method.decode(),
                target=event.target.decode("latin-1"),
                version=event.http_version.decode(),
                connection=self,
            )
            self.server.heads.append(self._current)
            self.server.began(self._current)
            if self._h11.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
        elif isinstance(event, h11.Data | h11.EndOfMessage):
            assert self._current is not None
            self._current.add(event)
            if self._current.complete:
                self._completed(self._current)
        else:
            return False
        return True

    def _completed(self, seen: Seen) -> None:
        end = len(self.received) - len(self._h11.trailing_data[0])
        seen.raw = bytes(self.received[self._begin : end])
        self._begin = end
        self.server.requests.append(seen)
        self.server.completed(seen)
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        elif self._h11.our_state is h11.MUST_CLOSE:
            self.finish()

    def _send(self, event: Any) -> None:
        self.send(self._h11.send(event) or b"")

    def answer(self, seen: Seen) -> None:
        """200, and what was asked for."""
        text = f"{seen.method} {seen.target}".encode("latin-1")
        length = [("content-length", str(len(text)))]
        self._send(h11.Response(status_code=200, headers=length))
        if seen.method != "HEAD":
            self._send(h11.Data(data=text))
        self._send(h11.EndOfMessage())


class Server:
    """A listener whose peers answer; ``respond`` takes the place of ``Peer.answer``, for a request
    that is complete, and ``early`` for one whose head has come."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.heads: list[Seen] = []
        self.requests: list[Seen] = []  # the complete ones
        self.problems: list[str] = []
        self.respond: Callable[[Seen], None] | None = None
        self.early: Callable[[Seen], None] | None = None
        self.port = Listener(loop, self._accepted).port

    def _accepted(self, sock: socket.socket) -> None:
        Peer(self, sock)

    def began(self, seen: Seen) -> None:
        if self.early is not None:
            self.early(seen)

    def completed(self, seen: Seen) -> None:
        if self.respond is not None:
            self.respond(seen)
        else:
            seen.connection.answer(seen)

    def forget(self) -> None:
        """Before the next test."""
        self.heads.clear()
        self.requests.clear()
        self.problems.clear()
        self.respond = self.early = None
