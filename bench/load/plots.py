"""PNG plots of what the report's tables say.

Invariant: nothing is drawn that is not a median of measured rounds; an axis that would hide the
others behind one bar is logarithmic, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .isolation import AGAIN, BODIES, REQUESTS, STATES
from .proxies import PEERS
from .results import Isolated, Results, Sample, Table, middle
from .scenarios import TITLES
from .targets import p99_ratios

COLOURS = {"fastmirror": "#d1495b", "nginx": "#2e8b57", "haproxy": "#30638e", "envoy": "#8d6cab"}
SMALL = 300.0  # microseconds: what costs more is drawn beside, on an axis of its own
SHORT = {
    "off": "off",
    "healthy": "healthy",
    "refused": "refused",
    "hole": "black hole",
    "mute": "never answers",
    "slow": "1 s slow",
    "drip": "drips",
    "reset": "resets",
    "huge": "10 MB answers",
    "off again": "off again",
}


def write(results: Results, folder: Path) -> list[str]:
    """The names of the files. Raises ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    written = []
    if results.load:
        written.append(_cpu(results.load, folder / "cpu.png"))
    for name, table, title in (
        ("requests", results.requests, REQUESTS.title),
        ("bodies", results.bodies, BODIES.title),
    ):
        if table:
            written.append(_latency(table, title, folder / f"latency-{name}.png"))
            written.append(_p99_ratios(table, title, folder / f"p99-{name}.png"))
    return written


def _save(figure: Any, path: Path) -> str:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return path.name


def _cpu(load: Table[Sample], path: Path) -> str:
    """A group of bars a scenario, a bar a proxy: user, and the kernel's lighter."""
    import matplotlib.pyplot as plt

    def dearest(by_peer: Mapping[str, Sequence[Sample]]) -> float:
        return max(middle(samples, "cpu") for samples in by_peer.values())

    small = [name for name, by_peer in load.items() if dearest(by_peer) <= SMALL]
    large = [name for name in load if name not in small]
    groups = [names for names in (small, large) if names]
    heights = [max(1.2, 0.85 * len(names)) for names in groups]
    figure, axes = plt.subplots(
        len(groups),
        1,
        figsize=(10, sum(heights) + 1),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    peers = [peer for peer in PEERS if any(peer in by_peer for by_peer in load.values())]
    step = 0.8 / len(peers)
    for axis, names in zip(axes[:, 0], groups, strict=True):
        for place, peer in enumerate(peers):
            rows = [(at, load[name][peer]) for at, name in enumerate(names) if peer in load[name]]
            where = [at + (place - (len(peers) - 1) / 2) * step for at, _ in rows]
            user = [middle(samples, "user") for _, samples in rows]
            kernel = [middle(samples, "kernel") for _, samples in rows]
            axis.barh(where, user, step * 0.92, color=COLOURS[peer], label=peer)
            axis.barh(where, kernel, step * 0.92, left=user, color=COLOURS[peer], alpha=0.45)
            ends = map(sum, zip(user, kernel, strict=True))
            for y, end, (_, samples) in zip(where, ends, rows, strict=True):
                axis.text(end, y, f" {middle(samples, 'cpu'):,.0f}", va="center", fontsize=7)
        axis.set_yticks(range(len(names)), [TITLES[name] for name in names])
        axis.invert_yaxis()
        axis.margins(y=0.01)
        axis.set_xlabel("CPU microseconds per request: user, and the kernel's lighter (medians)")
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(loc="upper right")
    axes[0, 0].set_title("CPU per request")
    figure.tight_layout()
    return _save(figure, path)


def _states(table: Table[Isolated]) -> list[str]:
    return [state for state in STATES if state in table]


def _latency(table: Table[Isolated], title: str, path: Path) -> str:
    """A panel a proxy: p50, p99 and p99.9 by the shadow's state."""
    import matplotlib.pyplot as plt

    states = _states(table)
    peers = [peer for peer in PEERS if any(peer in by_peer for by_peer in table.values())]
    figure, axes = plt.subplots(
        1, len(peers), figsize=(4.4 * len(peers), 4.6), sharey=True, squeeze=False
    )
    for axis, peer in zip(axes[0], peers, strict=True):
        for name, label, marker in (
            ("p50", "p50", "o"),
            ("p99", "p99", "s"),
            ("p999", "p99.9", "^"),
        ):
            known = [(at, table[s][peer]) for at, s in enumerate(states) if peer in table[s]]
            values = [median(getattr(one.load, name) for one in some) * 1e3 for _, some in known]
            style = {"marker": marker, "linestyle": "none", "color": COLOURS[peer]}
            axis.plot([at for at, _ in known], values, label=label, alpha=0.85, **style)
        rate = next(by_peer[peer][0].rate for by_peer in table.values() if peer in by_peer)
        axis.set_title(f"{peer}, {rate:,.0f} requests/s")
        axis.set_yscale("log")
        axis.set_xticks(range(len(states)), [SHORT[s] for s in states], rotation=55, ha="right")
        axis.grid(axis="y", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(loc="upper left", fontsize=8)
    axes[0, 0].set_ylabel("milliseconds since due (logarithmic)")
    figure.suptitle(f"Latency by the shadow's state, {title}, half of each proxy's saturation")
    figure.tight_layout()
    return _save(figure, path)


def _p99_ratios(table: Table[Isolated], title: str, path: Path) -> str:
    """Bars by the shadow's state; the line is the target."""
    import matplotlib.pyplot as plt

    states = [state for state in _states(table) if state != "off"]
    peers = [peer for peer in PEERS if any(peer in by_peer for by_peer in table.values())]
    step = 0.8 / len(peers)
    figure, axis = plt.subplots(figsize=(10, 4.6))
    for place, peer in enumerate(peers):
        for at, state in enumerate(states):
            listed = p99_ratios(table, state, peer).rounds
            if not listed:
                continue
            x, ratio = at + (place - (len(peers) - 1) / 2) * step, median(listed)
            label = peer if at == 0 else None
            axis.bar(x, ratio - 1, step * 0.92, bottom=1, color=COLOURS[peer], label=label)
            above = ratio >= 1
            axis.annotate(
                f"{ratio:.2g}"
                if ratio < 0.1
                else f"{ratio:.2f}"
                if ratio < 10
                else f"{ratio:,.0f}",
                (x, ratio),
                xytext=(0, 2 if above else -2),
                textcoords="offset points",
                ha="center",
                va="bottom" if above else "top",
                fontsize=7,
            )
    axis.axhline(1.1, color="black", linewidth=0.8, linestyle="--", label="target: 1.10")
    axis.axhline(1.0, color="black", linewidth=0.5)
    axis.set_yscale("log")
    axis.set_xticks(range(len(states)), [SHORT[state] for state in states])
    axis.set_ylabel("p99, of its own without mirroring (logarithmic)")
    note = f'"{SHORT[AGAIN]}": what the machine alone does'
    axis.set_title(f"p99 by the shadow's state, {title}; {note}", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8)
    figure.tight_layout()
    return _save(figure, path)
