"""The programs that change the kernel's tables: iptables-save, iptables-restore and ip.

Invariants: ``put`` leaves every family as it is wanted or, where one step fails, all of them as
they were; whatever goes wrong is a NetfilterError with the program's own words.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping

from fastmirror.sidecar.chains import Routing, Ruleset
from fastmirror.sidecar.saved import marks, read_saved, transaction

FLAVOURS = ("iptables", "iptables-nft", "iptables-legacy")
LOCK_TIME = 10  # seconds to wait for another program's change
RUN_TIME = 60  # seconds

_NET_ADMIN = 12  # linux/capability.h
_TABLE = re.compile(r"lookup ([0-9]+)\b")  # of what ``ip rule`` prints


class NetfilterError(Exception):
    """The tables cannot be read or changed; the message says why."""


class Family:
    """IPv4 or IPv6; ``name`` is iptables, ip6tables, or one of their flavours."""

    def __init__(self, version: int, name: str, routing: Routing) -> None:
        self.version = version
        self.name = name
        self.routing = routing

    def read(self) -> Ruleset:
        """What is there of ours. Raises NetfilterError."""
        found = read_saved(run([f"{self.name}-save"]))
        found.routed = {each for each in self._routings(found) if self._is_routed(each)}
        return found

    def steps(self, current: Ruleset, wanted: Ruleset) -> list[tuple[list[str], str]]:
        """Commands and their input that make ``wanted`` of ``current``."""
        steps: list[tuple[list[str], str]] = []
        for each in sorted(wanted.routed - current.routed):
            if not self._has_rule(each):
                steps.append((self._ip("rule", "add", *each.rule), ""))
            if not self._has_route(each):
                steps.append((self._ip("route", "add", *each.route), ""))
        text = transaction(current, wanted)
        if text:
            steps.append(([f"{self.name}-restore", "--noflush", "--wait", str(LOCK_TIME)], text))
        gone = sorted((current.routed | {self.routing}) - wanted.routed)
        for each in gone:
            if self._has_rule(each):
                steps.append((self._ip("rule", "del", *each.rule), ""))
        kept = {each.table for each in wanted.routed}
        for each in {each.table: each for each in gone if each.table not in kept}.values():
            if self._has_route(each):
                steps.append((self._ip("route", "del", *each.route), ""))
        return steps

    def _routings(self, found: Ruleset) -> set[Routing]:
        """The one that is asked for, and those of an earlier ``apply``: its chains say the mark."""
        routings = {self.routing}
        for mark in marks(found):
            text = self._asked("rule", "show", "fwmark", f"0x{mark:x}")
            routings |= {Routing(mark, int(table)) for table in _TABLE.findall(text)}
        return routings

    def _is_routed(self, routing: Routing) -> bool:
        return self._has_rule(routing) and self._has_route(routing)

    def _ip(self, what: str, *words: str) -> list[str]:
        return ["ip", f"-{self.version}", what, *words]

    def _has_rule(self, routing: Routing) -> bool:
        return bool(self._asked("rule", "show", *routing.rule))

    def _has_route(self, routing: Routing) -> bool:
        # With a table that never was, ip says so and fails.
        return "dev lo" in self._asked("route", "show", "table", str(routing.table))

    def _asked(self, what: str, *words: str) -> str:
        if shutil.which("ip") is None:
            return ""  # without it, nobody has set rules either; adding some says what is missing
        done = subprocess.run(self._ip(what, *words), capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""


def has_ipv6() -> bool:
    """Without it in the kernel (``ipv6.disable=1``), nothing can leave by it uncaptured."""
    return os.path.exists("/proc/net/if_inet6")


def find(version: int, flavour: str | None, routing: Routing) -> Family:
    """The first flavour of iptables that can be asked. Raises NetfilterError."""
    _expect_capability()
    complaints = []
    for candidate in [flavour] if flavour else FLAVOURS:
        name = candidate if version == 4 else candidate.replace("iptables", "ip6tables", 1)
        programs = [f"{name}-save", f"{name}-restore"]
        if lacking := [program for program in programs if shutil.which(program) is None]:
            complaints.append(f"{', '.join(lacking)} not found")
            continue
        try:
            run([programs[0], "-t", "nat"])
        except NetfilterError as error:
            complaints.append(str(error))
        else:
            return Family(version, name, routing)
    raise NetfilterError(
        "; ".join(complaints) + (" (--no-ipv6 does without)" if version == 6 else "")
    )


def put(wanted: Mapping[Family, Ruleset]) -> None:
    """All of it, or nothing. Raises NetfilterError."""
    before = {family: family.read() for family in wanted}
    begun: list[Family] = []
    try:
        for family, rules in wanted.items():
            begun.append(family)
            for command, text in family.steps(before[family], rules):
                run(command, text)
    except NetfilterError as error:
        for family in reversed(begun):
            try:
                for command, text in family.steps(family.read(), before[family]):
                    run(command, text)
            except NetfilterError as other:
                raise NetfilterError(f"{error}; and what was there is not back: {other}") from None
        raise NetfilterError(f"{error}; everything is as it was") from None


def run(command: list[str], text: str = "") -> str:
    """What it printed. Raises NetfilterError."""
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=RUN_TIME
        )
    except FileNotFoundError:
        raise NetfilterError(f"{command[0]} not found") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetfilterError(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or "it did not say why"
        raise NetfilterError(f"{command[0]} failed with {done.returncode}: {said}")
    return done.stdout


def _expect_capability() -> None:
    try:
        with open("/proc/self/status") as file:
            effective = next(line for line in file if line.startswith("CapEff:"))
        allowed = bool(int(effective.split()[1], 16) >> _NET_ADMIN & 1)
    except (OSError, StopIteration):
        allowed = os.geteuid() == 0
    if not allowed:
        raise NetfilterError(
            "the capability NET_ADMIN is needed: run it as root, or in a container that has it"
        )
