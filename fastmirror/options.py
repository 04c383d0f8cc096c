"""The options of a running proxy: one place for names, types, defaults and help.

Invariant: every option here has a flag, a FASTMIRROR_* twin and an effect; what a flag says
wins over the environment, and what is not understood is an OptionError that names it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastmirror.rules.address import Address, parse_address
from fastmirror.rules.units import seconds, size


class OptionError(ValueError):
    """An option's value that cannot be used."""


class Handed(NamedTuple):
    """A socket that a service manager listens on and hands over, by its name: ``fd:NAME``."""

    name: str

    @property
    def is_unix(self) -> bool:
        """If it is, its path is not ours."""
        return False

    @property
    def port(self) -> int:
        """Not known before it is there."""
        return 0

    def __str__(self) -> str:
        return f"fd:{self.name}"


ADMIN = Address("127.0.0.1", 15000)


@dataclass(frozen=True)
class Options:
    """Durations in seconds, sizes in bytes."""

    listen: list[Address | Handed] = field(default_factory=list)
    rules: str = ""
    admin: Address | None = ADMIN
    workers: int = 1
    intercept: str = "auto"
    unmatched: str = "passthrough"
    detect_timeout: float = 0.1
    opaque_ports: frozenset[int] = frozenset()
    mark: int = 0
    access_log: str = "off"
    access_log_format: str = "text"
    mirror_memory: int = 64 << 20
    mirror_max_load: int | None = None  # percent
    drain_time: float = 30.0
    log_level: str = "info"
    max_header_bytes: int = 64 << 10
    max_headers: int = 100
    max_uri_bytes: int = 32 << 10
    max_body_bytes: int = 0
    max_connections: int = 0
    idle_timeout: float = 600.0
    request_head_timeout: float = 30.0
    request_timeout: float = 0.0
    connect_timeout: float = 1.0
    upstream_idle_timeout: float = 60.0
    x_forwarded_for: bool = True
    x_request_id: bool = True
    allow_connect: bool = False
    allow_trace: bool = False


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f'expected on or off, got "{text}"')
    return text == "on"


def _positive(text: str) -> float:
    value = seconds(text)
    if value <= 0:
        raise ValueError(f'expected a duration above 0, got "{text}"')
    return value


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise ValueError(f'expected a whole number from {least} to {most}, got "{text}"')
        return int(text)

    return parse


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f'expected one of {", ".join(names)}, got "{text}"')
        return text

    return parse


