"""The cookie that keeps a client at its endpoint, as Envoy's hash policy by cookie with a ttl.

Invariant: a request that has the cookie never gets another one.
"""

from __future__ import annotations

from fastmirror._core import random64
from fastmirror._head import Fields
from fastmirror.rules.model import SetCookie
from fastmirror.rules.request import Request
from fastmirror.rules.units import seconds

_NONE: frozenset[bytes] = frozenset()


class StickyCookie:
    """One cluster's."""

    def __init__(self, name: bytes, spec: SetCookie) -> None:
        self.name = name
        self.attributes = b"; HttpOnly"
        if spec.path is not None:
            self.attributes = b"; Path=%b" % spec.path.encode() + self.attributes
        if age := int(seconds(spec.ttl)):
            self.attributes = b"; Max-Age=%d" % age + self.attributes

    def made_for(self, request: Request) -> bytes | None:
        """A value for a request without the cookie."""
        if request.cookie(self.name) is not None:
            return None
        return b"%016x" % random64()

    def apply(self, fields: Fields, value: bytes) -> Fields:
        """A response's fields, with the cookie."""
        line = b"%b=%b%b" % (self.name, value, self.attributes)
        return fields.edited(_NONE, [b"set-cookie", line])
