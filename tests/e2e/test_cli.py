"""The command as an operator meets it: bad input, listening, changing rules, the access log."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from .backends import Backends, Connection, echo
from .client import Client, blast, gets, request_bytes
from .conftest import StartNginx, StartProxy
from .documents import Document, rules
from .procs import LOOPBACK, Finished, free_port, run_cli, wait_until

GOOD = rules({"v1": 8001, "v2": 8002}, {"percent": 12.5, "max_body": "1MiB"})


def changed(change: Callable[[Document], object]) -> Document:
    document = msgspec.json.decode(msgspec.json.encode(GOOD))
    change(document)
    return document


def mirror(**fields: Any) -> Callable[[Document], object]:
    return lambda document: document["routes"][0]["mirrors"][0].update(fields)


def route(**fields: Any) -> Callable[[Document], object]:
    return lambda document: document["routes"][0].update(fields)


# What is wrong, and the field that the message must name.
WRONG: dict[str, tuple[Callable[[Document], object], str]] = {
    "percent 101": (mirror(percent=101), "routes[0].mirrors[0].percent"),
    "percent below 0": (mirror(percent=-0.1), "routes[0].mirrors[0].percent"),
    "percent is text": (mirror(percent="all"), "routes[0].mirrors[0].percent"),
    "percent and fraction": (mirror(fraction={"numerator": 1}), "routes[0].mirrors[0]"),
    "fraction above one": (
        lambda d: d["routes"][0].update(
            mirrors=[{"service": "app", "fraction": {"numerator": 3, "denominator": 2}}]
        ),
        "routes[0].mirrors[0].fraction",
    ),
    "version 2": (lambda d: d.update(version=2), "version"),
    "no version": (lambda d: d.pop("version"), "version"),
    "unknown field": (mirror(procent=10), "procent"),
    "unknown service in a route": (route(to=[{"service": "nobody"}]), "routes[0].to[0].service"),
    "unknown service in a mirror": (mirror(service="nobody"), "routes[0].mirrors[0].service"),
    "unknown subset": (mirror(subset="v9"), "routes[0].mirrors[0].subset"),
    "no destination": (route(to=[]), "routes[0].to"),
    "bad address": (
        lambda d: d["services"][0]["endpoints"][0].update(address="nowhere"),
        "services[0].endpoints[0].address",
    ),
    "bad port": (
        lambda d: d["services"][0]["endpoints"][1].update(address="a:99999"),
        "services[0].endpoints[1].address",
    ),
    "bad regex": (route(match=[{"path": {"regex": "a("}}]), "routes[0].match[0].path"),
    "bad duration": (mirror(response_timeout="soon"), "routes[0].mirrors[0].response_timeout"),
    "bad size": (mirror(max_copy_bytes="much"), "routes[0].mirrors[0].max_copy_bytes"),
    "two routes of one name": (lambda d: d["routes"].append(d["routes"][0]), "routes[1]"),
    "two services of one name": (lambda d: d["services"].append(d["services"][0]), "services[1]"),
}

# Files that are no document at all.
BROKEN: dict[str, tuple[str, bytes]] = {
    "truncated msgpack": ("rules.msgpack", msgspec.msgpack.encode(GOOD)[:-20]),
    "not msgpack": ("rules.msgpack", b"\xc1\xff\x00 not msgpack"),
    "empty msgpack": ("rules.msgpack", b""),
    "msgpack of a list": ("rules.msgpack", msgspec.msgpack.encode([1, 2])),
    "truncated json": ("rules.json", msgspec.json.encode(GOOD)[:-20]),
    "bad yaml": ("rules.yaml", b"version: 1\nservices: [\n"),
    "yaml of a string": ("rules.yaml", b"hello\n"),
    "empty yaml": ("rules.yaml", b""),
}


def assert_refused(result: Finished, *named: str) -> None:
    assert result.returncode == 1, result
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for name in named:
        assert name in result.stderr


class TestBadInput:
    @pytest.mark.parametrize(("change", "field"), WRONG.values(), ids=WRONG)
    def test_wrong_document(
        self, tmp_path: Path, change: Callable[[Document], object], field: str
    ) -> None:
        file = tmp_path / "rules.json"
        file.write_bytes(msgspec.json.encode(changed(change)))
        assert_refused(self.run(file), str(file), field)

    @pytest.mark.parametrize(("name", "data"), BROKEN.values(), ids=BROKEN)
    def test_broken_file(self, tmp_path: Path, name: str, data: bytes) -> None:
        file = tmp_path / name
        file.write_bytes(data)
        assert_refused(self.run(file), str(file))

    @pytest.mark.parametrize("name", ["missing.msgpack", "missing.yaml", ""])
    def test_no_file(self, tmp_path: Path, name: str) -> None:
        file = tmp_path / name
        assert_refused(self.run(file), str(file))

    @staticmethod
    def run(file: Path) -> Finished:
        """An attempt to serve; that it comes back says that nothing was started."""
        return run_cli("--listen", f"{LOOPBACK}:{free_port()}", "--admin", "off", "--rules", file)

    def test_check_finds_them_all(self, tmp_path: Path) -> None:
        """One line for each of many bad files, in order, and none for a good one among them."""
        expected = []
        for number, (change, field) in enumerate(WRONG.values()):
            # As YAML, which must be told apart no worse than the other forms.
            file = tmp_path / f"wrong{number}.yaml"
            file.write_text(yaml.safe_dump(changed(change)))
            expected.append((file, field))
        for number, (name, data) in enumerate(BROKEN.values()):
            file = tmp_path / f"{number}{name}"
            file.write_bytes(data)
            expected.append((file, ""))
        expected.append((tmp_path / "missing.yaml", ""))
        good = tmp_path / "good.json"
        good.write_bytes(msgspec.json.encode(GOOD))
        files = [file for file, _ in expected]
        result = run_cli("check", files[0], good, *files[1:])
        lines = result.stderr.strip().splitlines()
        assert result.returncode == 1
        assert len(lines) == len(expected)
        for line, (file, field) in zip(lines, expected, strict=True):
            assert str(file) in line
            assert field in line

    def test_port_in_use(self, tmp_path: Path) -> None:
        file = tmp_path / "rules.json"
        file.write_bytes(msgspec.json.encode(GOOD))
        with socket.socket() as taken:
            taken.bind((LOOPBACK, 0))
            taken.listen()
            address = f"{LOOPBACK}:{taken.getsockname()[1]}"
            for options in (
                ("--listen", address, "--admin", "off"),
                ("--listen", f"{LOOPBACK}:{free_port()}", "--admin", address),
            ):
                assert_refused(run_cli(*options, "--rules", file), address)

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--no-such-option"],
            ["--listen", "127.0.0.1:1", "--rules"],
            ["--listen", "not an address", "--rules", "rules.json"],
            ["--workers", "many", "--listen", "127.0.0.1:1", "--rules", "rules.json"],
            ["no-such-command"],
            ["check"],
            ["show"],
            [],
        ],
        ids=" ".join,
    )
    def test_usage(self, arguments: list[str]) -> None:
        result = run_cli(*arguments)
        assert result.returncode == 2, result
        assert result.stderr
        assert "Traceback" not in result.stderr

    def test_version_and_help(self) -> None:
        version = run_cli("--version")
        assert (version.returncode, version.stderr) == (0, "")
        assert version.stdout.split()[-1][0].isdigit()
        assert run_cli("--help").returncode == 0
        usage = run_cli("run", "--help")
        assert usage.returncode == 0
        for option in ("--listen", "--rules", "--admin", "--workers", "--mirror-memory"):
            assert option in usage.stdout


class TestForms:
    """The same document as YAML, JSON and MessagePack."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> list[Path]:
        forms = {
            "rules.yaml": yaml.safe_dump(GOOD).encode(),
            "rules.json": msgspec.json.encode(GOOD),
            "rules.msgpack": msgspec.msgpack.encode(GOOD),
        }
        for name, data in forms.items():
            (tmp_path / name).write_bytes(data)
        return [tmp_path / name for name in forms]

    def test_check(self, files: list[Path]) -> None:
        result = run_cli("check", *files)
        assert (result.returncode, result.stderr) == (0, "")

    def test_show_gives_the_same_for_each(self, files: list[Path], tmp_path: Path) -> None:
        shown = [run_cli("show", file) for file in files]
        assert [result.returncode for result in shown] == [0, 0, 0], shown
        assert len({result.stdout for result in shown}) == 1
        document = yaml.safe_load(shown[0].stdout)
        assert document["routes"][0]["mirrors"][0]["percent"] == 12.5
        assert document["services"][0]["endpoints"][0]["address"] == f"{LOOPBACK}:8001"
        # What is shown is itself a rules file, and means the same.
        again = tmp_path / "again.yaml"
        again.write_text(shown[0].stdout)
        assert run_cli("check", again).returncode == 0
        assert run_cli("show", again).stdout == shown[0].stdout

    @pytest.mark.parametrize("form", ["yaml", "msgpack"])
    def test_run(
        self, start_proxy: StartProxy, start_nginx: StartNginx, tmp_path: Path, form: str
    ) -> None:
        document = rules({"v1": start_nginx("v1").port})
        file = tmp_path / f"rules.{form}"
        encode = {"yaml": lambda d: yaml.safe_dump(d).encode(), "msgpack": msgspec.msgpack.encode}
        file.write_bytes(encode[form](document))
        with Client(start_proxy(file).port) as client:
            assert client.get("/").body == b"v1\n"


