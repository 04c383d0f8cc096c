"""Connections that iptables' REDIRECT takes on their way out: programs on a host with the sidecar
call services on another one, as if it were not there.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from e2e.procs import wait_until

from .conftest import World
from .network import TIMEOUT, program
from .proxy import Sidecar, read_all
from .services import BLOCK, Service, Site, digest, echo, greet, pour

LARGE = 100 << 20

Sites = tuple[Site, Site, Site]


def curl(world: World, *args: str, uid: int | None = 65534) -> dict[str, object]:
    """What the site was asked; a user's call, not the proxy's."""
    text = world.app.run("curl", "-sS", "--max-time", "20", *args, uid=uid)
    return json.loads(text)


def urls(world: World, port: int = 80) -> list[str]:
    return [f"http://{world.site.address}:{port}", f"http://[{world.site.address6}]:{port}"]


@pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
def test_a_request_that_a_rule_takes_is_routed_and_mirrored(world, sites, sidecar, version):
    _, shadow, there = sites
    before = len(shadow.requests), len(there.requests)
    found = curl(world, "-H", "Host: web.test", urls(world)[version] + "/a")
    assert (found["site"], found["path"]) == ("routed", "/a")
    assert "x-request-id" in dict(found["fields"])
    wait_until(lambda: len(shadow.requests) > before[0], "the copy in the other namespace")
    assert dict(shadow.requests[-1]["fields"])["host"] == "web.test-shadow"
    assert len(there.requests) == before[1]


@pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
def test_a_request_that_none_takes_goes_where_it_was_going(world, sites, sidecar, version):
    before = sidecar.tunnels().get("passthrough", 0)
    found = curl(world, "-H", "Host: other.test", "-A", "me", urls(world)[version] + "/a")
    assert found["site"] == "there"
    assert found["fields"] == [["host", "other.test"], ["user-agent", "me"], ["accept", "*/*"]]
    assert sidecar.tunnels()["passthrough"] == before + 1
    line = sidecar.relay(world.site.addresses()[version], 80)
    assert line["tunnel"] == "passthrough"


def test_both_on_one_connection(world, sites, sidecar):
    url = urls(world)[0]
    same = ["-H", "Host: web.test", "-w", "\n"]
    text = world.app.run(
        "curl", "-sS", *same, f"{url}/1", f"{url}/2", "--next", "-sS", *same,
        "-H", "x-no: 1", f"{url}/3", "--next", "-sS", *same, f"{url}/4", uid=65534,
    )  # fmt: skip
    found = [json.loads(line) for line in text.splitlines()]
    assert [each["site"] for each in found] == ["routed", "routed", "there", "routed"]
    names = [name for name, _ in found[2]["fields"]]
    assert sorted(names) == ["accept", "host", "user-agent", "x-no"]


def test_methods_that_are_not_known_work(world, sites, sidecar):
    found = curl(world, "-X", "FROBNICATE", urls(world)[0])
    assert (found["site"], found["method"]) == ("there", "FROBNICATE")


def test_a_destination_that_refuses(world, sidecar):
    sock = world.app.connect(world.site.address, 81)
    sock.sendall(b"\x00")
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    sock.close()
    line = sidecar.relay(world.site.address, 81)
    assert line["response_flags"] == "UF"
    assert "Connection refused" in line["response_code_details"]


@pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
def test_a_server_that_speaks_first(world, sidecar, version):
    service = Service(world.site, 2525 + version, greet)
    before = sidecar.tunnels().get("server_first", 0)
    sock = world.app.connect(world.site.addresses()[version], 2525 + version)
    lines = sock.makefile("rb")
    assert lines.readline() == b"220 mail ready\r\n"
    sock.sendall(b"EHLO me\r\nQUIT\r\n")
    assert lines.readlines() == [b"250 ok\r\n", b"221 bye\r\n"]
    sock.close()
    service.close()
    assert service.accepted == 1
    assert sidecar.tunnels()["server_first"] == before + 1


@pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
def test_large_uploads_and_half_close(world, sidecar, version):
    service = Service(world.site, 7001 + version, digest)
    sock = world.app.connect(world.site.addresses()[version], 7001 + version)
    expected = hashlib.sha256()
    for _ in range(LARGE // len(BLOCK)):
        sock.sendall(BLOCK)
        expected.update(BLOCK)
    sock.shutdown(socket.SHUT_WR)
    assert read_all(sock) == expected.hexdigest().encode()
    sock.close()
    service.close()


def test_large_downloads_and_half_close(world, sidecar):
    service = Service(world.site, 7003, pour(LARGE))
    sock = world.app.connect(world.site.address, 7003)
    sock.sendall(b"\x00go")
    found, size = hashlib.sha256(), 0
    while data := sock.recv(1 << 20):
        found.update(data)
        size += len(data)
    sock.sendall(b"still heard")
    sock.close()
    service.close()
    assert size == LARGE
    assert found.digest() == hashlib.sha256(BLOCK * (LARGE // len(BLOCK))).digest()


def test_a_program_that_closes_its_half(world, sidecar):
    service = Service(world.site, 7004, digest)
    done = subprocess.run(
        world.app.argv(program("nc"), "-N", world.site.address, "7004", uid=65534),
        input=b"GET me that\n",
        capture_output=True,
        timeout=TIMEOUT,
        check=True,
    )
    service.close()
    assert done.stdout == hashlib.sha256(b"GET me that\n").hexdigest().encode()


def test_half_a_connection_outlives_connection_tracking(world, sidecar):
    """Which forgets what was redirected, once it was half closed and silent: in 60 seconds, here
    in 15.
    """
    timeout = "net.netfilter.nf_conntrack_tcp_timeout_close_wait"
    before = world.app.run("sysctl", "-n", timeout).strip()
    world.app.run("sysctl", "-w", f"{timeout}=15")

    def answer_late(sock: socket.socket) -> None:
        read_all(sock)
        time.sleep(25)
        sock.sendall(b"late")

    service = Service(world.site, 7006, answer_late)
    sock = world.app.connect(world.site.address, 7006, timeout=60)
    sock.sendall(b"\x00")
    sock.shutdown(socket.SHUT_WR)
    assert read_all(sock) == b"late"
    sock.close()
    service.close()
    world.app.run("sysctl", "-w", f"{timeout}={before}")


def test_ports_that_are_excluded_do_not_come_here(world, sidecar):
    service = Service(world.site, 9999, echo)
    before = sidecar.tunnels()
    sock = world.app.connect(world.site.address, 9999)
    sock.sendall(b"\x00")
    assert sock.recv(1) == b"\x00"
    sock.close()
    service.close()
    assert service.peers == [world.app.address]
    assert sidecar.tunnels() == before


def test_a_request_to_the_port_itself_gets_404(world, sidecar):
    for address in ("127.0.0.1", "::1", *world.app.addresses()):
        sock = world.app.connect(address, sidecar.port)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 404"), address
        sock.close()


def test_a_request_of_another_host_to_the_port_gets_404(world, sidecar):
    """It was not redirected, whatever there is in the tables."""
    sock = world.shadow.connect(world.app.address, sidecar.port)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n")
    assert read_all(sock).startswith(b"HTTP/1.1 404")
    sock.close()


def test_many_connections_leave_nothing_behind(world, sidecar: Sidecar):
    """10,000, four at a time, and now and then a client that crashes."""
    service = Service(world.site, 7005, echo, at_once=True)
    descriptors = sidecar.descriptors()
    address = world.site.address

    def calls() -> None:
        for number in range(2_500):
            with socket.create_connection((address, 7005), 20) as sock:
                sock.sendall(b"\x00")
                assert sock.recv(1) == b"\x00"
                if number % 100 == 0:
                    linger = struct.pack("ii", 1, 0)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(world.app.inside, calls) for _ in range(4)]:
            done.result()
    wait_until(lambda: sidecar.descriptors() <= descriptors + 2, "descriptors given back")
    wait_until(
        lambda: sidecar.metrics().total("fastmirror_connections", side="downstream") == 0,
        "connections counted out",
    )
    assert service.accepted == 10_000
    service.close()
    tracked = world.app.run("conntrack", "-L", "-p", "tcp", "--state", "ESTABLISHED")
    assert "dport=7005" not in tracked
