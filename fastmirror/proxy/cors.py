"""Cross-origin requests, as Envoy's CORS filter serves them (the Fetch standard, section 3.2).

Invariants: an origin is allowed by the route's list or gets none of these fields from here; what
the primary said of them itself is replaced where the route speaks, and stays where it does not.
"""

from __future__ import annotations

from fastmirror._head import Fields
from fastmirror.rules.conditions import Condition
from fastmirror.rules.model import Cors
from fastmirror.rules.units import seconds

_REPLACED = frozenset(
    (
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-expose-headers",
    )
)


class CorsPolicy:
    """One route's."""

    def __init__(self, spec: Cors) -> None:
        self.origins = [Condition(origin) for origin in spec.allow_origins]
        self.credentials = spec.allow_credentials
        self.methods = ", ".join(spec.allow_methods).encode()
        self.headers = ", ".join(spec.allow_headers).encode()
        self.exposed = ", ".join(spec.expose_headers).encode()
        self.max_age = b"%d" % seconds(spec.max_age) if spec.max_age is not None else None

    def allowed(self, fields: Fields) -> bytes | None:
        """The request's origin, if it has one that is allowed."""
        origin = fields.get(b"origin")
        if origin is None:
            return None
        for condition in self.origins:
            if origin_is(condition, origin):
                return origin
        return None

    def preflight(self, method: bytes, fields: Fields, origin: bytes) -> bytes | None:
        """The field lines that answer a preflight request; None: it is none."""
        if method != b"OPTIONS" or not fields.get(b"access-control-request-method"):
            return None
        pairs = [(b"allow-origin", origin)]
        if self.credentials:
            pairs.append((b"allow-credentials", b"true"))
        if self.methods:
            pairs.append((b"allow-methods", self.methods))
        if self.headers:
            pairs.append((b"allow-headers", self.headers))
        if self.max_age is not None:
            pairs.append((b"max-age", self.max_age))
        lines = [b"access-control-%b: %b\r\n" % pair for pair in pairs]
        return b"".join([*lines, b"vary: origin\r\n"])

    def apply(self, fields: Fields, origin: bytes) -> Fields:
        """A response's fields, for an origin that is allowed."""
        added = [b"access-control-allow-origin", origin]
        if self.credentials:
            added += [b"access-control-allow-credentials", b"true"]
        if self.exposed:
            added += [b"access-control-expose-headers", self.exposed]
        return fields.edited(_REPLACED, [*added, b"vary", b"origin"])


def origin_is(condition: Condition, origin: bytes) -> bool:
    """``condition.holds(origin)``, with a C type."""
    return condition.holds(origin)