class TestListen:
    def test_unix_socket(
        self, start_proxy: StartProxy, start_nginx: StartNginx, tmp_path: Path
    ) -> None:
        path = tmp_path / "proxy.sock"
        start_proxy(rules({"v1": start_nginx("v1").port}), listen=f"unix:{path}")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.settimeout(5)
            sock.sendall(request_bytes("GET", "/"))
            assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")

    def test_every_interface_and_several(
        self, start_proxy: StartProxy, start_nginx: StartNginx
    ) -> None:
        everywhere, third = free_port(), free_port()
        start_proxy(
            rules({"v1": start_nginx("v1").port}),
            "--listen",
            f"[::1]:{third}",
            listen=f":{everywhere}",
        )
        for address in ((LOOPBACK, everywhere), ("::1", everywhere), ("::1", third)):
            with socket.create_connection(address, timeout=5) as sock:
                sock.sendall(request_bytes("GET", "/"))
                assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")

    def test_options_from_the_environment(
        self, start_proxy: StartProxy, start_nginx: StartNginx
    ) -> None:
        port = free_port()
        start_proxy(
            rules({"v1": start_nginx("v1").port}),
            FASTMIRROR_WORKERS="2",
            FASTMIRROR_LOG_LEVEL="error",
        )
        result = run_cli(
            FASTMIRROR_LISTEN=f"{LOOPBACK}:{port}", FASTMIRROR_RULES="/missing/rules.json"
        )
        assert_refused(result, "/missing/rules.json")


