"""``python -m bench.load``: start the proxies, load each in turn, write the results.

Invariant: what has been measured is on disk after each family of scenarios and each other part.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from . import idle, isolation, machine, report, saturation, uploads
from .generators import Generators
from .progress import Progress, say, span
from .proxies import OURS, PEERS, FastmirrorPeer, Peer
from .results import Results
from .scenarios import FAMILIES, PARTS, Scenario, chosen

OUTPUT = Path(__file__).parents[1] / "results"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="what the targets need, briefly")
    parser.add_argument("--duration", type=int, default=1, help="seconds a run (default 1)")
    parser.add_argument("--repeats", type=int, help="rounds (default 5; with --quick 3)")
    parser.add_argument("--peers", default=",".join(PEERS), help="which, by comma")
    parser.add_argument(
        "--scenarios",
        default="*",
        help=f"which, by comma, with * and ?: {', '.join([*FAMILIES, *PARTS])}, or one's name",
    )
    parser.add_argument("--proxy", default="", help="more options of fastmirror, in one string")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="a folder")
    return parser.parse_args()


def available(names: str, more: list[str], lost: list[str]) -> list[Peer]:
    """Raises ValueError for a name that is none of them."""
    found = []
    for name in names.split(","):
        if name not in PEERS:
            raise ValueError(f'"{name}" is none of {", ".join(PEERS)}')
        peer = PEERS[name]()
        if isinstance(peer, FastmirrorPeer):
            peer.more = more
        why = peer.missing()
        if why:
            say(f"without {name}: {why}")
            lost.append(f"{name}: {why}")
        else:
            found.append(peer)
    return found


class Session:
    """One run of the whole: what was chosen, what is known so far, and where it is kept."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.repeats: int = options.repeats or (3 if options.quick else 5)
        self.results = Results()
        self.peers = available(options.peers, shlex.split(options.proxy), self.results.lost)
        self.families, self.parts = chosen(options.scenarios, quick=options.quick)
        # Rounds without a number of their own for what differs little from one to the next.
        self.few = 1 if options.quick else min(3, self.repeats)

    def planned(self) -> float:
        seconds, repeats = self.options.duration, self.repeats
        total = 0.0
        for scenarios in self.families.values():
            total += saturation.planned(self.peers, scenarios, repeats, seconds)
            if "latency" in self.parts:
                total += saturation.planned_paced(self.peers, scenarios, repeats, self.paced())
        if "idle" in self.parts:
            total += idle.planned(self.peers, self.few)
        if "uploads" in self.parts:
            total += uploads.planned(self.peers, repeats, quick=self.options.quick)
        if "isolation" in self.parts:
            quick = self.options.quick
            total += isolation.planned(self.peers, repeats, self.paced(), quick=quick)
        return total

    def paced(self) -> float:
        """Seconds of a run at a fixed rate."""
        duration: int = self.options.duration
        return duration if self.options.quick else 2 * duration

    def describe(self) -> None:
        results = self.results
        results.versions = {peer.name: peer.version() for peer in self.peers}
        results.settings = {
            "begun": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "runs": f"{self.repeats} rounds of {self.options.duration} s (at a fixed rate: "
            f"{self.paced()} s), in turn" + (", quick" if self.options.quick else ""),
            "load": "64 connections, 8 request headers, answers of 207 bytes, where nothing else "
            "is said",
            "pinned": "the proxy on core 1; load generator, backend and shadow on core 0",
        }
        if self.options.proxy:
            results.settings["more options of fastmirror"] = self.options.proxy

    def write(self) -> None:
        self.results.machine = machine.describe()
        report.write(self.results, self.options.output)

    def run(self, root: Path) -> None:
        generators = Generators(root)
        progress = Progress(self.planned())
        for name, scenarios in self.families.items():
            self._family(name, scenarios, generators, progress, root)
        if "idle" in self.parts:
            idle.run(self.peers, self.results, progress, root, repeats=self.few)
            self.write()
        if "uploads" in self.parts:
            uploads.run(
                self.peers,
                self.results,
                progress,
                root,
                repeats=self.repeats,
                quick=self.options.quick,
            )
            self.write()
        if "isolation" in self.parts:
            isolation.run(
                self.peers,
                generators,
                self.results,
                progress,
                root,
                repeats=self.repeats,
                seconds=self.paced(),
                quick=self.options.quick,
            )
            self.write()

    def _family(
        self,
        name: str,
        scenarios: list[Scenario],
        generators: Generators,
        progress: Progress,
        root: Path,
    ) -> None:
        place = root / name
        place.mkdir()
        saturation.run(
            self.peers,
            scenarios,
            generators,
            self.results,
            progress,
            place,
            repeats=self.repeats,
            seconds=self.options.duration,
            paced=self.paced() if "latency" in self.parts else None,
        )
        shutil.rmtree(place)
        self.write()


def main() -> int:
    options = arguments()
    if (os.cpu_count() or 1) < 2:
        say("two cores are needed: one for the proxy, one for everything else")
        return 1
    machine.raise_file_limit()
    # Also where a shell has started this in the background, with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        session = Session(options)
    except ValueError as error:
        say(str(error))
        return 2
    if OURS not in [peer.name for peer in session.peers]:
        say("without fastmirror there is nothing to compare the others with; they are shown alone")
    say(
        f"about {span(session.planned())}, and up to a fifth more where others use the machine; "
        f"results go to {options.output}"
    )
    session.describe()
    root = Path(tempfile.mkdtemp(prefix="bench-load-"))
    try:
        session.run(root)
    except KeyboardInterrupt:
        say(f"interrupted; what was finished is in {options.output}")
        return 130
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print((options.output / "load.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
