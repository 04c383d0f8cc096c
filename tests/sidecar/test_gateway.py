"""Connections of other hosts: the sidecar's host is on their way, and REDIRECT in PREROUTING, or
TPROXY, gives it what passes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from e2e.procs import wait_until

from .conftest import World
from .network import Host, run
from .proxy import Sidecar, read_all
from .services import Service, greet

FAR, FAR6 = "10.98.0.1", "fd98::1"
NOBODY = 65534


class Ways:
    """``client`` reaches the site's second address through ``gateway``."""

    def __init__(self, world: World) -> None:
        self.gateway, self.client = world.network.host("gateway"), world.network.host("client")
        for version, near, via in (
            ("-4", f"{FAR}/24", self.gateway.address),
            ("-6", f"{FAR6}/64", self.gateway.address6),
        ):
            no_dad = ["nodad"] if version == "-6" else []
            world.site.run("ip", version, "address", "add", near, "dev", "eth0", *no_dad)
            net = near.replace(".1/", ".0/").replace("::1/", "::/")
            self.gateway.run("ip", version, "route", "add", net, "dev", "eth0")
            self.client.run("ip", version, "route", "add", net, "via", via)


@pytest.fixture(scope="module")
def ways(world: World, sites) -> Ways:
    return Ways(world)


def talk(world: World, ways: Ways, proxy: Sidecar) -> None:
    """Requests that a rule takes, and that none takes, and a server that speaks first."""
    for address in (FAR, FAR6):
        url = f"http://[{address}]" if ":" in address else f"http://{address}"
        for host, site in (("web.test", "routed"), ("other.test", "there")):
            text = ways.client.run("curl", "-sS", "-H", f"Host: {host}", url, uid=NOBODY)
            assert json.loads(text)["site"] == site
        service = Service(world.site, 2525, greet)
        sock = ways.client.connect(address, 2525)
        assert sock.recv(100) == b"220 mail ready\r\n"
        sock.sendall(b"QUIT\r\n")
        assert read_all(sock) == b"221 bye\r\n"
        sock.close()
        service.close()
        line = wait_until(lambda to=address: proxy.relay(to, 2525), "its line in the log")
        assert line["downstream_remote_address"].rpartition(":")[0].strip("[]") in (
            ways.client.addresses()
        )
    assert proxy.tunnels() == {"passthrough": 2, "server_first": 2}


def test_redirect(world: World, ways: Ways) -> None:
    gateway = ways.gateway
    rule = ("PREROUTING", "-i", "eth0", "-p", "tcp", "-m", "multiport", "--dports", "80,2525")
    gateway.tables("-t", "nat", "-A", *rule, "-j", "REDIRECT", "--to-ports", "15001")
    proxy = Sidecar(gateway, world.rules(), world.directory / "redirect", "--intercept", "redirect")
    talk(world, ways, proxy)
    proxy.finish()
    gateway.tables("-t", "nat", "-F")


@pytest.fixture
def tproxy(ways: Ways) -> Iterator[Host]:
    """The tables for TPROXY, where the kernel has it."""
    gateway = ways.gateway
    match = ("-p", "tcp", "-m", "multiport", "--dports", "80,2525,15001")
    target = ("-j", "TPROXY", "--on-port", "15001", "--tproxy-mark", "0x1")
    rule = ("-t", "mangle", "-A", "PREROUTING", "-i", "eth0", *match, *target)
    for tables in ("iptables", "ip6tables"):
        done = run(*gateway.argv(tables, "-w", *rule), check=False)
        if done.returncode:
            pytest.skip(f"this kernel has no TPROXY: {done.stderr.strip()}")
    for version in ("-4", "-6"):
        gateway.run("ip", version, "rule", "add", "fwmark", "1", "lookup", "100")
        gateway.run("ip", version, "route", "add", "local", "default", "dev", "lo", "table", "100")
    yield gateway
    gateway.tables("-t", "mangle", "-F")


def test_tproxy(world: World, ways: Ways, tproxy: Host) -> None:
    """Nothing is rewritten: our end of each connection is where it was going."""
    place = world.directory / "tproxy"
    proxy = Sidecar(tproxy, world.rules(), place, "--intercept", "tproxy", net_admin=True)
    talk(world, ways, proxy)
    for address in tproxy.addresses():
        sock = ways.client.connect(address, 15001)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 404"), address
        sock.close()
    service = Service(world.site, 15001, greet)
    sock = ways.client.connect(FAR, 15001)  # our port, but somebody else's
    assert sock.recv(100) == b"220 mail ready\r\n"
    sock.close()
    service.close()
    proxy.finish()
