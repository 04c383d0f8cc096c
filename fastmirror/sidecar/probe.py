"""``fastmirror healthcheck`` and ``fastmirror drain``: the admin listener asked from within an
image that has no other client. Invariant: exit 0 where the proxy is ready, or has drained; 1 where
it is not, with one line that says why; 2 usage.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import sys
import time

from fastmirror.options import ADMIN
from fastmirror.rules.address import Address, parse_address

TIMEOUT = 5.0  # seconds for an answer
MAX_DELAY = 86400


def healthcheck(arguments: list[str]) -> int:
    """The exit code."""
    parser = _parser("healthcheck", "Exit 0 where the proxy is ready, 1 where it is not.")
    parser.add_argument("--alive", action="store_true", help="also where it drains or starts")
    options = parser.parse_args(arguments)
    try:
        address = _address(options.admin)
        status, text = _ask(address, "GET", "/healthz" if options.alive else "/readyz")
    except ValueError as error:
        return _usage(parser, error)
    except (OSError, http.client.HTTPException) as error:
        print(f"fastmirror healthcheck: {address}: {error}", file=sys.stderr)
        return 1
    print(text.strip())
    return 0 if status == 200 else 1


def drain(arguments: list[str]) -> int:
    """The exit code. What a preStop hook runs: it returns when the proxy has ended, or only asks
    its clients to go.
    """
    parser = _parser("drain", "Drain the proxy, and wait for its end.")
    parser.add_argument(
        "--graceful",
        action="store_true",
        help="do not end it: it serves on, not ready, and each answer is its connection's last",
    )
    parser.add_argument(
        "--delay",
        type=_delay,
        default=0.0,
        metavar="SECONDS",
        help="let it serve on in this way for so long: others may not know yet that it ends (0)",
    )
    options = parser.parse_args(arguments)
    try:
        address = _address(options.admin)
        if options.graceful or options.delay > 0:
            _tell(address, "/drain?graceful")
            time.sleep(options.delay)
            if options.graceful:
                return 0
        _tell(address, "/drain")
    except ValueError as error:
        return _usage(parser, error)
    except (OSError, http.client.HTTPException) as error:
        print(f"fastmirror drain: {address}: {error}", file=sys.stderr)
        return 1
    while True:
        try:
            _ask(address, "GET", "/healthz")
        except (OSError, http.client.HTTPException):
            return 0
        time.sleep(0.1)


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"fastmirror {name}", allow_abbrev=False, description=description
    )
    parser.add_argument(
        "--admin",
        default=os.environ.get("FASTMIRROR_ADMIN", str(ADMIN)),
        metavar="ADDR",
        help="of the proxy's admin listener (FASTMIRROR_ADMIN, or 127.0.0.1:15000)",
    )
    return parser


def _usage(parser: argparse.ArgumentParser, error: ValueError) -> int:
    parser.print_usage(sys.stderr)
    print(f"{parser.prog}: {error}", file=sys.stderr)
    return 2


def _address(text: str) -> Address:
    """Raises ValueError."""
    try:
        address = parse_address(text, wildcard=True)
    except ValueError as error:
        raise ValueError(f"--admin: {error}") from None
    return address if address.host else Address("127.0.0.1", address.port)


def _delay(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_DELAY:
        raise argparse.ArgumentTypeError(f"expected 0 to {MAX_DELAY} seconds, found {text}")
    return seconds


def _tell(address: Address, path: str) -> None:
    """Raises OSError or HTTPException, also where it is not done."""
    status, text = _ask(address, "POST", path)
    if status != 200:
        raise http.client.HTTPException(f"POST {path}: {status} {text.strip()}")


def _ask(address: Address, method: str, path: str) -> tuple[int, str]:
    """Raises OSError or HTTPException."""
    connection = http.client.HTTPConnection(address.host, address.port or 80, timeout=TIMEOUT)
    if address.is_unix:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(TIMEOUT)
        connection.sock.connect(address.host)
        connection.host = "localhost"
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(4096).decode(errors="replace")
    finally:
        connection.close()
