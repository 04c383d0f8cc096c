"""What the types of the document cannot say. Invariant: every problem has the path of its field
(``routes[2].mirrors[0].percent``) and what was expected; all of them are found in one pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fastmirror.rules.address import parse_address, parse_host, parse_host_pattern
from fastmirror.rules.model import (
    Cors,
    Destination,
    HashBalance,
    HeaderChange,
    Headers,
    HostPolicy,
    Key,
    Match,
    Mirror,
    Rewrite,
    Route,
    Rules,
    Service,
    StringMatch,
)
from fastmirror.rules.regex import check_template, compile_regex
from fastmirror.rules.units import seconds, size

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_NAME = re.compile(r"[\x21-\x7e]+( [\x21-\x7e]+)*")
_PATH = re.compile(r"[\x21\x24-\x3e\x40-\x7e\x22]*")  # no space, #, ?
_VALUE = re.compile(r"[\t\x20-\x7e\u0080-\U0010ffff]*")
# They frame a message or are between two neighbours: the proxy's own to write.
_NOT_FOR_RULES = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-fastmirror-copy",
    )
)


@dataclass(frozen=True)
class Problem:
    """A field's path and what was expected of it."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def mirror_name(mirror: Mirror) -> str:
    """The name of a mirror: its own, else "SERVICE/SUBSET" or "SERVICE"."""
    if mirror.name is not None:
        return mirror.name
    return f"{mirror.service}/{mirror.subset}" if mirror.subset else mirror.service


def validate(rules: Rules) -> list[Problem]:
    """All problems of a decoded document, in its order."""
    return _Validator(rules).problems


