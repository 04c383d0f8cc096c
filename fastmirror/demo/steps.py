"""The steps of Istio's mirroring task, in its order, and what must hold after each.

Invariant: a step that returns has held: whatever it claims was compared with the services' own
access logs, with curl's answers or with the proxy's counters.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

from fastmirror.demo import client
from fastmirror.demo.client import Answer
from fastmirror.demo.counters import Counters, expected_range, named, plausible
from fastmirror.demo.errors import UnmetError
from fastmirror.demo.httpbin import Httpbin
from fastmirror.demo.processes import wait_until
from fastmirror.demo.proxy import Proxy
from fastmirror.demo.screen import Screen

MANIFESTS = Path(__file__).parent / "manifests"
FEW = 6
MANY = 3000
SOME = 400


class Stage:
    """The three servers, and what every step does with them."""

    def __init__(self, screen: Screen, directory: Path) -> None:
        self.screen = screen
        self.v1 = Httpbin("v1", directory)
        self.v2 = Httpbin("v2", directory)
        self.proxy = Proxy(directory)

    def end(self) -> None:
        """The proxy first, as its services are still there for what it has in flight."""
        for process in (self.proxy.process, self.v1.process, self.v2.process):
            if process is not None:
                process.end()

    def expect(self, holds: bool, claim: str) -> None:
        if not holds:
            raise UnmetError(f"does not hold: {claim}")
        self.screen.passed(claim)

    def show(self, *names: str) -> list[Path]:
        paths = [MANIFESTS / name for name in names]
        for path in paths:
            self.screen.document(path.name, path.read_text())
        return paths

    def apply(self, *paths: Path, addresses: dict[str, str]) -> None:
        for command in self.proxy.apply(paths, addresses):
            self.screen.command(command)

    def ask(self, count: int, *, parallel: bool = False) -> list[Answer]:
        """That many requests, whose answers must all be 200; both logs start anew."""
        self.v1.mark()
        self.v2.mark()
        proxy = self.proxy.listen
        self.screen.command(client.command(proxy, count, parallel=parallel))
        answers = client.requests(proxy, count, parallel=parallel, progress=self.screen.progress)
        wrong = sorted({a.status for a in answers if a.status != 200})
        note = f"; other statuses: {wrong}" if wrong else ""
        fine = sum(a.status == 200 for a in answers)
        self.expect(fine == count, f"curl has {fine} of {count} answers with status 200{note}")
        return answers

    def both_endpoints(self) -> dict[str, str]:
        return {"httpbin": f"{self.v1.address},{self.v2.address}"}

    def subsets(self) -> dict[str, str]:
        return {"httpbin/v1": self.v1.address, "httpbin/v2": self.v2.address}

    def logs(self, v1: Sequence[str], v2: Sequence[str]) -> None:
        self.screen.logs([("v1", v1), ("v2", v2)])

    def counters_since(self, before: Counters) -> Counters:
        counted = self.proxy.wait_settled().since(before)
        self.screen.table("copies", counted.rows())
        return counted


def default_policy(stage: Stage) -> None:
    """A service's requests go to all of its endpoints."""
    stage.screen.progress("starting httpbin v1 and v2")
    stage.v1.start()
    stage.v2.start()
    stage.v1.wait_ready()
    stage.v2.wait_ready()
    stage.screen.say(f"httpbin v1 listens at {stage.v1.address}, v2 at {stage.v2.address}")
    paths = stage.show("service.yaml")
    stage.screen.command(stage.proxy.compile(paths, stage.both_endpoints()))
    stage.screen.progress("starting fastmirror")
    stage.screen.command(stage.proxy.start())
    both_answer(stage)


def both_answer(stage: Stage) -> None:
    stage.ask(FEW)
    wait_until(
        f"v1 and v2 log {FEW} requests",
        lambda: len(stage.v1.requests()) + len(stage.v2.requests()) >= FEW,
    )
    v1, v2 = stage.v1.requests(), stage.v2.requests()
    stage.logs(v1, v2)
    stage.expect(
        bool(v1) and bool(v2) and len(v1) + len(v2) == FEW,
        f"v1 answered {len(v1)} of {FEW} requests and v2 {len(v2)}",
    )


def all_to_v1(stage: Stage) -> None:
    """The endpoints with v1's labels, and no others."""
    paths = [MANIFESTS / "service.yaml", *stage.show("subsets.yaml", "all-to-v1.yaml")]
    stage.apply(*paths, addresses=stage.subsets())
    stage.ask(FEW)
    v1, v2 = stage.v1.wait_requests(FEW), stage.v2.requests()
    stage.logs(v1, v2)
    stage.expect(len(v1) == FEW and not v2, f"v1 answered all {FEW} requests and v2 saw none")


