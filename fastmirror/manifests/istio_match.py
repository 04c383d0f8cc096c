"""HTTPMatchRequest: which requests a VirtualService's rule is for.

Invariant: what is returned holds for the requests that Istio's match holds for, as they come here:
over http, with a Host in lower case and without its port. What the rules cannot compare is refused
by name.
"""

from __future__ import annotations

import re
from typing import Any

from fastmirror.manifests.drafts import TOKEN, regex
from fastmirror.manifests.fields import Field
from fastmirror.rules.model import HeaderMatch, Match, PathMatch, StringMatch
from fastmirror.rules.regex import compile_regex


def read_match(item: Field, *, by_prefix: bool) -> Match | None:
    """What is matched; None: no request, which is warned of. ``by_prefix``: what it takes of the
    path is replaced.
    """
    item.knows(
        "authority", "headers", "ignoreUriCase", "method", "queryParams", "scheme", "uri",
        "withoutHeaders", over=("name",),
    )  # fmt: skip
    if not item.given:
        item.expected("a mapping")
    path = _path(item["uri"], item["ignoreUriCase"].boolean(False), by_prefix)
    method = _strings(item["method"]) if item["method"].given else None
    match = Match(
        path=path,
        method=_method(item["method"], method) if method else None,
        headers=_headers(item),
        query={
            # Present, whatever its value.
            name: StringMatch(**(_strings(at) or {"prefix": ""}))
            for name, at in item["queryParams"].entries().items()
        },
    )
    return match if _is_http(item["scheme"]) else None


def _headers(item: Field) -> dict[str, HeaderMatch]:
    headers: dict[str, HeaderMatch] = {}
    for name, at in item["withoutHeaders"].entries().items():
        _check_header(at, name)
        if _strings(at):
            at.unsupported("a value in withoutHeaders")
        headers[name] = HeaderMatch(present=False)
    for name, at in item["headers"].entries().items():
        _check_header(at, name)
        if name in headers:
            at.problem("is in withoutHeaders as well")
        headers[name] = HeaderMatch(**(_strings(at) or {"present": True}))
    if host := _authority(item["authority"]):
        if any(name.lower() == "host" for name in headers):
            item["authority"].problem("the header host is matched as well")
        headers["host"] = HeaderMatch(**host)
    return headers


def _authority(at: Field) -> dict[str, Any]:
    """Of the Host, in the form that rules compare: in lower case, without a port."""
    kinds = _strings(at)
    for kind in ("exact", "prefix"):
        text = kinds.get(kind, "")
        if re.search(r":[0-9]*$", text.rpartition("]")[2]):
            at[kind].unsupported("a port")
            return {}
        kinds = {name: value.lower() if name == kind else value for name, value in kinds.items()}
    return {} if kinds == {"prefix": ""} else kinds


def _is_http(at: Field) -> bool:
    """Whether the scheme that is wanted is the one that requests have here."""
    kinds = _strings(at)
    exact, prefix, pattern = (kinds.get(kind) for kind in ("exact", "prefix", "regex"))
    never = (
        (exact is not None and exact != "http")
        or not "http".startswith(prefix or "")
        or (pattern is not None and not _takes(pattern, b"http"))
    )
    if never:
        at.warn("never matches: requests come over http")
    return not never


def _takes(pattern: str, value: bytes) -> bool:
    try:
        return compile_regex(pattern).fullmatch(value)
    except ValueError:
        return True  # refused already


def _strings(at: Field) -> dict[str, Any]:
    """A StringMatch: exact, prefix or regex; none of them is for the caller to understand."""
    given = list(at.knows("exact", "prefix", "regex").entries())
    if len(given) > 1:
        at.expected("one of exact, prefix, regex")
    for kind in given:
        if kind == "regex":
            regex(at[kind])
        else:
            at[kind].string()
    return {kind: at[kind].value for kind in given[:1] if isinstance(at[kind].value, str)}


def _path(at: Field, ignore_case: bool, by_prefix: bool) -> PathMatch | None:
    kinds = _strings(at)
    for kind in ("exact", "prefix"):
        text = kinds.get(kind)
        if text is not None and not text.startswith("/") and (kind, text) != ("prefix", ""):
            at[kind].expected("a path that begins with /")
    if kinds in ({}, {"prefix": ""}):
        if kinds and by_prefix:
            at["prefix"].unsupported("a rewrite of an empty prefix")
        return None  # an empty prefix matches every request
    if ignore_case and "regex" not in kinds:
        # Said as a regular expression, it takes all of the path.
        if "prefix" in kinds and by_prefix:
            at["prefix"].unsupported("a rewrite of a prefix in any case")
            return PathMatch(**kinds)
        ((kind, text),) = kinds.items()
        rest = "(?s:.*)" if kind == "prefix" else ""
        return PathMatch(regex=f"(?i){re.escape(text)}{rest}")
    return PathMatch(**kinds)


def _method(at: Field, kinds: dict[str, str]) -> str | StringMatch:
    exact = kinds.get("exact")
    if exact is None:
        return StringMatch(**kinds)
    return at["exact"].matching(TOKEN, "a method such as GET")


def _check_header(at: Field, name: str) -> None:
    if TOKEN.fullmatch(name) is None:
        at.problem("expected the name of a header")
