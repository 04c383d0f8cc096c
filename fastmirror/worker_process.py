"""A worker as a process of its own: started by the fleet alone, with sockets that it inherits.

``python -m fastmirror.worker_process INDEX FD,FD,... OPTIONS``: the descriptors of its end of
the socket to the server, of the shared counts, and of the sockets to listen on.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

import uvloop

from fastmirror.counts import SharedCounts, SlotMap
from fastmirror.fleet import WorkerEnd
from fastmirror.options import Options, read_options
from fastmirror.server import option_parser, set_up_logging
from fastmirror.worker import Worker


async def _run(options: Options, index: int, fds: list[int]) -> None:
    control, counts, *listeners = fds
    shared = SharedCounts(options.workers, counts)
    slots = SlotMap()
    sockets = [socket.socket(fileno=fd) for fd in listeners]
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=control))
    worker = Worker(options, shared, index, slots)
    await WorkerEnd(worker, slots, sockets).obey(reader, writer)
    writer.close()


def main(arguments: list[str]) -> int:
    """Serve until the server says otherwise; signals are the server's to read."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    options = read_options(option_parser().parse_args(arguments[2:]))
    set_up_logging(options.log_level)
    uvloop.run(_run(options, int(arguments[0]), [int(fd) for fd in arguments[1].split(",")]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
