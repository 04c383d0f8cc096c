"""All copies of one request: what the exchange with the primary says to them.

Invariant: nothing here waits, raises for what a shadow does, or tells of an outcome. None stands
for no copies.
"""

from __future__ import annotations

from fastmirror.mirror.copy import Copy
from fastmirror.mirror.mirror import Mirror
from fastmirror.rules.request import Request


def feed_copies(copies: list[Copy] | None, data: bytes, size: int) -> int:
    """More of the request as it goes on the wire, with so many bytes of the body in it."""
    if copies is not None:
        for index in range(len(copies)):
            copy_at(copies, index).feed(data, size)
    return 0


def flush_copies(copies: list[Copy] | None) -> int:
    """All of what was read in one go has been fed."""
    if copies is not None:
        for index in range(len(copies)):
            copy_at(copies, index).flush()
    return 0


def end_copies(copies: list[Copy] | None) -> int:
    """The request is complete."""
    if copies is not None:
        for index in range(len(copies)):
            copy_at(copies, index).end()
    return 0


def abort_copies(copies: list[Copy] | None) -> int:
    """The request will never be whole."""
    if copies is not None:
        for index in range(len(copies)):
            copy_at(copies, index).client_gone()
    return 0


def refuse_copies(mirrors: list[Mirror], request: Request, reason: int) -> int:
    """Count a request that the mirrors of its route cannot copy."""
    for index in range(len(mirrors)):
        mirror_at(mirrors, index).refuse(request, reason)
    return 0


# Elements of a list have no C type; these give them one.
def copy_at(copies: list[Copy], index: int) -> Copy:
    """``copies[index]``."""
    return copies[index]


def mirror_at(mirrors: list[Mirror], index: int) -> Mirror:
    """``mirrors[index]``."""
    return mirrors[index]
