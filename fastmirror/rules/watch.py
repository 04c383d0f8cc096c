"""Whether a file has changed. Invariant: every change is seen, be the file written in place,
renamed over, swapped behind a symbolic link, or gone; and when it is, the file is at rest.

A rename gives the path another inode, and what it gives is mostly complete: it is taken when it has
looked the same twice. A file that is written in place, or gone, may be half of what it will be: it
is taken when it has not changed for a second.
"""

from __future__ import annotations

import os

INTERVAL = 0.25  # seconds between looks
SOON = 0.05  # the same, when the last look has found a change
REST = 1.0  # seconds without a change of a file that is written in place

# Of what a link leads to: device, inode, time of the last change (of the content, or of the
# times that a program can set), size. None: there is no file.
Identity = tuple[int, int, int, int]


class FileWatch:
    """Asks the file system when asked; a stat is cheap, and needs nothing that a mounted file
    system may not have.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.taken = self.last = self._identity()
        self.since = 0.0

    def _identity(self) -> Identity | None:
        try:
            status = os.stat(self.path)
        except (OSError, ValueError):
            return None
        return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size

    def take(self) -> None:
        """The file is about to be read: what it is now is no change later."""
        self.taken = self.last = self._identity()

    def changed(self, now: float) -> bool:
        """Whether it has changed since it was taken, and is at rest; ``now``: in seconds."""
        found = self._identity()
        if found != self.last:
            self.last, self.since = found, now
            return False
        if found == self.taken:
            return False
        renamed = found is not None and (self.taken is None or found[:2] != self.taken[:2])
        return renamed or now - self.since >= REST

    def next_look(self) -> float:
        """In how many seconds to ask again."""
        return INTERVAL if self.last == self.taken else SOON
