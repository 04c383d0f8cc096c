"""``python -m bench.soak``: a million requests through a real proxy, while everything goes wrong.

Clients reset, half-close, stop, pipeline and send garbage; primaries and shadows reset, cut, close
and stall; the shadow is away for seconds, and the rules are reloaded. Invariant: it exits 0 only if
nothing is left of it at the end, no memory, no descriptor and no copy, and every count is exact.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import uvloop

from .clients import Tally
from .proxy import Proxy
from .services import Service
from .sessions import crowd

AWAY_EVERY, AWAY_FOR, RELOAD_EVERY = 17.0, 2.0, 3.0
GROWTH = 1.10


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=40, help="connections at once (40)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


class Soak:
    """One run."""

    def __init__(self, options: argparse.Namespace, proxy: Proxy, shadow: Service) -> None:
        self.wanted = options.requests
        self.clients = options.clients
        self.proxy = proxy
        self.shadow = shadow
        self.tally = Tally()
        self.memory: list[tuple[float, int]] = []  # share of the requests done, bytes
        self.reloads = 0

    async def run(self) -> None:
        helpers = [asyncio.create_task(each()) for each in (self._watch, self._reload, self._away)]
        try:
            crowds = [crowd(self.tally, self.proxy.port, self.wanted) for _ in range(self.clients)]
            await asyncio.gather(*crowds)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
        if self.shadow.server is None or not self.shadow.server.is_serving():
            await self.shadow.listen()  # it was away

    async def _watch(self) -> None:
        begun = time.monotonic()
        ticks = before = 0
        cpu = self.proxy.cpu()
        while True:
            await asyncio.sleep(0.25)
            done = self.tally.counted
            self.memory.append((done / self.wanted, self.proxy.rss()))
            ticks += 1
            if ticks % 40 == 0:
                rate = done / (time.monotonic() - begun)
                megabytes = self.memory[-1][1] / 1e6
                spent = (self.proxy.cpu() - cpu) * 1e6 / max(1, done - before)
                cpu, before = self.proxy.cpu(), done
                print(
                    f"{done:9,d} requests, {rate:,.0f}/s; since the last line "
                    f"{spent:.0f} us of CPU each; {megabytes:.1f} MB",
                    flush=True,
                )

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_EVERY)
            self.reloads += 1
            self.proxy.reload(self.reloads)

    async def _away(self) -> None:
        while True:
            await asyncio.sleep(AWAY_EVERY)
            await self.shadow.away(AWAY_FOR)

    def memory_at(self, share: float) -> float:
        """When about that share of the requests was done."""
        near = sorted(self.memory, key=lambda sample: abs(sample[0] - share))
        return median(size for _, size in near[:9])


async def settle(proxy: Proxy, descriptors: int) -> None:
    """No copy is in flight, and no connection is open: they are closed once idle for a second."""
    for _ in range(300):
        await asyncio.sleep(0.1)
        page = await asyncio.to_thread(proxy.metrics)
        in_flight = sum(value for (name, _), value in page.items() if name.endswith("_in_flight"))
        if in_flight == 0 and proxy.descriptors() <= descriptors:
            return


def judge(soak: Soak, proxy: Proxy, descriptors: int) -> list[str]:
    """What is not as it must be."""
    tally, page = soak.tally, proxy.metrics()
    wrong = list(tally.unexpected)

    def total(name: str, **labels: str) -> int:
        return sum(
            value
            for (known, has), value in page.items()
            if known == f"fastmirror_{name}" and labels.items() <= dict(has).items()
        )

    def expect(what: str, found: int, wanted: int) -> None:
        print(f"{what}: {found:,d}" + ("" if found == wanted else f", and must be {wanted:,d}"))
        if found != wanted:
            wrong.append(f"{what}: {found}, and must be {wanted}")

    expect("requests_total", total("requests_total"), tally.answered + tally.aborted)
    for route, mirror in (("a", "all"), ("a", "some"), ("b", "pipelined")):
        of = {"route": route, "mirror": mirror}
        matched, sent = total("mirror_matched_total", **of), total("mirror_sent_total", **of)
        dropped = total("mirror_dropped_total", **of)
        ended = total("mirror_completed_total", **of), total("mirror_failed_total", **of)
        counts = f"{dropped:,d} dropped, {ended[0]:,d} completed, {ended[1]:,d} failed"
        print(f"{route}/{mirror}: {counts}")
        expect(f"{route}/{mirror} matched", matched, total("requests_total", route=route))
        expect(f"{route}/{mirror} sent", sent, sum(ended))
        expect(f"{route}/{mirror} in_flight", total("mirror_in_flight", **of), 0)
        expect(f"{route}/{mirror} buffered", total("mirror_buffered_bytes", **of), 0)
        if ended[0] < matched // 20:
            wrong.append(f"{route}/{mirror}: next to nothing was copied")
    expect("connections", total("connections"), 0)
    expect("descriptors", proxy.descriptors(), descriptors)
    first, last = soak.memory_at(0.2), soak.memory_at(1.0)
    print(f"memory: {first / 1e6:.1f} MB after 20 %, {last / 1e6:.1f} MB at the end")
    if last > first * GROWTH:
        wrong.append(f"memory grew by {last / first - 1:.1%}")
    return wrong


async def main(options: argparse.Namespace) -> int:
    random.seed(options.seed)
    primary, shadow = Service(False), Service(True)
    await primary.listen()
    await shadow.listen()
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        proxy = Proxy(Path(place), primary.port, shadow.port)
        try:
            await asyncio.to_thread(proxy.wait_ready)
            descriptors = proxy.descriptors()
            soak = Soak(options, proxy, shadow)
            begun = time.monotonic()
            await soak.run()
            seconds = time.monotonic() - begun
            await settle(proxy, descriptors)
            tally = soak.tally
            print(f"{tally.counted:,d} requests in {seconds:.0f} s, {soak.reloads} reloads")
            print(f"answered {tally.answered:,d}, aborted {tally.aborted:,d}")
            print("statuses", dict(sorted(tally.statuses.items())))
            print("sessions", dict(tally.sessions))
            wrong = await asyncio.to_thread(judge, soak, proxy, descriptors)
        finally:
            complaints = await asyncio.to_thread(proxy.stop)
            primary.close()
            shadow.close()
        wrong += complaints
    for each in wrong:
        print(f"WRONG: {each}")
    print("soak: failed" if wrong else "soak: all is well")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(uvloop.run(main(arguments())))
