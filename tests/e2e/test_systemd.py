"""systemd's protocols: sockets that are handed over, and what a service manager is told."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .backends import Backends, Connection
from .client import Client
from .conftest import StartNginx, StartProxy
from .documents import rules
from .procs import COMMAND, LOOPBACK, ROOT, Process, Proxy, clean_environment, free_port, wait_until

UNITS = ROOT / "deploy" / "systemd"

# Starts the rest of its arguments as systemd would: with the listeners as descriptors 3 and on.
HAND_OVER = """
import os, socket, sys
names, ports, *command = sys.argv[1:]
socks = []
for port in ports.split(","):
    sock = socket.socket(socket.AF_UNIX if port.startswith("/") else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(port if port.startswith("/") else ("127.0.0.1", int(port)))
    sock.listen()
    socks.append(os.dup2(sock.fileno(), 50 + len(socks)))
for index, fd in enumerate(socks):
    os.dup2(fd, 3 + index)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(socks)), LISTEN_FDNAMES=names)
os.execv(command[0], command)
"""


class Manager:
    """The far end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(15)

    def next(self) -> list[str]:
        """The next message's lines, but for the watchdog's."""
        while True:
            lines = self.socket.recv(4096).decode().split("\n")
            if lines != ["WATCHDOG=1"]:
                return lines


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    where = str(tmp_path / "notify") if request.param == "path" else f"@fastmirror-{os.getpid()}"
    manager = Manager(where)
    yield manager
    manager.socket.close()


