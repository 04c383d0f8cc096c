"""consistentHash of a DestinationRule: the key of a request, and the table that it is looked up in.

Invariant: what is returned is what the rules accept; they are asked, so that a mistake is the same
one as in a rules document, and has the manifest's line.
"""

from __future__ import annotations

from typing import Any

from fastmirror.manifests.fields import Field
from fastmirror.rules.model import HashBalance, Key, KeySource, Rules, Service, SetCookie
from fastmirror.rules.validate import validate

_KEYS = ("httpCookie", "httpHeaderName", "httpQueryParameterName", "useSourceIp")
_TABLES = ("maglev", "ringHash")
_LARGEST = 8_388_608  # of a ring, as in Envoy
_LARGEST_MAGLEV = 5_000_011


def read_consistent_hash(at: Field) -> HashBalance | None:
    """None: there is no key, which is refused."""
    at.knows(*_KEYS, *_TABLES, "minimumRingSize")
    key, cookie = _key(at), _set_cookie(at["httpCookie"])
    algorithm, size = _table(at)
    if key is None:
        return None
    balance = HashBalance(hash=key, algorithm=algorithm, table_size=size, set_cookie=cookie)
    fields = {
        "hash.header": at["httpHeaderName"],
        "hash.cookie": at["httpCookie"]["name"],
        "set_cookie.path": at["httpCookie"]["path"],
        "table_size": at["maglev"]["tableSize"],
    }
    service = Service(name="service", balance=balance)
    for problem in validate(Rules(version=1, services=[service])):
        fields.get(problem.path.partition(".balance.")[2], at).problem(problem.text)
    return balance


def _key(at: Field) -> KeySource | None:
    given = [name for name in _KEYS if at[name].given]
    if len(given) != 1:
        at.problem(f"expected one of {', '.join(_KEYS)}, not {' and '.join(given) or 'none'}")
        return None
    cookie = at["httpCookie"].knows("name", "path", "ttl")
    if given == ["httpCookie"]:
        return Key(cookie=cookie["name"].text())
    if given == ["httpHeaderName"]:
        return Key(header=at["httpHeaderName"].text())
    if given == ["httpQueryParameterName"]:
        return Key(query=at["httpQueryParameterName"].text())
    if not at["useSourceIp"].boolean(True):
        at["useSourceIp"].expected("true")
    return "source_ip"


def _set_cookie(at: Field) -> SetCookie | None:
    """Istio sets a cookie only where a lifetime is given, which may be 0: the session's."""
    path = at["path"].text("") or None
    if not at["ttl"].given:
        return None
    return SetCookie(ttl=at["ttl"].seconds() or 0.0, path=path)


def _table(at: Field) -> tuple[Any, int | None]:
    ring = at["ringHash"].knows("minimumRingSize")["minimumRingSize"]
    maglev = at["maglev"].knows("tableSize")["tableSize"]
    old = at["minimumRingSize"]
    sizes = [size.integer(0, _LARGEST, default=0) or None for size in (ring, old)]
    size = maglev.integer(0, _LARGEST_MAGLEV, default=0) or None
    if old.value and (at["ringHash"].given or at["maglev"].given):
        old.problem("minimumRingSize, ringHash and maglev cannot be used together")
    if at["maglev"].given:
        if at["ringHash"].given:
            at["ringHash"].problem("maglev and ringHash cannot be used together")
        return "maglev", size
    return "ring", sizes[0] if at["ringHash"].given else sizes[1]
