"""An intercepted connection until it is known what it is: requests that are to be read, or bytes
for where it was going.

Invariants: what was read here is handed over, whole and in order, to whoever takes the connection;
no more than a request's head is waited for; nothing that a client sends, or does not send, keeps
its connection here for longer than the detect timeout and the head's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastmirror._framing import Head
from fastmirror.counts import DOWNSTREAM, OPAQUE, PASSED_THROUGH, SERVER_FIRST
from fastmirror.http1.heads import HeadError, parse_request
from fastmirror.http1.target import normal_host, normal_target
from fastmirror.intercept.captured import Captured
from fastmirror.intercept.detect import HTTP1, MORE, protocol_of
from fastmirror.intercept.end import reset
from fastmirror.intercept.interception import Interception
from fastmirror.intercept.original import plain
from fastmirror.intercept.relay import Relay
from fastmirror.proxy.downstream import Downstream
from fastmirror.rules.address import Address
from fastmirror.upstream.dial import keep_alive, take_urgent


def take(interception: Interception, transport: Any, original: Address) -> bool:
    """Have a connection that was just made, and was intercepted; False: it is closed already."""
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return False
    front = Front(interception, transport)
    transport.set_protocol(front)
    front.begin(original, plain(peer[0]), peer[1])
    return True


class Front:
    """An asyncio protocol (by its methods)."""

    def __init__(self, interception: Interception, transport: Any) -> None:
        self.interception = interception
        self.context = interception.context
        self.transport = transport
        self.captured: Captured | None = None
        self.data = b""
        self.head: Head | None = None  # of a request, once it is one
        self.relay: Relay | None = None  # begun for a server that may speak first
        self.timer: asyncio.TimerHandle | None = None

    def begin(self, original: Address, host: str, port: int) -> None:
        """Where it was going, and from where it comes."""
        transport = self.transport
        self.context.counts.connection(DOWNSTREAM, 1)
        self.context.clients.add(self)
        if self.interception.is_own((host, port), original):
            reset(transport)
            return
        if 0 < self.context.max_connections < len(self.context.clients):
            self.context.counts.connection_refused()
            reset(transport)
            return
        take_urgent(transport.get_extra_info("socket").fileno())
        source = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.captured = Captured(self.interception, original, source)
        if original.port in self.interception.opaque_ports:
            self._pass_on(OPAQUE)
        else:
            self._wait(self.interception.detect_timeout, self._silent)

    def data_received(self, data: bytes) -> None:
        if self.captured is None:
            return  # refused
        self.data += data
        if self.head is None:
            kind = protocol_of(self.data)
            if kind == MORE:
                return
            if kind != HTTP1:
                self._pass_on(kind)
                return
            if not self.interception.passthrough:
                self._serve()
                return
            self._wait(self.context.head_timeout, self._give_up)
            self.head = Head()
            data = self.data
        self._read_head(self.head, data)

    def eof_received(self) -> bool:
        if self.captured is None:
            return False
        self._pass_on(OPAQUE if self.head is None else PASSED_THROUGH, ended=True)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._let_go()
        relay, self.relay = self.relay, None
        if relay is not None:
            relay.abandon()

    def pause_writing(self) -> None:
        """Nothing is written here."""

    def resume_writing(self) -> None:
        """Nothing is written here."""

    # -- who speaks first

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.context.wheel.loop.call_later(seconds, then)

    def _silent(self) -> None:
        """Not enough has come to tell. Where nothing has, whoever speaks first decides: a server by
        its first byte, a client that was only slow by what it says.
        """
        if self.data:
            self._pass_on(OPAQUE)
            return
        captured = self.captured
        assert captured is not None
        self.relay = Relay(self.interception, captured.original, captured.source)
        self.relay.front = self
        self.relay.connect()

    def server_spoke(self) -> None:
        """The server is the first to speak, or to close, or cannot be reached."""
        self._pass_on(OPAQUE if self.data else SERVER_FIRST)

    # -- a request's head

    def _read_head(self, head: Head, data: bytes) -> None:
        """It is waited for, since its Host decides."""
        if head.took(data) < 0 or len(self.data) > self._max_head():
            self._pass_on(PASSED_THROUGH)
        elif head.complete:
            if self._is_named(head.octets):
                self._serve()
            else:
                self._pass_on(PASSED_THROUGH)

    def _max_head(self) -> int:
        return self.context.max_header_bytes + self.context.max_uri + 4096

    def _is_named(self, head: bytes) -> bool:
        """Whether a rule could take requests for this host. What is not read without a doubt
        is not looked at: it may well work where it was going.
        """
        try:
            parsed = parse_request(head)
            fields = parsed.fields
            if fields.hosts > 1 or (fields.hosts == 0 and not parsed.http10):
                return False
            host = fields.host if fields.host is not None else b""
            if parsed.method == b"CONNECT":
                return False
            host, _ = normal_target(parsed.method, parsed.target, host)
            return self.context.table.takes(normal_host(host) if host else b"")
        except (HeadError, ValueError):
            return False

    def _give_up(self) -> None:
        """The head does not come to its end."""
        self._pass_on(PASSED_THROUGH)

    # -- handing over

    def _let_go(self) -> None:
        """The connection is no longer ours."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self in self.context.clients:
            self.context.clients.discard(self)
            self.context.counts.connection(DOWNSTREAM, -1)

    def _pass_on(self, kind: int, ended: bool = False) -> None:
        """To where it was going, as bytes."""
        captured = self.captured
        assert captured is not None
        self._let_go()
        relay, self.relay = self.relay, None
        if relay is None:
            relay = Relay(self.interception, captured.original, captured.source)
        data, self.data = self.data, b""
        relay.start(self.transport, kind, data, ended)

    def _serve(self) -> None:
        """As requests."""
        self._let_go()
        relay, self.relay = self.relay, None
        if relay is not None:
            relay.abandon()
        keep_alive(self.transport.get_extra_info("socket").fileno())
        downstream: Any = Downstream(self.context)
        downstream.captured = self.captured
        self.transport.set_protocol(downstream)
        downstream.connection_made(self.transport)
        if self.data:
            downstream.data_received(self.data)

    # -- for the worker

    def drain(self) -> None:
        """It is not known what it is: it may end by itself."""

    def cut(self) -> None:
        """The drain's time is up."""
        reset(self.transport)
