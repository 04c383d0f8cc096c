"""A route as the table asks it. Invariant: what a route says of a request is what its match blocks
say; none holds without one of them, but where there is none to hold.
"""

from __future__ import annotations

from fastmirror.rules.conditions import MatchBlock
from fastmirror.rules.request import Request


class RouteEntry:
    """A route, ready to be asked. ``action`` is what serves it, set by whoever does."""

    def __init__(self, index: int, name: str, blocks: list[MatchBlock]) -> None:
        self.index = index
        self.name = name
        self.all_blocks = blocks
        self.blocks = [] if any(block.always() for block in blocks) else blocks
        self.action: object = None

    def matched(self, request: Request) -> MatchBlock | None:
        """The block that took a request; None: there is none to hold."""
        for block in self.all_blocks:
            if block_holds(block, request):
                return block
        return None

    def holds(self, request: Request) -> bool:
        """Whether one of its blocks matches."""
        if not self.blocks:
            return True
        for block in self.blocks:
            if block_holds(block, request):
                return True
        return False


def block_holds(block: MatchBlock, request: Request) -> bool:
    """``block.holds(request)``, with a C type."""
    return block.holds(request)
