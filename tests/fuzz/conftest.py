"""How hypothesis looks for what breaks these tests: as in the unit tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite(f"{__package__}.strict", f"{__package__}.wire")

# In CI the same examples every time, so that a change is judged by what it changed. An example is
# a conversation through real sockets: how long one takes is no fault of the strategy's.
settings.register_profile(
    "fuzz",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fuzz")
