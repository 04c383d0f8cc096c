"""The application of servers.py for WSGI servers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    body = environ["wsgi.input"].read()
    if path == "/nothing":
        start_response("204 No Content", [])
        return []
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        count = int(parse_qs(environ["QUERY_STRING"])["n"][0])
        return (b"%07d\n" % i * 125 for i in range(count))
    answer = b"hello\n" if path == "/hello" else hashlib.sha256(body).hexdigest().encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
