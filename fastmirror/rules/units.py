"""Durations and sizes as people write them. Invariant: what is not understood is a ValueError
that says what was expected; nothing is rounded to zero in silence.
"""

from __future__ import annotations

import math
import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+)\s*(KiB|MiB|GiB|K|M|G|B)?", re.IGNORECASE)
_BYTES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
LONGEST = 366 * 86400.0


def seconds(value: float | str) -> float:
    """A number of seconds, or Istio's form: "250ms", "1.5s", "1m30s".

    Raises ValueError.
    """
    expected = f'expected seconds or a duration such as "250ms" or "1.5s", got {value!r}'
    if isinstance(value, str):
        try:
            result = float(value)
        except ValueError:
            parts = _DURATION.findall(value)
            if not parts or "".join(n + unit for n, unit in parts) != value:
                raise ValueError(expected) from None
            result = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    else:
        result = float(value)
    if not math.isfinite(result) or not 0 <= result <= LONGEST:
        raise ValueError(expected)
    return result


def size(value: int | str) -> int:
    """A number of bytes, or with a unit: "64MiB", "256KiB", "1G" (all powers of 1,024).

    Raises ValueError.
    """
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError(f'expected bytes or a size such as "64MiB", got {value!r}')
        result = int(match[1]) * _BYTES[(match[2] or "")[:1].lower()]
    else:
        result = value
    if not 0 <= result < 1 << 50:
        raise ValueError(f"expected a size from 0 to 1 PiB, got {value!r}")
    return result
