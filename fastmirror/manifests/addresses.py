"""Names of services in all their forms, addresses, and what ``--map`` says of both.

Invariant: a service of Kubernetes has one canonical name, NAME.NAMESPACE.svc.cluster.local, under
which everything about it is kept; any other host is its own canonical name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fastmirror.manifests.fields import Field, Report
from fastmirror.rules.address import parse_address, parse_host_pattern

DOMAIN = "svc.cluster.local"
_SHORT = re.compile(r"([^.*]+)\.([^.]+)\.svc\.cluster\.local")
_MAP = re.compile(r"(?P<host>[^:/=]+)(:(?P<port>[0-9]+))?(/(?P<subset>[^=]+))?=(?P<addresses>.*)")


def service_host(name: str, namespace: str) -> str:
    """The canonical name of a service of Kubernetes."""
    return f"{name}.{namespace}.{DOMAIN}"


def split_service_host(host: str) -> tuple[str, str] | None:
    """The name and the namespace, if the host is a service of Kubernetes."""
    match = _SHORT.fullmatch(host)
    return (match[1], match[2]) if match else None


def short_name(host: str) -> str:
    """What people call it: names of mirrors are made of this."""
    parts = split_service_host(host)
    return parts[0] if parts else host


def canonical(name: str, namespace: str, known: Collection[str] = ()) -> str:
    """The canonical name of what a manifest in ``namespace`` calls ``name``.

    Two labels may be NAME.NAMESPACE or a domain such as example.com: they are a service if that
    is known, as in Kubernetes, where the resolver's search list decides it so.
    """
    host = name.lower().rstrip(".")
    labels = host.split(".")
    if host in known or "*" in host or ":" in host:
        return host
    if len(labels) == 1:
        return service_host(host, namespace)
    if len(labels) == 2 and (service := service_host(*labels)) in known:
        return service
    if len(labels) == 3 and labels[2] == "svc":
        return service_host(*labels[:2])
    return host


def forms(host: str, *, short: bool) -> list[str]:
    """Every name that a client may use for it; the shortest if that is nobody else's."""
    parts = split_service_host(host)
    if parts is None:
        return [host]
    name, namespace = parts
    return [*([name] if short else []), f"{name}.{namespace}", f"{name}.{namespace}.svc", host]


def is_host(text: str) -> bool:
    """A name, an IP address, ``*.suffix`` or ``*``."""
    try:
        parse_host_pattern(text)
    except ValueError:
        return False
    return True


def read_address(field: Field) -> str:
    """An IP address or a name, without port, or a Unix socket as ``unix:/path``."""
    text = field.text()
    text = "unix:" + text.removeprefix("unix://") if text.startswith("unix:///") else text
    try:
        parse_address(join(text, 1))
    except ValueError:
        if text:
            field.expected("an IP address, a name or unix:///path")
    return text


def join(address: str, port: int) -> str:
    """An endpoint's address in the rules: a socket's path has no port."""
    if address.startswith("unix:"):
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(frozen=True, slots=True)
class Mapping:
    """One ``--map``: the addresses of a host, or of one of its ports or subsets."""

    option: str
    name: str
    port: int | None
    subset: str | None
    addresses: list[str]

    def names(self, host: str) -> bool:
        """Whether ``host``, canonical, is meant; a name without namespace is in ``default``."""
        parts = split_service_host(host)
        return self.name in forms(host, short=parts is not None and parts[1] == "default")

    def endpoints(self, port: int) -> list[str]:
        """The addresses, those without a port at the service's."""
        return [a if _has_port(a) else f"{a}:{port}" for a in self.addresses]


def parse_maps(options: Sequence[str], report: Report) -> list[Mapping]:
    """``HOST[:PORT][/SUBSET]=ADDR[,ADDR...]``, as given to ``--map``."""
    return [mapping for option in options if (mapping := _parse_map(option, report))]


def _parse_map(option: str, report: Report) -> Mapping | None:
    match = _MAP.fullmatch(option)
    if match is None or not is_host(match["host"]) or "*" in match["host"]:
        report.problems.append(
            f"--map {option}: expected HOST[:PORT]=ADDR[,ADDR...] or HOST[:PORT]/SUBSET=ADDR[,...]"
        )
        return None
    port = int(match["port"][:6]) if match["port"] else None
    if port is not None and not 1 <= port <= 65535:
        report.problems.append(f"--map {option}: a port is from 1 to 65535")
    addresses = match["addresses"].split(",")
    for address in addresses:
        try:
            parse_address(address if _has_port(address) else f"{address}:1")
        except ValueError:
            report.problems.append(
                f"--map {option}: expected IP[:PORT], [IPv6][:PORT], NAME[:PORT] or unix:/path, "
                f"not {address!r}"
            )
    return Mapping(option, match["host"].lower().rstrip("."), port, match["subset"], addresses)


def _has_port(address: str) -> bool:
    return address.startswith("unix:") or ":" in address.rpartition("]")[2]
