"""How hypothesis looks for what breaks these tests."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: how long an example takes is the machine's affair, not the test's. In CI the same
# examples every time, so that a change is judged by what it changed.
settings.register_profile("unit", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("unit")
