"""The text of ``fastmirror iptables``: options, rules, and what iptables-restore is told."""

from __future__ import annotations

import argparse
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmirror.cli import main
from fastmirror.sidecar import iptables
from fastmirror.sidecar.capture import Capture, CaptureError, add_arguments, read_capture
from fastmirror.sidecar.chains import Ruleset, ruleset
from fastmirror.sidecar.saved import read_saved, transaction


def capture(*words: str) -> Capture:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_capture(parser.parse_args(words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--port", "0"), '--port: expected a number from 1 to 65535, got "0"'),
        (("--inbound-port", "x"), '--inbound-port: expected a number from 1 to 65535, got "x"'),
        (("--exclude-outbound-ports", "22,,80"), "--exclude-outbound-ports: expected a number"),
        (("--inbound-ports", "80;reboot"), "--inbound-ports: expected a number"),
        (("--exclude-inbound-ports", "*"), "--exclude-inbound-ports: expected a number"),
        (("--outbound-networks", "10.0.0.1/8"), "--outbound-networks: expected networks such as"),
        (("--exclude-outbound-networks", "::1 -j X"), "--exclude-outbound-networks: expected"),
        (("--uid", "root"), '--uid: expected a number from 0 to 4294967294, got "root"'),
        (("--gid", "-1"), "--gid: expected a number"),
        (("--mode", "auto"), '--mode: expected redirect or tproxy, got "auto"'),
        (("--mark", "0"), "--mark: expected a number from 1"),
        (("--route-table", "254"), "--route-table: expected a number from 1 to 252"),
    ],
)
def test_what_is_not_understood_is_named(words, said, capsys):
    with pytest.raises(CaptureError) as error:
        capture(*words)
    assert str(error.value).startswith(said)
    assert main(["iptables", "print", *words]) == 2
    assert f"fastmirror iptables: {error.value}" in capsys.readouterr().err


def test_the_default(capsys):
    assert main(["iptables", "print", "--no-ipv6"]) == 0
    assert capsys.readouterr().out == (
        "# iptables-restore --noflush\n"
        "*nat\n"
        ":FASTMIRROR_REDIRECT - [0:0]\n"
        ":FASTMIRROR_OUTPUT - [0:0]\n"
        "-A FASTMIRROR_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n"
        "-A FASTMIRROR_OUTPUT -m owner --uid-owner 1337 -j RETURN\n"
        "-A FASTMIRROR_OUTPUT -m owner --gid-owner 1337 -j RETURN\n"
        "-A FASTMIRROR_OUTPUT -o lo -j RETURN\n"
        "-A FASTMIRROR_OUTPUT -j FASTMIRROR_REDIRECT\n"
        "-A OUTPUT -p tcp -j FASTMIRROR_OUTPUT\n"
        "COMMIT\n"
    )


def test_networks_go_to_their_family():
    some = capture("--outbound-networks", "10.0.0.0/8", "--exclude-outbound-networks", "fd00::/8")
    assert any("-d 10.0.0.0/8" in line for line in ruleset(some, 4).lines())
    assert not any("fd00" in line for line in ruleset(some, 4).lines())
    assert ruleset(some, 6) == Ruleset()  # nothing to capture there


def test_the_proxys_own_ports_are_not_captured():
    lines = ruleset(capture("--inbound-ports", "*", "--port", "8000"), 4).lines()
    assert "nat -A FASTMIRROR_INBOUND -p tcp -m tcp --dport 8000 -j RETURN" in lines
    assert "nat -A FASTMIRROR_INBOUND -p tcp -m tcp --dport 15006 -j RETURN" in lines


@pytest.mark.parametrize("there", [True, False])
def test_a_kernel_without_ipv6_is_asked_for_none(there, monkeypatch):
    asked = []

    def find(version: int, flavour: str | None, routing: object) -> object:
        asked.append(version)
        return object()

    monkeypatch.setattr(iptables, "find", find)
    monkeypatch.setattr(iptables, "has_ipv6", lambda: there)
    monkeypatch.setattr(iptables, "put", lambda wanted: None)
    assert main(["iptables", "apply"]) == 0
    assert asked == ([4, 6] if there else [4])


