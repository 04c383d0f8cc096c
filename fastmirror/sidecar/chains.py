"""The rules that a Capture asks for, one family at a time, in the scheme of istio-iptables.

Invariants: the proxy's own connections (by uid and gid) and everything on loopback leave before
anything is captured; rules are written the way iptables-save prints them, so that what is wanted
and what is there compare as text.

Where this differs from Istio: there the proxy's connections to its own service IP go through the
inbound listener once more, which works because Envoy's inbound side binds 127.0.0.6. We have one
stage, so that they would loop: they go straight to the application.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fastmirror.sidecar.capture import Capture

PREFIX = "FASTMIRROR_"
OUTPUT, INBOUND = PREFIX + "OUTPUT", PREFIX + "INBOUND"
REDIRECT, IN_REDIRECT = PREFIX + "REDIRECT", PREFIX + "IN_REDIRECT"
MARK, TPROXY, IN_TPROXY = PREFIX + "MARK", PREFIX + "TPROXY", PREFIX + "IN_TPROXY"
TABLES = ("nat", "mangle")
# An address of these is one only together with an interface, which no capture preserves.
LINK_LOCAL = {4: (), 6: ("-d fe80::/10 -j RETURN",)}


@dataclass(frozen=True)
class Jump:
    """A rule of somebody else's chain that leads to one of ours; ``position`` counts from 1, and
    is 0 for the end.
    """

    table: str
    chain: str
    rule: str
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, order=True)
class Routing:
    """Where packets with our mark go: a table whose one route is this host."""

    mark: int
    table: int

    @property
    def rule(self) -> list[str]:
        """As ``ip rule`` has it."""
        return ["fwmark", f"0x{self.mark:x}", "lookup", str(self.table)]

    @property
    def route(self) -> list[str]:
        """As ``ip route`` has it."""
        return ["local", "default", "dev", "lo", "table", str(self.table)]


@dataclass
class Ruleset:
    """One family's: our chains by table and name, what leads to them, and the marks whose packets
    are routed to this host, each with its table (``ip rule`` and ``ip route``).
    """

    chains: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    jumps: list[Jump] = field(default_factory=list)
    routed: set[Routing] = field(default_factory=set)

    def lines(self) -> list[str]:
        """Everything, in an order of its own, for people and for comparison."""
        found = [f"{each.table} -A {each.chain} {each.rule}" for each in self.jumps]
        for (table, chain), rules in self.chains.items():
            found += [f"{table} -N {chain}"]
            found += [f"{table} -A {chain} {rule}" for rule in rules]
        # By chain; sorted() is stable, so that the rules of a chain stay in their order.
        found.sort(key=lambda line: (line.split()[0], line.split()[2]))
        return found + [" ".join(["ip rule", *each.rule]) for each in sorted(self.routed)]


def ruleset(capture: Capture, version: int) -> Ruleset:
    """``version``: 4 or 6."""
    return _tproxy(capture, version) if capture.tproxy else _redirect(capture, version)


def _redirect(capture: Capture, version: int) -> Ruleset:
    rules = Ruleset()
    captured = _captured(capture, version, REDIRECT)
    if captured:
        rules.chains["nat", REDIRECT] = [f"-p tcp -j REDIRECT --to-ports {capture.port}"]
        rules.chains["nat", OUTPUT] = [*_exempt(capture, version), *captured]
        rules.jumps.append(Jump("nat", "OUTPUT", f"-p tcp -j {OUTPUT}"))
    inbound = _inbound(capture, version, IN_REDIRECT)
    if inbound:
        rules.chains["nat", IN_REDIRECT] = [f"-p tcp -j REDIRECT --to-ports {capture.inbound_port}"]
        rules.chains["nat", INBOUND] = inbound
        rules.jumps.append(Jump("nat", "PREROUTING", f"-p tcp -j {INBOUND}"))
    return rules


def _tproxy(capture: Capture, version: int) -> Ruleset:
    """Outbound packets are marked, so that they are routed to loopback, and arrive there as if
    they came from outside: TPROXY works in PREROUTING alone.
    """
    rules = Ruleset()
    mark = f"0x{capture.mark:x}"
    on_ip = "0.0.0.0" if version == 4 else "::"

    def target(port: int) -> list[str]:
        return [
            f"-p tcp -j TPROXY --on-port {port} --on-ip {on_ip} --tproxy-mark {mark}/0xffffffff"
        ]

    arriving = []
    captured = _captured(capture, version, MARK)
    if captured:
        rules.chains["mangle", MARK] = [
            f"-j CONNMARK --set-xmark {mark}/0xffffffff",
            f"-j MARK --set-xmark {mark}/0xffffffff",
        ]
        # A connection that began before we came goes on as it was.
        older = f"-m connmark ! --mark {mark} -m conntrack ! --ctstate NEW -j RETURN"
        rules.chains["mangle", OUTPUT] = [*_exempt(capture, version, older), *captured]
        rules.jumps.append(Jump("mangle", "OUTPUT", f"-p tcp -j {OUTPUT}"))
        rules.chains["mangle", TPROXY] = target(capture.port)
        arriving = [f"-i lo -m mark --mark {mark} -j {TPROXY}"]
    inbound = _inbound(capture, version, IN_TPROXY)
    if inbound:
        rules.chains["mangle", IN_TPROXY] = target(capture.inbound_port)
        # Answers to connections from here are not NEW; TPROXY would drop them.
        inbound = ["-i lo -j RETURN", "-m conntrack ! --ctstate NEW -j RETURN", *inbound]
    if arriving or inbound:
        rules.chains["mangle", INBOUND] = arriving + inbound
        rules.jumps.append(Jump("mangle", "PREROUTING", f"-p tcp -j {INBOUND}"))
        rules.routed = {Routing(capture.mark, capture.route_table)}
    return rules


def _exempt(capture: Capture, version: int, *more: str) -> list[str]:
    rules = [f"-m owner --uid-owner {uid} -j RETURN" for uid in capture.uids]
    rules += [f"-m owner --gid-owner {gid} -j RETURN" for gid in capture.gids]
    # Also calls to this host's own addresses, as with Istio; its service IP leaves by another
    # interface, and is captured.
    rules += ["-o lo -j RETURN", *LINK_LOCAL[version], *more]
    rules += [_port(port, "RETURN") for port in capture.exclude_outbound_ports]
    rules += [
        f"-d {network} -j RETURN"
        for network in capture.exclude_outbound_networks
        if network.version == version
    ]
    return rules


def _captured(capture: Capture, version: int, target: str) -> list[str]:
    if capture.outbound_networks is None:
        return [f"-j {target}"]
    rules = [_port(port, target) for port in capture.outbound_ports]
    return rules + [
        f"-d {network} -j {target}" if network.prefixlen else f"-j {target}"
        for network in capture.outbound_networks
        if network.version == version
    ]


def _inbound(capture: Capture, version: int, target: str) -> list[str]:
    if capture.inbound_ports == ():
        return []
    # Whoever speaks to the proxy itself is not captured: it would be sent back to where it is.
    own = {capture.port, capture.inbound_port}
    rules = [_port(port, "RETURN") for port in sorted(own | {*capture.exclude_inbound_ports})]
    rules += LINK_LOCAL[version]
    if capture.inbound_ports is None:
        return [*rules, f"-j {target}"]
    return rules + [_port(port, target) for port in capture.inbound_ports]


def _port(port: int, target: str) -> str:
    return f"-p tcp -m tcp --dport {port} -j {target}"
