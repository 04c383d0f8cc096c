"""What processes use of the machine, from /proc. Invariant: of a process with tens of thousands of
descriptors nothing is done that takes long at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STEP = 256  # descriptors


class Usage:
    """All processes together, once ``read`` has come to its end; one that is gone uses nothing."""

    def __init__(self, pids: Sequence[int]) -> None:
        self.pids = pids
        self.cpu_seconds = 0.0
        self.resident_bytes = self.open_fds = 0

    def read(self) -> Iterator[None]:
        """In short steps."""
        for pid in self.pids:
            try:
                with open(f"/proc/{pid}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
                descriptors = os.stat(f"/proc/{pid}/fd").st_size  # their number, from Linux 6.2 on
                if descriptors == 0:
                    with os.scandir(f"/proc/{pid}/fd") as entries:
                        for descriptors, _ in enumerate(entries, 1):
                            if descriptors % _STEP == 0:
                                yield
            except OSError:
                continue
            self.cpu_seconds += (int(fields[11]) + int(fields[12])) / _TICKS
            self.resident_bytes += int(fields[21]) * _PAGE
            self.open_fds += descriptors
            yield
