"""A request's way through rules: its route, and all that may become of it there.

Invariant: each outcome is what the proxy itself does with the request, under the rules in force but
for what chance decides in them: a weight, an injected fault, a sample without a key. For those each
side is played.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import msgspec

from fastmirror.explain.mirrors import hidden, members, sample, says
from fastmirror.explain.report import (
    Answer,
    Asked,
    Delay,
    Forwarded,
    MirrorSays,
    Outcome,
    Report,
    head_lines,
    shown,
)
from fastmirror.explain.stage import Played, Stage
from fastmirror.explain.trace import considered
from fastmirror.options import Options
from fastmirror.proxy.exchange import Exchange
from fastmirror.rules.model import Abort, Destination, Fault, Mirror, Route, Rules
from fastmirror.rules.request import Request
from fastmirror.rules.table import RouteTable, default_route_name
from fastmirror.rules.units import seconds

_OPTIONS = Options()
_NO_ID = Options(x_request_id=False)
_NO_ROUTES = Rules(version=1)
_NO_FAULT = Fault()


def explain(rules: Rules, head: bytes, source: str, stage: Stage) -> Report:
    """What a proxy with these rules, and otherwise its defaults, does with a request."""
    return _Way(rules, head, source, stage).report()


class _Way:
    """One request under one document."""

    def __init__(self, rules: Rules, head: bytes, source: str, stage: Stage) -> None:
        self.rules = rules
        self.head = head
        self.source = source
        self.stage = stage
        self.asked: Request | None = None

    def _play(self, rules: Rules, options: Options = _OPTIONS) -> Played:
        return self.stage.play(rules, self.head, self.source, options)

    def report(self) -> Report:
        unrouted = self._play(_NO_ROUTES)
        exchange = unrouted.exchange
        self.asked = exchange.request
        asked = self._asked(exchange)
        if exchange.request is None or exchange.flags != "NR":
            reason = "the proxy refuses it" if exchange.request is None else "it is for the proxy"
            answered = self._outcome(Fraction(1), unrouted, [], b"")
            return Report(asked, [], None, "proxy", reason, None, [answered])
        table = RouteTable(self.rules)
        entry = table.find(exchange.request)
        routes = considered(self.rules, table, exchange.request)
        if entry is None:
            reason = "no route matches, and no service has this host"
            if table.is_named(exchange.request.host):
                reason = "no route that names this host matches, so that no service has it either"
            missed = self._outcome(Fraction(1), unrouted, [], b"")
            return Report(asked, routes, None, "none", reason, None, [missed])
        if entry.index >= len(self.rules.routes):
            service = self.rules.services[entry.index - len(self.rules.routes)]
            route = Route(name=default_route_name(service.name))
            reason = f'no route takes it, and it is a host of service "{service.name}"'
            found = self._sent_on(route, [], Fraction(1))
            return Report(asked, routes, route.name, "default", reason, None, found)
        route = self.rules.routes[entry.index]
        return Report(
            asked,
            routes,
            route.name,
            "rule",
            "the first route whose hosts and match hold",
            _delay(route),
            self._outcomes(route),
        )

    def _asked(self, exchange: Exchange) -> Asked:
        request = exchange.request
        method, target = self.head.split(b" ", 2)[:2]
        return Asked(
            method=shown(method),
            target=shown(request.target if request is not None else target),
            path=shown(request.path) if request is not None else "",
            host=shown(request.host) if request is not None else "",
            port=request.port if request is not None else 80,
            authority=shown(exchange.host),
            source=self.source,
            request_id=_text(exchange.fields.request_id),
        )

    def _outcomes(self, route: Route) -> list[Outcome]:
        found: list[Outcome] = []
        left = Fraction(1)
        abort = route.fault.abort
        if abort is not None and abort.percent > 0:
            fault = Fault(abort=Abort(status=abort.status))
            aborted = self._sent_on(route, route.to[:1], Fraction(abort.percent) / 100, fault)
            if aborted[0].cause == "fault_filter_abort":
                found += aborted
                left -= Fraction(abort.percent) / 100
        return found + self._sent_on(route, route.to, left) if left else found

    def _sent_on(
        self, route: Route, to: list[Destination], share: Fraction, fault: Fault = _NO_FAULT
    ) -> list[Outcome]:
        """Each destination's, or one that none is asked for."""
        found = []
        total = sum(each.weight for each in to)
        weighted: list[Destination | None] = [each for each in to if each.weight]
        for each in weighted or [None]:
            outcome, chose = self._one(route, each, share, fault)
            if not chose:
                return [outcome]
            part = Fraction(each.weight, total) if each is not None else Fraction(1)
            found.append(msgspec.structs.replace(outcome, percent=float(share * part * 100)))
        return found

    def _one(
        self, route: Route, to: Destination | None, share: Fraction, fault: Fault
    ) -> tuple[Outcome, bool]:
        """The outcome of one destination, and whether it came to choosing one."""
        plain = self._play(self._certain(route, to, fault, []), _NO_ID)
        mirrors = route.mirrors
        if to is not None and plain.exchange.target is not None:
            mirrors = [*mirrors, *to.mirrors]
        samples = [sample(route, spec, plain) for spec in mirrors]
        played = plain
        if plain.exchange.head is not None or samples:
            certain = [each.certain() for each in samples]
            played = self._play(self._certain(route, to, fault, certain))
        made = plain.exchange.head is not None and plain.exchange.fields.request_id is None
        clear = (played.exchange.fields.request_id or b"") if made else b""
        told = [says(each, played, clear) for each in samples]
        return self._outcome(share, played, told, clear), played.exchange.target is not None

    def _certain(
        self, route: Route, to: Destination | None, fault: Fault, mirrors: list[Mirror]
    ) -> Rules:
        """Rules with this route alone, and nothing in it left to chance."""
        services = self.rules.services
        if route.name.startswith("service/"):
            own = [each for each in services if default_route_name(each.name) == route.name]
            return Rules(version=1, services=own)
        used = {each.service for each in (*([to] if to is not None else ()), *mirrors)}
        only = [msgspec.structs.replace(to, mirrors=[])] if to is not None else []
        certain = msgspec.structs.replace(route, to=only, fault=fault, mirrors=mirrors)
        kept = [each for each in services if each.name in used]
        return Rules(version=1, services=kept, routes=[certain])

    def _outcome(
        self, share: Fraction, played: Played, mirrors: list[MirrorSays], clear: bytes
    ) -> Outcome:
        exchange = played.exchange
        cluster = exchange.cluster
        asked = self.asked  # with the x-request-id that it came with: the balancer saw no other
        sent = exchange.head is not None
        cause = "forwarded" if sent else exchange.details or _line(played.answer)
        return Outcome(
            percent=float(share * 100),
            to=cluster.name if cluster is not None else None,
            cause=cause,
            endpoints=(
                [str(each.pool.address) for each in members(cluster, exchange.member, asked, b"")]
                if cluster is not None and asked is not None
                else []
            ),
            forwarded=_forwarded(exchange, clear) if sent else None,
            answer=None if sent else _answer(played.answer),
            mirrors=mirrors,
        )


