"""``fastmirror iptables`` in namespaces of its own: real tables, real connections.

The oracle is iptables-save: what it says before is what it says after a removal or a failure.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .namespaces import HERE, THERE, Namespace, two_hosts

FLAVOURS = ["iptables-nft", "iptables-legacy"]
MODES = ["redirect", "tproxy"]
FOREIGN = """\
*nat
:FOREIGN - [0:0]
-A FOREIGN -d 192.0.2.7/32 -j RETURN
-A OUTPUT -p tcp -m tcp --dport 9999 -j FOREIGN
-A OUTPUT -p udp -j RETURN
COMMIT
"""


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    with two_hosts() as hosts:
        yield hosts


@pytest.fixture
def here(hosts: tuple[Namespace, Namespace]) -> Namespace:
    return hosts[0]


def tables(namespace: Namespace, flavour: str = "iptables") -> list[str]:
    """What there is, without counters and dates, and without tables that hold nothing: looking
    at a table makes an empty one.
    """
    found = []
    for name in (flavour, flavour.replace("iptables", "ip6tables")):
        saved = namespace.run(f"{name}-save")
        assert saved.returncode == 0, saved.stderr
        for table in re.findall(r"^\*.*?^COMMIT$", saved.stdout, re.MULTILINE | re.DOTALL):
            lines = [re.sub(r" \[\d+:\d+\]$", "", line) for line in table.splitlines()]
            if any(line.startswith("-A") or line.endswith(" -") for line in lines):
                found += [f"{name} {line}" for line in lines]
    for version in ("-4", "-6"):
        found += namespace.ip(version, "rule").splitlines()
        found += namespace.run("ip", version, "route", "show", "table", "133").stdout.splitlines()
    return found


def ok(namespace: Namespace, *words: str) -> str:
    done = namespace.fastmirror("iptables", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def restore(namespace: Namespace, text: str) -> None:
    path = Path(f"/tmp/{namespace.name}.rules")
    path.write_text(text)
    try:
        done = namespace.run("iptables-restore", "--noflush", str(path))
        assert done.returncode == 0, done.stderr
    finally:
        path.unlink()


class TestTables:
    @pytest.mark.parametrize("flavour", FLAVOURS)
    @pytest.mark.parametrize("mode", MODES)
    def test_apply_check_apply_remove(self, here: Namespace, flavour: str, mode: str) -> None:
        if shutil.which(flavour) is None:
            pytest.skip(f"{flavour} is not installed")
        options = ["--iptables", flavour, "--mode", mode, "--inbound-ports", "*"]
        options += ["--exclude-outbound-ports", "22,25", "--exclude-inbound-ports", "22"]
        options += ["--exclude-outbound-networks", "10.9.0.0/16,fd09::/16", "--uid", "7"]
        before = tables(here, flavour)
        ok(here, "apply", *options)
        applied = tables(here, flavour)
        assert applied != before
        assert ok(here, "check", *options) == ""
        assert ok(here, "apply", *options, "--dry-run") == ""
        ok(here, "apply", *options)
        assert tables(here, flavour) == applied
        ok(here, "remove", "--iptables", flavour)
        assert tables(here, flavour) == before

    def test_other_options_replace_and_others_rules_stay(self, here: Namespace) -> None:
        restore(here, FOREIGN)
        before = tables(here)
        ok(here, "apply", "--mode", "tproxy", "--inbound-ports", "80")
        ok(here, "apply", "--exclude-outbound-ports", "443")
        direct = tables(here)
        ok(here, "remove")
        assert tables(here) == before
        ok(here, "apply", "--exclude-outbound-ports", "443")
        assert tables(here) == direct
        # The rule that leads to ours stays where it is when somebody adds rules behind it.
        here.run("iptables", "-t", "nat", "-A", "OUTPUT", "-p", "icmp", "-j", "RETURN")
        ok(here, "apply", "--exclude-outbound-ports", "444")
        order = [line for line in tables(here) if line.startswith("iptables -A OUTPUT")]
        assert order[-2:] == [
            "iptables -A OUTPUT -p tcp -j FASTMIRROR_OUTPUT",
            "iptables -A OUTPUT -p icmp -j RETURN",
        ]

    def test_without_ipv6_what_was_there_of_it_goes(self, here: Namespace) -> None:
        ok(here, "apply")
        assert any("ip6tables -A FASTMIRROR" in line for line in tables(here))
        ok(here, "apply", "--no-ipv6")
        assert not any("ip6tables -A FASTMIRROR" in line for line in tables(here))
        assert any("iptables -A FASTMIRROR" in line for line in tables(here))
        ok(here, "check", "--no-ipv6")

    def test_the_marks_of_an_earlier_apply_go(self, here: Namespace) -> None:
        """Whatever its --mark and --route-table were; a rule of somebody else's stays."""
        here.ip("rule", "add", "fwmark", "9", "lookup", "98")
        here.ip("rule", "add", "fwmark", "7", "lookup", "97")
        before = tables(here)
        own = ("--mode", "tproxy", "--mark", "7", "--route-table", "99")
        ok(here, "apply", *own)
        ok(here, "check", *own)
        done = here.fastmirror("iptables", "check", "--mode", "tproxy")
        assert "-ip rule fwmark 0x7 lookup 99" in done.stdout.splitlines()
        ok(here, "apply", "--mode", "tproxy", "--mark", "8", "--route-table", "99")
        ok(here, "check", "--mode", "tproxy", "--mark", "8", "--route-table", "99")
        ok(here, "remove")
        assert tables(here) == before
        for version in ("-4", "-6"):
            assert here.run("ip", version, "route", "show", "table", "99").stdout == ""

    def test_check_says_what_differs(self, here: Namespace) -> None:
        done = here.fastmirror("iptables", "check")
        assert done.returncode == 1
        assert "+nat -A OUTPUT -p tcp -j FASTMIRROR_OUTPUT" in done.stdout.splitlines()
        ok(here, "apply")
        here.run("iptables", "-t", "nat", "-D", "FASTMIRROR_OUTPUT", "-o", "lo", "-j", "RETURN")
        done = here.fastmirror("iptables", "check")
        assert done.returncode == 1
        changes = [line for line in done.stdout.splitlines() if re.match(r"[+-]\w", line)]
        assert changes == ["+nat -A FASTMIRROR_OUTPUT -o lo -j RETURN"]
        ok(here, "apply")
        ok(here, "check")

    def test_dry_run_changes_nothing(self, here: Namespace) -> None:
        before = tables(here)
        said = ok(here, "apply", "--mode", "tproxy", "--dry-run")
        assert "# ip -4 rule add fwmark 0x539 lookup 133" in said.splitlines()
        assert tables(here) == before
        ok(here, "apply")
        applied = tables(here)
        assert "-X FASTMIRROR_OUTPUT" in ok(here, "remove", "--dry-run")
        assert tables(here) == applied