class TestNotify:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_ready_reloading_stopping(
        self, start_proxy: StartProxy, start_nginx: StartNginx, manager: Manager, workers: int
    ) -> None:
        document = rules({"v1": start_nginx("v1").port})
        proxy = start_proxy(document, "--workers", str(workers), NOTIFY_SOCKET=manager.address)
        assert manager.next() == ["READY=1"]
        with Client(proxy.port) as client:
            assert client.get("/").status == 200
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        proxy.signal(signal.SIGHUP)
        first, second = manager.next()
        assert first == "RELOADING=1"
        name, _, usec = second.partition("=")
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert (name, before <= int(usec) <= after) == ("MONOTONIC_USEC", True)
        assert manager.next() == ["READY=1"]
        # Rules that are not valid: it serves on, and says so.
        proxy.write_rules("nonsense")
        proxy.signal(signal.SIGHUP)
        assert manager.next()[0] == "RELOADING=1"
        assert manager.next() == ["READY=1"]
        proxy.signal(signal.SIGTERM)
        assert manager.next() == ["STOPPING=1"]
        assert proxy.wait() == 0

    def test_watchdog(
        self, start_proxy: StartProxy, start_nginx: StartNginx, manager: Manager
    ) -> None:
        document = rules({"v1": start_nginx("v1").port})
        start_proxy(document, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="200000")
        for _ in range(3):
            assert manager.socket.recv(4096) in (b"WATCHDOG=1", b"READY=1")

    def test_a_watchdog_for_another_process(
        self, start_proxy: StartProxy, start_nginx: StartNginx, manager: Manager
    ) -> None:
        document = rules({"v1": start_nginx("v1").port})
        asked = {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
        proxy = start_proxy(document, NOTIFY_SOCKET=manager.address, **asked)
        assert manager.socket.recv(4096) == b"READY=1"
        proxy.signal(signal.SIGTERM)
        assert manager.socket.recv(4096) == b"STOPPING=1"
        assert proxy.wait() == 0

    def test_nobody_there_to_be_told(
        self, start_proxy: StartProxy, start_nginx: StartNginx, tmp_path: Path
    ) -> None:
        document = rules({"v1": start_nginx("v1").port})
        proxy = start_proxy(document, NOTIFY_SOCKET=str(tmp_path / "gone"))
        with Client(proxy.port) as client:
            assert client.get("/").status == 200
        assert "cannot tell the service manager READY=1" in proxy.stderr


class HandedProxy(Proxy):
    """A proxy that is started with listeners."""

    def __init__(self, document: object, directory: Path, names: str, *options: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.rules = directory / "rules.json"
        self.write_rules(document)  # type: ignore[arg-type]
        self.port, self.admin, self.expected_exit = free_port(), free_port(), (0,)
        self.unix = str(directory / "s")
        ports = ",".join([str(self.port), self.unix][: names.count(":") + 1])
        command = [sys.executable, "-c", HAND_OVER, names, ports]
        command += [sys.executable, "-m", "fastmirror", "--rules", str(self.rules)]
        command += ["--admin", f"{LOOPBACK}:{self.admin}", "--drain-time", "1", *options]
        Process.__init__(self, command, directory, cwd=ROOT, env=clean_environment())

    def wait_ready(self) -> None:
        wait_until(self._ready, "the proxy ready")


class TestHandedSockets:
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_they_are_served(self, start_nginx: StartNginx, tmp_path: Path, workers: str) -> None:
        document = rules({"v1": start_nginx("v1").port})
        options = ("--workers", workers, "--listen", "fd:web", "--listen", "fd:local")
        proxy = HandedProxy(document, tmp_path / "p", "web:local", *options)
        try:
            proxy.wait_ready()
            for _ in range(8):
                with Client(proxy.port) as client:
                    assert client.get("/").status == 200
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(proxy.unix)
                sock.sendall(b"GET / HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n\r\n")
                assert sock.makefile("rb").readline().split()[1] == b"200"
            assert "serving on fd:web, fd:local" in proxy.stderr
            # What systemd bound stays where it is.
            assert os.path.exists(proxy.unix)
        finally:
            proxy.finish()
        assert os.path.exists(proxy.unix)

    @pytest.mark.parametrize(
        ("names", "listen", "said"),
        [
            ("web", "fd:api", "cannot listen on fd:web: the socket was handed over"),
            ("web:api", "fd:web", "cannot listen on fd:api: the socket was handed over"),
        ],
    )
    def test_one_that_nobody_takes(
        self, tmp_path: Path, names: str, listen: str, said: str
    ) -> None:
        proxy = HandedProxy(rules({"v1": 1}), tmp_path / "p", names, "--listen", listen)
        assert proxy.wait() == 1
        assert said in proxy.stderr
        assert "Traceback" not in proxy.stderr

    @pytest.mark.parametrize(
        ("listen", "said", "code"),
        [
            ("fd:web", "cannot listen on fd:web: no socket of this name was handed over", 1),
            ("fd:", 'expected fd:NAME, a name of LISTEN_FDNAMES, got "fd:"', 2),
            ("fd:a:b", 'got "fd:a:b"', 2),
        ],
    )
    def test_one_that_is_not_there(self, tmp_path: Path, listen: str, said: str, code: int) -> None:
        file = tmp_path / "rules.yaml"
        file.write_text("version: 1\n")
        # Those of another process, such as a parent, are not ours.
        env = clean_environment(LISTEN_PID="1", LISTEN_FDS="1", LISTEN_FDNAMES="web")
        done = subprocess.run(
            [*COMMAND, "--listen", listen, "--rules", str(file), "--admin", "off"],
            capture_output=True,
            text=True,
            env=env,
            cwd=ROOT,
            check=False,
        )
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr

    def test_a_restart_refuses_nobody(self, backends: Backends, tmp_path: Path) -> None:
        """As a service manager restarts it: the listener is open all the while. Clients keep their
        connections, and ask again at once, also where an answer's head was sent before the end
        began and could not say so.
        """

        async def in_two_pieces(conn: Connection) -> None:
            while await conn.request():
                await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
                await asyncio.sleep(0.02)
                await conn.send(b"ok")
                conn.answered()

        activate = shutil.which("systemd-socket-activate")
        if activate is None:
            pytest.skip("systemd-socket-activate is not installed")
        port, admin = free_port(), free_port()
        file, stop = tmp_path / "rules.json", tmp_path / "stop"
        file.write_text(json.dumps(rules({"v1": backends.start(in_two_pieces).port})))
        # systemd-socket-activate becomes the program that it starts: this one, which starts the
        # proxy again and again on the same socket.
        loop = tmp_path / "again.sh"
        loop.write_text(
            '#!/bin/sh\nwhile [ ! -e "$STOP" ]; do\n'
            '  sh -c \'LISTEN_PID=$$ exec "$@"\' sh "$@"\ndone\n'
        )
        loop.chmod(0o755)
        command = [activate, "-l", f"{LOOPBACK}:{port}", "--fdname", "web"]
        command += ["-E", f"STOP={stop}", str(loop)]
        command += [*COMMAND, "--listen", "fd:web", "--rules", str(file), "--drain-time", "2"]
        command += ["--admin", f"{LOOPBACK}:{admin}"]
        manager = Process(command, tmp_path / "m", cwd=ROOT, env=clean_environment())
        answers: list[str] = []
        enough = threading.Event()

        def ask() -> None:
            while not enough.is_set():
                try:
                    with Client(port, timeout=20) as client:
                        for _ in range(5):
                            answer = client.get("/")
                            answers.append(str(answer.status))
                            if answer.value("connection") == "close":
                                break
                except OSError as error:
                    answers.append(repr(error))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        try:
            wait_until(lambda: "Listening on" in manager.stderr, "the listener")
            for thread in threads:
                thread.start()
            for starts in (1, 2, 3):
                wait_until(
                    lambda n=starts: manager.stderr.count("serving on") == n, "a start", timeout=30
                )
                count = len(answers)
                wait_until(lambda n=count: len(answers) > n + 20, "answers")
                if starts == 3:
                    stop.touch()
                    enough.set()
                    for thread in threads:
                        thread.join(20)
                [proxy] = [pid for pid in manager.tree() if is_proxy(pid)]
                os.kill(proxy, signal.SIGTERM)
            manager.wait()
        finally:
            enough.set()
            if manager.popen.poll() is None:
                manager.kill()
            for thread in threads:
                thread.join(20)
        assert set(answers) == {"200"}
        assert "Traceback" not in manager.stderr


def is_proxy(pid: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"-m" in words[:3] and b"fastmirror" in words[:4]


class TestUnits:
    @pytest.fixture
    def units(self, tmp_path: Path) -> Path:
        """With a program that is there."""
        if shutil.which("systemd-analyze") is None:
            pytest.skip("systemd-analyze is not installed")
        for unit in UNITS.glob("*.*"):
            text = unit.read_text().replace("/opt/fastmirror/bin/fastmirror", sys.executable)
            (tmp_path / unit.name).write_text(text)
        return tmp_path

    def test_they_are_valid(self, units: Path) -> None:
        files = sorted(map(str, units.glob("fastmirror*")))
        assert len(files) == 3
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *files],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")

    def test_the_service_is_hardened(self, units: Path) -> None:
        service = units / "fastmirror.service"
        done = subprocess.run(
            [*["systemd-analyze", "security", "--offline=true", "--threshold=20"], str(service)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-500:] + done.stderr

    def test_the_names_agree(self) -> None:
        service = (UNITS / "fastmirror.service").read_text()
        listener = (UNITS / "fastmirror.socket").read_text()
        assert "--listen fd:proxy\n" in service
        assert "\nFileDescriptorName=proxy\n" in listener