def mirror_everything(stage: Stage) -> None:
    """v2 gets a copy of every request, and the client never sees its answers."""
    paths = [MANIFESTS / "service.yaml", MANIFESTS / "subsets.yaml", *stage.show("mirror-100.yaml")]
    stage.apply(*paths, addresses=stage.subsets())
    before = stage.proxy.wait_settled()
    stage.ask(FEW)
    v1, v2 = stage.v1.wait_requests(FEW), stage.v2.wait_requests(FEW)
    stage.logs(v1, v2)
    counted = stage.counters_since(before)
    copies = sorted(line.replace("httpbin-shadow:", "httpbin:", 1) for line in v2)
    stage.expect(
        len(v1) == FEW and copies == sorted(v1), f"v2 saw each of the {FEW} requests that v1 saw"
    )
    stage.expect(
        all(line.startswith("200 httpbin-shadow:8000 ") for line in v2),
        "at v2 each has the Host httpbin-shadow:8000",
    )
    stage.expect(
        counted.add_up() and counted.matched == counted.sent == counted.completed.get("2xx") == FEW,
        f"the counters say the same: {FEW} matched, {FEW} sent, {FEW} completed with 2xx",
    )


def mirror_a_tenth(stage: Stage) -> None:
    """Of many requests a random tenth is copied."""
    paths = [MANIFESTS / "service.yaml", MANIFESTS / "subsets.yaml", *stage.show("mirror-10.yaml")]
    stage.apply(*paths, addresses=stage.subsets())
    before = stage.proxy.wait_settled()
    stage.ask(MANY, parallel=True)
    counted = stage.counters_since(before)
    v1, v2 = stage.v1.wait_requests(MANY), stage.v2.wait_requests(counted.sent)
    stage.logs(v1, v2)
    low, high = expected_range(MANY, 10)
    stage.expect(
        plausible(len(v2), MANY, 10),
        f"v2 saw {len(v2)} of {MANY} requests; 10 % within 4 sigma is {low} to {high}",
    )
    stage.expect(counted.sent == len(v2), f"the proxy sent {counted.sent}, v2's log has {len(v2)}")
    stage.expect(counted.matched == MANY and counted.add_up(), adds_up(counted))


def dead_shadow(stage: Stage) -> None:
    """The client notices nothing, and the counters say why copies are lost."""
    paths = [MANIFESTS / name for name in ("service.yaml", "subsets.yaml", "mirror-100.yaml")]
    stage.apply(*paths, addresses=stage.subsets())
    start = stage.proxy.wait_settled()
    alive = stage.ask(SOME, parallel=True)
    before = stage.proxy.wait_settled()
    completed = before.since(start).completed.get("2xx")
    stage.expect(completed == SOME, f"while v2 is alive it answers {completed} of {SOME} copies")
    assert stage.v2.process is not None
    stage.screen.command(["kill", "-KILL", str(stage.v2.process.pid)])
    stage.v2.process.kill()
    dead = stage.ask(SOME, parallel=True)
    stage.screen.say(f"time of an answer, v2 alive: {times(alive)}")
    stage.screen.say(f"time of an answer, v2 dead: {times(dead)}")
    v1 = stage.v1.wait_requests(SOME)
    stage.logs(v1, stage.v2.requests())
    counted = stage.counters_since(before)
    stage.expect(not counted.completed and not stage.v2.requests(), "no copy reached v2")
    stage.expect(
        counted.failed.get("connect", 0) > 0 and counted.dropped.get("breaker", 0) > 0,
        f"the counters say why: failed {named(counted.failed)}; dropped {named(counted.dropped)}",
    )
    stage.expect(counted.matched == SOME and counted.add_up(), adds_up(counted))


def rules_removed(stage: Stage) -> None:
    """What held before any rule holds again."""
    stage.screen.progress("starting httpbin v2 again")
    stage.v2.start()
    stage.v2.wait_ready()
    stage.screen.say(f"httpbin v2 is back, now at {stage.v2.address}")
    stage.apply(MANIFESTS / "service.yaml", addresses=stage.both_endpoints())
    both_answer(stage)


STEPS = (
    ("No rules: both versions answer", default_policy),
    ("A rule: everything to v1", all_to_v1),
    ("Mirror 100 % to v2", mirror_everything),
    ("Mirror 10 %", mirror_a_tenth),
    ("The shadow dies", dead_shadow),
    ("Rules removed", rules_removed),
)


def adds_up(counted: Counters) -> str:
    dropped = sum(counted.dropped.values())
    return (
        f"matched {counted.matched} = not sampled {counted.not_sampled}"
        f" + dropped {dropped} + sent {counted.sent}"
    )


def times(answers: Sequence[Answer]) -> str:
    seconds = sorted(answer.seconds for answer in answers)
    return f"median {statistics.median(seconds) * 1e3:.1f} ms, longest {seconds[-1] * 1e3:.1f} ms"
