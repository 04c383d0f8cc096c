"""HTTPRouteMatch: which requests, and its precedence among all matches of all routes.

Invariant: the precedence sorts as the API says, the lower the earlier: an exact path, the longest
prefix, a method, most headers, most query parameters.
"""

from __future__ import annotations

import re
from typing import Any

from fastmirror.manifests.drafts import TOKEN, regex
from fastmirror.manifests.fields import Field
from fastmirror.rules.model import HeaderMatch, Match, PathMatch, StringMatch

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_EXACT, _PREFIX, _REGEX = range(3)  # as Istio ranks them: a regular expression comes last

# As the API has them; a request's dot segments are resolved before it is matched.
_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+")
_NO_PATH = re.compile(r"//|/\.\.?(/|$)|%2[fF]")

EVERY_REQUEST = (Match(), (_PREFIX, 0, 1, 0, 0))


def read_match(item: Field) -> tuple[Match, tuple[int, ...]]:
    """What is matched, and its precedence: the lower, the earlier."""
    item.knows("headers", "method", "path", "queryParams")
    path, kind, length = _path(item["path"])
    method = item["method"].text("") or None
    if method and method not in _METHODS:
        item["method"].expected(f"one of {', '.join(_METHODS)}")
    headers = _pairs(item["headers"], ignore_case=True)
    query = _pairs(item["queryParams"], ignore_case=False)
    match = Match(
        path=path,
        method=method,
        headers={name: HeaderMatch(**value) for name, value in headers.items()},
        query={name: StringMatch(**value) for name, value in query.items()},
    )
    return match, (kind, -length, 0 if method else 1, -len(headers), -len(query))


def _path(at: Field) -> tuple[PathMatch | None, int, int]:
    """The match, its kind and its length."""
    kind = at.knows("type", "value")["type"].text("PathPrefix")
    value = at["value"].text("/")
    if kind == "RegularExpression":
        return PathMatch(regex=regex(at["value"])), _REGEX, len(value)
    if kind not in ("Exact", "PathPrefix"):
        at["type"].expected("Exact, PathPrefix or RegularExpression")
    if not value.startswith("/"):
        at["value"].expected("a path that begins with /")
    elif not _PATH.fullmatch(value) or _NO_PATH.search(value):
        at["value"].expected("a path as requests have it, without //, dot segments and %2F")
    if kind == "Exact":
        return PathMatch(exact=value), _EXACT, len(value)
    prefix = value.rstrip("/")
    return PathMatch(path_separated_prefix=prefix) if prefix else None, _PREFIX, len(prefix)


def _pairs(at: Field, *, ignore_case: bool) -> dict[str, dict[str, Any]]:
    """Matches by name; of several for one name only the first counts, as the API says."""
    found: dict[str, dict[str, Any]] = {}
    for item in at.items():
        item.knows("name", "type", "value")
        name = item["name"].matching(TOKEN, "a name without spaces and separators")
        kind = item["type"].text("Exact")
        if kind not in ("Exact", "RegularExpression"):
            item["type"].expected("Exact or RegularExpression")
        value = item["value"].text()
        if kind == "RegularExpression":
            regex(item["value"])
        key = name.lower() if ignore_case else name
        if key in found:
            item.warn(f"{name} is matched above already: ignored")
        else:
            found[key] = {"regex" if kind == "RegularExpression" else "exact": value}
    return found
