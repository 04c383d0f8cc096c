"""systemd's two protocols, without its library: sockets that it hands over (sd_listen_fds(3)) and
news of this process' state (sd_notify(3)).

Invariants: without LISTEN_FDS and NOTIFY_SOCKET in the environment nothing here does anything;
neither is left there for children; a message that cannot be sent harms nobody.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

FIRST = 3  # SD_LISTEN_FDS_START

_logger = logging.getLogger("fastmirror")


def handed_sockets(
    environment: MutableMapping[str, str] = os.environ,
) -> dict[str, list[socket.socket]]:
    """Those that were handed to this very process, by name; sockets of one unit share a name.

    Raises OSError for what is no listening stream socket, its ``filename`` the name.
    """
    pid, count, names = (
        environment.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES")
    )
    if pid != str(os.getpid()) or not count.isascii() or not count.isdigit():
        return {}
    found: dict[str, list[socket.socket]] = {}
    labels = names.split(":") if names else []
    for index in range(int(count)):
        name = labels[index] if index < len(labels) else "unknown"
        try:
            sock = socket.socket(fileno=FIRST + index)
            if sock.type != socket.SOCK_STREAM or not sock.getsockopt(
                socket.SOL_SOCKET, socket.SO_ACCEPTCONN
            ):
                raise OSError(errno.EINVAL, "expected a listening stream socket (Accept=no)")
        except OSError as error:
            error.filename = f"fd:{name}"
            raise
        sock.set_inheritable(False)
        sock.setblocking(False)
        found.setdefault(name, []).append(sock)
    return found


class Notifier:
    """Tells the service manager how this process is; silent where nobody asked."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of an abstract name.
        self.address = "\0" + address[1:] if address.startswith("@") else address
        self.ended = False
        usec, pid = (environment.pop(f"WATCHDOG_{name}", "") for name in ("USEC", "PID"))
        ours = pid in ("", str(os.getpid())) and usec.isascii() and usec.isdigit()
        self.watchdog = int(usec) / 1e6 if ours and self.address else 0.0  # seconds; 0: none

    def send(self, *lines: str) -> None:
        """``NAME=VALUE`` each."""
        if not self.address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                # Rather no message than a loop that waits for its reader.
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self.address)
        except OSError as error:
            _logger.warning("cannot tell the service manager %s: %s", lines[0], error)

    def ready(self) -> None:
        """It serves."""
        self.send("READY=1")

    def stopping(self) -> None:
        """It drains, and will end: the last word about its state."""
        self.ended = True
        self.send("STOPPING=1")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """While the rules are read again."""
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.send("RELOADING=1", f"MONOTONIC_USEC={usec}")
        try:
            yield
        finally:
            if not self.ended:
                self.send("READY=1")

    async def keep_alive(self) -> None:
        """Say so twice in the watchdog's time, from the loop: one that hangs does not."""
        while self.watchdog:
            self.send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog / 2)
