"""Routes before they have their place: what the APIs' readers hand to compile.

Invariant: of two drafts that may take the same request, the one whose host is more specific comes
first; drafts that tie on the host are in the order that their own API gives them (``rank``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from fastmirror.manifests.addresses import short_name
from fastmirror.manifests.catalog import Target
from fastmirror.manifests.fields import Field
from fastmirror.rules.model import (
    Cors,
    Destination,
    DirectResponse,
    Fault,
    Fraction,
    Headers,
    Match,
    Mirror,
    Redirect,
    Retries,
    Rewrite,
)
from fastmirror.rules.regex import compile_regex

NAME = re.compile(r"[\x21-\x7e]{1,120}")
A_NAME = "a name of printable ASCII"
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2


@dataclass(slots=True, eq=False)
class Actions:
    """What happens to a request, whichever of its matches took it. Compared by identity."""

    name: str
    to: list[Destination]  # empty, if it answers itself
    mirrors: list[Mirror] = field(default_factory=list)
    timeout: float | None = None
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    rewrite: Rewrite = field(default_factory=Rewrite)
    headers: Headers = field(default_factory=Headers)
    fault: Fault = field(default_factory=Fault)
    cors: Cors | None = None
    retries: Retries = field(default_factory=Retries)

    @property
    def by_prefix(self) -> bool:
        """It matters which of its matches took the request: what that took is replaced."""
        edits = (self.rewrite, self.redirect, *(each.rewrite for each in self.to))
        return any(edit and edit.prefix is not None for edit in edits)


@dataclass(slots=True)
class Draft:
    hosts: list[str]  # canonical names, *.suffix or *; all of the same specificity
    matches: list[Match]  # none: every request
    actions: Actions
    rank: tuple[Any, ...]  # begins with a number for each API, so that ranks compare
    # Of a Gateway whose listeners see different routes: the hostname of the listener, and its port
    # if that is not one of several. What is for them comes first, whole.
    listener: str | None = None
    port: int | None = None
    at: Field | None = None  # where its match stands

    @property
    def place(self) -> tuple[Any, ...]:
        """Sorts as the first match should be found."""
        first = (1, 0) if self.port is None else (0, self.port)
        host = self.hosts[0]
        return (*first, specificity(self.listener or host), specificity(host), self.rank)


def by_specificity(hosts: Sequence[str]) -> Iterator[list[str]]:
    """The hosts in groups that tie: exact names take different requests, and so do suffixes of
    one length.
    """
    groups: dict[tuple[int, int], list[str]] = {}
    for host in dict.fromkeys(hosts):
        groups.setdefault(specificity(host), []).append(host)
    yield from groups.values()


def specificity(host: str) -> tuple[int, int]:
    """Sorts exact names first, then the longer suffix, then ``*``."""
    return (1, -len(host)) if host.startswith("*") else (0, 0)


def regex(at: Field) -> str:
    """A regular expression that the rules can hold."""
    text = at.string()
    try:
        compile_regex(text)
    except ValueError as error:
        at.problem(str(error))
    return text


def add_mirror(
    mirrors: list[Mirror],
    target: Target,
    percent: float | None = None,
    fraction: Fraction | None = None,
    others: Sequence[Mirror] = (),
) -> None:
    """Appends a mirror under a name that is its own within the route, where there may be
    ``others``: httpbin-v2.
    """
    wanted = short_name(target.host) + (f"-{target.subset}" if target.subset else "")
    mirrors.append(
        Mirror(
            service=target.service,
            subset=target.subset,
            name=unique(wanted, {mirror.name or "" for mirror in (*mirrors, *others)}),
            percent=None if percent == 100 else percent,
            fraction=fraction,
        )
    )


def is_all(to: Sequence[Destination], target: Target) -> bool:
    """Whether all requests that go ``to`` these go to the target."""
    taking = {(each.service, each.subset) for each in to if each.weight}
    return taking == {(target.service, target.subset)}


def unique(name: str, taken: set[str]) -> str:
    """The name, numbered if another has it."""
    number, result = 1, name
    while result in taken:
        number += 1
        result = f"{name}#{number}"
    return result


def given(**parts: Struct) -> dict[str, Any]:
    """Those that say something: an encoder leaves out a part only where nobody has given it."""
    return {name: part for name, part in parts.items() if part != type(part)()}


def fewest(matches: list[Match], *, by_prefix: bool) -> list[Match]:
    """No matches, where one takes every request; but if what a match has taken is replaced
    (``by_prefix``), those before that one count.
    """
    if by_prefix and matches[:1] != [Match()]:
        return matches
    return [] if Match() in matches else matches


def covers(wide: Match, narrow: Match) -> bool:
    """Whether what ``narrow`` matches is surely matched by ``wide`` as well."""
    return (
        _path_covers(wide, narrow)
        and wide.method in (None, narrow.method)
        and wide.port in (None, narrow.port)
        and wide.without_headers.items() <= narrow.without_headers.items()
        and wide.headers.items() <= narrow.headers.items()
        and wide.query.items() <= narrow.query.items()
    )


def _path_covers(wide: Match, narrow: Match) -> bool:
    if wide.path in (None, narrow.path):
        return True
    prefix = wide.path.prefix if wide.path else None
    if prefix is None:
        return False
    starts = (narrow.path.exact or narrow.path.prefix or "") if narrow.path else ""
    return prefix == "/" or starts.startswith(prefix)
