"""What an exchange asks of the client's connection. Invariant: nothing here waits; what is written
is written in the order in which it was given.
"""

from __future__ import annotations

from fastmirror.proxy.context import ProxyContext, RouteAction
from fastmirror.timers import Timed
from fastmirror.upstream.connection import ResponseHandler


class Client(Timed):
    """What an exchange asks of the client's connection, which inherits from this."""

    context: ProxyContext
    idle_timeout: float

    def unmatched(self) -> RouteAction | None:
        """What serves a request that no route takes; None: nothing does."""
        return None

    def leaves(self) -> bool:
        """Whether the answer under way is to be the connection's last: the proxy will end."""
        return self.context.leaving

    def send(self, data: bytes) -> int:
        """Write to the client."""
        return 0

    def send_later(self, data: bytes) -> int:
        """Write to the client with ``flush``: each write is a system call."""
        return 0

    def flush(self) -> int:
        """Write what waits."""
        return 0

    def take_back(self) -> bool:
        """Do not write what waits; whether something did."""
        return False

    def pause_reading(self) -> int:
        """No more of the request for now."""
        return 0

    def resume_reading(self) -> int:
        """More of the request."""
        return 0

    def exchange_done(self, exchange: ResponseHandler, keep: bool) -> int:
        """The response is complete, or never will be; ``keep``: the connection serves on."""
        return 0

    def reset(self) -> int:
        """Cut the connection so that nobody takes what was sent for complete."""
        return 0

    def become_tunnel(self) -> int:
        """Both sides are bytes from here on."""
        return 0

    def upstream_closed(self) -> int:
        """A tunnel's other end is closed: close when all is written."""
        return 0
