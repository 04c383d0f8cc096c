"""Regular expressions in rules. Invariant: what is accepted has RE2's syntax and meaning as far as
it goes, and no value, whatever a client sends, takes a time exponential in its length.
"""

from __future__ import annotations

import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as sre_parser  # type: ignore[import-not-found]
from typing import Any

_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)


def _check_linear(parsed: Any, repeated: bool) -> None:
    """Refuse what RE2 has not, and repeats within repeats, whose backtracking can explode."""
    for op, argument in parsed:
        if op in (sre.GROUPREF, sre.GROUPREF_EXISTS, sre.ASSERT, sre.ASSERT_NOT):
            raise ValueError("back-references and look-around are not in RE2's syntax")
        if op in _REPEATS:
            _, most, inner = argument
            many = most == sre.MAXREPEAT or most > 100
            if many and repeated:
                raise ValueError("a repeat within a repeat is not supported: write it flat")
            _check_linear(inner, repeated or many)
        elif op == sre.SUBPATTERN:
            _check_linear(argument[-1], repeated)
        elif op == sre.BRANCH:
            for branch in argument[1]:
                _check_linear(branch, repeated)


def compile_regex(text: str) -> re.Pattern[bytes]:
    """A pattern for the whole of a value.

    Raises ValueError, also for what could take a time that is exponential in the value's length.
    """
    try:
        pattern = re.compile(text.encode())
        _check_linear(sre_parser.parse(text.encode()), False)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    except (RecursionError, OverflowError):
        raise ValueError("a regular expression too large") from None
    return pattern
