"""The configs in peers/, filled in.

Invariant: no @name@ is left unfilled.
"""

from __future__ import annotations

import re
from pathlib import Path

from .machine import LOOPBACK

CONFIGS = Path(__file__).with_name("peers")


def address(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def render(template: str, directory: Path, **values: object) -> Path:
    """A config file, written into the directory. Raises ValueError for a name without a value."""
    text = (CONFIGS / template).read_text()

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name == "dir":
            return str(directory)
        if name not in values:
            raise ValueError(f"{template}: nothing given for @{name}@")
        return str(values[name])

    path = directory / template
    # "@type" is protobuf's own, and has no second @.
    path.write_text(re.sub(r"@(\w+)@", value, text))
    return path
