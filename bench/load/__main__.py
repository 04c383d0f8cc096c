"""``python -m bench.load``: start the proxies, load each in turn, write the results."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from . import isolation, machine, report
from .proxies import PEERS, Peer, Service
from .scenarios import SCENARIOS, Cores, Sample, running

RESULTS = Path(__file__).parents[1] / "results"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--duration", type=int, default=4, help="seconds a run (default 4)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--peers", default=",".join(PEERS), help="which, by comma")
    parser.add_argument("--scenarios", default="plain,mirror,isolation", help="which, by comma")
    parser.add_argument("--patience", type=float, default=3, help="seconds an upload may take")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def choose(names: str) -> list[Peer]:
    peers = []
    for name in names.split(","):
        peer = PEERS[name]()
        why = peer.missing()
        if why:
            say(f"without {name}: {why}")
        else:
            peers.append(peer)
    return peers


def load_runs(
    peers: list[Peer], names: list[str], root: Path, options: argparse.Namespace, cores: Cores
) -> dict[str, dict[str, list[Sample]]]:
    """All proxies in turn, over and over: what the machine does meanwhile strikes them alike."""
    backend = Service("backend", root, cores.others)
    shadow = Service("shadow", root, cores.others)
    results: dict[str, dict[str, list[Sample]]] = {name: {} for name in names}
    try:
        with running(peers, names, (backend, shadow), root, cores) as benches:
            how = {"connections": options.connections, "cores": cores}
            for bench in benches:
                bench.measure(shadow, duration=1, **how)  # fills pools and caches; not counted
            total = options.repeats * len(benches)
            begin = time.monotonic()
            for done in range(total):
                bench = benches[done % len(benches)]
                left = (time.monotonic() - begin) / done * (total - done) if done else 0
                sample = bench.measure(shadow, duration=options.duration, **how)
                results[bench.scenario].setdefault(bench.peer.name, []).append(sample)
                say(
                    f"[{done + 1}/{total}] {bench.scenario}, {bench.peer.name}: "
                    f"{sample.cpu:.1f} us/request, {sample.rate:,.0f}/s"
                    + (f"; about {left:.0f} s left" if left else "")
                )
    finally:
        backend.process.stop()
        shadow.process.stop()
    return results


def isolation_runs(
    peers: list[Peer], root: Path, options: argparse.Namespace, cores: Cores
) -> dict[str, dict[str, isolation.Outcome]]:
    backend = Service("uploads", root, cores.others)
    outcomes: dict[str, dict[str, isolation.Outcome]] = {}
    try:
        for peer in peers:
            outcomes[peer.name] = {}
            for name, mirror in (("plain", False), ("black hole", True)):
                if mirror and not peer.mirrors:
                    continue
                outcome = isolation.measure(
                    peer, backend, root, cores, mirror=mirror, patience=options.patience
                )
                outcomes[peer.name][name] = outcome
                say(
                    f"uploads, {peer.name}, {name}: {outcome.finished} of {outcome.of} "
                    f"in {outcome.seconds:.1f} s"
                )
    finally:
        backend.process.stop()
    return outcomes


def main() -> int:
    options = arguments()
    if (os.cpu_count() or 1) < 2:
        say("two cores are needed: one for the proxy, one for everything else")
        return 1
    peers = choose(options.peers)
    wanted = options.scenarios.split(",")
    names = [name for name in SCENARIOS if name.split()[0] in wanted]
    cores = Cores()
    root = Path(tempfile.mkdtemp(prefix="bench-load-"))
    try:
        results = load_runs(peers, names, root, options, cores) if names else {}
        uploads = isolation_runs(peers, root, options, cores) if "isolation" in wanted else {}
    finally:
        shutil.rmtree(root, ignore_errors=True)
    about = machine.describe()
    versions = {peer.name: peer.version() for peer in peers}
    settings = {
        "connections": options.connections,
        "runs": f"{options.repeats} of {options.duration} s each, in turn",
        "answer": "207 bytes; 8 request headers",
        "pinned": "the proxy on core 1; load generator, backend and shadow on core 0",
    }
    text = report.markdown(results, uploads, about, versions, settings)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "load.md").write_text(text)
    document = {
        "machine": about,
        "versions": versions,
        "settings": settings,
        "runs": {
            scenario: {name: [s.asdict() for s in samples] for name, samples in proxies.items()}
            for scenario, proxies in results.items()
        },
        "ratios": report.ratios(results),
        "isolation": {
            name: {which: asdict(outcome) for which, outcome in pair.items()}
            for name, pair in uploads.items()
        },
    }
    (options.output / "load.json").write_text(json.dumps(document, indent=1) + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
