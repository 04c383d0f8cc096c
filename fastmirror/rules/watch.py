"""Whether a file has changed. Invariant: every change of content is seen, whether the file was
written in place, renamed over, or swapped behind a symbolic link; at worst one is seen twice.
"""

from __future__ import annotations

import os

Identity = tuple[int, int, int, int]


class FileWatch:
    """Asks the file system when asked; a rules file changes rarely, and a stat is cheap."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.seen = self._identity()

    def _identity(self) -> Identity | None:
        try:
            status = os.stat(self.path)  # of what a link leads to
        except OSError:
            return None  # between two names: not a change of content
        return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size

    def changed(self) -> bool:
        """Whether it has changed since the last time that this was asked."""
        now = self._identity()
        if now is None or now == self.seen:
            return False
        self.seen = now
        return True
