"""How a reload is asked for, what is said of it, and that it holds everywhere or nowhere."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .backends import Backends
from .client import Client
from .conftest import StartProxy
from .procs import LOOPBACK, Proxy, wait_until

RELOADS = "fastmirror_rules_reloads_total"


def says(text: str, **more: object) -> dict[str, object]:
    """Rules under which every request is answered with a text."""
    route = {"name": "app", "hosts": ["*"], "direct_response": {"status": 200, "body": text}}
    return {"version": 1, "routes": [route], **more}


def answer(proxy: Proxy) -> str:
    with Client(proxy.port) as client:
        return client.get("/").body.decode()


def reloads(proxy: Proxy) -> dict[str, int]:
    metrics = proxy.metrics()
    results = ("success", "unchanged", "failure")
    return {each: int(metrics.total(RELOADS, result=each)) for each in results}


def write_slowly(path: Path, text: str, seconds: float) -> None:
    """In place, and halves of it are there to be seen."""
    with path.open("w") as file:
        for at in range(0, len(text), 40):
            file.write(text[at : at + 40])
            file.flush()
            time.sleep(seconds / (len(text) / 40))


def test_written_in_place(start_proxy: StartProxy) -> None:
    proxy = start_proxy(says("one"))
    proxy.rules.write_text(json.dumps(says("two")))
    wait_until(lambda: answer(proxy) == "two", "the new answer")
    assert reloads(proxy) == {"success": 1, "unchanged": 0, "failure": 0}


def test_written_in_place_slowly_is_not_read_half(start_proxy: StartProxy, tmp_path: Path) -> None:
    """Half of such a document is valid YAML, and says something else."""
    path = tmp_path / "rules.yaml"
    path.write_text("version: 1\nroutes: []\n")
    proxy = start_proxy(path)
    routes = "".join(
        f"- {{name: r{at}, hosts: [h{at}], direct_response: {{status: 200}}}}\n" for at in range(30)
    )
    write_slowly(path, f"version: 1\nroutes:\n{routes}", 2.0)
    wait_until(lambda: reloads(proxy)["success"] > 0, "the reload")
    assert reloads(proxy) == {"success": 1, "unchanged": 0, "failure": 0}
    assert len(json.loads(proxy.ask("/rules")[1])["routes"]) == 30


def test_removed_and_put_back(start_proxy: StartProxy) -> None:
    proxy = start_proxy(says("one"))
    text = proxy.rules.read_text()
    proxy.rules.unlink()
    wait_until(lambda: "cannot be read" in proxy.ask("/readyz")[1], "the file is missed")
    assert answer(proxy) == "one"
    proxy.rules.write_text(text)
    wait_until(lambda: proxy.ask("/readyz") == (200, "ready\n"), "it is found again")
    assert reloads(proxy) == {"success": 0, "unchanged": 1, "failure": 1}
    proxy.rules.unlink()
    proxy.write_rules(says("two"))
    wait_until(lambda: answer(proxy) == "two", "the new answer")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bad_file_is_told_once_and_shown_until_it_is_good(
    start_proxy: StartProxy, workers: str
) -> None:
    proxy = start_proxy(says("one"), "--workers", workers)
    assert proxy.ask("/readyz") == (200, "ready\n")
    proxy.write_rules(says("two", timeout=3))
    problem = f"not reloaded: {proxy.rules}: timeout: there is no such field"
    wait_until(lambda: problem in proxy.stderr, "the reason in the log")
    time.sleep(1.0)  # several looks at the file
    assert proxy.stderr.count(problem) == 1
    assert reloads(proxy) == {"success": 0, "unchanged": 0, "failure": 1}
    assert proxy.ask("/readyz") == (200, f"ready, with the rules before; {problem}\n")
    assert answer(proxy) == "one"
    # Who asks is told too, and it counts again.
    assert proxy.ask("/rules/reload", "POST") == (400, f"{problem}\n")
    assert reloads(proxy)["failure"] == 2
    connection = http.client.HTTPConnection(LOOPBACK, proxy.admin, timeout=10)
    connection.request("GET", "/rules")
    response = connection.getresponse()
    assert json.loads(response.read()) == says("one")
    assert json.loads(response.headers["x-fastmirror-rules-problem"]) == problem
    connection.close()
    proxy.write_rules(says("two"))
    wait_until(lambda: answer(proxy) == "two", "the new answer")
    wait_until(lambda: proxy.ask("/readyz") == (200, "ready\n"), "nothing to complain of")


def test_what_is_the_same_is_counted_as_that(start_proxy: StartProxy) -> None:
    proxy = start_proxy(says("one"))
    assert proxy.ask("/rules/reload", "POST") == (
        200,
        "unchanged: the file has what is in force\n",
    )
    proxy.signal(signal.SIGHUP)
    wait_until(lambda: reloads(proxy)["unchanged"] == 2, "both counted")
    # Back to what holds, after a bad file.
    proxy.write_rules("{")
    assert proxy.ask("/rules/reload", "POST")[0] == 400
    proxy.write_rules(says("one"))
    assert proxy.ask("/rules/reload", "POST")[0] == 200
    assert proxy.ask("/readyz")[1] == "ready\n"
    assert reloads(proxy) == {"success": 0, "unchanged": 3, "failure": 1}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_many_ask_at_once(start_proxy: StartProxy, workers: str) -> None:
    """Each is answered when what it had written before it asked, or something later, holds."""
    proxy = start_proxy(says("0"), "--workers", workers)
    writing = threading.Lock()
    number = 0

    def write_and_ask(_: int) -> None:
        nonlocal number
        with writing:
            number += 1
            mine = number
            proxy.write_rules(says(str(mine)))
        status, text = proxy.ask("/rules/reload", "POST")
        assert status == 200, text
        assert int(answer(proxy)) >= mine

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_and_ask, range(40)))
    assert answer(proxy) == "40"
    assert reloads(proxy)["failure"] == 0


# A worker that cannot do what the first process has validated: Python runs this at each start.
SABOTAGE = """
import os, sys
if "fastmirror.worker_process" in sys.orig_argv:
    from fastmirror import fleet, runtime
    def steps(self, rules, prepared, steps=runtime.Runtime.steps):
        yield from steps(self, rules, prepared)
        what = rules.routes[0].name
        if sys.orig_argv[3] == "1":  # -m fastmirror.worker_process INDEX
            if what == "raises":
                raise ZeroDivisionError("sabotage")
            if what == "dies":
                os._exit(3)
    runtime.Runtime.steps = steps
