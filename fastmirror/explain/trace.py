"""Why routes do not take a request. Invariant: which routes are asked, which one takes it and
whether a condition holds is what the route table and its conditions say; here they are only named.
"""

from __future__ import annotations

from fastmirror.explain.report import Considered, Failed, shown
from fastmirror.rules.conditions import (
    Condition,
    MatchBlock,
    condition_holds,
    header_value,
    query_value,
)
from fastmirror.rules.entry import RouteEntry
from fastmirror.rules.model import HeaderMatch, Match, PathMatch, Rules, StringMatch
from fastmirror.rules.request import Request
from fastmirror.rules.table import RouteTable


def considered(rules: Rules, table: RouteTable, request: Request) -> list[Considered]:
    """The routes in order, up to the one that takes the request, or all."""
    taken = table.find(request)
    asked = {entry.index for entry in table.candidates(request.host)}
    found = []
    for route, entry in zip(rules.routes, table.entries, strict=False):
        is_taken = entry is taken
        matches = entry.index in asked
        failed = [] if is_taken or not matches else _failed(entry, route.match, request)
        found.append(
            Considered(
                index=entry.index,
                route=route.name,
                hosts=route.hosts,
                host_matches=matches,
                failed=failed,
                taken=is_taken,
                block=_block(entry, request) if is_taken else None,
            )
        )
        if is_taken:
            break
    return found


def _block(entry: RouteEntry, request: Request) -> int | None:
    block = entry.matched(request)
    return None if block is None else [each is block for each in entry.all_blocks].index(True)


def _failed(entry: RouteEntry, specs: list[Match], request: Request) -> list[Failed]:
    found = []
    for number, (block, spec) in enumerate(zip(entry.all_blocks, specs, strict=True)):
        if block.port not in (0, request.port):
            found.append(Failed(number, "port", str(block.port), str(request.port)))
        for field, condition, wanted, value in _conditions(block, spec, request):
            if not condition_holds(condition, value):
                shown_value = None if value is None else shown(value)
                found.append(Failed(number, field, wanted, shown_value))
        for (key, condition), (name, header) in zip(
            block.without, spec.without_headers.items(), strict=True
        ):
            value = header_value(request, key)
            if condition_holds(condition, value):
                shown_value = None if value is None else shown(value)
                wanted = _wanted_not(header)
                found.append(Failed(number, f"without_headers.{name}", wanted, shown_value))
    return found


def _conditions(
    block: MatchBlock, spec: Match, request: Request
) -> list[tuple[str, Condition, str, bytes | None]]:
    """Each of a block's conditions: its field, itself, what it wants, and what there is."""
    found: list[tuple[str, Condition, str, bytes | None]] = []
    if block.path is not None and spec.path is not None:
        found.append(("path", block.path, _wanted(spec.path), request.path))
    if block.method is not None and spec.method is not None:
        method = spec.method if not isinstance(spec.method, str) else StringMatch(spec.method)
        found.append(("method", block.method, _wanted(method), request.method))
    for (key, condition), (name, header) in zip(block.headers, spec.headers.items(), strict=True):
        value = header_value(request, key)
        found.append((f"headers.{name}", condition, _wanted(header), value))
    for (key, condition), (name, query) in zip(block.query, spec.query.items(), strict=True):
        found.append((f"query.{name}", condition, _wanted(query), query_value(request, key)))
    return found


def _wanted(match: StringMatch) -> str:
    for kind in ("exact", "prefix", "regex"):
        text = getattr(match, kind)
        if text is not None:
            return f'{kind} "{text}"'
    if isinstance(match, PathMatch):
        return f'path_separated_prefix "{match.path_separated_prefix}"'
    absent = isinstance(match, HeaderMatch) and match.present is False
    return "that it is absent" if absent else "that it is present"


def _wanted_not(header: HeaderMatch) -> str:
    if header.present is not None:
        return f"that it is {'absent' if header.present else 'present'}"
    return f"anything but {_wanted(header)}"
