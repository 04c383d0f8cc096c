"""The JSON Schema (2020-12) of the rules document, for editors. Invariant: what the proxy takes
in its documented forms is valid under it; the other way round is not promised, as a schema cannot
say all that is validated.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from fastmirror.rules import model

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_FIELD = re.compile(r"^    (\w+): .*?  # (.+)$", re.MULTILINE)


def rules_schema() -> dict[str, Any]:
    """Made by msgspec of the Structs: their docstrings, and what stands behind a field, are the
    descriptions that editors show.
    """
    schema = msgspec.json.schema(model.Rules)
    for name, definition in schema["$defs"].items():
        struct = getattr(model, name)
        definition["description"] = " ".join((inspect.getdoc(struct) or "").split())
        for base in reversed(struct.__mro__[:-1]):
            if base.__module__ == model.__name__:
                for field, text in _FIELD.findall(inspect.getsource(base)):
                    _describe(definition["properties"], field, text)
    return {"$schema": DIALECT, "title": "fastmirror rules", **schema}


def _describe(properties: dict[str, Any], field: str, text: str) -> None:
    properties[field] = {**properties[field], "description": text}