ports = st.lists(st.integers(1, 65535), max_size=3).map(lambda some: ",".join(map(str, some)))
networks = st.lists(
    st.sampled_from(["10.0.0.0/8", "192.0.2.1", "0.0.0.0/0", "fd00::/8", "::/0"]), max_size=3
).map(",".join)


@st.composite
def captures(draw: st.DrawFn) -> Capture:
    words = ["--mode", draw(st.sampled_from(["redirect", "tproxy"]))]
    words += ["--inbound-ports", draw(st.one_of(st.just("*"), ports))]
    words += ["--outbound-networks", draw(st.one_of(st.just("*"), networks))]
    for name in ("outbound-ports", "exclude-outbound-ports", "exclude-inbound-ports"):
        words += [f"--{name}", draw(ports)]
    return capture(*words, "--exclude-outbound-networks", draw(networks))


class Tables:
    """What iptables-restore --noflush makes of its input, as its manual says."""

    def __init__(self) -> None:
        self.chains: dict[tuple[str, str], list[str]] = {
            ("mangle", "OUTPUT"): [],
            ("mangle", "PREROUTING"): ["-p udp -j RETURN"],
            ("nat", "OUTPUT"): ["-p udp -j RETURN", "-p icmp -j RETURN"],
            ("nat", "PREROUTING"): [],
        }

    def restore(self, text: str) -> None:
        table = ""
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            chain, _, rule = rest.partition(" ")
            if word.startswith("*"):
                table = word[1:]
            elif word.startswith(":"):
                self.chains[table, word[1:]] = []
            elif word == "-A":
                self.chains[table, chain].append(rule)
            elif word == "-I":
                number, _, rule = rule.partition(" ")
                self.chains[table, chain].insert(int(number) - 1, rule)
            elif word == "-D":
                self.chains[table, chain].remove(rule)
            elif word == "-X":
                assert self.chains.pop((table, chain)) == []
                for (where, _), rules in self.chains.items():
                    assert where != table or not any(f"-j {chain}" in rule for rule in rules)
            else:
                assert word == "COMMIT"

    def save(self) -> str:
        text = ""
        for table in ("mangle", "nat"):
            own = {name: rules for (where, name), rules in self.chains.items() if where == table}
            text += f"*{table}\n" + "".join(f":{name} - [0:0]\n" for name in own)
            text += "".join(f"-A {name} {rule}\n" for name, rules in own.items() for rule in rules)
            text += "COMMIT\n"
        return text


@given(captures(), captures(), st.sampled_from([4, 6]))
def test_any_rules_become_any_others_and_back(first, second, version):
    tables = Tables()
    empty = deepcopy(tables.chains)

    def become(wanted: Ruleset) -> None:
        tables.restore(transaction(read_saved(tables.save()), wanted))
        found = read_saved(tables.save())
        found.routed = wanted.routed
        assert found.lines() == wanted.lines()
        assert transaction(found, wanted) == ""

    become(ruleset(first, version))
    # Somebody adds a rule behind ours; the way back leaves it where it is.
    for rules in tables.chains.values():
        rules.append("-p sctp -j RETURN")
    before, had = read_saved(tables.save()), deepcopy(tables.chains)
    tables.restore(transaction(before, ruleset(second, version)))
    tables.restore(transaction(read_saved(tables.save()), before))
    assert tables.chains == had
    become(Ruleset())
    for rules in tables.chains.values():
        rules.remove("-p sctp -j RETURN")
    assert tables.chains == empty


@given(captures(), st.sampled_from([4, 6]))
def test_the_proxys_own_connections_pass_before_anything_is_captured(some, version):
    for (_, name), rules in ruleset(some, version).chains.items():
        if name == "FASTMIRROR_OUTPUT":
            assert rules[:3] == [
                "-m owner --uid-owner 1337 -j RETURN",
                "-m owner --gid-owner 1337 -j RETURN",
                "-o lo -j RETURN",
            ]
