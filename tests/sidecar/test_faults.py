"""What goes wrong with a sidecar: killed and restarted, not spared by the tables, stopped."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time

import pytest
from e2e.procs import COMMAND, ROOT, Process, wait_until

from .conftest import World
from .proxy import Sidecar, read_all
from .services import Service, Site, echo

NOBODY = 65534


def ask(world: World, *args: str) -> dict[str, object]:
    text = world.app.run(
        "curl", "-sS", "--max-time", "20", *args, f"http://{world.site.address}", uid=NOBODY
    )
    found: dict[str, object] = json.loads(text)
    return found


def test_killed_and_restarted(world, sites, captured):
    """While there is no proxy nothing gets through; with it, everything does again."""
    first = Sidecar(captured, world.rules(), world.directory / "killed")
    assert ask(world)["site"] == "there"
    first.kill()
    done = captured.run("curl", "-sS", f"http://{world.site.address}", uid=NOBODY, check=False)
    assert done == ""
    second = Sidecar(captured, world.rules(), world.directory / "restarted")
    assert ask(world)["site"] == "there"
    assert ask(world, "-H", "Host: web.test")["site"] == "routed"
    second.finish()


def test_a_drain_lets_relays_run_for_its_time(world, captured):
    service = Service(world.site, 7101, echo)
    proxy = Sidecar(captured, world.rules(), world.directory / "drained", "--drain-time", "2")
    sock = world.app.connect(world.site.address, 7101)
    sock.sendall(b"\x00")
    assert sock.recv(1) == b"\x00"
    begun = time.monotonic()
    proxy.signal(signal.SIGTERM)
    while time.monotonic() < begun + 1:
        sock.sendall(b"\x01")
        assert sock.recv(1) == b"\x01"
        time.sleep(0.1)
    with pytest.raises(ConnectionResetError):
        read_all(sock)
    assert time.monotonic() - begun >= 1.5
    sock.close()
    assert proxy.wait() == 0
    proxy.finish()
    service.close()


def test_a_graceful_drain_leaves_what_this_host_calls_alone(world, sites, captured):
    """What its application calls is kept alive; clients that come from elsewhere are sent away."""
    site, app = world.site, world.app
    app.tables("-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "80", "-j", "REDIRECT",
               "--to-ports", "15001")  # fmt: skip
    inside = Site(app, 80, "inside")
    proxy = Sidecar(captured, world.rules(), world.directory / "left")
    outward = {host: (app.connect(site.address, 80), host) for host in ("web.test", "other.test")}
    inward = site.connect(app.address, 80)

    def connection(sock: socket.socket, host: str) -> str:
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.status == 200
        answer.read()
        return answer.getheader("connection", "")

    assert connection(inward, "web.test") == ""
    code, _ = proxy.ask("/drain?graceful", "POST")
    assert code == 200
    for _ in range(2):
        assert connection(*outward["web.test"]) == ""
        assert connection(*outward["other.test"]) == ""
    assert connection(inward, "web.test") == "close"
    assert inward.recv(1) == b""
    for sock in (inward, *(sock for sock, _ in outward.values())):
        sock.close()
    app.tables("-t", "nat", "-D", "PREROUTING", "-p", "tcp", "--dport", "80", "-j", "REDIRECT",
               "--to-ports", "15001")  # fmt: skip
    proxy.finish()
    inside.close()


def test_several_workers(world, sites, captured):
    proxy = Sidecar(captured, world.rules(), world.directory / "workers", "--workers", "2")
    for number in range(20):
        host = "web.test" if number % 2 else "other.test"
        found = ask(world, "-H", f"Host: {host}")
        assert found["site"] == ("routed" if number % 2 else "there")
    assert proxy.tunnels() == {"passthrough": 10}
    proxy.finish()


@pytest.fixture
def not_spared(world: World):
    """Tables that send the proxy's own connections back to it; a mark would let them pass."""
    host = world.network.host(f"loop{len(world.network.hosts)}")
    host.tables("-t", "nat", "-A", "OUTPUT", "-m", "mark", "--mark", "0x539", "-j", "RETURN")
    host.tables("-t", "nat", "-A", "OUTPUT", "-o", "lo", "-j", "RETURN")
    redirect = ("-p", "tcp", "-j", "REDIRECT", "--to-ports", "15001")
    host.tables("-t", "nat", "-A", "OUTPUT", *redirect)
    return host


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
def test_without_an_exclusion_nothing_goes_round(world, sites, not_spared, workers, version):
    """The proxy knows its own connections, of whichever worker they are."""
    directory = world.directory / f"loop{workers}-{version}"
    # A worker may accept what another has just begun before it knows whose it is: then that one
    # keeps a connection to it alive, for as long as to any service.
    short = ("--upstream-idle-timeout", "1")
    proxy = Sidecar(not_spared, world.rules(), directory, "--workers", workers, *short)
    before = proxy.descriptors()
    address = world.site.addresses()[version]
    for port, data in ((80, b"GET / HTTP/1.1\r\nHost: other\r\n\r\n"), (7102, b"\x00")):
        sock = not_spared.connect(address, port)
        sock.sendall(data)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        sock.close()
    sock = not_spared.connect(address, 80)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n")
    assert read_all(sock).startswith(b"HTTP/1.1 503")
    sock.close()
    wait_until(lambda: proxy.descriptors() <= before + 2, "descriptors given back")
    assert "came back to us" in proxy.stderr
    assert sum(proxy.tunnels().values()) <= 4
    proxy.finish()


def test_a_mark_lets_its_connections_pass(world, sites, not_spared):
    proxy = Sidecar(
        not_spared, world.rules(), world.directory / "mark", "--mark", "1337", net_admin=True
    )
    for host, site in (("web.test", "routed"), ("other.test", "there")):
        text = not_spared.run("curl", "-sS", "-H", f"Host: {host}", f"http://{world.site.address}")
        assert json.loads(text)["site"] == site
    assert "came back" not in proxy.stderr
    proxy.finish()


def test_a_mark_that_comes_back_is_refused(world, sites):
    """That of TPROXY's rules is routed to this host, as all that has it."""
    host = world.network.host("marked")
    for version in ("-4", "-6"):
        host.run("ip", version, "rule", "add", "fwmark", "1337", "lookup", "133")
        host.run("ip", version, "route", "add", "local", "default", "dev", "lo", "table", "133")
    rules = world.directory / "marked.json"
    rules.write_text(json.dumps(world.rules()))
    rules.chmod(0o644)
    argv = [*COMMAND, "--listen", ":15001", "--rules", str(rules), "--mark", "1337"]
    argv = host.proxy_argv(*argv, net_admin=True)
    process = Process(argv, world.directory / "marked", cwd=ROOT)
    assert process.wait() == 1
    assert "--mark 1337: what has it is routed to this host" in process.stderr
    Sidecar(
        host, world.rules(), world.directory / "other", "--mark", "1338", net_admin=True
    ).finish()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mark", "1"), "--mark needs CAP_NET_ADMIN"),
        (("--intercept", "tproxy"), "--intercept tproxy needs CAP_NET_ADMIN"),
    ],
)
def test_what_needs_a_capability_says_so(world, options, said):
    rules = world.directory / "rules.json"
    rules.write_text(json.dumps(world.rules()))
    rules.chmod(0o644)
    argv = [*COMMAND, "--listen", ":15001", "--rules", str(rules), *options]
    process = Process(world.app.proxy_argv(*argv), world.directory / "refused", cwd=ROOT)
    assert process.wait() == 1
    assert said in process.stderr
