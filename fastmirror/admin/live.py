"""``GET /``: the live page, a program for the browser that shows ``/stats.json`` and ``/services``.

Invariants: it loads nothing from anywhere else, and runs no script but its own (whose hash its
Content-Security-Policy has); what comes from rules is shown as text, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

LIVE_PAGE = resources.files(__package__).joinpath("live.html").read_text(encoding="utf-8")


def _hash_of(element: str) -> str:
    [inner] = re.findall(rf"<{element}>(.*?)</{element}>", LIVE_PAGE, re.DOTALL)
    return base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()


LIVE_HEADERS = (
    (
        "content-security-policy",
        f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors 'none'; script-src 'sha256-{_hash_of('script')}'; "
        f"style-src 'sha256-{_hash_of('style')}'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)
