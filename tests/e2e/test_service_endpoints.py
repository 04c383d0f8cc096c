"""Which of a service's endpoints a request goes to: not to those that fail, and by its key to the
same one as before.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Iterable

import pytest

from .backends import Backend, Backends, Connection, echo, never_answers
from .client import Client, Response
from .conftest import StartProxy
from .documents import Document, rules
from .procs import LOOPBACK, Proxy, wait_until

FOR_EVER = 300
EJECTED = "fastmirror_endpoint_ejections_total"


class Sick:
    """Answers ``status``, or its own port where that is 200."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.asked = 0

    async def __call__(self, conn: Connection) -> None:
        while await conn.request():
            self.asked += 1
            await conn.answer(str(conn.backend.port).encode(), self.status)


def service(backends: list[Backend] | list[int], **fields) -> Document:
    ports = [each if isinstance(each, int) else each.port for each in backends]
    document = rules({f"v{number}": port for number, port in enumerate(ports)}, to="v0")
    document["services"][0] |= fields
    document["routes"][0]["to"] = [{"service": "app"}]
    document["routes"][0]["retries"] = {"attempts": 0}
    return document


def statuses(proxy: Proxy, count: int) -> Counter[int]:
    with Client(proxy.port) as client:
        return Counter(client.get("/").status for _ in range(count))


def outliers(**fields) -> dict:
    return {"consecutive_5xx_errors": 3, "base_ejection_time": FOR_EVER, **fields}


def pair(backends: Backends, status: int) -> tuple[Sick, list[Backend]]:
    sick = Sick(status)
    return sick, [backends.start(sick), backends.start(echo)]


@pytest.mark.parametrize("balance", ["round_robin", "least_request", "random", "weighted"])
def test_an_endpoint_that_fails_gets_no_more_requests(start_proxy, backends, balance):
    sick, both = pair(backends, 503)
    document = service(both, outlier_detection=outliers())
    if balance == "weighted":
        document["services"][0]["endpoints"][0]["weight"] = 3
    else:
        document["services"][0]["balance"] = balance
    proxy = start_proxy(document)
    found = statuses(proxy, 60)
    assert found == {503: 3, 200: 57}
    assert (sick.asked, len(both[1].requests)) == (3, 57)
    assert proxy.metrics().total(EJECTED, service="app") == 1
    line = f"service app: {LOOPBACK}:{both[0].port} is ejected for 300 s: 3 answers of 5xx in a row"
    assert line in proxy.stderr


def test_an_endpoint_comes_back(start_proxy, backends):
    sick, both = pair(backends, 500)
    detection = outliers(base_ejection_time="200ms", interval="50ms")
    proxy = start_proxy(service(both, outlier_detection=detection))
    assert statuses(proxy, 7)[500] >= 3
    sick.status, asked = 200, sick.asked
    wait_until(lambda: statuses(proxy, 2) and sick.asked > asked, "requests again")
    assert statuses(proxy, 20) == {200: 20}
    assert proxy.metrics().total(EJECTED, service="app") == 1


def test_a_success_in_between_begins_the_row_anew(start_proxy, backends):
    async def now_and_then(conn: Connection) -> None:
        number = 0
        while await conn.request():
            number += 1
            await conn.answer(status=200 if number % 3 == 0 else 500)

    proxy = start_proxy(service([backends.start(now_and_then)], outlier_detection=outliers()))
    assert statuses(proxy, 30) == {500: 20, 200: 10}
    assert proxy.metrics().total(EJECTED, service="app") == 0


def test_where_all_are_ejected_there_is_no_usable_endpoint(start_proxy, backends):
    both = [backends.start(Sick(500)), backends.start(Sick(500))]
    proxy = start_proxy(service(both, outlier_detection=outliers(max_ejection_percent=100)))
    assert statuses(proxy, 20) == {500: 6, 503: 14}
    with Client(proxy.port) as client:
        assert b"no usable endpoint" in client.get("/").body


def test_where_too_few_are_well_all_are_used(start_proxy, backends):
    _, both = pair(backends, 500)
    detection = outliers(max_ejection_percent=100, min_health_percent=60)
    proxy = start_proxy(service(both, outlier_detection=detection))
    assert statuses(proxy, 40) == {500: 20, 200: 20}
    assert proxy.metrics().total(EJECTED, service="app") == 1


def refusing() -> socket.socket:
    """Bound and not listening, so that nobody else gets its port."""
    sock = socket.socket()
    sock.bind((LOOPBACK, 0))
    return sock


@pytest.mark.parametrize(("split", "limit", "kept"), [(False, 3, 3), (True, 2, 2)])
def test_an_endpoint_that_cannot_be_reached_is_ejected(start_proxy, backends, split, limit, kept):
    with refusing() as sock:
        document = service(
            [sock.getsockname()[1], backends.start(echo).port],
            outlier_detection=outliers(
                split_external_local_origin_errors=split, consecutive_local_origin_failures=2
            ),
        )
        assert statuses(start_proxy(document), 20) == {503: kept, 200: 20 - kept}


