"""Which rules never run, since those before them take everything that they match.

Invariant: the same answer as comparing each match with each, at the cost of the path's length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastmirror.manifests.drafts import covers
from fastmirror.rules.model import Match, PathMatch


class Taken:
    """What the rules so far take of a host's requests, found by its path."""

    def __init__(self) -> None:
        self._matches: dict[PathMatch | None, list[Match]] = {}

    def add(self, matches: Iterable[Match]) -> None:
        for match in matches:
            self._matches.setdefault(match.path, []).append(match)

    def covers(self, match: Match) -> bool:
        return any(
            covers(wide, match) for path in _wider(match) for wide in self._matches.get(path, ())
        )


def _wider(match: Match) -> Iterator[PathMatch | None]:
    """The paths that may cover that of the match: every path, the same one, its beginnings."""
    yield from (None, match.path, PathMatch(prefix="/"))
    text = (match.path.exact or match.path.prefix or "") if match.path else ""
    for end in range(len(text) + 1):
        yield PathMatch(prefix=text[:end])
