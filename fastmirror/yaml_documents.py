"""YAML text into plain data that knows its line numbers; the only place that imports PyYAML.

Invariant: whatever the text, reading it ends in documents or in one YamlError that names
``SOURCE:LINE``. Work and depth are bounded: documents are built from the parser's events with a
stack of our own, so nesting cannot exhaust Python's (or C's) stack, and an alias costs what it
stands for, so that a few lines cannot expand into billions of nodes.

Scalars are read as Kubernetes reads them, except that nothing becomes a date: ``creationTimestamp``
stays the string that was written, and ``22:22`` is not a number in base 60.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 100  # manifests nest some 20 deep
MAX_NODES = 2_000_000  # aliases counted as what they stand for

Path = tuple[str | int, ...]
_Lines = dict[str, int] | list[int]

_BOOLS = {
    word: value
    for value, words in ((True, ("true", "yes", "on")), (False, ("false", "no", "off")))
    for lower in words
    for word in (lower, lower.capitalize(), lower.upper())
}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
# Longer digit strings stay strings: no field of any manifest is such a number.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30}|0x[0-9a-fA-F]{1,30}|0b[01]{1,99})")
_OCTAL = re.compile(r"([-+]?)0o?([0-7]{1,30})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,4})?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAG = "tag:yaml.org,2002:"
_STRINGS = ("!", _TAG + "str", _TAG + "timestamp")


class YamlError(ValueError):
    """The text is not YAML that we read; the message begins with ``SOURCE:LINE``."""


class UnsupportedError(YamlError):
    """It is YAML, and more than what we read of it: merge keys, say."""


@dataclass(slots=True)
class Document:
    """One YAML document: plain dicts, lists and scalars, and where each of them stood."""

    data: Any
    source: str
    line: int
    # Containers by identity, which `data` keeps alive: their items' lines, of the same shape.
    _lines: dict[int, _Lines] = field(default_factory=dict, repr=False)

    def line_of(self, path: Path) -> int:
        """The line of that field, or of its nearest parent that exists."""
        line, value = self.line, self.data
        for step in path:
            lines: Any = self._lines.get(id(value))
            try:
                line, value = lines[step], value[step]
            except (LookupError, TypeError):
                break
        return line


def read_documents(text: str, source: str) -> list[Document]:
    """Every document of ``text`` that is not empty; ``source`` names the text in messages."""
    try:
        import yaml
    except ImportError:
        raise YamlError("reading YAML needs PyYAML: pip install PyYAML") from None
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(source)
    take: dict[type, Callable[[Any], None]] = {
        yaml.DocumentStartEvent: builder.start,
        yaml.DocumentEndEvent: builder.end,
        yaml.MappingStartEvent: lambda event: builder.open(event, {}, {}),
        yaml.SequenceStartEvent: lambda event: builder.open(event, [], []),
        yaml.MappingEndEvent: builder.close,
        yaml.SequenceEndEvent: builder.close,
        yaml.ScalarEvent: builder.scalar,
        yaml.AliasEvent: builder.alias,
        yaml.StreamStartEvent: lambda event: None,
        yaml.StreamEndEvent: lambda event: None,
    }
    try:
        events: Iterable[Any] = yaml.parse(text, Loader=loader)
        for event in events:
            builder.line = event.start_mark.line + 1
            take[type(event)](event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else builder.line
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(f"{source}:{line}: {what}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        what = str(getattr(error, "reason", "not text"))
        raise YamlError(f"{source}:{builder.line}: {what}") from None
    return builder.documents


def write_document(data: Any) -> str:
    """A plain document as YAML that ``read_documents`` reads as the same document.

    Raises YamlError where there is no PyYAML.
    """
    try:
        import yaml
    except ImportError:
        raise YamlError("writing YAML needs PyYAML: pip install PyYAML") from None

    class Dumper(yaml.SafeDumper):
        """Quotes what would be read as a number or a merge key, by whatever version of YAML."""

    def text(dumper: Dumper, value: str) -> yaml.ScalarNode:
        plain = value.isprintable() and value != "<<" and isinstance(_resolve(value or "~"), str)
        return dumper.represent_scalar(_TAG + "str", value, style=None if plain else '"')

    Dumper.add_representer(str, text)
    return yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True)


@dataclass(slots=True)
class _Open:
    """A container whose end has not come yet."""

    container: Any
    lines: Any
    anchor: str | None
    line: int
    size: int = 1  # nodes, aliases expanded
    key: str | None = None  # of a mapping: read, and waiting for its value


class _Builder:
    """Builds one document at a time from events; the stack holds what is still open."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.line = 1
        self.documents: list[Document] = []
        self.plain = False  # whether the last scalar stood without quotes
        self.start()

    def start(self, _event: Any = None) -> None:
        self.document = Document(None, self.source, self.line)
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int] | None] = {}  # None: not closed yet
        self.nodes = 0

    def end(self, _event: Any) -> None:
        if self.document.data is not None:
            self.documents.append(self.document)

    def error(self, what: str) -> YamlError:
        return UnsupportedError(f"{self.source}:{self.line}: {what}")

    def scalar(self, event: Any) -> None:
        result, tag = event.value, event.tag
        self.plain = bool(event.implicit[0])
        if tag is None:
            if event.implicit[0]:  # plain, not quoted
                result = _resolve(result)
        elif tag not in _STRINGS:
            result = _resolve(result)
            if tag != _TAG + {bool: "bool", int: "int", float: "float"}.get(type(result), "null"):
                raise self.error(f"tag {tag!r} is not supported here")
        if event.anchor:
            self.anchors[event.anchor] = (result, 1)
        self.add(result, 1, self.line)

    def open(self, event: Any, container: Any, lines: Any) -> None:
        if event.tag not in (None, "!", _TAG + ("map" if container == {} else "seq")):
            raise self.error(f"tag {event.tag!r} is not supported here")
        if len(self.stack) >= MAX_DEPTH:
            raise self.error(f"nested more than {MAX_DEPTH} deep")
        if event.anchor:
            self.anchors[event.anchor] = None
        self.document._lines[id(container)] = lines
        self.stack.append(_Open(container, lines, event.anchor, self.line))

    def close(self, _event: Any) -> None:
        done = self.stack.pop()
        if done.anchor:
            self.anchors[done.anchor] = (done.container, done.size)
        self.add(done.container, done.size, done.line)

    def alias(self, event: Any) -> None:
        if event.anchor not in self.anchors:
            raise self.error(f"alias *{event.anchor} has no anchor")
        target = self.anchors[event.anchor]
        if target is None:
            raise self.error(f"alias *{event.anchor} contains itself")
        self.nodes += target[1]
        self.add(*target, self.line)

    def add(self, value: Any, size: int, line: int) -> None:
        """Puts a finished value where it belongs: the root, a list's end, a key or its value."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.error(f"more than {MAX_NODES} nodes, aliases expanded")
        if not self.stack:
            self.document.data, self.document.line = value, line
            return
        parent = self.stack[-1]
        parent.size += size
        if isinstance(parent.container, list):
            parent.container.append(value)
            parent.lines.append(line)
        elif parent.key is None:
            parent.key = self.key(value, parent.lines, line)
            parent.lines[parent.key] = line
        else:
            parent.container[parent.key] = value
            parent.key = None

    def key(self, value: Any, lines: dict[str, int], line: int) -> str:
        self.line = line
        if not isinstance(value, str):
            what = "a mapping or list" if isinstance(value, dict | list) else repr(value)
            raise self.error(f"a key must be a string, not {what}")
        if value == "<<" and self.plain:
            raise self.error("merge keys (<<) are not supported")
        if value in lines:
            raise self.error(f"duplicate key {value!r} (first on line {lines[value]})")
        return value


def _resolve(text: str) -> Any:
    """A plain scalar's value by YAML's core rules, with YAML 1.1's booleans and octals."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return int(text, 0)
    if octal := _OCTAL.fullmatch(text):
        return int(octal[1] + octal[2], 8)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text
