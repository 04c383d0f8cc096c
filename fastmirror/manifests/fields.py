"""One value of a manifest together with where it stands, and the report of what is wrong with it.

Invariant: reading never raises. A value of the wrong kind is reported by file, line and path, and
a harmless stand-in is returned, so that one run names every mistake of a file set, not the first.

A reader of a kind says which fields it reads (``knows``) and then asks each for what it must be;
whatever it does not read is refused by name. So a field is supported by reading it, nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastmirror.rules.units import seconds
from fastmirror.yaml_documents import Document, Path

_ANY = re.compile(r"(?s).*")
_NOT_EMPTY = re.compile(r"(?s).+")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(slots=True)
class Report:
    """What is wrong (the manifests are refused) and what is merely surprising."""

    lenient: bool = False
    ignored: int = 0  # what is not supported, and was left out
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Origin:
    """The resource that a field belongs to, as messages name it."""

    report: Report
    document: Document
    label: str  # KIND/NAME, or KIND/NAMESPACE/NAME
    root: Path = ()  # where in its document the resource begins: a List holds several
    namespace: str = "default"  # names in it are of this namespace, if they do not say otherwise


@dataclass(frozen=True, slots=True)
class Field:
    """A value, or None where the manifest has none: Kubernetes drops nulls, so they are alike."""

    origin: Origin
    value: Any
    path: Path = ()
    # It would be a field of what has been refused for not being a mapping: its absence is no news.
    in_refused: bool = False

    @property
    def given(self) -> bool:
        return self.value is not None

    # -- saying what is wrong

    def where(self, path: Path) -> str:
        whole = (*self.origin.root, *path)
        document = self.origin.document
        line = document.line_of(whole)
        name = f": {_render(whole)}" if whole else ""
        return f"{document.source}:{line}: {self.origin.label}{name}"

    def problem(self, what: str) -> None:
        self.origin.report.problems.append(_printable(f"{self.where(self.path)}: {what}"))

    def warn(self, what: str) -> None:
        self.origin.report.warnings.append(_printable(f"{self.where(self.path)}: {what}"))

    def expected(self, what: str) -> None:
        if self.value is None:
            if not self.in_refused:
                self.problem(f"is required: expected {what}")
        else:
            self.problem(f"expected {what}, not {_short(self.value)}")

    def unsupported(self, what: str = "this field") -> None:
        """Refused by name; with --lenient ignored, and said so."""
        if self.origin.report.lenient:
            self.origin.report.ignored += 1
            self.warn(f"{what} is not supported: ignored")
        else:
            self.problem(f"{what} is not supported (--lenient ignores it)")

    # -- going down

    def __getitem__(self, key: str) -> Field:
        path = (*self.path, key)
        if isinstance(self.value, dict):
            return Field(self.origin, self.value.get(key), path)
        return Field(self.origin, None, path, self.given or self.in_refused)

    def knows(self, *read: str, over: Sequence[str] = ()) -> Field:
        """Itself: a mapping whose fields are read or, having no meaning here, read over."""
        for key, child in self.entries().items():
            if key not in read and key not in over:
                child.unsupported()
        return self

    def entries(self) -> dict[str, Field]:
        """The fields of a mapping that are not null."""
        if not isinstance(self.value, dict):
            if self.given:
                self.expected("a mapping")
            return {}
        return {key: self[key] for key, value in self.value.items() if value is not None}

    def items(self) -> list[Field]:
        """The items of a list; an absent one has none."""
        if not isinstance(self.value, list):
            if self.given:
                self.expected("a list")
            return []
        return [
            Field(self.origin, value, (*self.path, index)) for index, value in enumerate(self.value)
        ]

    # -- being something; each has a stand-in for what is not

    def string(self, default: str | None = None) -> str:
        """A string that may be empty; absent: the default, if there is one."""
        return self.matching(_ANY, "a string", default)

    def text(self, default: str | None = None) -> str:
        """A string that is not empty; absent: the default, if there is one."""
        return self.matching(_NOT_EMPTY, "a string that is not empty", default)

    def matching(self, pattern: re.Pattern[str], what: str, default: str | None = None) -> str:
        """A string that the pattern matches whole."""
        if default is not None and not self.given:
            return default
        if isinstance(self.value, str) and pattern.fullmatch(self.value):
            return self.value
        self.expected(what)
        return default or ""

    def integer(self, low: int, high: int, default: int | None = None) -> int:
        if default is not None and not self.given:
            return default
        if type(self.value) is int and low <= self.value <= high:
            return self.value
        self.expected(f"a whole number from {low} to {high}")
        return low

    def number(self, low: float, high: float, default: float) -> float:
        if not self.given:
            return default
        if type(self.value) in (int, float) and low <= self.value <= high:
            return float(self.value)  # NaN compares false
        self.expected(f"a number from {low:g} to {high:g}")
        return default

    def boolean(self, default: bool) -> bool:
        if isinstance(self.value, bool):
            return self.value
        if self.given:
            self.expected("true or false")
        return default

    def seconds(self, *, least: float = 0.0, zero: float | None = None) -> float | None:
        """A duration such as 10s, 1.5s, 250ms or 1h30m, not under ``least``; absent: None; 0:
        what ``zero`` says.
        """
        if not self.given:
            return None
        try:
            if isinstance(self.value, str) and self.value[-1:].isalpha():
                value = seconds(self.value)
                if value >= least:
                    return value or zero
        except ValueError:
            pass
        bound = f" of {least:g}s or more" if least else ""
        self.expected(f"a duration{bound} such as 10s or 250ms")
        return None

    def labels(self) -> dict[str, str]:
        return {key: child.string() for key, child in self.entries().items()}


def _printable(line: str) -> str:
    """One line, whatever the manifest's names and values are."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


def _render(path: Path) -> str:
    text = ""
    for step in path:
        if isinstance(step, str) and _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{step}]" if isinstance(step, int) else f"[{_short(step)}]"
    return text


def _short(value: object) -> str:
    if isinstance(value, dict | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
