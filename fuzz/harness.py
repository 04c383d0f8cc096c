"""What the targets share: how they are run, and the strict reader that the tests use too.

Invariant: without atheris a target is an ordinary module, whose ``one_input`` the tests call with
every file of the corpus.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# The tests' package is named as this folder is, which is none: a target is run as a file.
if str(ROOT / "tests") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests"))


def run(one_input: Callable[[bytes], None]) -> None:
    """Under libFuzzer, whose options are the command's. What is raised is a finding."""
    import atheris

    # Coverage comes from the compiled modules; the oracles' own would only be noise.
    atheris.Setup(sys.argv, one_input, enable_python_coverage=False)
    atheris.Fuzz()


def pieces(data: bytes, seed: int) -> list[bytes]:
    """The data, cut as the seed says: whole, octet by octet, or in runs of growing length."""
    if seed == 0:
        return [data]
    if seed == 1:
        return [data[at : at + 1] for at in range(len(data))]
    found, at, size = [], 0, 1 + seed % 7
    while at < len(data):
        found.append(data[at : at + size])
        at += size
        size = 1 + (size * 5 + seed) % 23
    return found
