"""Rules files: read, decoded, validated; written. Invariant: what is returned is valid in full,
and anything else is a RulesError whose lines name the file, the field and what was expected.

The form goes by the name: .yaml and .yml, .json, and MessagePack for every other name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec

from fastmirror.rules.checks import Problem
from fastmirror.rules.model import VERSION, Route, Rules, Service
from fastmirror.rules.validate import validate

MAX_FILE = 1 << 28  # bytes

_AT = re.compile(r"(?s)(.*) - at (?:`?key`? in )?`\$(.*)`")


class RulesError(ValueError):
    """A rules file that cannot be used: ``problems``, each a line ``FILE: FIELD: EXPECTED``."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))

    @property
    def first(self) -> str:
        """The first problem, on one line."""
        more = len(self.problems) - 1
        tail = f" (and {more} more)" if more else ""
        return f"{self.source}: {self.problems[0]}{tail}".replace("\n", " ")


def load_rules(path: str | Path) -> Rules:
    """The rules of a file.

    Raises RulesError.
    """
    return decode_rules(read_rules(path), str(path))


def read_rules(path: str | Path) -> bytes:
    """The bytes of a rules file.

    Raises RulesError.
    """
    source = str(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RulesError(source, [Problem("", f"cannot be read: {reason}")]) from None
    if len(data) > MAX_FILE:
        raise RulesError(source, [Problem("", f"larger than {MAX_FILE} bytes")])
    return data


def decode_rules(data: bytes, source: str) -> Rules:
    """The rules of a file's bytes; ``source`` is its name, for its form and for errors.

    Raises RulesError.
    """
    raw = _decode(data, source)
    rules = convert_rules(raw, source)
    try:
        problems = validate(rules)
        if not problems:
            for each in (*rules.services, *rules.routes):
                msgspec.msgpack.encode(each)
    except (UnicodeEncodeError, OverflowError) as error:
        # Half a surrogate pair, or a number of more than 64 bits.
        problems = [Problem("", f"cannot be written as it is: {error}")]
    if problems:
        raise RulesError(source, problems)
    return rules


class _Parts(msgspec.Struct):
    services: list[msgspec.Raw] = []
    routes: list[msgspec.Raw] = []


def decode_valid(data: bytes) -> Rules:
    """The rules that ``encode_rules`` wrote as MessagePack; an element at a time, so that a thread
    that does this is never long without giving way.
    """
    parts = msgspec.msgpack.decode(data, type=_Parts)
    service, route = msgspec.msgpack.Decoder(Service), msgspec.msgpack.Decoder(Route)
    return Rules(
        version=1,
        services=[service.decode(each) for each in parts.services],
        routes=[route.decode(each) for each in parts.routes],
    )


def _decode(data: bytes, source: str) -> Any:
    """The plain document."""
    suffix = Path(source).suffix.lower()
    if not data:
        raise RulesError(source, [Problem("", "the file is empty, expected a rules document")])
    try:
        if suffix in (".yaml", ".yml"):
            return _decode_yaml(data, source)
        if suffix == ".json":
            return json.loads(data, object_pairs_hook=_no_duplicates)
        return msgspec.msgpack.decode(data)
    except RulesError:
        raise
    except (ValueError, RecursionError) as error:
        form = "JSON" if suffix == ".json" else "MessagePack"
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RulesError(source, [Problem("", f"not {form}: {reason}")]) from None


def _decode_yaml(data: bytes, source: str) -> Any:
    from fastmirror.yaml_documents import YamlError, read_documents

    try:
        documents = read_documents(data.decode(), source)
    except UnicodeDecodeError as error:
        raise RulesError(source, [Problem("", f"not UTF-8: {error}")]) from None
    except YamlError as error:
        text = str(error).removeprefix(source).removeprefix(":").strip()
        raise RulesError(source, [Problem("", f"not YAML that can be used: {text}")]) from None
    if len(documents) != 1:
        raise RulesError(source, [Problem("", f"expected one YAML document, got {len(documents)}")])
    return documents[0].data


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the key "{twice}" is there twice')
    return found


def convert_rules(raw: Any, source: str) -> Rules:
    """The typed document of a plain one, not yet validated.

    Raises RulesError.
    """
    if not isinstance(raw, dict):
        found = type(raw).__name__
        raise RulesError(source, [Problem("", f"expected a rules document, got {found}")])
    if raw.get("version") != VERSION or isinstance(raw.get("version"), bool):
        got = _shown(raw["version"])[:40] if "version" in raw else "none"
        raise RulesError(source, [Problem("version", f"expected {VERSION}, got {got}")])
    try:
        return _converted(raw)
    except msgspec.ValidationError as error:
        raise RulesError(source, [_problem(raw, str(error))]) from None
    except RecursionError:
        raise RulesError(source, [Problem("", "nested too deeply")]) from None


def _converted(raw: dict[str, Any]) -> Rules:
    """``msgspec.convert(raw, Rules)``; where it is valid, an element at a time, so that a thread
    that does this is never long without giving way.
    """
    services, routes = raw.get("services", []), raw.get("routes", [])
    if raw.keys() <= set(Rules.__struct_fields__) and type(services) is type(routes) is list:
        try:
            return Rules(
                version=1,
                services=[msgspec.convert(each, Service) for each in services],
                routes=[msgspec.convert(each, Route) for each in routes],
            )
        except msgspec.ValidationError:
            pass  # the whole of it says where
    return msgspec.convert(raw, Rules)


def _problem(raw: dict[str, Any], message: str) -> Problem:
    """Msgspec's message as ours: its path without the root and with the keys of mappings, the
    value that was found, and no types in backquotes.
    """
    match = _AT.fullmatch(message)
    text, path = (match[1], match[2]) if match else (message, "")
    path = _with_keys(raw, path)
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown:
        return Problem(f"{path}.{unknown[1]}".lstrip("."), "there is no such field")
    missing = re.fullmatch(r"Object missing required field `(.*)`", text)
    if missing:
        return Problem(f"{path}.{missing[1]}".lstrip("."), "expected, and is not there")
    value = _value_at(raw, path)
    text = text[:1].lower() + text[1:].replace("`", "").replace(" | null", "")
    for theirs, ours in (("float", "a number"), ("str", "a string"), ("int", "a whole number")):
        text = re.sub(rf"(expected|got|\|) {theirs}\b", rf"\1 {ours}", text)
    got = "" if ", got" in text or value is None else f", got {_shown(value)}"
    return Problem(path.lstrip("."), text + got[:80])


def _shown(value: Any) -> str:
    """As JSON; MessagePack can hold what JSON cannot, such as keys that are bytes."""
    try:
        return json.dumps(value, default=repr)
    except (TypeError, ValueError):
        return repr(value)


def _with_keys(raw: dict[str, Any], path: str) -> str:
    """``a.b[...]`` with the key in the place of ``[...]``: the first that fails alone."""
    while "[...]" in path:
        before, _, after = path.partition("[...]")
        holder = _value_at(raw, before)
        key = (
            next((key for key, value in holder.items() if _fails(raw, before, {key: value})), "?")
            if isinstance(holder, dict)
            else "?"
        )
        path = f"{before}.{key}{after}"
        if key == "?":
            break
    return path


def _fails(raw: dict[str, Any], path: str, reduced: dict[str, Any]) -> bool:
    """Whether the document is refused at ``path`` when that mapping is reduced."""
    copy = deepcopy(raw)
    target = _value_at(copy, path)
    target.clear()
    target.update(reduced)
    try:
        msgspec.convert(copy, Rules)
    except msgspec.ValidationError as error:
        return "[...]" in str(error)
    return False


def _value_at(raw: Any, path: str) -> Any:
    for name, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path):
        try:
            raw = raw[name] if name else raw[int(index)]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def encode_in_steps(rules: Rules) -> Iterator[bytes]:
    """``encode_rules(rules, ".json")``, a service or a route at each step."""
    yield b'{\n  "version": %d' % VERSION
    for name, parts in (("services", rules.services), ("routes", rules.routes)):
        for at, part in enumerate(parts):
            text = msgspec.json.format(msgspec.json.encode(part), indent=2)
            before = b"," if at else b',\n  "%s": [' % name.encode()
            yield before + b"\n    " + text.replace(b"\n", b"\n    ")
        if parts:
            yield b"\n  ]"
    yield b"\n}\n"


def encode_rules(rules: Rules, suffix: str = "") -> bytes:
    """The document in the form of a name's suffix, without what is default."""
    if suffix in (".yaml", ".yml"):
        from fastmirror.yaml_documents import write_document

        return write_document({"version": VERSION, **msgspec.to_builtins(rules)}).encode()
    if suffix == ".json":
        return msgspec.json.format(msgspec.json.encode(rules), indent=2) + b"\n"
    return msgspec.msgpack.encode(rules)