def _delay(route: Route) -> Delay | None:
    delay = route.fault.delay
    if delay is None or not delay.percent:
        return None
    return Delay(seconds(delay.duration), delay.percent)


def _text(value: bytes | None) -> str | None:
    return None if value is None else shown(value)


def _line(answer: bytes) -> str:
    """What the proxy says in the body of a refusal."""
    return shown(answer.partition(b"\r\n\r\n")[2]).strip()


def _forwarded(exchange: Exchange, clear: bytes) -> Forwarded:
    assert exchange.head is not None and exchange.target is not None
    lines = head_lines(hidden(exchange.head.data, clear))
    edited = exchange.target.request.apply(exchange.fields)
    return Forwarded(
        line=lines[0],
        host=lines[1].removeprefix("host: "),
        changes=_changes(exchange.fields.items, edited.items),
        request_id_made=bool(clear),
        head=lines,
    )


def _changes(old: list[bytes], new: list[bytes]) -> list[str]:
    """What is no longer there, and what is new, of fields in the form of ``Fields.items``."""
    before = [(old[at], old[at + 1]) for at in range(0, len(old), 2)]
    after = [(new[at], new[at + 1]) for at in range(0, len(new), 2)]
    removed, added = Counter(before) - Counter(after), Counter(after) - Counter(before)
    pairs = [("-", pair) for pair in removed.elements()] + [("+", p) for p in added.elements()]
    return [f"{sign} {shown(name)}: {shown(value)}" for sign, (name, value) in pairs]


def _answer(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head_lines(head)
    return Answer(
        status=int(status.split(" ")[1]),
        headers=[line for line in fields if not line.startswith("date:")],
        body=shown(body),
    )
