"""uvloop's transports are not tracked, and serve as ever."""

from __future__ import annotations

import asyncio
import gc

import uvloop

from fastmirror.eventloop import Untracked, track_no_transports


def test_transports_are_not_tracked():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert track_no_transports(loop)
        [tracked] = [each for each in gc.get_referents(loop) if isinstance(each, Untracked)]
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert len(tracked) == 0
            writer.write(b"one\n")
            assert await reader.read() == b"one\n"
            writer.close()
        server.close()
        assert not track_no_transports(loop)  # it has none any more

    uvloop.run(main())


def test_another_loop_is_left_as_it_is():
    async def main() -> None:
        track_no_transports(asyncio.get_running_loop())

    asyncio.run(main())
