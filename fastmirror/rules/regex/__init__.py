"""Regular expressions in rules, with the syntax and the meaning of RE2.

Invariants: what a value costs is linear in its length, whatever the pattern and whatever a client
sends; what RE2 refuses is refused, and so is what would make too large a program. A pattern is
parsed (``parser``), made a program (``program``), and run by compiled code (``_regex``).
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from fastmirror._regex import Pattern
from fastmirror.rules.model import RegexRewrite
from fastmirror.rules.regex.parser import Parser
from fastmirror.rules.regex.prefix import prefix
from fastmirror.rules.regex.program import Program

_patterns: WeakValueDictionary[str, Pattern] = WeakValueDictionary()


def compile_regex(text: str) -> Pattern:
    """A pattern for the whole of a value, or for parts of it (``replace``); the same for the same
    text, as long as anybody has it, so that a reload finds it made and warm.

    Raises ValueError, which says what is wrong and where.
    """
    known = _patterns.get(text)
    if known is not None:
        return known
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not a regular expression: it is not text") from None
    parser = Parser(text)
    tree = parser.parse()
    program = Program(tree)
    literal, whole = prefix(tree)
    pattern = _patterns[text] = Pattern(program, parser.groups, literal, whole)
    return pattern


def check_template(rewrite: RegexRewrite) -> None:
    """Whether a substitution names groups that its pattern has.

    Raises ValueError.
    """
    try:
        pattern = compile_regex(rewrite.match)
    except ValueError:
        return  # said of the pattern
    template(rewrite.substitution, pattern.groups)


def template(substitution: str, groups: int) -> list[bytes | int]:
    """RE2's form of a substitution as text and the numbers of groups: behind a backslash is a
    group's digit, or another backslash.

    Raises ValueError.
    """
    found: list[bytes | int] = []
    plain = ""
    chars = iter(substitution)
    for char in chars:
        behind = next(chars, "") if char == "\\" else "\\"
        if char != "\\":
            plain += char
        elif behind == "\\":
            plain += behind
        elif "0" <= behind <= "9" and int(behind) <= groups:
            found += [plain.encode(), int(behind)]
            plain = ""
        else:
            raise ValueError(f"expected \\0 to \\{min(groups, 9)}, or \\\\, behind a backslash")
    return [part for part in (*found, plain.encode()) if part != b""]
