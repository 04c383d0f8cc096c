"""What the tests make requests and rules of, and how a module is run uncompiled."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from hypothesis import strategies as st

import fastmirror
from fastmirror._head import Fields
from fastmirror.http1.target import host_and_port
from fastmirror.rules.load import RulesError, decode_rules
from fastmirror.rules.model import Rules
from fastmirror.rules.request import Request
from fastmirror.rules.table import RouteTable

TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# RFC 9110 section 5.5, without obs-text at first: what every implementation takes.
tokens = st.text(TOKEN, min_size=1, max_size=20).map(str.encode)
values = (
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
    .map(lambda text: text.strip(" ").encode())
    .filter(lambda value: not value.startswith(b" "))
)


def fields(*pairs: tuple[bytes, bytes]) -> Fields:
    """A message's fields, in order."""
    found = Fields()
    for name, value in pairs:
        found.add(name, value)
    return found


def request(
    method: str = "GET",
    target: str = "/",
    host: str = "httpbin",
    headers: Iterable[tuple[str, str]] = (),
    source_ip: str = "10.0.0.1",
) -> Request:
    """A request as the proxy would make it of this."""
    name, port = host_and_port(host.encode())
    return Request(
        method.encode(),
        target.encode(),
        name,
        fields((b"host", host.encode()), *((n.encode(), v.encode()) for n, v in headers)),
        source_ip.encode(),
        port,
    )


def rules(document: dict[str, object]) -> Rules:
    """The rules of a document, as a file gives them."""
    return decode_rules(msgspec.msgpack.encode({"version": 1, **document}), "rules.msgpack")


def table(routes: list[dict[str, object]], services: list[dict[str, object]] | None = None):
    """The table of these routes, all to one service, which no test asks for by name."""
    to: list[dict[str, object]] = [{"service": "backend.invalid"}]
    known = services if services is not None else []
    return RouteTable(
        rules(
            {
                "services": [{"name": "backend.invalid"}, *known],
                "routes": [
                    {"name": f"r{index}", "to": to, **route} for index, route in enumerate(routes)
                ],
            }
        )
    )


def route_name(found: RouteTable, asked: Request) -> str | None:
    """The name of the route that takes a request."""
    entry = found.find(asked)
    return entry.name if entry is not None else None


def problems(document: object, source: str = "rules.msgpack") -> list[tuple[str, str]]:
    """``(field, what was expected)`` of every mistake in a document; none is a failure."""
    with pytest.raises(RulesError) as caught:
        decode_rules(msgspec.msgpack.encode(document), source)
    assert str(caught.value).startswith(f"{source}: ")
    return [(problem.path, problem.text) for problem in caught.value.problems]


def uncompiled(name: str) -> ModuleType:
    """A compiled module's own source, run by Python: its C methods can then be called, and its
    clock replaced. Nothing else sees this module.
    """
    path = Path(fastmirror.__file__).parent.joinpath(*name.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(f"uncompiled.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
