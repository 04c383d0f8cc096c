"""The report: Markdown for people, JSON for comparisons, plots.

Invariant: what was lost, left out or failed is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from . import plots
from .isolation import AGAIN, BODIES, OFF, REQUESTS, STATES
from .progress import say
from .proxies import OURS, PEERS
from .results import QUIET, Idle, Isolated, Paced, Results, Sample, Table, Uploads, middle, spread
from .scenarios import FAMILIES, TITLES
from .targets import MEBI, Target, comparison, p99_ratios, targets
from .uploads import SIZE

RATIOS = (
    "Ratios are paired by round, and of the rounds in which others used no more than "
    f"{QUIET:.0%} of the cores' time, if there were any. With fewer rounds than were run, the rest "
    "was; where none was quiet, the verdict says so, and is worth little."
)
NO_MIRRORING = [name for name, peer in PEERS.items() if not peer.mirrors]
Column = tuple[str, Callable[[Sequence[Sample]], str]]


def write(results: Results, folder: Path) -> None:
    """load.md, load.json and, where matplotlib is, the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = targets(results)
    judged = [{**asdict(row), "figure": row.figure, "verdict": row.verdict()} for row in rows]
    results.write(folder / "load.json", targets=judged)
    try:
        pictures = plots.write(results, folder)
    except ImportError:
        say("without plots: matplotlib is not installed")
        pictures = []
    (folder / "load.md").write_text(markdown(results, rows, pictures))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(results: Results, rows: Sequence[Target], pictures: Sequence[str]) -> str:
    about = {**results.machine, **results.versions, **results.settings}
    parts = ["# Load benchmark", "\n".join(f"- {key}: {text}" for key, text in about.items())]
    parts += ["## Targets", RATIOS, target_table(rows)]
    if results.load:
        parts += ["## CPU per request: fastmirror's of each other's", *ratio_table(results)]
    parts += [f"![{Path(name).stem}]({name})" for name in pictures]
    for family in FAMILIES.values():
        for scenario in family:
            by_peer = results.load.get(scenario.name)
            if by_peer:
                parts += [f"## {scenario.title[0].upper()}{scenario.title[1:]}"]
                parts += [load_table(by_peer, scenario.size, mirrors=scenario.mirrors > 0)]
    for name, paced in results.paced.items():
        rate = next(iter(paced.values()))[0].rate
        parts += [f"## {TITLES[name].capitalize()} at a fixed {rate:,.0f} requests/s"]
        parts += [paced_table(paced)]
    if results.idle:
        parts += ["## Memory without load", idle_table(results.idle)]
    if results.uploads:
        parts += ["## 10 MB uploads, one after the other on one connection"]
        parts += [uploads_table(results.uploads)]
    for found, load in ((results.requests, REQUESTS), (results.bodies, BODIES)):
        if found:
            parts += [f"## Isolation, {load.title}", isolation_text(found), isolation_table(found)]
    parts += ["## Left out, lost or failed", "\n".join(f"- {line}" for line in left_out(results))]
    return "\n\n".join(parts) + "\n"


def target_table(rows: Sequence[Target]) -> str:
    def bound(row: Target, number: float) -> str:
        return f"{'<=' if row.at_most else '>='} {number:.2f}{row.unit}"

    lines = []
    for row in rows:
        figure = "-" if row.figure is None else f"{row.figure:.2f}{row.unit}"
        rounds = row.ratios.rounds
        if len(rounds) > 1:
            figure += f" ({min(rounds):.2f} to {max(rounds):.2f}, {len(rounds)} rounds)"
        what = f"{row.what} ({row.note})" if row.note else row.what
        lines.append([what, figure, bound(row, row.goal), bound(row, row.dream), row.verdict()])
    return table(["what", "measured: median (min to max)", "target", "dream", "verdict"], lines)


def ratio_table(results: Results) -> list[str]:
    peers = [name for name in PEERS if name != OURS and name in results.versions]
    lines = []
    for scenario, row in comparison(results, peers):
        cells = [f"{row[peer]:.2f}" if peer in row else "-" for peer in peers]
        bold = [f"**{cell}**" if cell not in ("-",) and float(cell) > 1 else cell for cell in cells]
        lines.append([TITLES[scenario], *bold])
    note = "Below 1 fastmirror is cheaper; bold: it is dearer. Medians of the rounds' ratios."
    return [note, table(["scenario", *peers], lines)]


def _ranged(samples: Sequence[Sample], name: str) -> str:
    low, high = spread(samples, name)
    return f"{middle(samples, name):,.1f} ({low:,.1f} to {high:,.1f})"


def load_table(by_peer: Mapping[str, Sequence[Sample]], size: int, *, mirrors: bool) -> str:
    columns: list[Column] = [
        ("CPU us/request (min to max)", lambda s: _ranged(s, "cpu")),
        ("user", lambda s: f"{middle(s, 'user'):,.1f}"),
        ("kernel", lambda s: f"{middle(s, 'kernel'):,.1f}"),
        ("requests/s", lambda s: f"{middle(s, 'rate'):,.0f}"),
        ("core used", lambda s: f"{middle(s, 'busy'):.0%}"),
        ("p50 ms", lambda s: f"{middle(s, 'p50') * 1e3:.2f}"),
        ("p99 ms", lambda s: f"{middle(s, 'p99') * 1e3:.2f}"),
        ("RSS MiB", lambda s: f"{middle(s, 'rss') / MEBI:.1f}"),
        ("errors", lambda s: f"{sum(sample.errors for sample in s)}"),
        ("disturbed", lambda s: f"{middle(s, 'disturbance'):.1%}"),
    ]
    if size:
        columns.insert(4, ("MB/s", lambda s: f"{middle(s, 'rate') * size / 1e6:,.0f}"))
    if mirrors:
        columns.insert(-3, ("copies/request", lambda s: f"{middle(s, 'copies'):.3f}"))
    rows = [[name, *(cell(samples) for _, cell in columns)] for name, samples in by_peer.items()]
    return table(["proxy", *(title for title, _ in columns)], rows)


