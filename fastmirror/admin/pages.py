"""What the admin listener answers, by path. Invariant: GET changes nothing; what POST changes is
changed in every worker when its answer is sent.
"""

from __future__ import annotations

import http
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from fastmirror import metrics
from fastmirror.admin.live import LIVE_HEADERS, LIVE_PAGE
from fastmirror.admin.services import services
from fastmirror.admin.stats import stats
from fastmirror.rules.load import encode_rules
from fastmirror.upstream.survey import Survey, merge
from fastmirror.worker import in_turns

if TYPE_CHECKING:
    from fastmirror.server import Server

TEXT = "text/plain; charset=utf-8"


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    text: str
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
    return Answer(200, server.metrics.render(server.fleet.pids()), metrics.CONTENT_TYPE)


async def _rules(server: Server) -> Answer:
    reloader = server.reloader
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(reloader.since))
    headers = [("x-fastmirror-rules-since", since)]
    if reloader.problem is not None:  # as JSON, which is ASCII without line ends
        headers.append(("x-fastmirror-rules-problem", json.dumps(reloader.problem)))
    text = encode_rules(reloader.rules, ".json").decode()
    return Answer(200, text, "application/json", tuple(headers))


async def _services(server: Server) -> Answer:
    rules, surveys = server.reloader.rules, await server.fleet.survey()
    merged: Survey = {}
    await in_turns(merge(surveys, merged))
    listed: list[dict[str, Any]] = []
    await in_turns(services(rules, merged, listed))
    return _json({"workers": len(surveys), "services": listed})


async def _stats(server: Server) -> Answer:
    return _json(stats(server))


async def _live(server: Server) -> Answer:
    return Answer(200, LIVE_PAGE, "text/html; charset=utf-8", LIVE_HEADERS)


def _json(document: dict[str, Any]) -> Answer:
    return Answer(200, msgspec.json.encode(document).decode(), "application/json")


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
        return await get(server)
    if post is not None and method == "POST":
        return await post(server)
    if get is not None or post is not None:
        allowed = "GET, HEAD" if get is not None else "POST"
        return Answer(405, f"{path} answers {allowed}\n", headers=(("allow", allowed),))
    paths = [f"GET {each}" for each in GET] + [f"POST {each}" for each in POST]
    return Answer(404, "there is: " + ", ".join(paths) + "\n")
