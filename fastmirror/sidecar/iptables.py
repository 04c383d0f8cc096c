"""``fastmirror iptables``: connections captured for the proxy. Invariant: exit 0 means that what
was asked for holds, 1 that it does not (and then nothing was changed), 2 usage.
"""

from __future__ import annotations

import argparse
import difflib
import sys

from fastmirror.sidecar.capture import Capture, CaptureError, add_arguments, read_capture
from fastmirror.sidecar.chains import Routing, Ruleset, ruleset
from fastmirror.sidecar.netfilter import Family, NetfilterError, find, has_ipv6, put
from fastmirror.sidecar.saved import transaction

_ACTIONS = {
    "print": "show the rules, as iptables-restore reads them; reads and changes nothing",
    "apply": "put them in force, in the place of those that are there; all or nothing",
    "check": "exit 1, and say how, where other rules are there",
    "remove": "take them away",
}


def run(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="fastmirror iptables",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Rules that send this network namespace's connections to the proxy.\n\n"
        + "\n".join(f"  {name:8}{text}" for name, text in _ACTIONS.items()),
    )
    parser.add_argument("action", choices=_ACTIONS, metavar="print|apply|check|remove")
    add_arguments(parser)
    parser.add_argument(
        "--iptables", metavar="NAME", help="iptables-nft or iptables-legacy (what works)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what apply or remove would run, and stop"
    )
    options = parser.parse_args(arguments)
    try:
        capture = read_capture(options)
        if options.iptables and "iptables" not in options.iptables:
            raise CaptureError(f'--iptables: expected iptables-nft, got "{options.iptables}"')
    except CaptureError as error:
        parser.print_usage(sys.stderr)
        print(f"fastmirror iptables: {error}", file=sys.stderr)
        return 2
    try:
        return _act(options.action, capture, options.iptables, options.dry_run)
    except NetfilterError as error:
        print(f"fastmirror iptables: {error}", file=sys.stderr)
        return 1


def _act(action: str, capture: Capture, flavour: str | None, dry_run: bool) -> int:
    if action == "print":
        _print(capture)
        return 0
    wanted = _wanted(capture, flavour, nothing=action == "remove")
    if action == "check":
        return _check(wanted)
    if dry_run:
        for family, rules in wanted.items():
            for command, text in family.steps(family.read(), rules):
                print("#", *command)
                sys.stdout.write(text)
        return 0
    put(wanted)
    return 0


def _wanted(capture: Capture, flavour: str | None, nothing: bool) -> dict[Family, Ruleset]:
    """By family. Without IPv6, what is there of it goes, where it can be asked at all."""
    routing = Routing(capture.mark, capture.route_table)
    wanted: dict[Family, Ruleset] = {}
    for version in (4, 6) if has_ipv6() else (4,):
        unwanted = nothing or (version == 6 and not capture.ipv6)
        try:
            family = find(version, flavour, routing)
        except NetfilterError:
            if version == 6 and not capture.ipv6:
                continue
            raise
        wanted[family] = Ruleset() if unwanted else ruleset(capture, version)
    return wanted


def _check(wanted: dict[Family, Ruleset]) -> int:
    code = 0
    for family, rules in wanted.items():
        there = family.read().lines()
        for line in difflib.unified_diff(
            there, rules.lines(), f"{family.name}: there", f"{family.name}: wanted", lineterm=""
        ):
            code = 1
            print(line)
    return code


def _print(capture: Capture) -> None:
    for version, name in ((4, "iptables"), (6, "ip6tables")):
        if version == 6 and not capture.ipv6:
            continue
        rules = ruleset(capture, version)
        for routing in sorted(rules.routed):
            print(f"# ip -{version} rule add", *routing.rule)
            print(f"# ip -{version} route add", *routing.route)
        print(f"# {name}-restore --noflush")
        sys.stdout.write(transaction(Ruleset(), rules))
