"""What the admin listener answers, by path. Invariant: GET changes nothing; what POST changes is
changed in every worker when its answer is sent.
"""

from __future__ import annotations

import http
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastmirror import metrics
from fastmirror.admin.live import LIVE_HEADERS, LIVE_PAGE
from fastmirror.admin.services import services
from fastmirror.admin.shared import Shared
from fastmirror.admin.stats import stats
from fastmirror.rules.load import encode_in_steps
from fastmirror.upstream.survey import Survey, merge
from fastmirror.worker import in_turns

if TYPE_CHECKING:
    from fastmirror.server import Server

TEXT = "text/plain; charset=utf-8"
PIECE = 65536  # bytes, about


@dataclass
class Answer:
    """An HTTP answer; a long body comes in pieces."""

    status: int
    text: str | list[bytes]
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def reason(self) -> str:
        """The status' phrase."""
        return http.HTTPStatus(self.status).phrase


async def _healthz(server: Server) -> Answer:
    return Answer(200, "ok\n")


async def _readyz(server: Server) -> Answer:
    if server.state != "ready":
        return Answer(503, f"{server.state}\n")
    if server.reloader.problem is not None:
        return Answer(200, f"ready, with the rules before; {server.reloader.problem}\n")
    return Answer(200, "ready\n")


async def _metrics(server: Server) -> Answer:
    lines = server.metrics.lines(server.fleet.pids())
    pieces = await _pieces(f"{line}\n".encode() if line else b"" for line in lines)
    return Answer(200, pieces, metrics.CONTENT_TYPE)


async def _rules(server: Server) -> Answer:
    reloader = server.reloader
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(reloader.since))
    headers = [("x-fastmirror-rules-since", since)]
    if reloader.problem is not None:  # as JSON, which is ASCII without line ends
        headers.append(("x-fastmirror-rules-problem", json.dumps(reloader.problem)))
    pieces = await _pieces(encode_in_steps(reloader.rules))
    return Answer(200, pieces, "application/json", tuple(headers))


async def _services(server: Server) -> Answer:
    surveys, rules = await server.fleet.survey(), server.reloader.rules
    merged: Survey = {}
    await in_turns(merge(surveys, merged))
    pieces = await _pieces(services(rules, merged, len(surveys)))
    return Answer(200, pieces, "application/json")


async def _stats(server: Server) -> Answer:
    return Answer(200, await _pieces(stats(server)), "application/json")


async def _live(server: Server) -> Answer:
    return Answer(200, LIVE_PAGE, "text/html; charset=utf-8", LIVE_HEADERS)


async def _pieces(steps: Iterator[bytes]) -> list[bytes]:
    """A page of which thousands of rules make megabytes, made beside the serving."""
    pieces: list[bytes] = []
    gathered: list[bytes] = []
    size = 0

    def gather() -> Iterator[None]:
        nonlocal size
        for step in steps:
            gathered.append(step)
            size += len(step)
            if size > PIECE:
                pieces.append(b"".join(gathered))
                gathered.clear()
                size = 0
            yield

    await in_turns(gather())
    return [*pieces, b"".join(gathered)]


async def _mirror_off(server: Server) -> Answer:
    await server.switch_mirroring(True)
    return Answer(200, "mirroring is off\n")


async def _mirror_on(server: Server) -> Answer:
    await server.switch_mirroring(False)
    return Answer(200, "mirroring is on\n")


async def _reload(server: Server) -> Answer:
    outcome = await server.reload()
    return Answer(outcome.status, f"{outcome.text}\n")


async def _drain(server: Server) -> Answer:
    if not server.draining:
        server.stop()
    return Answer(200, "draining\n")


async def _leave(server: Server) -> Answer:
    await server.leave()
    return Answer(200, "draining gracefully: serving on until told to end\n")


Page = Callable[["Server"], Awaitable[Answer]]

GET: dict[str, Page] = {
    "/healthz": _healthz,
    "/readyz": _readyz,
    "/metrics": _metrics,
    "/rules": _rules,
    "/services": _services,
    "/stats.json": _stats,
    "/": _live,
}
LONG = {_metrics, _rules, _services, _stats}
POST: dict[str, Page] = {
    "/mirror/off": _mirror_off,
    "/mirror/on": _mirror_on,
    "/rules/reload": _reload,
    "/drain": _drain,
    "/drain?graceful": _leave,
}


async def answer(server: Server, method: str, path: str) -> Answer:
    """The answer to a request."""
    path, _, query = path.partition("?")
    if query and method == "POST":
        path = f"{path}?{query}"  # what ends the process is not to be done by mistake
    get, post = GET.get(path), POST.get(path)
    if get is not None and method in ("GET", "HEAD"):
        if get in LONG:
            shared: Shared[Answer] = server.pages.setdefault(path, Shared())
            return await shared.get(lambda: get(server))
        return await get(server)
    if post is not None and method == "POST":
        return await post(server)
    if get is not None or post is not None:
        allowed = "GET, HEAD" if get is not None else "POST"
        return Answer(405, f"{path} answers {allowed}\n", headers=(("allow", allowed),))
    paths = [f"GET {each}" for each in GET] + [f"POST {each}" for each in POST]
    return Answer(404, "there is: " + ", ".join(paths) + "\n")
