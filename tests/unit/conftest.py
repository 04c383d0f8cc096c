"""How hypothesis looks for what breaks these tests."""

from __future__ import annotations

from hypothesis import settings

# No deadline: how long an example takes is the machine's affair, not the test's.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
