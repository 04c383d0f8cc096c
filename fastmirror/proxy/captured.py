"""What a client's connection asks of whoever intercepted it; see ``intercept/captured.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fastmirror.proxy.context import RouteAction
    from fastmirror.rules.address import Address


class CapturedConnection(Protocol):
    """One intercepted connection."""

    original: Address  # where it was going
    passthrough: bool  # what no rule takes goes there

    def unmatched(self) -> RouteAction | None:
        """What serves a request that no route takes; None: nothing does."""

    def outbound(self) -> bool:
        """Whether it comes from this host."""

    def relay(self, transport: Any, data: bytes, ended: bool) -> None:
        """The connection, and what was read of it, is bytes from here on."""

    def half_closed(self, transport: Any) -> None:
        """The client has sent its end, and waits for what it asked for."""

    def close(self) -> None:
        """The client's connection is closed."""
