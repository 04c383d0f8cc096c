"""What all values that a pattern matches begin with.

Invariant: a value that does not begin with the prefix does not match; where the prefix is the
whole, it is the one value that does.
"""

from __future__ import annotations

from fastmirror.rules.regex.syntax import (
    BEGIN_TEXT,
    END_TEXT,
    Assertion,
    Chars,
    Choice,
    Concat,
    Group,
    Node,
    Repeat,
)


def prefix(tree: Node) -> tuple[bytes, bool]:
    """The bytes that each match of the whole of a value begins with, and whether they are all."""
    parts = list(tree.parts) if isinstance(tree, Concat) else [tree]
    while parts and _asserts(parts[0], BEGIN_TEXT):
        del parts[0]
    while parts and _asserts(parts[-1], END_TEXT):
        del parts[-1]
    return _of_all(parts)


def _asserts(part: Node, need: int) -> bool:
    return isinstance(part, Assertion) and part.need == need


def _of_all(parts: list[Node]) -> tuple[bytes, bool]:
    found = []
    for part in parts:
        text, whole = _of(part)
        found.append(text)
        if not whole:
            return b"".join(found), False
    return b"".join(found), True


def _of(node: Node) -> tuple[bytes, bool]:
    if isinstance(node, Chars):
        if len(node.ranges) == 1 and node.ranges[0][0] == node.ranges[0][1]:
            return chr(node.ranges[0][0]).encode("utf-8", "surrogatepass"), True
    elif isinstance(node, Group):
        return _of(node.inner)
    elif isinstance(node, Concat):
        return _of_all(list(node.parts))
    elif isinstance(node, Choice):
        return _common([_of(part)[0] for part in node.parts]), False
    elif isinstance(node, Repeat) and node.least > 0:
        text, whole = _of(node.inner)
        return (text * node.least if whole else text), whole and node.least == node.most
    return b"", False


def _common(texts: list[bytes]) -> bytes:
    """What all of them begin with."""
    first, last = min(texts), max(texts)
    size = 0
    while size < min(len(first), len(last)) and first[size] == last[size]:
        size += 1
    return first[:size]