def test_an_endpoint_that_resets_or_does_not_answer_is_ejected(start_proxy, backends):
    async def resets(conn: Connection) -> None:
        await conn.request()
        conn.reset()

    for handler, status, timeout in ((resets, 503, None), (never_answers, 504, 0.2)):
        several = [backends.start(handler), backends.start(echo)]
        document = service(several, outlier_detection=outliers(consecutive_gateway_errors=2))
        if timeout:
            document["routes"][0]["timeout"] = timeout
        assert statuses(start_proxy(document), 10) == {status: 2, 200: 8}


def test_a_subset_is_looked_at_by_its_own_policy(start_proxy, backends):
    _, both = pair(backends, 500)
    document = service(both, subset_policies={"v0": {"outlier_detection": outliers()}})
    document["routes"].insert(
        0, {"name": "v0", "hosts": ["v0.test"], "to": [{"service": "app", "subset": "v0"}]}
    )
    proxy = start_proxy(document)
    with Client(proxy.port) as client:
        found = [client.get("/", host="v0.test").status for _ in range(5)]
    assert found == [500, 500, 500, 503, 503]
    assert statuses(proxy, 10) == {500: 5, 200: 5}  # the service as a whole is not


def test_a_reload_keeps_ejections_of_what_has_not_changed(start_proxy, backends):
    _, both = pair(backends, 500)
    document = service(both, outlier_detection=outliers())
    proxy = start_proxy(document)
    assert statuses(proxy, 10) == {500: 3, 200: 7}
    document["routes"][0]["name"] = "other"
    document["services"].append({"name": "more"})
    proxy.write_rules(document)
    assert proxy.ask("/rules/reload", "POST")[0] == 200
    assert statuses(proxy, 10) == {200: 10}
    document["services"][0]["outlier_detection"] = outliers(consecutive_5xx_errors=2)
    proxy.write_rules(document)
    assert proxy.ask("/rules/reload", "POST")[0] == 200
    assert statuses(proxy, 10) == {500: 2, 200: 8}  # another policy begins anew
    assert proxy.metrics().total(EJECTED, service="app") == 2


# -- by key

ALGORITHMS = pytest.mark.parametrize("algorithm", ["rendezvous", "ring", "maglev"])


def cookies(response: Response) -> list[str]:
    return [value for name, value in response.headers if name == "set-cookie"]


def port_of_each(proxy: Proxy, keys: Iterable[int]) -> dict[int, int]:
    with Client(proxy.port) as client:
        return {key: int(client.get("/", ("x-user", f"user-{key}")).body) for key in keys}


@ALGORITHMS
def test_an_ejected_endpoint_gives_away_its_own_keys_alone(start_proxy, backends, algorithm):
    sick = [Sick(200) for _ in range(4)]
    several = [backends.start(each) for each in sick]
    document = service(
        several,
        balance={"hash": {"header": "x-user"}, "algorithm": algorithm},
        outlier_detection=outliers(),
    )
    proxy = start_proxy(document)
    before = port_of_each(proxy, range(200))
    assert port_of_each(proxy, range(200)) == before
    assert set(before.values()) == {each.port for each in several}
    sick[1].status = 503
    own = [key for key in before if before[key] == several[1].port]
    port_of_each(proxy, [*own, *own, *own][:3])
    after = port_of_each(proxy, range(200))
    assert {key for key in before if before[key] != after[key]} == set(own)
    assert len({after[key] for key in own}) > 1
    # Another proxy, with its endpoints in another order, sends the keys to the same ones.
    document["services"][0]["endpoints"].reverse()
    sick[1].status = 200
    assert port_of_each(start_proxy(document), range(200)) == before


@ALGORITHMS
def test_a_cookie_keeps_a_client_at_its_endpoint(start_proxy, backends, algorithm):
    several = [backends.start(Sick(200)) for _ in range(4)]
    balance = {
        "hash": {"cookie": "stick"},
        "algorithm": algorithm,
        "set_cookie": {"ttl": "1m", "path": "/app"},
    }
    proxy = start_proxy(service(several, balance=balance))
    seen: dict[str, int] = {}
    with Client(proxy.port) as client:
        for _ in range(40):
            first = client.get("/")
            [cookie] = cookies(first)
            form = r"stick=([0-9a-f]{16}); Max-Age=60; Path=/app; HttpOnly"
            seen[re.fullmatch(form, cookie)[1]] = int(first.body)  # type: ignore[index]
        for value, port in seen.items():
            later = client.get("/", ("cookie", f"a=b; stick={value}"))
            assert (int(later.body), cookies(later)) == (port, [])
    assert len(seen) == 40
    assert set(seen.values()) == {each.port for each in several}


def test_a_cookie_until_the_browser_ends(start_proxy: StartProxy, backends: Backends) -> None:
    backend = backends.start(Sick(200))
    balance = {"hash": {"cookie": "stick"}, "set_cookie": {}}
    with Client(start_proxy(service([backend], balance=balance)).port) as client:
        [cookie] = cookies(client.get("/"))
    assert re.fullmatch("stick=[0-9a-f]{16}; HttpOnly", cookie)