def _times(samples: Sequence[Paced] | Sequence[Isolated], *names: str) -> list[str]:
    return [f"{median(getattr(one.load, name) for one in samples) * 1e3:,.2f}" for name in names]


def paced_table(paced: Mapping[str, Sequence[Paced]]) -> str:
    rows = []
    for name, samples in paced.items():
        low, high = (pick(one.load.p99 for one in samples) * 1e3 for pick in (min, max))
        finished, due = (sum(getattr(one.load, f) for one in samples) for f in ("finished", "due"))
        p50, p99, p999, most = _times(samples, "p50", "p99", "p999", "max")
        ranged = f"{p99} ({low:,.2f} to {high:,.2f})"
        others = median(one.disturbance for one in samples)
        rows.append([name, f"{finished:,} of {due:,}", p50, ranged, p999, most, f"{others:.1%}"])
    header = ["proxy", "finished", "p50 ms", "p99 ms (min to max)", "p99.9 ms", "max"]
    return table([*header, "disturbed"], rows)


def idle_table(idle: Mapping[str, Sequence[Idle]]) -> str:
    rows = []
    for name, samples in idle.items():
        each = [one.per_connection / 1024 for one in samples]
        at_rest = median(one.at_rest for one in samples) / MEBI
        ranged = f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
        rows.append([name, f"{at_rest:.1f}", ranged])
    return table(["proxy", "PSS at rest MiB", "KB per idle connection (min to max)"], rows)


def uploads_table(uploads: Table[Uploads]) -> str:
    rows = []
    for state, by_peer in uploads.items():
        for name, samples in by_peer.items():
            finished, of = (sum(getattr(one, f) for one in samples) for f in ("finished", "of"))
            speed = median(one.finished * SIZE / one.seconds for one in samples) / 1e6
            growth = max(one.growth for one in samples) / MEBI
            rows.append([state, name, f"{finished} of {of}", f"{speed:,.0f}", f"{growth:.1f}"])
    return table(["shadow", "proxy", "finished", "MB/s", "memory grown by, at most, MiB"], rows)


def isolation_text(found: Table[Isolated]) -> str:
    rates = ", ".join(
        f"{name} {samples[0].rate:,.0f}/s" for name, samples in found.get(OFF, {}).items()
    )
    return (
        f"64 reused connections at half of what each proxy reaches without mirroring: {rates}. "
        "Latencies count from when a request was due; what was never answered counts with its "
        f'age. "{STATES[AGAIN]}" shows what the machine alone does; "disturbed" is the share of '
        "the cores' time that others had, or that the proxy waited for its core."
    )


def isolation_table(found: Table[Isolated]) -> str:
    rows = []
    for peer in PEERS:
        for state, title in STATES.items():
            samples = found.get(state, {}).get(peer)
            if not samples:
                continue
            due, finished, failed = (
                sum(getattr(one.load, name) for one in samples)
                for name in ("due", "finished", "failed")
            )
            listed = p99_ratios(found, state, peer).rounds
            ratio = f"{median(listed):.2f}" if listed else "-"
            if len(listed) > 1:
                ratio += f" ({min(listed):.2f} to {max(listed):.2f})"
            copies = median(one.copies for one in samples)
            growth = max(one.growth for one in samples) / MEBI
            share = f"{finished / due:.2%}" if finished < due else "all"
            times = _times(samples, "p50", "p99", "p999")
            rows.append([peer, title, share, f"{failed}", *times, ratio])
            others = median(one.disturbance for one in samples)
            busy = median(one.busy for one in samples)
            rows[-1] += [f"{busy:.0%}", f"{copies:,.0f}", f"{growth:.1f}", f"{others:.1%}"]
    header = ["proxy", "shadow", "finished", "failed", "p50 ms", "p99 ms", "p99.9 ms"]
    header += [
        "p99 of its own without mirroring",
        "core used",
        "copies that arrived",
        "grown by, at most, MiB",
    ]
    header += ["disturbed"]
    return table(header, rows)


def left_out(results: Results) -> list[str]:
    lines = list(results.lost)
    lines += [
        f"{name} has no mirroring of its own: it is in no row of mirroring or isolation"
        for name in NO_MIRRORING
        if name in results.versions
    ]
    lines.append(
        "nginx samples by split_clients: the subrequest is made for every request, and ends at "
        "once where no copy is wanted; its docs have nothing closer to a mirror of 1 %"
    )
    for scenario, by_peer in results.load.items():
        for name, samples in by_peer.items():
            errors = sum(sample.errors for sample in samples)
            if errors:
                lines.append(f"{TITLES[scenario]}, {name}: {errors} errors")
    return lines
