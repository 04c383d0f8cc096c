"""HTTPRouteFilter: what is changed of a request and its answer, where it is redirected, who gets
copies.

Invariant: a filter means what the API says, its own defaults included, or is refused by name; one
that may occur once is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastmirror.manifests.addresses import is_host
from fastmirror.manifests.drafts import given
from fastmirror.manifests.edits import Changes, read_path
from fastmirror.manifests.fields import Field
from fastmirror.manifests.policies import read_gateway_cors
from fastmirror.rules.model import Cors, Fraction, HeaderChange, Headers, Redirect, Rewrite

# The field that each type has.
_TYPES = {
    "CORS": "cors",
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
}
# Those that a single backend can have.
BACKEND_TYPES = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "URLRewrite")
_CODES = (301, 302, 303, 307, 308)


@dataclass(slots=True)
class Filters:
    headers: Headers = field(default_factory=Headers)
    redirect: Redirect | None = None
    rewrite: Rewrite = field(default_factory=Rewrite)
    cors: Cors | None = None
    mirrors: list[Field] = field(default_factory=list)
    # One of them is not supported and may be what guards the backend: requests get no other answer.
    broken: bool = False


def read_filters(owner: Field, matches: Field, types: Sequence[str] = tuple(_TYPES)) -> Filters:
    """The filters of a rule with those matches, or of one of its backends."""
    found = _by_type(owner["filters"], types)
    redirect, rewrite = _one(found, "RequestRedirect"), _one(found, "URLRewrite")
    if redirect and rewrite:
        rewrite.problem("RequestRedirect and URLRewrite cannot be used together")
    if redirect and owner["backendRefs"].items():
        redirect.problem("RequestRedirect and backendRefs cannot be used together")
    filters = Filters(_headers(found), mirrors=found.get("RequestMirror", []))
    filters.broken = len(owner["filters"].items()) > sum(map(len, found.values()))
    if cors := _one(found, "CORS"):
        filters.cors = read_gateway_cors(cors)
    if redirect:
        filters.redirect = _redirect(redirect, matches)
    if rewrite:
        rewrite.knows("hostname", "path")
        path = _path(rewrite["path"], matches)
        filters.rewrite = Rewrite(host=_hostname(rewrite["hostname"]), **path)
    return filters


def _by_type(filters: Field, supported: Sequence[str]) -> dict[str, list[Field]]:
    found: dict[str, list[Field]] = {}
    for item in filters.items():
        kind = item["type"].text()
        if kind not in supported:
            if kind:
                _refuse(item, kind)
            continue
        at = item.knows("type", _TYPES[kind])[_TYPES[kind]]
        if not at.given:
            at.expected("a mapping")
        elif kind in found and kind != "RequestMirror":
            item.problem(f"filter {kind} cannot be repeated")
        else:
            found.setdefault(kind, []).append(at)
    return found


def _refuse(item: Field, kind: str) -> None:
    if item.origin.report.lenient:
        item.warn(f"filter {kind} is not supported here: requests are answered with 500")
    else:
        item.problem(f"filter {kind} is not supported here (--lenient answers with 500)")


def _one(found: dict[str, list[Field]], kind: str) -> Field | None:
    return next(iter(found.get(kind, ())), None)


# -- header fields


def _headers(found: dict[str, list[Field]]) -> Headers:
    sides = {
        side: _change(at, side)
        for side in ("request", "response")
        if (at := _one(found, f"{side.capitalize()}HeaderModifier"))
    }
    return Headers(**given(**sides))


def _change(at: Field, side: str) -> HeaderChange:
    at.knows("add", "remove", "set")
    changes = Changes(side)
    for kind in ("set", "add"):
        names = set()
        for item in at[kind].items():
            name, value = item.knows("name", "value")["name"].text(), item["value"].text()
            # Of equivalent names the first counts, as the API says.
            if name.lower() in names:
                item.warn(f"{name} is given above already: ignored")
            elif name:
                changes.value(kind, name, value, item["value"])
            names.add(name.lower())
    for item in at["remove"].items():
        if name := item.text():
            changes.remove(name, item)
    return changes.done()


# -- where a request goes


def _redirect(at: Field, matches: Field) -> Redirect:
    at.knows("hostname", "path", "port", "scheme", "statusCode")
    code: Any = at["statusCode"].integer(0, 999, default=302)  # Istio's default is 301
    if code not in _CODES:
        at["statusCode"].expected("301, 302, 303, 307 or 308")
    scheme: Any = at["scheme"].text("http")
    if scheme not in ("http", "https"):
        at["scheme"].expected("http or https")
    return Redirect(
        scheme=scheme if at["scheme"].given else None,
        host=_hostname(at["hostname"]),
        port=at["port"].integer(1, 65535) if at["port"].given else None,
        status=code,
        **_path(at["path"], matches),
    )


def _hostname(at: Field) -> str | None:
    """A PreciseHostname: no wildcard, no port."""
    if not at.given:
        return None
    text = at.text()
    if text and (not is_host(text) or "*" in text or ":" in text):
        at.expected("a host name without wildcard and port")
    return text


def _path(at: Field, matches: Field) -> dict[str, Any]:
    """HTTPPathModifier, as the rules' ``path`` or ``prefix``."""
    if not at.given:
        return {}
    kind = at.knows("replaceFullPath", "replacePrefixMatch", "type")["type"].text()
    if kind not in ("ReplaceFullPath", "ReplacePrefixMatch"):
        if kind:
            at["type"].expected("ReplaceFullPath or ReplacePrefixMatch")
        return {}
    full, prefix = at["replaceFullPath"], at["replacePrefixMatch"]
    wanted, other = (full, prefix) if kind == "ReplaceFullPath" else (prefix, full)
    if other.given:
        other.problem(f"cannot be used with type {kind}")
    if not wanted.given:
        wanted.expected("a path")
        return {}
    if kind == "ReplaceFullPath":
        return {"path": read_path(wanted)}
    if any(item["path"]["type"].text("PathPrefix") != "PathPrefix" for item in matches.items()):
        wanted.problem("only a PathPrefix can be replaced, and not every match is one")
    return {"prefix": read_path(wanted)}


# -- copies


def read_share(mirror: Field) -> tuple[int | None, Fraction | None]:
    """How much is mirrored; all, if nothing says so."""
    at, percent = mirror["fraction"].knows("denominator", "numerator"), mirror["percent"]
    if at.given and percent.given:
        at.problem("percent and fraction cannot be used together")
        return None, None
    if not at.given:
        share = percent.integer(0, 100, default=100)
        if share == 0:
            percent.warn("0: nothing is mirrored")
        return share, None
    denominator = at["denominator"].integer(1, 2**31 - 1, default=100)
    numerator = at["numerator"].integer(0, denominator)
    if numerator == 0:
        at.warn("0: nothing is mirrored")
    return None, Fraction(numerator, denominator)
