"""What a VirtualService's rule does beside routing: redirect, directResponse, rewrite, headers.

Invariant: what is read means what Envoy does with it, or is refused by name; what cannot be said of
an answer (a redirect's uri) makes the whole of it None, so that no other one is given in its place.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from fastmirror.manifests.drafts import given, regex
from fastmirror.manifests.edits import Changes, read_host, read_path, refusal
from fastmirror.manifests.fields import Field
from fastmirror.rules.address import parse_host_pattern
from fastmirror.rules.model import (
    DirectResponse,
    HeaderChange,
    Headers,
    Match,
    Redirect,
    RegexRewrite,
    Rewrite,
)

_CODES = (301, 302, 303, 307, 308)


def read_redirect(at: Field) -> Redirect | None:
    """A redirect; None where there is none that the rules can give."""
    if not at.given:
        return None
    at.knows("authority", "derivePort", "port", "redirectCode", "scheme", "uri")
    if not any(field.value for field in at.entries().values()):
        at.expected("uri, authority, port, scheme or redirectCode")
        return None
    uri = at["uri"].string("")
    code: Any = at["redirectCode"].integer(0, 999, default=301) or 301
    if code not in _CODES:
        at["redirectCode"].expected("301, 302, 303, 307 or 308")
    if uri.startswith("%PREFIX()%"):
        at["uri"].unsupported("%PREFIX()%")
        return None
    if "?" in uri:
        at["uri"].unsupported("a query")
        return None
    path = read_path(at["uri"]) if uri else None
    where = _where(at)
    if where is None or code not in _CODES:
        return None
    return Redirect(path=path, status=code, **where)


def _where(at: Field) -> dict[str, Any] | None:
    """Scheme, host and port of a redirect; requests come over http."""
    host, scheme = read_host(at["authority"]), at["scheme"].string("") or "http"
    derive = at["derivePort"].string("")
    if scheme not in ("http", "https"):
        at["scheme"].expected("http or https")
        return None
    if derive not in ("", "FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"):
        at["derivePort"].expected("FROM_PROTOCOL_DEFAULT or FROM_REQUEST_PORT")
    port = at["port"].integer(1, 65535) if at["port"].given else None
    own = host is not None and _has_port(host)
    if port is not None and derive:
        at["derivePort"].problem("port and derivePort cannot be used together")
    if port is not None and own:
        at["port"].problem("authority has a port already")
    if derive == "FROM_REQUEST_PORT" and scheme == "https":
        at["derivePort"].unsupported("FROM_REQUEST_PORT with scheme https")
        return None
    # The rules keep the port of the request where the scheme stays; Envoy does so with its Host.
    other = derive == "FROM_PROTOCOL_DEFAULT" or (host is not None and not derive)
    if port is None and not own and other and scheme == "http":
        port = 80
    return {"host": host, "port": port, "scheme": "https" if scheme == "https" else None}


def _has_port(host: str) -> bool:
    try:
        parse_host_pattern(host)
    except ValueError:
        return True
    return False


def read_direct_response(at: Field) -> DirectResponse | None:
    """An answer of the rule's own, if there is one."""
    if not at.given:
        return None
    body = at.knows("body", "status")["body"].knows("bytes", "string")
    text = body["string"].string("")
    if body["bytes"].given:
        if text:
            body["bytes"].problem("string and bytes cannot be used together")
        text = _text(body["bytes"])
    return DirectResponse(at["status"].integer(200, 599), text)


def _text(at: Field) -> str:
    try:
        return base64.b64decode(at.string().encode(), validate=True).decode()
    except UnicodeDecodeError:
        at.unsupported("a body that is not UTF-8 text")
    except binascii.Error:
        at.expected("base64")
    return ""


def read_rewrite(at: Field, matches: Sequence[Match] | None) -> Rewrite:
    """Another Host or path; ``matches``: what its prefixes take the place of, if that is known."""
    at.knows("authority", "uri", "uriRegexRewrite")
    expression = at["uriRegexRewrite"].knows("match", "rewrite")
    host = read_host(at["authority"])
    prefix = read_path(at["uri"]) if at["uri"].value != "" else None
    if prefix is not None and expression.given:
        expression.problem("uri and uriRegexRewrite cannot be used together")
    if at.given and not expression.given and not at["uri"].value and not at["authority"].value:
        at.expected("uri, authority or uriRegexRewrite")
    if prefix is not None and matches is not None:
        _warn_of_joins(at["uri"], prefix, matches)
    if not expression.given:
        return Rewrite(host=host, prefix=prefix)
    pattern, substitution = regex(expression["match"]), expression["rewrite"].string("")
    if expression["match"].value == "":
        expression["match"].expected("a regular expression that is not empty")
    elif refusal(rewrite=Rewrite(regex=RegexRewrite(pattern, ""))) is None and (
        why := refusal(rewrite=Rewrite(regex=RegexRewrite(pattern, substitution)))
    ):
        expression["rewrite"].problem(why)
    return Rewrite(host=host, regex=RegexRewrite(pattern, substitution))


def _warn_of_joins(at: Field, prefix: str, matches: Sequence[Match]) -> None:
    """The replacement is textual, so that a slash may be doubled, or lost."""
    for match in matches or [Match()]:
        taken = match.path.prefix if match.path else "/"
        if taken is None or taken.endswith("/") == prefix.endswith("/"):
            continue
        slash = "" if taken.endswith("/") else "/"
        at.warn(f"{taken}{slash}x becomes {prefix}{slash}x: a prefix is replaced as text")
        return


def read_headers(at: Field) -> Headers:
    """Changes to request and response."""
    at.knows("request", "response")
    sides = {side: _change(at[side], side) for side in ("request", "response")}
    return Headers(**given(**sides))


def _change(at: Field, side: str) -> HeaderChange:
    at.knows("add", "remove", "set")
    changes = Changes(side)
    for kind in ("set", "add"):
        for name, field in at[kind].entries().items():
            value = _value(field)
            if value is not None:
                is_host = side == "request" and name.lower() == ":authority"
                changes.value(kind, "host" if is_host else name, value, field)
    for item in at["remove"].items():
        if name := item.text():
            changes.remove(name, item)
    return changes.done()


def _value(at: Field) -> str | None:
    """Envoy takes %NAME% for a variable, and %% for a percent sign."""
    text = at.string()
    if "%" in text.replace("%%", ""):
        at.unsupported("a value with % variables (%% is a percent sign)")
        return None
    return text.replace("%%", "%")
