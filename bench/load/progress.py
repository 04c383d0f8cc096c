"""What runs, and how long the rest will take, on standard error.

Invariant: what a step was said to take is only a weight; the rest is judged by the time that those
before it have taken.
"""

from __future__ import annotations

import sys
import time


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"


class Progress:
    """Steps towards a total that was planned, in seconds."""

    def __init__(self, planned: float) -> None:
        self._planned, self._done, self._repeated = planned, 0.0, 0.0
        self._begin = time.monotonic()

    def again(self, seconds: float) -> bool:
        """Whether there is time for a run to be made again: these take a fifth of what was planned
        at most, and no part of the whole takes it all."""
        if self._repeated + seconds > max(self._done, 30) / 5:
            return False
        self._repeated += seconds
        return True

    def step(self, seconds: float, text: str) -> None:
        """One is done that was planned to take so long."""
        self._done += seconds
        left = self._planned - self._done
        pace = (time.monotonic() - self._begin) / self._done
        say(f"[{self._done / self._planned:4.0%}, {span(max(0, left * pace))} left] {text}")