def _ports(text: str) -> frozenset[int]:
    """``25,3306,7000-7005``; empty: none."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        try:
            ends = [_number(1, 65535)(end) for end in (first, last if dash else first)]
        except ValueError:
            ends = [1, 0]
        if ends[0] > ends[1]:
            raise ValueError(f'expected ports such as 25,3306 or 7000-7005, got "{part}"')
        found.update(range(ends[0], ends[1] + 1))
    return frozenset(found)


def _listen(text: str) -> Address | Handed:
    if text.startswith("fd:"):
        name = text[3:]
        # What systemd takes for a FileDescriptorName.
        if not 1 <= len(name) <= 255 or ":" in name or not name.isascii() or not name.isprintable():
            raise ValueError(f'expected fd:NAME, a name of LISTEN_FDNAMES, got "{text}"')
        return Handed(name)
    return parse_address(text, wildcard=True)


def _admin(text: str) -> Address | None:
    return None if text == "off" else parse_address(text, wildcard=True)


def _max_load(text: str) -> int | None:
    if text == "off":
        return None
    try:
        return _number(1, 100)(text)
    except ValueError:
        raise ValueError(f'expected a whole number from 1 to 100, or off, got "{text}"') from None


def _size_of(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = size(text)
        if value < least:
            raise ValueError(f'expected at least {least} bytes, got "{text}"')
        return value

    return parse


# name: (parse, metavar, help)
_OPTIONS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "rules": (str, "FILE", "the rules: MessagePack, or .yaml or .json"),
    "admin": (_admin, "ADDR|off", "health, metrics and the mirror switch (127.0.0.1:15000)"),
    "workers": (_number(1, 256), "N", "processes that share the port (1)"),
    "intercept": (
        _choice("auto", "redirect", "tproxy", "off"),
        "HOW",
        "how a connection's original destination is found: auto, redirect, tproxy or off (auto)",
    ),
    "unmatched": (
        _choice("passthrough", "reject"),
        "passthrough|reject",
        "an intercepted request that no rule takes: to where it was going, or 404 (passthrough)",
    ),
    "detect_timeout": (
        _positive,
        "SECONDS",
        "silence of an intercepted client after which the server may speak first (0.1)",
    ),
    "opaque_ports": (_ports, "LIST", "original ports that are relayed as bytes at once (none)"),
    "mark": (_number(0, 2**32 - 1), "N", "the mark of our own connections; 0: none (0)"),
    "access_log": (str, "FILE|-|off", "one line a request and a copy (off)"),
    "access_log_format": (_choice("text", "json"), "FORM", "text or json (text)"),
    "mirror_memory": (_size_of(0), "BYTES", "what all copies together may hold (64MiB)"),
    "mirror_max_load": (_max_load, "PERCENT|off", "a worker's load; above: fewer copies (off)"),
    "drain_time": (seconds, "SECONDS", "how long a stop waits for what is in flight (30)"),
    "log_level": (
        _choice("debug", "info", "warning", "error"),
        "LEVEL",
        "debug, info, warning or error (info)",
    ),
    "max_header_bytes": (
        _size_of(1024),
        "BYTES",
        "a request's fields; above: 431 (64KiB)",
    ),
    "max_headers": (_number(1, 10000), "N", "their number; above: 431 (100)"),
    "max_uri_bytes": (_size_of(256), "BYTES", "a request's target; above: 414 (32KiB)"),
    "max_body_bytes": (_size_of(0), "BYTES", "a request's body; above: 413; 0: no limit (0)"),
    "max_connections": (_number(0, 10_000_000), "N", "of clients; above: 503; 0: no limit (0)"),
    "idle_timeout": (_positive, "SECONDS", "a connection on which nothing comes (600)"),
    "request_head_timeout": (_positive, "SECONDS", "from a head's first byte to its last (30)"),
    "request_timeout": (seconds, "SECONDS", "to a request's last byte; above: 408; 0: none (0)"),
    "connect_timeout": (_positive, "SECONDS", "to connect to an endpoint (1)"),
    "upstream_idle_timeout": (_positive, "SECONDS", "how long idle upstreams are kept (60)"),
    "x_forwarded_for": (_switch, "on|off", "append the client's address (on)"),
    "x_request_id": (_switch, "on|off", "make an x-request-id when there is none (on)"),
    "allow_connect": (_switch, "on|off", "CONNECT opens a tunnel to its route; off: 501 (off)"),
    "allow_trace": (_switch, "on|off", "forward TRACE; off: 405 (off)"),
}


def flag(name: str) -> str:
    """``--max-headers`` for ``max_headers``."""
    return "--" + name.replace("_", "-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every option, as text: ``read_options`` parses, so that flags and environment are alike."""
    parser.add_argument(
        "--listen",
        action="append",
        metavar="ADDR",
        help=":PORT (every interface), IP:PORT, [IPv6]:PORT, unix:/path or fd:NAME (a socket that "
        "systemd hands over); may be repeated",
    )
    for name, (_, metavar, text) in _OPTIONS.items():
        parser.add_argument(flag(name), metavar=metavar, help=text)


def read_options(
    arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> Options:
    """The options of a command line, and of the environment where that is silent.

    Raises OptionError.
    """
    values: dict[str, Any] = {}
    listen, origin = arguments.listen, "--listen"
    if not listen:
        listen, origin = environment.get("FASTMIRROR_LISTEN", "").split(), "FASTMIRROR_LISTEN"
    try:
        values["listen"] = [_listen(text) for text in listen]
    except ValueError as error:
        raise OptionError(f"{origin}: {error}") from None
    for name, (parse, _, _) in _OPTIONS.items():
        text, origin = getattr(arguments, name), flag(name)
        if text is None:
            origin = f"FASTMIRROR_{name.upper()}"
            text = environment.get(origin)
        if text is None:
            continue
        try:
            values[name] = parse(text)
        except ValueError as error:
            raise OptionError(f"{origin}: {error}") from None
    options = Options(**values)
    if not options.listen:
        raise OptionError("--listen: expected an address to listen on, such as :15001")
    if not options.rules:
        raise OptionError("--rules: expected a file")
    return options
