"""What the types of the document cannot say. Invariant: every problem has the path of its field
(``routes[2].mirrors[0].percent``) and what was expected; all of them are found in one pass.
"""

from __future__ import annotations

import re

from fastmirror.rules.address import parse_host, parse_host_pattern
from fastmirror.rules.checks import Checks, Problem
from fastmirror.rules.model import (
    Cors,
    Destination,
    HeaderChange,
    Headers,
    HostPolicy,
    Match,
    Mirror,
    Retries,
    Rewrite,
    Route,
    Rules,
    StringMatch,
)
from fastmirror.rules.regex import check_template, compile_regex
from fastmirror.rules.units import seconds, size
from fastmirror.rules.validate_services import check_service

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


def mirror_name(mirror: Mirror) -> str:
    """The name of a mirror: its own, else "SERVICE/SUBSET" or "SERVICE"."""
    if mirror.name is not None:
        return mirror.name
    return f"{mirror.service}/{mirror.subset}" if mirror.subset else mirror.service


def all_mirrors(route: Route) -> list[Mirror]:
    """Those of a route, and of its destinations."""
    return [*route.mirrors, *(mirror for to in route.to for mirror in to.mirrors)]


def validate(rules: Rules) -> list[Problem]:
    """All problems of a decoded document, in its order."""
    return _Validator(rules).problems


