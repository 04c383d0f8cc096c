"""What RE2 itself says: google-re2's binding of it, used as Envoy uses the library."""

from __future__ import annotations

import pytest

re2 = pytest.importorskip("re2", reason="google-re2 is not installed: no RE2 to compare with")

Span = tuple[int, int]


class Theirs:
    """A pattern that RE2 has compiled. Raises ValueError where it refuses."""

    def __init__(self, text: str) -> None:
        options = re2.Options()
        options.log_errors = False
        options.max_mem = 64 << 20
        self._compiled = re2._re2.RE2(text.encode(), options)
        if not self._compiled.ok():
            raise ValueError(self._compiled.error().decode())
        self.groups = self._compiled.NumberOfCapturingGroups()

    def fullmatch(self, value: bytes) -> bool:
        return self._spans(re2._Anchor.ANCHOR_BOTH, value, 0) is not None

    def _spans(self, anchor: object, value: bytes, at: int) -> list[Span] | None:
        found = self._compiled.Match(anchor, value, at, len(value))
        return None if found[0] == (-1, -1) else found

    def replace(self, substitution: list[bytes | int], value: bytes) -> bytes:
        """RE2::GlobalReplace, which the binding has not: on its matches."""
        out = b""
        at, last = 0, -1
        while at <= len(value):
            spans = self._spans(re2._Anchor.UNANCHORED, value, at)
            if spans is None:
                break
            begin, end = spans[0]
            out += value[at:begin]
            if begin == end == last:
                at = begin + character(value[begin : begin + 4])
                out += value[begin:at]
                continue
            for part in substitution:
                out += part if isinstance(part, bytes) else value[slice(*spans[part])]
            at = last = end
        return out + value[at:]


def character(text: bytes) -> int:
    """The length of the character that a text begins with; of what is none, 1."""
    for size in range(2, len(text) + 1):
        try:
            text[:size].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            continue
        return size if text[0] >= 0x80 else 1
    return 1