"""


@pytest.mark.parametrize("how", ["raises", "dies"])
def test_what_one_worker_cannot_do_holds_in_none(
    start_proxy: StartProxy, tmp_path: Path, how: str
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SABOTAGE)
    proxy = start_proxy(says("one"), "--workers", "2", PYTHONPATH=str(tmp_path / "site"))
    bad = says("two")
    bad["routes"] = [{"name": how, "direct_response": {"status": 200, "body": "two"}}]
    before = proxy.tree()
    proxy.write_rules(bad)
    status, text = proxy.ask("/rules/reload", "POST")
    assert status == 500
    assert text.startswith("not reloaded: worker 1: cannot prepare: ")
    assert text.rstrip() in proxy.ask("/readyz")[1]
    if how == "dies":  # and is there again, with the rules that hold
        wait_until(lambda: len(proxy.tree()) == 3 and proxy.tree() != before, "a new worker")
    else:
        assert proxy.tree() == before
    assert {answer(proxy) for _ in range(40)} == {"one"}
    assert json.loads(proxy.ask("/rules")[1]) == says("one")
    proxy.write_rules(says("three"))
    assert proxy.ask("/rules/reload", "POST")[0] == 200
    assert {answer(proxy) for _ in range(40)} == {"three"}
    assert proxy.ask("/readyz")[1] == "ready\n"
    if how == "raises":
        assert "sabotage" in proxy.stderr
        proxy._stderr.write_text("")  # the traceback was asked for


def test_names_are_resolved_before_the_rules_hold(
    start_proxy: StartProxy, backends: Backends
) -> None:
    """No request meets a service whose endpoints are not known yet."""

    async def ok(conn: object) -> None:
        while await conn.request():  # type: ignore[attr-defined]
            await conn.answer(b"two")  # type: ignore[attr-defined]

    port = backends.start(ok).port
    proxy = start_proxy(says("one"))
    proxy.write_rules(
        {
            "version": 1,
            "services": [{"name": "s", "endpoints": [{"address": f"localhost:{port}"}]}],
            "routes": [{"name": "app", "to": [{"service": "s"}]}],
        }
    )
    proxy.signal(signal.SIGHUP)
    seen = []
    with Client(proxy.port) as client:
        while seen[-1:] != [b"two"]:
            response = client.get("/")
            assert response.status == 200, response
            seen.append(response.body)
    assert set(seen) <= {b"one", b"two"}


def test_draining_refuses(start_proxy: StartProxy, backends: Backends) -> None:
    gate = backends.gate()

    async def waits(conn: object) -> None:
        while await conn.request():  # type: ignore[attr-defined]
            await gate.passed()
            await conn.answer(b"ok")  # type: ignore[attr-defined]

    backend = backends.start(waits)
    rules = {
        "version": 1,
        "services": [{"name": "s", "endpoints": [{"address": f"{LOOPBACK}:{backend.port}"}]}],
        "routes": [{"name": "app", "to": [{"service": "s"}]}],
    }
    proxy = start_proxy(rules, "--drain-time", "20")
    with Client(proxy.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
        wait_until(lambda: backend.heads, "the request")
        proxy.signal(signal.SIGTERM)
        wait_until(lambda: proxy.ask("/readyz")[0] == 503, "the drain")
        assert proxy.ask("/rules/reload", "POST") == (503, "not reloaded: draining\n")
        gate.open()
        assert client.response("GET").body == b"ok"
    proxy.wait()
