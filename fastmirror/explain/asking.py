"""A request's head of what the command was given. Invariant: what comes out is one head, with one
request line and the fields as they were given; whether it is valid, the proxy's own reader says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from fastmirror.http1.target import split_absolute

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BREAKS = re.compile(r"[\r\n\0]")


def request_head(method: str, url: str, headers: Sequence[str]) -> bytes:
    """``url``: absolute, or a path where a Host is among the headers, each ``name: value``. As with
    curl, a Host among them counts, and not the URL's.

    Raises ValueError.
    """
    if _METHOD.fullmatch(method) is None:
        raise ValueError(f"METHOD: expected a name such as GET, got {method!r}")
    fields = [_field(text) for text in headers]
    if not url or _BREAKS.search(url) or " " in url:
        raise ValueError(f"URL: expected no spaces or line breaks, got {url!r}")
    host, target = _place(method, url)
    if not any(name.lower() == b"host" for name, _ in fields):
        if host is None:
            raise ValueError("URL: a path needs the host that it is asked of: -H 'Host: NAME'")
        fields.insert(0, (b"Host", host))
    lines = [b"%b %b HTTP/1.1" % (method.encode(), target)]
    lines += [b"%b: %b" % field for field in fields]
    return b"\r\n".join([*lines, b"", b""])


def _field(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or _BREAKS.search(text):
        raise ValueError(f"-H: expected 'name: value', got {text!r}")
    return os.fsencode(name), os.fsencode(value.strip(" \t"))


def _place(method: str, url: str) -> tuple[bytes | None, bytes]:
    """The Host that a client of that URL names, None where it says none, and the target."""
    if method == "CONNECT":
        return os.fsencode(url), os.fsencode(url)
    if url.startswith("/") or url == "*":
        return None, os.fsencode(url)
    if not url.lower().startswith("http://"):
        raise ValueError(f"URL: expected http://HOST/PATH or /PATH, got {url!r}")
    authority, rest = split_absolute(os.fsencode(url).partition(b"#")[0])
    return authority, rest if rest.startswith(b"/") else b"/" + rest