def answers_with(port: int, expected: bytes) -> bool:
    with Client(port) as client:
        return client.get("/").body == expected


class TestReload:
    @pytest.fixture
    def ports(self, start_nginx: StartNginx) -> dict[str, int]:
        return {"v1": start_nginx("v1").port, "v2": start_nginx("v2").port}

    def test_sighup_under_load(self, start_proxy: StartProxy, ports: dict[str, int]) -> None:
        proxy = start_proxy(rules(ports))
        answers: list[bytes] = []
        per_round, done = 500, threading.Event()

        def load() -> None:
            while not done.is_set():
                answers.extend(blast(proxy.port, gets(per_round)))

        thread = threading.Thread(target=load)
        thread.start()
        try:
            wait_until(lambda: answers, "some answers")
            proxy.write_rules(rules(ports, to="v2"))
            proxy.signal(signal.SIGHUP)
            wait_until(lambda: answers[-1] == b"200 v2\n", "answers of v2", every=0.1)
        finally:
            done.set()
            thread.join(60)
        # None lost, none of anything else, and none of the old once the new had begun to answer.
        assert len(answers) % per_round == 0
        assert set(answers) == {b"200 v1\n", b"200 v2\n"}
        assert set(answers[-per_round // 2 :]) == {b"200 v2\n"}
        assert proxy.metrics().total("fastmirror_rules_reloads_total") >= 1

    def test_admin(self, start_proxy: StartProxy, ports: dict[str, int]) -> None:
        proxy = start_proxy(rules(ports))
        assert answers_with(proxy.port, b"v1\n")
        proxy.write_rules(rules(ports, to="v2"))
        assert proxy.ask("/rules/reload", "GET")[0] in (404, 405)
        assert proxy.ask("/rules/reload", "POST")[0] == 200
        assert answers_with(proxy.port, b"v2\n")

    def test_kept_connection_sees_new_rules(
        self, start_proxy: StartProxy, ports: dict[str, int]
    ) -> None:
        proxy = start_proxy(rules(ports))
        with Client(proxy.port) as client:
            assert client.get("/").body == b"v1\n"
            proxy.write_rules(rules(ports, to="v2"))
            assert proxy.ask("/rules/reload", "POST")[0] == 200
            assert client.get("/").body == b"v2\n"

    def test_file_changes(self, start_proxy: StartProxy, ports: dict[str, int]) -> None:
        proxy = start_proxy(rules(ports))
        for version in ("v2", "v1"):
            proxy.write_rules(rules(ports, to=version))
            body = f"{version}\n".encode()
            wait_until(lambda: answers_with(proxy.port, body), f"answers of {version}")  # noqa: B023

    def test_mounted_config_map(
        self, start_proxy: StartProxy, ports: dict[str, int], tmp_path: Path
    ) -> None:
        """rules.json -> ..data/rules.json, ..data -> a directory that is swapped."""
        mount = tmp_path / "mount"
        for version in ("v1", "v2"):
            (mount / f"..{version}").mkdir(parents=True)
            text = json.dumps(rules(ports, to=version))
            (mount / f"..{version}" / "rules.json").write_text(text)
        (mount / "..data").symlink_to("..v1")
        (mount / "rules.json").symlink_to("..data/rules.json")
        proxy = start_proxy(mount / "rules.json")
        assert answers_with(proxy.port, b"v1\n")
        (mount / "..data_tmp").symlink_to("..v2")
        os.replace(mount / "..data_tmp", mount / "..data")
        wait_until(lambda: answers_with(proxy.port, b"v2\n"), "answers of v2")

    @pytest.mark.parametrize("how", ["signal", "admin", "file"])
    @pytest.mark.parametrize("bad", ["{", json.dumps(changed(mirror(percent=101)))], ids=len)
    def test_bad_file_keeps_the_old_rules(
        self, start_proxy: StartProxy, ports: dict[str, int], how: str, bad: str
    ) -> None:
        proxy = start_proxy(rules(ports))
        assert answers_with(proxy.port, b"v1\n")
        proxy.write_rules(bad)
        if how == "signal":
            proxy.signal(signal.SIGHUP)
        elif how == "admin":
            status, text = proxy.ask("/rules/reload", "POST")
            assert status >= 400
            assert str(proxy.rules) in text
        wait_until(lambda: str(proxy.rules) in proxy.stderr, "the reason on standard error")
        if len(bad) > 1:
            assert "routes[0].mirrors[0].percent" in proxy.stderr
        assert answers_with(proxy.port, b"v1\n")
        assert proxy.ask("/readyz")[0] == 200
        assert proxy.metrics().total("fastmirror_rules_reloads_total") >= 1
        # And the next good one is taken.
        proxy.write_rules(rules(ports, to="v2"))
        proxy.signal(signal.SIGHUP)
        wait_until(lambda: answers_with(proxy.port, b"v2\n"), "answers of v2")

    def test_what_is_in_flight_ends_as_it_began(
        self, start_proxy: StartProxy, backends: Backends, start_nginx: StartNginx
    ) -> None:
        gate = backends.gate()

        async def waits(conn: Connection) -> None:
            while await conn.request():
                await gate.passed()
                await conn.answer(b"old\n")

        old, shadow = backends.start(waits), backends.start(echo)
        ports = {"v1": old.port, "v2": shadow.port, "v3": start_nginx("v3").port}
        proxy = start_proxy(rules(ports, {}))
        with Client(proxy.port) as client:
            client.send(request_bytes("POST", "/", [("Content-Length", "10")]) + b"first")
            wait_until(lambda: old.heads and shadow.heads, "the request under way")
            proxy.write_rules(rules(ports, to="v3"))
            assert proxy.ask("/rules/reload", "POST")[0] == 200
            assert answers_with(proxy.port, b"v3\n")
            client.send(b"later")
            gate.open()
            assert client.response("POST").body == b"old\n"
            wait_until(lambda: shadow.requests, "the copy, whole")
            assert client.get("/").body == b"v3\n"
        assert [request.length for request in shadow.requests] == [10]


class TestAccessLog:
    def lines(self, file: Path, count: int) -> list[str]:
        """The file's lines as soon as there are so many."""

        def look() -> list[str]:
            found = file.read_text().splitlines() if file.exists() else []
            return found if len(found) >= count else []

        lines = wait_until(look, f"{count} lines in {file.name}")
        assert len(lines) == count, lines
        return lines

    def test_text(self, start_proxy: StartProxy, start_nginx: StartNginx, tmp_path: Path) -> None:
        v1, v2, log = start_nginx("v1"), start_nginx("v2"), tmp_path / "access.log"
        document = rules({"v1": v1.port, "v2": v2.port}, {"methods": ["GET"]})
        proxy = start_proxy(document, "--access-log", str(log))
        with Client(proxy.port) as client:
            client.get("/first?x=y", ("X-Request-Id", "id-1"), ("User-Agent", 'a "quoted" one'))
            client.request("DELETE", "/second", [("X-Request-Id", "id-2")])
        first = [line for line in self.lines(log, 3) if '"id-1"' in line]
        # The request and its copy, each to its own host and endpoint, under the same id.
        assert len(first) == 2
        assert all('"GET /first?x=y HTTP/1.1" 200 ' in line for line in first)
        original, copy = sorted(first, key=lambda line: "app.test-shadow" in line)
        assert f'"app.test" "{LOOPBACK}:{v1.port}"' in original
        assert f'"app.test-shadow" "{LOOPBACK}:{v2.port}"' in copy

    def test_json_and_flags(
        self, start_proxy: StartProxy, backends: Backends, tmp_path: Path
    ) -> None:
        log = tmp_path / "access.log"
        document = rules({"v1": free_port()}, hosts=["app.test"])
        options = ("--access-log", str(log), "--access-log-format", "json")
        proxy = start_proxy(document, *options)
        with Client(proxy.port) as client:
            client.get('/\\"', host="unknown.test")
            client.get("/dead")
        unknown, dead = map(json.loads, self.lines(log, 2))
        assert (unknown["response_code"], unknown["response_flags"]) == (404, "NR")
        assert (dead["response_code"], dead["response_flags"]) == (503, "UF")
        assert dead["path"] == "/dead"

    def test_reopened_on_sigusr1(
        self, start_proxy: StartProxy, start_nginx: StartNginx, tmp_path: Path
    ) -> None:
        log, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
        proxy = start_proxy(rules({"v1": start_nginx("v1").port}), "--access-log", str(log))
        with Client(proxy.port) as client:
            client.get("/before")
            self.lines(log, 1)
            log.rename(rotated)
            proxy.signal(signal.SIGUSR1)
            wait_until(log.exists, "the log under its name again")
            client.get("/after")
            assert "/after" in self.lines(log, 1)[0]
        assert len(rotated.read_text().splitlines()) == 1
