"""The fuzzing targets with the seeds, and with what was found once: none of it may break again."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"
SEEDS = sorted(path for path in (FUZZ / "corpus").glob("*/*") if not path.name.startswith("."))


@pytest.fixture(scope="module")
def targets() -> dict[str, Callable[[bytes], None]]:
    """``one_input`` by target. Their folder is no package: each is run as a file."""
    found = {}
    sys.path.insert(0, str(FUZZ))
    try:
        for path in FUZZ.glob("target_*.py"):
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found[path.stem.removeprefix("target_")] = module.one_input
    finally:
        sys.path.remove(str(FUZZ))
    return found


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_seed(targets, path):
    targets[path.parent.name](path.read_bytes())


def test_every_target_has_seeds(targets):
    assert {path.parent.name for path in SEEDS} == set(targets)
