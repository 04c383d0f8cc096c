"""Regular expressions and values, from any octets.

Invariant: an expression is accepted, or refused with a ValueError; the automaton that runs forwards
and the search that begins backwards find the same, what is replaced by itself stays as it is, and
the states that are looked at are bounded by the program's size and the value's length.

An input is an expression, an LF, and the value.
"""

from __future__ import annotations

import harness

from fastmirror.rules.regex import compile_regex
from fastmirror.rules.regex.parser import Parser
from fastmirror.rules.regex.program import Program


def size_of(text: str) -> int:
    """All states of a program, and all ways from one to another."""
    program = Program(Parser(text).parse())
    return sum(1 + len(a) + len(b) for a, b in zip(program.edges, program.steps, strict=True))


def one_input(data: bytes) -> None:
    text, _, value = data.partition(b"\n")
    try:
        expression = text.decode()
        pattern = compile_regex(expression)
    except ValueError:
        return
    once = size_of(expression) * (len(value) + 1)
    matched = pattern.fullmatch(value)
    assert pattern.work <= 3 * once
    if matched:
        assert value == pattern.prefix if pattern.literal else value.startswith(pattern.prefix)
    before = pattern.work
    assert pattern.replace([0], value) == value
    assert pattern.work - before <= 8 * once
    try:
        whole = compile_regex(f"\\A(?:{expression})\\z")
    except ValueError:
        return  # one too deep, or too large
    if "\\Q" not in expression:  # which may have no end
        assert whole.fullmatch(value) == matched
        assert (whole.replace([b"x", 0], value) == b"x" + value) == matched


if __name__ == "__main__":
    harness.run(one_input)
