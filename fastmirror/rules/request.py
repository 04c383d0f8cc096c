"""A request as rules see it. Invariant: everything here is what the primary will receive, in
the normal form of the comparison; nothing is percent-decoded but dot segments.
"""

from __future__ import annotations

from fastmirror._head import Fields, part, position
from fastmirror.rules.model import Key, KeySource

HEADER, COOKIE, QUERY, SOURCE_IP, PATH, REQUEST_ID = range(6)


class Request:
    """What routes, samplers and balancers may ask about a request."""

    def __init__(
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        fields: Fields,
        source_ip: bytes,
        port: int = 80,
    ) -> None:
        self.set_up(method, target, host, port, fields, source_ip)

    def set_up(
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        port: int,
        fields: Fields,
        source_ip: bytes,
    ) -> int:
        """What the constructor does, for compiled callers: they make one without calling it."""
        self.method = method
        self.target = target
        at = position(target, 63)  # "?"
        if at < 0:
            self.path = target
            self.query: bytes | None = None
        else:
            self.path = part(target, 0, at)
            self.query = part(target, at + 1, len(target))
        self.host = host
        self.port = port
        self.fields = fields
        self.source_ip = source_ip
        return 0

    def cookie(self, name: bytes) -> bytes | None:
        """The value of the first cookie of that name (RFC 6265 section 5.4)."""
        header = self.fields.get(b"cookie")
        if header is None:
            return None
        for pair in header.replace(b",", b";").split(b";"):
            key, equals, value = pair.strip().partition(b"=")
            if equals and key == name:
                return value.strip(b'"')
        return None

    def query_value(self, name: bytes) -> bytes | None:
        """The value of the first query parameter of that name, not percent-decoded."""
        if self.query is None:
            return None
        for pair in self.query.split(b"&"):
            key, _, value = pair.partition(b"=")
            if key == name:
                return value
        return None


class KeyReader:
    """Reads a sampling or balancing key; None where the request does not carry it."""

    def __init__(self, source: KeySource) -> None:
        self.name = b""
        if isinstance(source, str):
            source = Key(
                source_ip=source == "source_ip",
                path=source == "path",
                request_id=source == "request_id",
            )
        if source.header is not None:
            self.source = HEADER
            self.name = source.header.lower().encode()
        elif source.cookie is not None:
            self.source = COOKIE
            self.name = source.cookie.encode()
        elif source.query is not None:
            self.source = QUERY
            self.name = source.query.encode()
        elif source.source_ip:
            self.source = SOURCE_IP
        elif source.path:
            self.source = PATH
        else:
            self.source = REQUEST_ID

    def read(self, request: Request) -> bytes | None:
        """The key's bytes as they came."""
        if self.source == HEADER:
            return request.fields.get(self.name)
        if self.source == COOKIE:
            return request.cookie(self.name)
        if self.source == QUERY:
            return request.query_value(self.name)
        if self.source == SOURCE_IP:
            return request.source_ip or None
        if self.source == PATH:
            return request.path
        return request.fields.request_id
