"""``fastmirror healthcheck`` and ``fastmirror drain``, as an image or a pod runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from .client import Client
from .conftest import StartNginx, StartProxy
from .documents import rules
from .procs import (
    COMMAND,
    LOOPBACK,
    ROOT,
    Process,
    clean_environment,
    free_port,
    run_cli,
    wait_until,
)


def test_ready_and_gone(start_proxy: StartProxy, start_nginx: StartNginx) -> None:
    proxy = start_proxy(rules({"v1": start_nginx("v1").port}))
    where = f"{LOOPBACK}:{proxy.admin}"
    done = run_cli("healthcheck", "--admin", where)
    assert (done.returncode, done.stdout) == (0, "ready\n")
    done = run_cli("healthcheck", FASTMIRROR_ADMIN=f":{proxy.admin}")
    assert (done.returncode, done.stdout) == (0, "ready\n")
    proxy.stop()
    done = run_cli("healthcheck", "--admin", where)
    assert done.returncode == 1
    assert done.stderr.startswith(f"fastmirror healthcheck: {where}: ")
    assert "Traceback" not in done.stderr


def test_a_unix_socket(tmp_path: Path) -> None:
    admin, file = f"unix:{tmp_path / 'admin'}", tmp_path / "rules.yaml"
    file.write_text("version: 1\n")
    listen = f"{LOOPBACK}:{free_port()}"
    command = [*COMMAND, "--listen", listen, "--rules", str(file), "--admin", admin]
    proxy = Process(command, tmp_path / "p", cwd=ROOT, env=clean_environment())
    try:
        wait_until(lambda: run_cli("healthcheck", "--admin", admin).stdout == "ready\n", "it ready")
    finally:
        assert proxy.stop() == 0


@pytest.mark.parametrize("command", ["healthcheck", "drain"])
@pytest.mark.parametrize("text", ["off", "nonsense", "127.0.0.1:0"])
def test_an_address_that_is_none(command: str, text: str) -> None:
    done = run_cli(command, "--admin", text)
    assert done.returncode == 2
    assert f"fastmirror {command}: --admin: expected" in done.stderr


def test_drain_returns_when_the_proxy_has_ended(
    start_proxy: StartProxy, start_nginx: StartNginx
) -> None:
    proxy = start_proxy(rules({"v1": start_nginx("v1").port}), "--drain-time", "20")
    where = f"{LOOPBACK}:{proxy.admin}"
    with Client(proxy.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: app.test\r\n")  # in flight
        drain = subprocess.Popen(
            [sys.executable, "-m", "fastmirror", "drain", "--admin", where],
            cwd=ROOT,
            env=clean_environment(),
        )
        while run_cli("healthcheck", "--admin", where).stdout != "draining\n":
            assert drain.poll() is None
        time.sleep(0.3)
        assert drain.poll() is None
        client.send(b"\r\n")
        assert client.response("GET").status == 200
    assert drain.wait(20) == 0
    assert proxy.wait() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_graceful_drain_serves_on_and_asks_clients_to_go(
    start_proxy: StartProxy, start_nginx: StartNginx, workers: str
) -> None:
    document = rules({"v1": start_nginx("v1").port})
    own = {"name": "own", "direct_response": {"status": 200}}
    document["routes"].insert(0, own | {"match": [{"path": {"exact": "/own"}}]})
    proxy = start_proxy(document, "--workers", workers)
    where = f"{LOOPBACK}:{proxy.admin}"
    with Client(proxy.port) as kept, Client(proxy.port) as idle:
        assert kept.get("/").value("connection") is None
        assert run_cli("drain", "--graceful", "--admin", where).returncode == 0
        assert run_cli("healthcheck", "--admin", where).stdout == "draining\n"
        assert run_cli("healthcheck", "--alive", "--admin", where).returncode == 0
        for client in (kept, idle):  # one that had begun before is served as well
            answer = client.get("/")
            assert (answer.status, answer.value("connection")) == (200, "close")
            assert client.sock.recv(1) == b""
    for target in ("/", "/own"):
        with Client(proxy.port) as late:
            answer = late.get(target)
            assert (answer.status, answer.value("connection")) == (200, "close")
    assert proxy.ask("/rules/reload", "POST")[0] == 200
    if workers == "2":
        died = proxy.tree()[1]
        os.kill(died, signal.SIGKILL)
        wait_until(lambda: died not in proxy.tree() and len(proxy.tree()) == 3, "another worker")
        for _ in range(20):
            with Client(proxy.port) as late:
                assert late.get("/").value("connection") == "close"
    assert run_cli("drain", "--admin", where).returncode == 0
    assert proxy.wait() == 0


def test_a_delayed_drain_is_graceful_first(
    start_proxy: StartProxy, start_nginx: StartNginx
) -> None:
    proxy = start_proxy(rules({"v1": start_nginx("v1").port}))
    where = f"{LOOPBACK}:{proxy.admin}"
    drain = subprocess.Popen(
        [sys.executable, "-m", "fastmirror", "drain", "--delay", "2", "--admin", where],
        cwd=ROOT,
        env=clean_environment(),
    )
    wait_until(lambda: run_cli("healthcheck", "--admin", where).returncode == 1, "not ready")
    with Client(proxy.port) as late:
        assert late.get("/").value("connection") == "close"
    assert drain.wait(20) == 0
    assert proxy.wait() == 0


def test_a_graceful_drain_with_a_delay_ends_nothing(
    start_proxy: StartProxy, start_nginx: StartNginx
) -> None:
    proxy = start_proxy(rules({"v1": start_nginx("v1").port}))
    where = f"{LOOPBACK}:{proxy.admin}"
    begun = time.monotonic()
    done = run_cli("drain", "--graceful", "--delay", "0.5", "--admin", where)
    assert (done.returncode, time.monotonic() - begun >= 0.5) == (0, True)
    with Client(proxy.port) as late:
        assert late.get("/").value("connection") == "close"


def test_a_drain_does_not_reset_a_client_that_still_sends(
    start_proxy: StartProxy, start_nginx: StartNginx
) -> None:
    document = rules({"v1": start_nginx("v1").port})
    own = {"name": "own", "direct_response": {"status": 200}}
    document["routes"].insert(0, own | {"match": [{"path": {"exact": "/own"}}]})
    proxy = start_proxy(document, "--drain-time", "20")
    with Client(proxy.port) as idle, Client(proxy.port) as sends:
        sends.send(b"POST /own HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\n")
        assert sends.response("POST").value("connection") == "close"
        assert idle.get("/own").status == 200
        assert proxy.ask("/drain", "POST")[0] == 200
        assert idle.sock.recv(1) == b""
        for _ in range(3):  # the first is answered with a reset, and the second fails
            sends.send(b"more")
    assert proxy.wait() == 0


@pytest.mark.parametrize("delay", ["-1", "nan", "inf", "1e30"])
def test_a_delay_that_is_none(start_proxy: StartProxy, start_nginx: StartNginx, delay: str) -> None:
    proxy = start_proxy(rules({"v1": start_nginx("v1").port}))
    where = f"{LOOPBACK}:{proxy.admin}"
    done = run_cli("drain", "--graceful", f"--delay={delay}", "--admin", where)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--delay: expected" in done.stderr
    assert proxy.ask("/readyz")[0] == 200


@pytest.mark.parametrize("options", [[], ["--graceful"]])
def test_a_drain_that_is_refused(options: list[str]) -> None:
    class Refuses(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(404, "there is none")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer((LOOPBACK, 0), Refuses) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            done = run_cli("drain", *options, "--admin", f"{LOOPBACK}:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
    assert done.returncode == 1
    assert "404" in done.stderr


def test_a_drain_that_is_not_known_is_none(
    start_proxy: StartProxy, start_nginx: StartNginx
) -> None:
    proxy = start_proxy(rules({"v1": start_nginx("v1").port}))
    status, text = proxy.ask("/drain?gracefully", "POST")
    assert status == 404
    assert "POST /drain?graceful" in text
    assert proxy.ask("/readyz")[0] == 200


def test_drain_where_nobody_is() -> None:
    done = run_cli("drain", "--admin", f"{LOOPBACK}:{free_port()}")
    assert done.returncode == 1
    assert "fastmirror drain: " in done.stderr
