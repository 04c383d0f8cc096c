"""Medians, spreads and ratios: a Markdown table for people, JSON for comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from .isolation import Outcome
from .scenarios import Sample

Results = Mapping[str, Mapping[str, Sequence[Sample]]]  # scenario, proxy, runs
Isolation = Mapping[str, Mapping[str, Outcome]]  # proxy, "plain" or "black hole"


def middle(samples: Sequence[Sample], field: str) -> float:
    return float(median(getattr(sample, field) for sample in samples))


def spread(samples: Sequence[Sample], field: str) -> tuple[float, float]:
    values = [getattr(sample, field) for sample in samples]
    return min(values), max(values)


def paired(own: Sequence[Sample], other: Sequence[Sample]) -> float:
    """The median of the rounds' ratios: what slows the machine for a while strikes both alike."""
    return float(median(a.cpu / b.cpu for a, b in zip(own, other, strict=True)))


def ratios(results: Results) -> dict[str, dict[str, float]]:
    """The CPU time a request of fastmirror, of each other's in the same scenario."""
    found: dict[str, dict[str, float]] = {}
    for scenario, proxies in results.items():
        if "fastmirror" not in proxies:
            continue
        own = proxies["fastmirror"]
        found[scenario] = {
            name: paired(own, samples) for name, samples in proxies.items() if name != "fastmirror"
        }
    return found


def added_by_mirror(results: Results) -> dict[str, float]:
    """What a 100 % mirror adds to a request, as a share of the same proxy's plain cost."""
    plain, mirrored = results.get("plain", {}), results.get("mirror 100 %", {})
    return {
        name: paired(samples, plain[name]) - 1
        for name, samples in mirrored.items()
        if name in plain
    }


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def scenario_table(proxies: Mapping[str, Sequence[Sample]]) -> str:
    rows = []
    for name, samples in proxies.items():
        low, high = spread(samples, "cpu")
        rows.append(
            [
                name,
                f"{middle(samples, 'cpu'):.1f} ({low:.1f} to {high:.1f})",
                f"{middle(samples, 'user'):.1f}",
                f"{middle(samples, 'kernel'):.1f}",
                f"{middle(samples, 'rate'):,.0f}",
                f"{middle(samples, 'busy'):.0%}",
                f"{middle(samples, 'copies'):.3f}",
                f"{middle(samples, 'p50') * 1e3:.2f}",
                f"{middle(samples, 'p99') * 1e3:.2f}",
                f"{middle(samples, 'rss') / (1 << 20):.1f}",
                f"{sum(sample.errors for sample in samples)}",
            ]
        )
    header = ["proxy", "CPU us/request (min to max)", "user", "kernel", "requests/s", "core used"]
    header += ["copies/request", "p50 ms", "p99 ms", "RSS MiB", "errors"]
    return table(header, rows)


def isolation_table(outcomes: Isolation) -> str:
    def cells(outcome: Outcome | None) -> list[str]:
        if outcome is None:
            return ["-", "-", "-"]
        return [
            f"{outcome.finished} of {outcome.of}",
            f"{outcome.seconds:.1f}",
            f"{outcome.grown / (1 << 20):.1f}",
        ]

    rows = [
        [name, *cells(pair.get("plain")), *cells(pair.get("black hole"))]
        for name, pair in outcomes.items()
    ]
    header = ["proxy", "finished, no mirror", "s", "RSS grown MiB"]
    return table([*header, "finished, black-holed shadow", "s", "RSS grown MiB"], rows)


def markdown(
    results: Results,
    isolation: Isolation,
    machine: Mapping[str, str],
    versions: Mapping[str, str],
    settings: Mapping[str, object],
) -> str:
    parts = ["# Load benchmark"]
    parts.append("\n".join(f"- {key}: {value}" for key, value in {**machine, **settings}.items()))
    parts.append("\n".join(f"- {name}: {version}" for name, version in versions.items()))
    for scenario, proxies in results.items():
        parts += [f"## {scenario}", scenario_table(proxies)]
    found = ratios(results)
    if found:
        parts.append("## Ratios")
        rows = [
            [f"{scenario}, fastmirror's CPU per request of {name}'s", f"{ratio:.2f}"]
            for scenario, others in found.items()
            for name, ratio in others.items()
        ]
        rows += [
            [f"what a 100 % mirror adds, of {name}'s plain proxy", f"{share:.2f}"]
            for name, share in added_by_mirror(results).items()
        ]
        parts.append(table(["what", "ratio"], rows))
    if isolation:
        parts += ["## Uploads of 10 MB on one reused connection", isolation_table(isolation)]
    return "\n\n".join(parts) + "\n"