class TestFailures:
    """Each by a program of that name, earlier in PATH, that fails."""

    @pytest.fixture
    def broken(self, tmp_path: Path) -> dict[str, str]:
        return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def fail(self, tmp_path: Path, program: str, when: str = "true") -> None:
        """``program`` fails where the shell's condition ``when`` holds."""
        real = shutil.which(program)
        file = tmp_path / program
        file.write_text(f'#!/bin/sh\nif {when}; then echo "no luck" >&2; exit 4; fi\n')
        with file.open("a") as f:
            f.write(f'exec {real} "$@"\n')
        file.chmod(0o755)

    @pytest.mark.parametrize(
        "there", [(), ("--exclude-outbound-ports", "22"), ("--mode", "tproxy")]
    )
    @pytest.mark.parametrize("mode", MODES)
    def test_the_first_family_is_put_back(
        self,
        here: Namespace,
        tmp_path: Path,
        broken: dict[str, str],
        there: tuple[str, ...],
        mode: str,
    ) -> None:
        restore(here, FOREIGN)
        if there:
            ok(here, "apply", *there)
        # Rules of others behind ours: ours must be back in their place among them.
        here.run("iptables", "-t", "nat", "-A", "OUTPUT", "-p", "icmp", "-j", "RETURN")
        here.run("iptables", "-t", "mangle", "-A", "OUTPUT", "-p", "icmp", "-j", "RETURN")
        before = tables(here)
        self.fail(tmp_path, "ip6tables-restore")
        options = ("--mode", mode, "--inbound-ports", "*")
        done = here.fastmirror("iptables", "apply", *options, env=broken)
        assert done.returncode == 1
        assert "ip6tables-restore failed with 4: no luck; everything is as it was" in done.stderr
        assert tables(here) == before

    def test_what_cannot_be_put_back_is_said(
        self, here: Namespace, tmp_path: Path, broken: dict[str, str]
    ) -> None:
        self.fail(tmp_path, "ip6tables-restore")
        self.fail(tmp_path, "iptables-restore", f"[ -e {tmp_path}/once ]")
        with (tmp_path / "ip6tables-restore").open("r+") as f:
            f.write(f"#!/bin/sh\ntouch {tmp_path}/once; echo no luck >&2; exit 4\n")
        done = here.fastmirror("iptables", "apply", env=broken)
        assert done.returncode == 1
        assert "and what was there is not back: iptables-restore failed" in done.stderr

    def test_a_route_that_cannot_be_added(
        self, here: Namespace, tmp_path: Path, broken: dict[str, str]
    ) -> None:
        before = tables(here)
        self.fail(tmp_path, "ip", '[ "$1 $2 $3" = "-6 route add" ]')
        done = here.fastmirror("iptables", "apply", "--mode", "tproxy", env=broken)
        assert (done.returncode, "ip failed with 4: no luck" in done.stderr) == (1, True), done
        assert tables(here) == before

    def test_without_the_programs(self, here: Namespace, tmp_path: Path) -> None:
        done = here.fastmirror("iptables", "apply", env={"PATH": str(tmp_path)})
        assert done.returncode == 1
        assert "iptables-save, iptables-restore not found" in done.stderr
        assert "Traceback" not in done.stderr

    def test_without_the_capability(self, here: Namespace) -> None:
        before = tables(here)
        # Imported before: the interpreter may live where another user cannot read.
        code = "import fastmirror.cli, fastmirror.sidecar.iptables, os; os.setuid(1000); "
        code += "raise SystemExit(fastmirror.cli.main(['iptables', 'apply']))"
        done = here.run(sys.executable, "-c", code)
        assert done.returncode == 1
        assert done.stderr.startswith("fastmirror iptables: the capability NET_ADMIN is needed")
        assert tables(here) == before


