"""What a worker's intercepted connections share. Invariant: a connection of our own that comes back
is never served: it would go round for ever.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

from fastmirror._core import now
from fastmirror.intercept.original import Kernel, is_transparent
from fastmirror.intercept.watch import Watch
from fastmirror.options import Options
from fastmirror.proxy.context import ProxyContext
from fastmirror.rules.address import Address
from fastmirror.upstream.dial import Dialer

SAID_EVERY = 60.0  # seconds between warnings

_logger = logging.getLogger("fastmirror")


class Interception:
    """``dialer``: whose connections are our own."""

    def __init__(self, options: Options, context: ProxyContext, dialer: Dialer) -> None:
        self.context = context
        self.dialer = dialer
        self.watch = Watch(context.wheel.loop)
        self.how = options.intercept
        self.passthrough = options.unmatched == "passthrough"
        self.detect_timeout = options.detect_timeout
        self.opaque_ports = options.opaque_ports
        self.ports = frozenset(each.port for each in options.listen if not each.is_unix)
        self._said_at = -SAID_EVERY

    def kernel(self, listening: socket.socket, taken: Callable[[Any, Address], bool]) -> Kernel:
        """What knows where connections of a listening socket were going. ``auto`` goes by the
        socket: one that is inherited may be transparent.
        """
        transparent = self.how == "tproxy" or (self.how == "auto" and is_transparent(listening))
        # One that was handed over has a port that no option names.
        return Kernel(transparent, self.ports | {listening.getsockname()[1]}, taken)

    def is_own(self, peer: tuple[str, int], original: Address) -> bool:
        """Whether an intercepted connection is one of ours on its way to a service."""
        self.dialer.active = True  # from now on each is known
        if (*peer, original.host, original.port) not in self.dialer.flows:
            return False
        if now() - self._said_at >= SAID_EVERY:
            self._said_at = now()
            _logger.error(
                "a connection of our own to %s came back to us: the packet filter has to let pass "
                "what this user, or --mark, sends",
                original,
            )
        return True
