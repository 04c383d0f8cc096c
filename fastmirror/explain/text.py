"""A report for people. Invariant: no more than a screen for an ordinary case, and nothing that is
not in the report; what is long is cut, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastmirror.explain.report import Considered, KeyFound, MirrorSays, Outcome, Report

_OTHER_HOSTS = 3  # routes for other hosts that are named one by one
_CHANGES = 8
_WIDEST = 100

Line = tuple[str, str]  # what it is about, empty where that is as in the line before; and the text


def text(report: Report) -> str:
    """Lines in two columns, each with its end."""
    lines = [*_request(report), ("", ""), *_routes(report)]
    before: list[MirrorSays] = []
    for outcome in report.outcomes:
        lines += [("", ""), *_outcome(outcome, len(report.outcomes) > 1)]
        if before and outcome.mirrors == before:
            lines.append(("mirrors", "as above"))
        else:
            for mirror in outcome.mirrors:
                lines += _mirror(mirror)
        before = outcome.mirrors
    return "".join(f"{about:<9}{said}".rstrip() + "\n" for about, said in lines)


def _cut(said: str) -> str:
    """One line that a terminal shows as it is."""
    said = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in said)
    return said if len(said) <= _WIDEST else f"{said[: _WIDEST - 3]}..."


def _request(report: Report) -> Iterator[Line]:
    asked = report.request
    yield "request", _cut(f"{asked.method} {asked.target}, Host {asked.authority or '(none)'}")
    if report.by == "proxy":
        return
    known = f"x-request-id {asked.request_id}" if asked.request_id else "no x-request-id"
    yield "", _cut(f"compared as host {asked.host}, port {asked.port}, path {asked.path}")
    yield "", _cut(f"from {asked.source}, with {known}")


def _routes(report: Report) -> Iterator[Line]:
    about = "routes"
    others = [each for each in report.routes if not each.host_matches]
    if len(others) > _OTHER_HOSTS:
        yield about, f"{len(others)} routes are for other hosts"
        about, others = "", []
    for route in report.routes:
        said = list(_route(route)) if route in others or route.host_matches else []
        for line in said:
            yield about, line
            about = ""
    name = "none" if report.route is None else report.route
    yield "route", _cut(f"{name}: {report.reason}")
    if report.delay is not None:
        yield "", f"{_percent(report.delay.percent)} are delayed by {report.delay.seconds:g} s"


def _route(route: Considered) -> Iterator[str]:
    if route.taken:
        block = f", by match[{route.block}]" if route.block is not None else ""
        yield _cut(f"{route.route} takes it{block}")
    elif not route.host_matches:
        yield _cut(f"{route.route}: is for the hosts {', '.join(route.hosts)}")
    first: dict[int, int] = {}
    for failed in route.failed:
        first[failed.block] = first.get(failed.block, 0) + 1
    for failed in route.failed:
        more = first.pop(failed.block, 0)
        if more:
            found = "nothing" if failed.found is None else f'"{failed.found}"'
            also = f" (and {more - 1} more)" if more > 1 else ""
            where = f"match[{failed.block}].{failed.field}"
            yield _cut(f"{route.route}: {where} wants {failed.wanted}, found {found}{also}")


def _outcome(outcome: Outcome, several: bool) -> Iterator[Line]:
    share = f"{_percent(outcome.percent)}: " if several else ""
    if outcome.forwarded is not None:
        sent = outcome.forwarded
        where = _few(outcome.endpoints, " or ")
        yield "primary", _cut(f"{share}{outcome.to} at {where}")
        yield "", _cut(sent.line)
        yield "", _cut(f"host: {sent.host}")
        for change in sent.changes[:_CHANGES]:
            yield "", _cut(change)
        if len(sent.changes) > _CHANGES:
            yield "", f"and {len(sent.changes) - _CHANGES} more changes"
        if sent.request_id_made:
            yield "", "+ x-request-id: made by the proxy"
    if outcome.answer is not None:
        answer = outcome.answer
        service = f"{outcome.to}: " if outcome.to is not None else ""
        yield "answer", _cut(f"{share}{service}{answer.status}, by the proxy: {outcome.cause}")
        for header in answer.headers:
            if not header.startswith(("server:", "content-length:")):
                yield "", _cut(header)
        if answer.body.strip() not in ("", outcome.cause):
            yield "", _cut(answer.body.rstrip("\n"))


def _mirror(mirror: MirrorSays) -> Iterator[Line]:
    if mirror.dropped is not None:
        fate = f"not copied: {mirror.dropped}"
        if mirror.sampled is None:
            fate += f", in the {_percent(mirror.percent)} that are sampled"
    elif mirror.sampled is None:
        fate = f"copied in {_percent(mirror.percent)} of the cases, at random"
    else:
        fate = "copied" if mirror.sampled else "not copied: not sampled"
    yield "mirror", _cut(f"{mirror.mirror} ({_percent(mirror.percent)}): {fate}")
    yield "", _cut(_sample(mirror, mirror.key))
    if mirror.note is not None:
        yield "", _cut(mirror.note)
    if mirror.copy is not None:
        copy = mirror.copy
        yield "", _cut(f"to {_few([each.address for each in copy.endpoints], ' or ')}")
        yield "", _cut(copy.line)
        hosts = list(dict.fromkeys(each.host for each in copy.endpoints))
        yield "", _cut(f"host: {_few(hosts, ' or ')}")
        yield "", _cut(f"x-fastmirror-copy: {copy.marker}")


def _sample(mirror: MirrorSays, key: KeyFound | None) -> str:
    if key is None:
        return f"key: fresh random bits, below {mirror.threshold}"
    if key.value is None:
        if key.made:
            return f"key: {key.source}, made by the proxy, so at random, below {mirror.threshold}"
        return f"key: {key.source} is missing, and missing: {key.missing}"
    assert key.bucket is not None
    sign = "<" if int(key.bucket, 16) < int(mirror.threshold, 16) else ">="
    return f'key: {key.source} "{key.value}", {key.bucket} {sign} {mirror.threshold}'


def _few(names: list[str], between: str) -> str:
    return between.join(names[:3]) + (f"{between}{len(names) - 3} more" if len(names) > 3 else "")


def _percent(percent: float) -> str:
    return f"{percent:.4g} %"