class TestTraffic:
    """Through the rules: what the proxy hears of, and what reaches the server by itself."""

    @pytest.fixture(params=MODES)
    def mode(self, request: pytest.FixtureRequest) -> str:
        return request.param  # type: ignore[no-any-return]

    @pytest.fixture
    def peers(self, hosts: tuple[Namespace, Namespace], mode: str) -> tuple[Namespace, Namespace]:
        here, there = hosts
        here.peer("proxy", "1337", "1337", mode, "15001", "15006")
        here.peer("server", "own", "8080", "8081")
        there.peer("server", "server", "80", "81")
        return hosts

    def test_outbound(self, peers: tuple[Namespace, Namespace], mode: str) -> None:
        here, _ = peers
        for address in THERE:
            assert here.ask(address, 80) == "server"
        ok(here, "apply", "--mode", mode, "--exclude-outbound-ports", "81")
        for address in THERE:
            assert here.ask(address, 80) == f"proxy {address} 80"
            assert here.ask(address, 81) == "server"
            assert here.ask(address, 80, uid=1337) == "server"
            assert here.ask(address, 80, gid=1337) == "server"
            assert here.ask(address, 80, uid=0, gid=0) == f"proxy {address} 80"
        for own in (*HERE, "127.0.0.1", "::1"):
            assert here.ask(own, 8080) == "own"
        ok(here, "remove")
        for address in THERE:
            assert here.ask(address, 80) == "server"

    def test_networks(self, peers: tuple[Namespace, Namespace], mode: str) -> None:
        here, _ = peers
        ok(here, "apply", "--mode", mode, "--exclude-outbound-networks", f"{THERE[0]},fd00::/8")
        assert [here.ask(address, 80) for address in THERE] == ["server", "server"]
        ok(here, "apply", "--mode", mode, "--outbound-networks", f"{THERE[0]}/32")
        assert [here.ask(address, 80) for address in THERE] == [f"proxy {THERE[0]} 80", "server"]
        ok(here, "apply", "--mode", mode, "--outbound-ports", "81")
        assert [here.ask(address, 80) for address in THERE] == ["server", "server"]
        assert [here.ask(address, 81) for address in THERE] == [
            f"proxy {address} 81" for address in THERE
        ]

    def test_link_local(self, peers: tuple[Namespace, Namespace], mode: str) -> None:
        """An address of these is one with an interface alone, which the kernel forgets."""
        here, there = peers
        ok(here, "apply", "--mode", mode, "--inbound-ports", "*")
        for one, other, port, word in ((here, there, 80, "server"), (there, here, 8080, "own")):
            show = ("-6", "-o", "addr", "show", "dev", "eth0", "scope", "link")
            while "tentative" in (found := other.ip(*show)):
                time.sleep(0.05)
            address = found.split()[3].partition("/")[0]
            assert one.ask(f"{address}%eth0", port) == word

    def test_inbound(self, peers: tuple[Namespace, Namespace], mode: str) -> None:
        here, there = peers
        options = ("--mode", mode, "--inbound-ports", "*", "--exclude-inbound-ports", "8081")
        ok(here, "apply", *options)
        for own, address in zip(HERE, THERE, strict=True):
            assert there.ask(own, 8080) == f"proxy {own} 8080"
            assert there.ask(own, 8081) == "own"
            assert here.ask(own, 8080) == "own"
            # Connections from here still get their answers.
            assert here.ask(address, 80, uid=1337) == "server"
            assert here.ask(address, 80) == f"proxy {address} 80"
        ok(here, "apply", "--mode", mode, "--inbound-ports", "8081")
        for own in HERE:
            assert there.ask(own, 8080) == "own"
            assert there.ask(own, 8081) == f"proxy {own} 8081"


