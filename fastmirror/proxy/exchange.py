"""One request, from a client to the primary and the copies: where it goes, and its body.

Invariants: the primary gets each byte before any copy does, and nothing that a copy does reaches
this file; a request takes its route once.
"""

from __future__ import annotations

from typing import Any

from fastmirror._core import chunk_head, new_request_id, write_request, write_trailers
from fastmirror.counts import BODY_TOO_LARGE, NO_ENDPOINT, NOT_ROUTED, OVERFLOW
from fastmirror.http1.framing import CHUNKED, NO_BODY
from fastmirror.mirror.mirror import Mirror
from fastmirror.mirror.tee import abort_copies, end_copies, feed_copies, mirror_at, refuse_copies
from fastmirror.proxy.attempts import Attempts
from fastmirror.proxy.context import RouteAction
from fastmirror.proxy.forwarding import Forwarding
from fastmirror.proxy.reply import as_last
from fastmirror.rules.entry import RouteEntry


class Exchange(Forwarding):
    """Made when a request's head is complete; ``begin`` when it is its turn."""

    def begin(self) -> int:
        """Every earlier request of the client is answered: route this one."""
        self.begun = True
        if self.refusal:
            return self._send_reply()
        self._route()
        if self.whole and not self.over:
            end_copies(self.copies)
        return 0

    def _route(self) -> int:
        request = self.request
        assert request is not None
        if self.fields.max_forwards == 0 and self.method in (b"OPTIONS", b"TRACE"):
            self.own = as_last(self.method, request.target, self.fields)
            return self._reply(200, "-", "max_forwards")
        entry = self.client.context.table.find(request)
        if entry is None:
            action = self.client.unmatched()
            if action is None:
                return self._reply(404, "NR", "no route for this host and path")
            self.action = action
            return self._send_on(action, None)
        action = action_of(entry.action)
        self.action = action
        if action.delay != 0.0 and action.delayed.decide_random():
            self.flags = "DI"
            self.client.context.wheel.loop.call_later(action.delay, self.go_on, entry)
            return 0
        return self._send_on(action, entry)

    def go_on(self, entry: RouteEntry) -> None:
        """An injected delay is over."""
        if self.over or self.refusal:
            return
        self._send_on(action_of(entry.action), entry)
        if self.whole and not self.over:
            end_copies(self.copies)
        self.request_fed()

    def _send_on(self, action: RouteAction, entry: RouteEntry | None) -> int:
        """Do what the route says; without an entry, it says nothing but where."""
        request = self.request
        assert request is not None
        if action.cors is not None:
            self.origin = action.cors.allowed(self.fields)
            if self.origin is not None:
                lines = action.cors.preflight(self.method, self.fields, self.origin)
                if lines is not None:
                    self._refuse_copies(action.mirrors, NOT_ROUTED)
                    self.own = (None, lines, b"")
                    return self._reply(200, "-", "cors_preflight")
        if action.abort and action.aborted.decide_random():
            self._refuse_copies(action.mirrors, NOT_ROUTED)
            return self._reply(action.abort, "FI", "fault_filter_abort")
        if action.own is not None and entry is not None:
            return self._answer_by_rule(action, entry)
        target = action.pick()
        self.target = target
        if target.cluster is None:
            self._refuse_copies(target.mirrors, NOT_ROUTED)
            return self._reply(target.status, "NR", "the route's backend is no valid one")
        self.cluster = target.cluster
        if self.cluster.sticky is not None:
            self.cookie = self.cluster.sticky.made_for(request)
        self.member = self.cluster.pick(request, self.cookie)
        if self.member is None:
            self._refuse_copies(target.mirrors, NO_ENDPOINT)
            return self._reply(503, "UH", "no usable endpoint")
        context = self.client.context
        if 0 <= action.max_body < self.fields.content_length:
            self._refuse_copies(target.mirrors, BODY_TOO_LARGE)
            return self._reply(413, "-", "the body is too large")
        if self.cluster.limits is not None:
            self.admitted = self.cluster.limits.admits(self.member.pool)
            if not self.admitted:
                self._refuse_copies(target.mirrors, OVERFLOW)
                return self._reply(503, "UO", "too many requests for the service")
        fields, wanted, host = self.fields, request.target, self.host
        if target.edits:
            fields = target.request.apply(fields)
            if target.path and entry is not None:
                wanted = target.path.apply(request, entry.matched(request))
            if target.host is not None:
                host = target.host
        if not host:  # HTTP/1.0 has none, and what is forwarded is HTTP/1.1
            host = self.member.name
        self.sent_host = host
        forwarded = context.forwarded_for and not action.unchanged
        self.head = write_request(
            self.method,
            wanted,
            fields,
            host,
            request.source_ip if forwarded and request.source_ip else None,
            context.request_id and not action.unchanged,
            self.upgrade,
        )
        self.fields.request_id = fields.request_id
        early = self.waiting  # of a pipelined request's body, which came before its turn
        if action.retries.replays or action.retries.per_try != 0.0:
            self._keep_for_retries(early)
        self._dispatch()
        if target.mirrors:
            self._open_copies(target.mirrors, b"".join(early) if early else None)
        return 0

    def _keep_for_retries(self, early: list[bytes] | None) -> int:
        assert self.action is not None
        tries = Attempts(self, self.action.retries, self.body != NO_BODY)
        for data in early or ():
            tries.keep(data)
        self.tries = tries
        return 0

    def _refuse_copies(self, mirrors: list[Mirror], reason: int) -> int:
        """Count what would have been copied; sampled by the id that it would have had."""
        assert self.request is not None
        if not mirrors:
            return 0
        if self.client.context.request_id and self.fields.request_id is None:
            self.fields.request_id = new_request_id()
        return refuse_copies(mirrors, self.request, reason)

    def _answer_by_rule(self, action: RouteAction, entry: RouteEntry) -> int:
        """A redirect or a direct response."""
        request = self.request
        own = action.own
        assert request is not None and own is not None
        self._refuse_copies(action.mirrors, NOT_ROUTED)
        lines = own.fields(request, self.host, entry.matched(request))
        self.own = (own.kind, lines, own.body)
        return self._reply(own.status, "-", "redirect" if own.redirect else "direct_response")

    def _open_copies(self, mirrors: list[Mirror], early: bytes | None) -> int:
        assert self.request is not None and self.head is not None
        length = 0
        if self.body != NO_BODY:
            length = -1 if self.body == CHUNKED else self.fields.content_length
        for index in range(len(mirrors)):
            copy = mirror_at(mirrors, index).open(
                self.request, self.head, self.sent_host, length, self.upgrade is not None
            )
            if copy is not None:
                if self.client.context.access_log is not None:
                    self.client.context.access_log.watch(copy, self)
                if self.copies is None:
                    self.copies = []
                self.copies.append(copy)
                if early is not None:
                    copy.feed(early, self.bytes_in)
        return 0

    def request_data(self, data: bytes) -> int:
        """More of the body."""
        self.bytes_in += len(data)
        maximum = self.client.context.max_body
        if self.action is not None and self.action.max_body >= 0:
            maximum = self.action.max_body
        if 0 <= maximum < self.bytes_in and not self.over:
            return self.bad_body("")
        size = len(data)
        if self.body == CHUNKED:
            data = b"%b%b\r\n" % (chunk_head(size), data)
        return self._feed(data, size)

    def _feed(self, data: bytes, size: int) -> int:
        """To the primary, then to the copies; ``size``: of the body's bytes in it."""
        if self.refusal or self.over:
            return 0
        if self.tries is not None:
            self.tries.keep(data)
        connection = self.connection
        if connection is not None:
            connection.write(data)
            self._arm()
        elif not self.responded:
            if self.waiting is None:
                self.waiting = []
            self.waiting.append(data)
            self.client.pause_reading()
        return feed_copies(self.copies, data, size)

    def request_end(self) -> int:
        """The request is complete."""
        if self.body == CHUNKED and not self.whole:
            self._feed(write_trailers(self.trailers), 0)
        self.whole = True
        if not self.begun or self.over:
            return 0
        if self.refusal:
            if not self.answered:
                self._send_reply()
            return 0
        self._all_sent()
        if self.connection is not None:
            self._arm()
        end_copies(self.copies)
        return self._maybe_done()

    def client_gone(self) -> int:
        """The client's connection is lost; nobody hears of the answer."""
        if self.over:
            return 0
        abort_copies(self.copies)
        if self.flags == "-" and not self.tunnel:
            self.flags = "DC"
            self.details = "downstream connection closed"
        self._release(False)
        return self._done(False)

    def bad_body(self, text: str) -> int:
        """The body is not framed right, or larger (no text) than allowed."""
        if self.over:
            return 0
        if not self.begun:  # an earlier request's answer comes first
            self.waiting = None
            self.whole = True
            if text:
                return self.refuse(400, "DPE", text)
            return self.refuse(413, "-", "the body is too large")
        abort_copies(self.copies)
        self._release(False)
        if self.answered:
            self.flags = "DPE"
            self.client.reset()
            return self._done(False)
        self.keep_alive = False
        self.whole = True
        if text:
            return self._reply(400, "DPE", text)
        return self._reply(413, "-", "the body is too large")

    def client_paused(self, paused: bool) -> int:
        """The client does not keep up with what is written, or does again."""
        connection = self.connection
        if connection is None:
            return 0
        return connection.pause_reading() if paused else connection.resume_reading()

    def client_data(self, data: bytes) -> int:
        """A tunnel's bytes."""
        self.bytes_in += len(data)
        self._progress()
        connection = self.connection
        return connection.write(data) if connection is not None else 0

    def client_eof(self) -> int:
        """The client sends no more through the tunnel."""
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.write_eof()
        return 0

    def client_timed_out(self) -> int:
        """No more of the body came for too long."""
        if self.over:
            return 0
        abort_copies(self.copies)
        self._release(False)
        if self.answered:
            self.flags = "SI"
            self.client.reset()
            return self._done(False)
        self.whole = True
        self.keep_alive = False
        return self._reply(408, "SI", "the body did not come in time")


def action_of(action: Any) -> RouteAction:
    """What was put into the route table, with a C type."""
    return action  # type: ignore[no-any-return]
