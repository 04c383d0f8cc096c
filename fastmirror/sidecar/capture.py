"""What to capture: the options of ``fastmirror iptables``, checked. Invariant: a Capture holds
ports, ids and networks that iptables takes as they stand; all else is a CaptureError that names
the option and what was expected.
"""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ALL = "*"
# Istio's numbers, so that its documentation and habits hold here too.
PROXY_ID = 1337
OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
MARK = 1337
ROUTE_TABLE = 133

_T = TypeVar("_T")


class CaptureError(ValueError):
    """An option's value that cannot be used."""


@dataclass(frozen=True)
class Capture:
    """``None`` among ports and networks stands for all of them. What is excluded wins."""

    mode: str = "redirect"
    port: int = OUTBOUND_PORT
    inbound_port: int = INBOUND_PORT
    uids: tuple[int, ...] = (PROXY_ID,)
    gids: tuple[int, ...] = (PROXY_ID,)
    outbound_ports: tuple[int, ...] = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    outbound_networks: tuple[Network, ...] | None = None
    exclude_outbound_networks: tuple[Network, ...] = ()
    inbound_ports: tuple[int, ...] | None = ()
    exclude_inbound_ports: tuple[int, ...] = ()
    ipv6: bool = True
    mark: int = MARK
    route_table: int = ROUTE_TABLE

    @property
    def tproxy(self) -> bool:
        """TPROXY, not REDIRECT."""
        return self.mode == "tproxy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every option, as text: ``read_capture`` parses, so that an error names its option."""
    add = parser.add_argument
    add("--mode", default="redirect", metavar="redirect|tproxy", help="(redirect)")
    add("--port", default=str(OUTBOUND_PORT), metavar="PORT", help="of the proxy (15001)")
    add(
        "--inbound-port",
        default=str(INBOUND_PORT),
        metavar="PORT",
        help="of the proxy, for inbound connections (15006)",
    )
    add(
        "--uid",
        action="append",
        metavar="UID",
        help="whose connections pass: the proxy's; may be repeated (1337)",
    )
    add("--gid", action="append", metavar="GID", help="the same by group (1337)")
    add(
        "--outbound-ports",
        default="",
        metavar="PORT,...",
        help="destination ports to capture; given, --outbound-networks is empty by default",
    )
    add("--exclude-outbound-ports", default="", metavar="PORT,...", help="never captured")
    add(
        "--outbound-networks",
        metavar="CIDR,...",
        help="destinations to capture, or * for all (*)",
    )
    add("--exclude-outbound-networks", default="", metavar="CIDR,...", help="never captured")
    add(
        "--inbound-ports",
        default="",
        metavar="PORT,...",
        help="this host's ports to capture connections to, or * for all (none)",
    )
    add("--exclude-inbound-ports", default="", metavar="PORT,...", help="never captured")
    add("--no-ipv6", action="store_true", help="IPv4 alone")
    add("--mark", default=str(MARK), metavar="N", help="tproxy: the packets' mark (1337)")
    add("--route-table", default=str(ROUTE_TABLE), metavar="N", help="tproxy: its table (133)")


def read_capture(arguments: argparse.Namespace) -> Capture:
    """Raises CaptureError."""
    if arguments.mode not in ("redirect", "tproxy"):
        raise CaptureError(f'--mode: expected redirect or tproxy, got "{arguments.mode}"')
    networks = arguments.outbound_networks
    if networks is None:
        networks = "" if arguments.outbound_ports else ALL
    ids = (1 << 32) - 2  # the last one means "no id"
    return Capture(
        mode=arguments.mode,
        port=_number("--port", arguments.port, 1, 65535),
        inbound_port=_number("--inbound-port", arguments.inbound_port, 1, 65535),
        uids=_ids("--uid", arguments.uid, ids),
        gids=_ids("--gid", arguments.gid, ids),
        outbound_ports=_ports("--outbound-ports", arguments.outbound_ports),
        exclude_outbound_ports=_ports("--exclude-outbound-ports", arguments.exclude_outbound_ports),
        outbound_networks=_all_or(_networks, "--outbound-networks", networks),
        exclude_outbound_networks=_networks(
            "--exclude-outbound-networks", arguments.exclude_outbound_networks
        ),
        inbound_ports=_all_or(_ports, "--inbound-ports", arguments.inbound_ports),
        exclude_inbound_ports=_ports("--exclude-inbound-ports", arguments.exclude_inbound_ports),
        ipv6=not arguments.no_ipv6,
        mark=_number("--mark", arguments.mark, 1, (1 << 32) - 1),
        # 253 to 255 are the kernel's own tables, 0 means none.
        route_table=_number("--route-table", arguments.route_table, 1, 252),
    )


def _number(option: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise CaptureError(f'{option}: expected a number from {least} to {most}, got "{text}"')
    return int(text)


def _ids(option: str, texts: Sequence[str] | None, most: int) -> tuple[int, ...]:
    if not texts:
        return (PROXY_ID,)
    return tuple(dict.fromkeys(_number(option, text, 0, most) for text in texts))


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")] if text.strip() else []


def _ports(option: str, text: str) -> tuple[int, ...]:
    """In order, each once."""
    return tuple(sorted({_number(option, item, 1, 65535) for item in _items(text)}))


def _networks(option: str, text: str) -> tuple[Network, ...]:
    found = []
    for item in _items(text):
        try:
            found.append(ipaddress.ip_network(item))
        except ValueError as error:
            expected = "expected networks such as 10.0.0.0/8 or fd00::/8"
            raise CaptureError(f"{option}: {expected}: {error}") from None
    return tuple(dict.fromkeys(found))


def _all_or(
    parse: Callable[[str, str], tuple[_T, ...]], option: str, text: str
) -> tuple[_T, ...] | None:
    return None if text.strip() == ALL else parse(option, text)