class TestProxy:
    """The proxy itself behind the rules: it runs in the group 1337, which they let pass."""

    @pytest.mark.parametrize("mode", MODES)
    def test_everything_arrives(
        self, hosts: tuple[Namespace, Namespace], mode: str, tmp_path: Path
    ) -> None:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed")
        here, there = hosts
        there.peer("http", str(tmp_path / "v1.log"), "v1", "80")
        there.peer("http", str(tmp_path / "v2.log"), "v2", "8002")
        there.peer("server", "greeting", "25")
        here.peer("server", "own", "8080")
        services = [
            {"name": name, "endpoints": [{"address": f"{THERE[0]}:{port}"}]}
            for name, port in (("app", 80), ("shadow", 8002))
        ]
        route = {"name": "app", "hosts": ["app"], "to": [{"service": "app"}]}
        route["mirrors"] = [{"service": "shadow"}]
        rules = tmp_path / "rules.json"
        rules.write_text(json.dumps({"version": 1, "services": services, "routes": [route]}))
        proxy = here.start(
            *["setpriv", "--regid", "1337", "--clear-groups", sys.executable, "-m", "fastmirror"],
            *["--listen", ":15001", "--listen", ":15006", "--intercept", mode],
            *["--rules", str(rules), "--drain-time", "2"],
        )
        while here.fastmirror("healthcheck").returncode != 0:
            assert proxy.poll() is None
        ok(here, "apply", "--mode", mode, "--inbound-ports", "*")
        four, six = (f"http://{each}/" for each in (THERE[0], f"[{THERE[1]}]"))
        assert here.run("curl", "-sS", "-H", "Host: app", four).stdout == "v1"
        # No rule names these hosts: they go where they were going, unmirrored.
        assert here.run("curl", "-sS", four).stdout == "v1"
        assert here.run("curl", "-sS", six).stdout == "v1"
        for address, own in zip(THERE, HERE, strict=True):
            assert here.ask(address, 25) == "greeting"
            assert there.ask(own, 8080) == "own"
        metrics = here.run("curl", "-sS", "http://127.0.0.1:15000/metrics").stdout
        assert 'fastmirror_tunnels_total{kind="server_first"} 4' in metrics
        assert 'fastmirror_tunnels_total{kind="passthrough"} 2' in metrics
        assert here.fastmirror("drain").returncode == 0
        assert proxy.wait(20) == 0
        assert (tmp_path / "v2.log").read_text() == "GET / app-shadow\n"
