"""Rules documents for the tests, and how the tests name their parts."""

from __future__ import annotations

from typing import Any

from .procs import LOOPBACK

Document = dict[str, Any]


def endpoint(port: int, version: str) -> dict[str, Any]:
    return {"address": f"{LOOPBACK}:{port}", "labels": {"version": version}}


def rules(
    ports: dict[str, int], *mirrors: dict[str, Any], to: str = "v1", **route: Any
) -> Document:
    """One service ``app`` with a subset per version, one route to ``to`` with these mirrors.

    A mirror without ``service`` goes to a subset of ``app``, v2 unless it says which; its name,
    if it has none of its own, is then "app/SUBSET".
    """
    mirrors = tuple(
        m if "service" in m else {"service": "app", "subset": "v2", **m} for m in mirrors
    )
    return {
        "version": 1,
        "services": [
            {
                "name": "app",
                "hosts": ["app.test"],
                "endpoints": [endpoint(port, version) for version, port in ports.items()],
                "subsets": {version: {"version": version} for version in ports},
            }
        ],
        "routes": [
            {
                "name": "app",
                "hosts": ["*"],
                "to": [{"service": "app", "subset": to}],
                "mirrors": list(mirrors),
                **route,
            }
        ],
    }
