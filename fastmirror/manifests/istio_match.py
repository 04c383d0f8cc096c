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

_KINDS = ("exact", "prefix", "regex")


def read_match(item: Field, *, by_prefix: bool) -> Match | None:
    """What is matched; None: no request, which is warned of. ``by_prefix``: what it takes of the
    path is replaced.
    """
    ignored = item.origin.report.ignored
    # Whether its gateways, labels and namespace are the proxy's is found out elsewhere.
    item.knows(
        "authority", "gateways", "headers", "ignoreUriCase", "method", "port", "queryParams",
        "scheme", "sourceLabels", "sourceNamespace", "uri", "withoutHeaders",
        over=("name", "statPrefix"),
    )  # fmt: skip
    if not item.given:
        item.expected("a mapping")
    path = _path(item["uri"], item["ignoreUriCase"].boolean(False), by_prefix)
    method = _strings(item["method"]) if item["method"].given else None
    match = Match(
        path=path,
        method=_method(item["method"], method) if method else None,
        port=item["port"].integer(1, 65535) if item["port"].given else None,
        headers=_headers(item),
        without_headers=_header_matches(item["withoutHeaders"]),
        query={
            # Present, whatever its value.
            name: StringMatch(**(_values(at) or {"prefix": ""}))
            for name, at in item["queryParams"].entries().items()
        },
    )
    if item.origin.report.ignored > ignored:  # without one condition it would take more
        item.warn("never matches: a condition of it is not supported")
        return None
    return match if _is_http(item["scheme"]) else None


def _header_matches(at: Field) -> dict[str, HeaderMatch]:
    """By name; one without a value is there, whatever its value."""
    found = {}
    for name, field in at.entries().items():
        if name.startswith("@request.auth."):
            field.unsupported("a claim of a JWT")
            continue
        if TOKEN.fullmatch(name) is None:
            field.problem("expected the name of a header")
        found[name] = HeaderMatch(**(_values(field) or {"present": True}))
    return found


def _values(at: Field) -> dict[str, Any]:
    """As of ``_strings``; the regular expression ``*``, which is none, is Istio's for any value."""
    return {} if at["regex"].value == "*" else _strings(at)


def _headers(item: Field) -> dict[str, HeaderMatch]:
    headers = _header_matches(item["headers"])
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
    given = [kind for kind in at.knows(*_KINDS).entries() if kind in _KINDS]
    if len(given) > 1:
        at.expected(f"one of {', '.join(_KINDS)}")
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