class _Validator(Checks):
    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.services = {service.name: service for service in rules.services}
        self.unique((s.name for s in rules.services), "services[{}].name")
        self.unique((r.name for r in rules.routes), "routes[{}].name")
        owners: dict[str, str] = {}
        for index, service in enumerate(rules.services):
            check_service(self, service, f"services[{index}]", owners)
        for index, route in enumerate(rules.routes):
            self._route(route, f"routes[{index}]")

    def _route(self, route: Route, path: str) -> None:
        if route.name == "none" or route.name.startswith("service/"):
            self.add(
                f"{path}.name",
                'expected another name: "none" and "service/..." are the metrics\' own',
            )
        if not route.hosts:
            self.add(f"{path}.hosts", "expected at least one host")
        for index, host in enumerate(route.hosts):
            self.parses(parse_host_pattern, host, f"{path}.hosts[{index}]")
        for index, match in enumerate(route.match):
            self._match(match, f"{path}.match[{index}]")
        self._actions(route, path)
        self.parses(seconds, route.timeout, f"{path}.timeout")
        self.parses(size, route.max_body, f"{path}.max_body")
        self._retries(route.retries, f"{path}.retries")
        names: set[str] = set()
        self._mirrors(route.mirrors, f"{path}.mirrors", names)
        for index, destination in enumerate(route.to):
            self._mirrors(destination.mirrors, f"{path}.to[{index}].mirrors", names)

    def _mirrors(self, mirrors: list[Mirror], path: str, names: set[str]) -> None:
        for index, mirror in enumerate(mirrors):
            name = mirror_name(mirror)
            at = f"{path}[{index}]"
            if name in names:
                self.add(
                    f"{at}.name", f'expected a name of its own, "{name}" is taken in this route'
                )
            self.printable(name, f"{at}.name")
            names.add(name)
            self._mirror(mirror, at)

    def _retries(self, retries: Retries, path: str) -> None:
        self.positive(retries.per_try_timeout, f"{path}.per_try_timeout")
        self.positive(retries.backoff, f"{path}.backoff")
        self.parses(size, retries.max_body, f"{path}.max_body")
        if retries.attempts and not retries.retry_on:
            self.add(f"{path}.retry_on", "expected a reason to retry, or attempts: 0")

    def _actions(self, route: Route, path: str) -> None:
        given = [name for name in ("redirect", "direct_response") if getattr(route, name)]
        if route.to:
            given.append("to")
        if len(given) != 1:
            found = " and ".join(given) or "none"
            self.add(f"{path}.to", f"expected one of to, redirect, direct_response, got {found}")
        for index, destination in enumerate(route.to):
            at = f"{path}.to[{index}]"
            if (destination.service is None) == (destination.status is None):
                self.add(f"{at}.service", "expected a service, or a status instead")
            elif destination.service is not None:
                self._target(destination, at)
            self._headers(destination.headers, f"{at}.headers")
            self._rewrite(destination.rewrite, f"{at}.rewrite")
        if route.to and sum(destination.weight for destination in route.to) == 0:
            self.add(f"{path}.to", "expected weights that do not add up to 0")
        self._headers(route.headers, f"{path}.headers")
        if route.cors is not None:
            self._cors(route.cors, f"{path}.cors")
        if route.fault.delay is not None:
            self.positive(route.fault.delay.duration, f"{path}.fault.delay.duration")
        self._rewrite(route.rewrite, f"{path}.rewrite")
        if route.redirect is not None:
            redirect = route.redirect
            self._one_path(
                ("path", redirect.path), ("prefix", redirect.prefix), at=path + ".redirect"
            )
            if redirect.host is not None:
                self.parses(parse_host, redirect.host, f"{path}.redirect.host")

    def _cors(self, cors: Cors, path: str) -> None:
        for index, origin in enumerate(cors.allow_origins):
            self._string(origin, f"{path}.allow_origins[{index}]")
        for kind in ("allow_methods", "allow_headers", "expose_headers"):
            for index, name in enumerate(getattr(cors, kind)):
                self.token(name, f"{path}.{kind}[{index}]", "a name")
        if cors.max_age is not None:
            self.parses(seconds, cors.max_age, f"{path}.max_age")

    def _rewrite(self, rewrite: Rewrite, path: str) -> None:
        self._one_path(("path", rewrite.path), ("prefix", rewrite.prefix), at=path)
        if rewrite.host is not None:
            self.parses(parse_host, rewrite.host, f"{path}.host")
        if rewrite.regex is not None:
            if rewrite.path is not None or rewrite.prefix is not None:
                self.add(f"{path}.regex", "expected one of path, prefix, regex")
            self.parses(compile_regex, rewrite.regex.match, f"{path}.regex.match")
            self.parses(check_template, rewrite.regex, f"{path}.regex.substitution")
            if _PATH.fullmatch(rewrite.regex.substitution) is None:
                # It becomes a part of the request line.
                text = f"expected a path of printable ASCII, got {rewrite.regex.substitution!r}"
                self.add(f"{path}.regex.substitution", text)

    def _one_path(self, *given: tuple[str, str | None], at: str) -> None:
        found = [(name, value) for name, value in given if value is not None]
        if len(found) > 1:
            self.add(f"{at}.prefix", "expected path or prefix, got both")
        for name, value in found:
            if value and not value.startswith("/"):
                self.add(f"{at}.{name}", f'expected a path from "/", got {value!r}')
            elif not _PATH.fullmatch(value):
                self.add(f"{at}.{name}", f"expected a path of printable ASCII, got {value!r}")

    def _headers(self, headers: Headers, path: str) -> None:
        for side in ("request", "response"):
            change: HeaderChange = getattr(headers, side)
            for kind in ("set", "add"):
                for name, value in getattr(change, kind).items():
                    at = f"{path}.{side}.{kind}.{name}"
                    self._header_name(name, at)
                    if side == "request" and name.lower() == "host":
                        if kind == "add":
                            self.add(at, "expected set: a request has one Host")
                        else:
                            self.parses(parse_host, value, at)
                    elif _VALUE.fullmatch(value) is None:
                        self.add(at, f"expected a value without control characters, got {value!r}")
            for index, name in enumerate(change.remove):
                self._header_name(name, f"{path}.{side}.remove[{index}]")
                if side == "request" and name.lower() == "host":
                    self.add(f"{path}.{side}.remove[{index}]", "expected no Host: it is needed")

    def _header_name(self, name: str, path: str) -> None:
        self.token(name, path, "a header name")
        if name.lower() in _NOT_FOR_RULES or name.lower().startswith("proxy-"):
            self.add(path, f"expected a field that rules may change, not {name}")

    def _target(self, target: Destination | Mirror, path: str) -> None:
        service = self.services.get(target.service or "")
        if service is None:
            known = ", ".join(sorted(self.services)[:8]) or "none"
            self.add(f"{path}.service", f'no service "{target.service}" (there are: {known})')
        elif target.subset is not None and target.subset not in service.subsets:
            known = ", ".join(sorted(service.subsets)[:8]) or "none"
            self.add(
                f"{path}.subset",
                f'service "{service.name}" has no subset "{target.subset}" (it has: {known})',
            )

    def _match(self, match: Match, path: str) -> None:
        if match.path is not None:
            self._string(match.path, f"{path}.path", ("path_separated_prefix",))
            for kind in ("exact", "prefix", "path_separated_prefix"):
                text = getattr(match.path, kind)
                if text and not text.startswith("/"):
                    self.add(f"{path}.path.{kind}", f'expected a path from "/", got {text!r}')
        if isinstance(match.method, str):
            self.token(match.method, f"{path}.method", "a method")
        elif match.method is not None:
            self._string(match.method, f"{path}.method")
        for kind in ("headers", "without_headers"):
            for name, header in getattr(match, kind).items():
                self.token(name, f"{path}.{kind}", "a header name")
                self._string(header, f"{path}.{kind}.{name}", ("present",))
        for name, value in match.query.items():
            self._string(value, f"{path}.query.{name}")

    def _string(self, match: StringMatch, path: str, more: tuple[str, ...] = ()) -> None:
        kinds = ("exact", "prefix", "regex", *more)
        given = [kind for kind in kinds if getattr(match, kind) is not None]
        if len(given) != 1:
            self.add(path, f"expected exactly one of {', '.join(kinds)}, got {len(given)}")
        if match.regex is not None:
            self.parses(compile_regex, match.regex, f"{path}.regex")

    def _mirror(self, mirror: Mirror, path: str) -> None:
        self._target(mirror, path)
        if mirror.percent is not None and mirror.fraction is not None:
            self.add(f"{path}.fraction", "expected percent or fraction, got both")
        if mirror.fraction is not None and mirror.fraction.numerator > mirror.fraction.denominator:
            self.add(f"{path}.fraction.numerator", "expected no more than the denominator")
        if mirror.sample_by is not None:
            self.key(mirror.sample_by, f"{path}.sample_by")
        if isinstance(mirror.host, HostPolicy):
            policy = mirror.host
            if (policy.suffix is None) == (policy.literal is None):
                self.add(f"{path}.host", "expected one of suffix, literal")
            if policy.suffix is not None:
                self.parses(parse_host_pattern, f"a{policy.suffix}", f"{path}.host.suffix")
            if policy.literal is not None:
                self.parses(parse_host, policy.literal, f"{path}.host.literal")
        for index, method in enumerate(mirror.methods or ()):
            self.token(method, f"{path}.methods[{index}]", "a method")
        for name in ("max_body", "max_queued_bytes", "max_copy_bytes", "max_response"):
            value = getattr(mirror, name)
            if value is not None:
                self.parses(size, value, f"{path}.{name}")
        for name in ("connect_timeout", "response_timeout"):
            self.positive(getattr(mirror, name), f"{path}.{name}")
        self.positive(mirror.breaker.open_time, f"{path}.breaker.open_time")