class _Validator:
    def __init__(self, rules: Rules) -> None:
        self.problems: list[Problem] = []
        self.services = {service.name: service for service in rules.services}
        self._unique((s.name for s in rules.services), "services[{}].name")
        self._unique((r.name for r in rules.routes), "routes[{}].name")
        owners: dict[str, str] = {}
        for index, service in enumerate(rules.services):
            self._service(service, f"services[{index}]", owners)
        for index, route in enumerate(rules.routes):
            self._route(route, f"routes[{index}]")

    def _add(self, path: str, text: str) -> None:
        self.problems.append(Problem(path, text))

    def _try(self, parse: Callable[[Any], object], value: object, path: str) -> None:
        try:
            parse(value)
        except ValueError as error:
            self._add(path, str(error))

    def _unique(self, names: Iterable[str], path: str) -> None:
        seen: set[str] = set()
        for index, name in enumerate(names):
            if name in seen:
                self._add(path.format(index), f'expected a name of its own, "{name}" is taken')
            if _NAME.fullmatch(name) is None:
                self._add(path.format(index), f"expected printable ASCII, got {name!r}")
            seen.add(name)

    def _token(self, name: str, path: str, what: str) -> None:
        if _TOKEN.fullmatch(name) is None:
            self._add(path, f"expected {what}, got {name!r}")

    def _service(self, service: Service, path: str, owners: dict[str, str]) -> None:
        hosts = service.hosts if service.hosts is not None else [service.name]
        for index, host in enumerate(hosts):
            at = f"{path}.hosts[{index}]" if service.hosts is not None else f"{path}.name"
            try:
                pattern = parse_host_pattern(host)
            except ValueError as error:
                hint = "" if service.hosts is not None else " (or give hosts)"
                self._add(at, f"{error}{hint}")
                continue
            if pattern == "*":
                self._add(at, 'expected a name or "*.suffix": "*" is for routes')
            if owners.setdefault(pattern, service.name) != service.name:
                self._add(at, f'"{host}" is already a host of service "{owners[pattern]}"')
        if isinstance(service.balance, HashBalance):
            self._key(service.balance.hash, f"{path}.balance.hash")
        for index, endpoint in enumerate(service.endpoints):
            self._try(parse_address, endpoint.address, f"{path}.endpoints[{index}].address")

    def _route(self, route: Route, path: str) -> None:
        if route.name == "none" or route.name.startswith("service/"):
            self._add(
                f"{path}.name",
                'expected another name: "none" and "service/..." are the metrics\' own',
            )
        if not route.hosts:
            self._add(f"{path}.hosts", "expected at least one host")
        for index, host in enumerate(route.hosts):
            self._try(parse_host_pattern, host, f"{path}.hosts[{index}]")
        for index, match in enumerate(route.match):
            self._match(match, f"{path}.match[{index}]")
        self._actions(route, path)
        if route.timeout is not None:
            self._try(seconds, route.timeout, f"{path}.timeout")
        if route.max_body is not None:
            self._try(size, route.max_body, f"{path}.max_body")
        names: set[str] = set()
        for index, mirror in enumerate(route.mirrors):
            name = mirror_name(mirror)
            if name in names:
                self._add(
                    f"{path}.mirrors[{index}].name",
                    f'expected a name of its own, "{name}" is taken in this route',
                )
            if _NAME.fullmatch(name) is None:
                self._add(
                    f"{path}.mirrors[{index}].name", f"expected printable ASCII, got {name!r}"
                )
            names.add(name)
            self._mirror(mirror, f"{path}.mirrors[{index}]")

    def _actions(self, route: Route, path: str) -> None:
        given = [name for name in ("redirect", "direct_response") if getattr(route, name)]
        if route.to:
            given.append("to")
        if len(given) != 1:
            found = " and ".join(given) or "none"
            self._add(f"{path}.to", f"expected one of to, redirect, direct_response, got {found}")
        for index, destination in enumerate(route.to):
            at = f"{path}.to[{index}]"
            if (destination.service is None) == (destination.status is None):
                self._add(f"{at}.service", "expected a service, or a status instead")
            elif destination.service is not None:
                self._target(destination, at)
            self._headers(destination.headers, f"{at}.headers")
        if route.to and sum(destination.weight for destination in route.to) == 0:
            self._add(f"{path}.to", "expected weights that do not add up to 0")
        self._headers(route.headers, f"{path}.headers")
        if route.cors is not None:
            self._cors(route.cors, f"{path}.cors")
        if route.fault.delay is not None:
            self._positive(route.fault.delay.duration, f"{path}.fault.delay.duration")
        self._rewrite(route.rewrite, f"{path}.rewrite")
        if route.redirect is not None:
            redirect = route.redirect
            self._one_path(
                ("path", redirect.path), ("prefix", redirect.prefix), at=path + ".redirect"
            )
            if redirect.host is not None:
                self._try(parse_host, redirect.host, f"{path}.redirect.host")

    def _cors(self, cors: Cors, path: str) -> None:
        for index, origin in enumerate(cors.allow_origins):
            self._string(origin, f"{path}.allow_origins[{index}]")
        for kind in ("allow_methods", "allow_headers", "expose_headers"):
            for index, name in enumerate(getattr(cors, kind)):
                self._token(name, f"{path}.{kind}[{index}]", "a name")
        if cors.max_age is not None:
            self._try(seconds, cors.max_age, f"{path}.max_age")

    def _rewrite(self, rewrite: Rewrite, path: str) -> None:
        self._one_path(("path", rewrite.path), ("prefix", rewrite.prefix), at=path)
        if rewrite.host is not None:
            self._try(parse_host, rewrite.host, f"{path}.host")
        if rewrite.regex is not None:
            if rewrite.path is not None or rewrite.prefix is not None:
                self._add(f"{path}.regex", "expected one of path, prefix, regex")
            self._try(compile_regex, rewrite.regex.match, f"{path}.regex.match")
            self._try(check_template, rewrite.regex, f"{path}.regex.substitution")
            if _PATH.fullmatch(rewrite.regex.substitution) is None:
                # It becomes a part of the request line.
                text = f"expected a path of printable ASCII, got {rewrite.regex.substitution!r}"
                self._add(f"{path}.regex.substitution", text)

    def _one_path(self, *given: tuple[str, str | None], at: str) -> None:
        found = [(name, value) for name, value in given if value is not None]
        if len(found) > 1:
            self._add(f"{at}.prefix", "expected path or prefix, got both")
        for name, value in found:
            if value and not value.startswith("/"):
                self._add(f"{at}.{name}", f'expected a path from "/", got {value!r}')
            elif not _PATH.fullmatch(value):
                self._add(f"{at}.{name}", f"expected a path of printable ASCII, got {value!r}")

    def _headers(self, headers: Headers, path: str) -> None:
        for side in ("request", "response"):
            change: HeaderChange = getattr(headers, side)
            for kind in ("set", "add"):
                for name, value in getattr(change, kind).items():
                    at = f"{path}.{side}.{kind}.{name}"
                    self._header_name(name, at)
                    if side == "request" and name.lower() == "host":
                        if kind == "add":
                            self._add(at, "expected set: a request has one Host")
                        else:
                            self._try(parse_host, value, at)
                    elif _VALUE.fullmatch(value) is None:
                        self._add(at, f"expected a value without control characters, got {value!r}")
            for index, name in enumerate(change.remove):
                self._header_name(name, f"{path}.{side}.remove[{index}]")
                if side == "request" and name.lower() == "host":
                    self._add(f"{path}.{side}.remove[{index}]", "expected no Host: it is needed")

    def _header_name(self, name: str, path: str) -> None:
        self._token(name, path, "a header name")
        if name.lower() in _NOT_FOR_RULES or name.lower().startswith("proxy-"):
            self._add(path, f"expected a field that rules may change, not {name}")

    def _target(self, target: Destination | Mirror, path: str) -> None:
        service = self.services.get(target.service or "")
        if service is None:
            known = ", ".join(sorted(self.services)[:8]) or "none"
            self._add(f"{path}.service", f'no service "{target.service}" (there are: {known})')
        elif target.subset is not None and target.subset not in service.subsets:
            known = ", ".join(sorted(service.subsets)[:8]) or "none"
            self._add(
                f"{path}.subset",
                f'service "{service.name}" has no subset "{target.subset}" (it has: {known})',
            )

    def _match(self, match: Match, path: str) -> None:
        if match.path is not None:
            self._string(match.path, f"{path}.path", ("path_separated_prefix",))
            for kind in ("exact", "prefix", "path_separated_prefix"):
                text = getattr(match.path, kind)
                if text and not text.startswith("/"):
                    self._add(f"{path}.path.{kind}", f'expected a path from "/", got {text!r}')
        if isinstance(match.method, str):
            self._token(match.method, f"{path}.method", "a method")
        elif match.method is not None:
            self._string(match.method, f"{path}.method")
        for name, header in match.headers.items():
            self._token(name, f"{path}.headers", "a header name")
            self._string(header, f"{path}.headers.{name}", ("present",))
        for name, value in match.query.items():
            self._string(value, f"{path}.query.{name}")

    def _string(self, match: StringMatch, path: str, more: tuple[str, ...] = ()) -> None:
        kinds = ("exact", "prefix", "regex", *more)
        given = [kind for kind in kinds if getattr(match, kind) is not None]
        if len(given) != 1:
            self._add(path, f"expected exactly one of {', '.join(kinds)}, got {len(given)}")
        if match.regex is not None:
            self._try(compile_regex, match.regex, f"{path}.regex")

    def _key(self, source: Key | str, path: str) -> None:
        if isinstance(source, str):
            return
        given = [
            kind
            for kind in ("header", "cookie", "query", "source_ip", "path", "request_id")
            if getattr(source, kind)
        ]
        if len(given) != 1:
            self._add(path, "expected one of header, cookie, query, source_ip, path, request_id")
        if source.header:
            self._token(source.header, f"{path}.header", "a header name")

    def _mirror(self, mirror: Mirror, path: str) -> None:
        self._target(mirror, path)
        if mirror.percent is not None and mirror.fraction is not None:
            self._add(f"{path}.fraction", "expected percent or fraction, got both")
        if mirror.fraction is not None and mirror.fraction.numerator > mirror.fraction.denominator:
            self._add(f"{path}.fraction.numerator", "expected no more than the denominator")
        if mirror.sample_by is not None:
            self._key(mirror.sample_by, f"{path}.sample_by")
        if isinstance(mirror.host, HostPolicy):
            policy = mirror.host
            if (policy.suffix is None) == (policy.literal is None):
                self._add(f"{path}.host", "expected one of suffix, literal")
            if policy.suffix is not None:
                self._try(parse_host_pattern, f"a{policy.suffix}", f"{path}.host.suffix")
            if policy.literal is not None:
                self._try(parse_host, policy.literal, f"{path}.host.literal")
        for index, method in enumerate(mirror.methods or ()):
            self._token(method, f"{path}.methods[{index}]", "a method")
        for name in ("max_body", "max_queued_bytes", "max_copy_bytes", "max_response"):
            value = getattr(mirror, name)
            if value is not None:
                self._try(size, value, f"{path}.{name}")
        for name in ("connect_timeout", "response_timeout"):
            self._positive(getattr(mirror, name), f"{path}.{name}")
        self._positive(mirror.breaker.open_time, f"{path}.breaker.open_time")

    def _positive(self, value: float | str, path: str) -> None:
        try:
            if seconds(value) <= 0:
                self._add(path, f"expected a duration above 0, got {value!r}")
        except ValueError as error:
            self._add(path, str(error))
