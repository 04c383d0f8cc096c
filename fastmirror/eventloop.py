"""What uvloop does for each connection, and this proxy has no use for.

uvloop keeps its transports in a weak dictionary by descriptor, so that ``add_reader`` and the like
can refuse a descriptor that a transport has. It is Python's own, in Python, and costs a connection
more than all that is done here when it is made. Nothing here gives the loop such a descriptor.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any
from weakref import WeakValueDictionary


class Untracked(WeakValueDictionary[int, Any]):
    """Keeps nothing."""

    def __setitem__(self, key: int, value: Any) -> None:
        pass


def track_no_transports(loop: asyncio.AbstractEventLoop) -> bool:
    """Let the loop's dictionary keep nothing more; False: it has none that is known, and works as
    it did.
    """
    for found in gc.get_referents(loop):  # it has no name outside of the loop
        if type(found) is WeakValueDictionary:
            found.__class__ = Untracked
            return True
    return False
