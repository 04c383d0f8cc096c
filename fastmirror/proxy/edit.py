"""What a route changes of a request before it is forwarded and copied, and of its answer.

Invariants: a change gives a new value and leaves the old one, which is what was matched and what is
logged; what comes out is as valid as what came in, since validation has let through nothing else.
"""

from __future__ import annotations

from fastmirror._head import Fields
from fastmirror.http1.target import split_port
from fastmirror.rules.conditions import ELEMENTS, MatchBlock
from fastmirror.rules.model import HeaderChange, Redirect, Rewrite, Route
from fastmirror.rules.regex import compile_regex, template
from fastmirror.rules.request import Request

_OWN_PORT = {b"http": b":80", b"https": b":443"}


class HeaderEdit:
    """The changes of several, one after the other; False where there are none."""

    def __init__(self, *changes: HeaderChange) -> None:
        self.steps: list[tuple[frozenset[bytes], list[bytes]]] = []
        self.host: bytes | None = None
        for change in changes:
            removed = {name.lower().encode() for name in (*change.remove, *change.set)}
            added: list[bytes] = []
            for name, value in (*change.set.items(), *change.add.items()):
                if name.lower() == "host":
                    self.host = value.encode()
                else:
                    added += [name.encode(), value.strip(" \t").encode()]
            if removed or added:
                self.steps.append((frozenset(removed - {b"host"}), added))

    def __bool__(self) -> bool:
        return bool(self.steps)

    def apply(self, fields: Fields) -> Fields:
        """The fields, changed."""
        for removed, added in self.steps:
            fields = fields.edited(removed, added)
        return fields

    def _pairs(self) -> list[tuple[bytes, bytes]]:
        """What is set and added to an answer that has no other fields."""
        return [
            pair for _, added in self.steps for pair in zip(added[::2], added[1::2], strict=True)
        ]

    def lines(self, but: bytes) -> bytes:
        """The same as field lines, without those of a name."""
        kept = [pair for pair in self._pairs() if pair[0].lower() != but]
        return b"".join([b"%b: %b\r\n" % pair for pair in kept])

    def value(self, name: bytes) -> bytes | None:
        """The value that a field gets; None: it does not."""
        return {found.lower(): value for found, value in self._pairs()}.get(name)


class PathEdit:
    """Another path, by one of three ways."""

    def __init__(self, spec: Rewrite | Redirect) -> None:
        self.path = spec.path.encode() if spec.path is not None else None
        self.prefix = spec.prefix.encode() if spec.prefix is not None else None
        regex = spec.regex if isinstance(spec, Rewrite) else None
        self.pattern = compile_regex(regex.match) if regex is not None else None
        self.substitution: list[bytes | int] = []
        if regex is not None and self.pattern is not None:
            self.substitution = template(regex.substitution, self.pattern.groups)

    def __bool__(self) -> bool:
        return any(given is not None for given in (self.path, self.prefix, self.pattern))

    def apply(self, request: Request, block: MatchBlock | None) -> bytes:
        """The target; ``block``: the match that took the request."""
        path = request.path
        if path == b"*":
            return path
        if self.path is not None:
            path = self.path or b"/"
        elif self.prefix is not None:
            path = self._with_prefix(path, block)
        elif self.pattern is not None:
            path = self.pattern.replace(self.substitution, path)
        if not path.startswith(b"/"):
            path = b"/" + path
        return path if request.query is None else path + b"?" + request.query

    def _with_prefix(self, path: bytes, block: MatchBlock | None) -> bytes:
        assert self.prefix is not None
        condition = block.path if block is not None else None
        if condition is None:
            return self.prefix + path[1:]  # as if "/" had been matched
        rest = path[condition.taken(path) :]
        if condition.kind == ELEMENTS:
            return self.prefix.rstrip(b"/") + rest or b"/"
        return self.prefix + rest


def location(
    redirect: Redirect, edit: PathEdit, request: Request, host: bytes, block: MatchBlock | None
) -> bytes:
    """The URL that a request is sent on to; ``host``: as the client gave it."""
    scheme = redirect.scheme.encode() if redirect.scheme is not None else b"http"
    name, port = split_port(host)
    if redirect.scheme is not None and redirect.port is None:
        port = b""
    if redirect.port is not None:
        port = b":%d" % redirect.port
    if redirect.host is not None:
        name, own = split_port(redirect.host.encode())
        port = own or port
    if port == _OWN_PORT[scheme]:
        port = b""
    target = edit.apply(request, block) if edit else request.target
    return b"%b://%b%b%b" % (scheme, name, port, target)


class OwnAnswer:
    """What a route answers itself: a redirect or a direct response."""

    def __init__(self, route: Route) -> None:
        self.redirect = route.redirect
        self.path = PathEdit(route.redirect) if route.redirect is not None else None
        response = HeaderEdit(route.headers.response)
        self.lines = response.lines(but=b"content-type")
        self.kind: bytes | None = response.value(b"content-type")
        self.body = b""
        if route.direct_response is not None:
            self.status = route.direct_response.status
            self.body = route.direct_response.body.encode()
            if self.body and self.kind is None:
                self.kind = b"text/plain"
        elif route.redirect is not None:
            self.status = route.redirect.status

    def fields(self, request: Request, host: bytes, block: MatchBlock | None) -> bytes:
        """The field lines of the answer to a request."""
        if self.redirect is None or self.path is None:
            return self.lines
        where = location(self.redirect, self.path, request, host, block)
        return b"location: %b\r\n" % where + self.lines
