"""``/services``, ``/stats.json`` and the live page: what they say is what the proxy does."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .backends import Backends, Connection, echo
from .client import Client, blast, gets
from .conftest import StartNginx, StartProxy
from .documents import rules
from .procs import LOOPBACK, Proxy, free_port, wait_until


def get(proxy: Proxy, path: str) -> dict[str, Any]:
    status, text = proxy.ask(path)
    assert status == 200
    found: dict[str, Any] = json.loads(text)
    return found


def post(proxy: Proxy, path: str, *lines: str) -> int:
    """The status of the answer."""
    with socket.create_connection((LOOPBACK, proxy.admin), 10) as sock:
        head = [f"POST {path} HTTP/1.1", f"Host: {LOOPBACK}:{proxy.admin}", *lines]
        sock.sendall("\r\n".join([*head, "", ""]).encode())
        return int(sock.makefile("rb").readline().split()[1])


async def fails(conn: Connection) -> None:
    while await conn.request():
        await conn.answer(b"no", 503)


@pytest.mark.parametrize("workers", [1, 2])
class TestServices:
    def test_endpoints_and_connections(
        self, start_proxy: StartProxy, backends: Backends, workers: int
    ) -> None:
        gate = backends.gate()

        async def held(conn: Connection) -> None:
            while await conn.request():
                await gate.passed()
                await conn.answer(b"ok")

        primary, shadow = backends.start(held), backends.start(held)
        document = rules({"v1": primary.port, "v2": shadow.port}, {})
        document["services"][0]["endpoints"][0]["weight"] = 3
        document["services"][0]["endpoints"].append({"address": "no-such-name.invalid:80"})
        proxy = start_proxy(document, "--workers", str(workers))
        clients = [Client(proxy.port) for _ in range(6)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")

        def rows() -> list[dict[str, Any]]:
            found = get(proxy, "/services")
            assert found["workers"] == workers
            [service] = found["services"]
            assert (service["service"], service["balance"]) == ("app", "round_robin")
            assert service["hosts"] == document["services"][0]["hosts"]
            endpoints: list[dict[str, Any]] = service["endpoints"]
            return endpoints

        def counted(row: dict[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
            [address] = row["addresses"]
            assert address["address"] == row["address"]
            assert (address["health"], address["ejected_by"]) == ("healthy", {})
            return address["connections"]["primary"], address["connections"]["shadow"]

        none, six = {"open": 0, "active": 0}, {"open": 6, "active": 6}
        wait_until(lambda: counted(rows()[0]) == (six, none), "six connections to the primary")
        wait_until(lambda: counted(rows()[1]) == (none, six), "six to the shadow")
        one, two, unknown = rows()
        assert (one["labels"], one["weight"], one["health"]) == ({"version": "v1"}, 3, "healthy")
        assert (two["labels"], two["weight"]) == ({"version": "v2"}, 1)
        assert (unknown["health"], unknown["addresses"]) == ("unresolved", [])
        gate.open()
        for client in clients:
            assert client.response("GET").status == 200
            client.close()
        idle = {"open": 6, "active": 0}
        wait_until(lambda: counted(rows()[0]) == (idle, none), "the connections idle")
        proxy.settled(6)

    def test_a_name_and_an_ejection(
        self, start_proxy: StartProxy, backends: Backends, workers: int
    ) -> None:
        good, bad = backends.start(echo), backends.start(fails)
        document = rules({"v1": good.port, "v2": bad.port}, to=None)
        endpoints = document["services"][0]["endpoints"]
        endpoints[0]["address"] = f"localhost:{good.port}"
        document["services"][0]["outlier_detection"] = {
            "consecutive_5xx_errors": 2,
            "base_ejection_time": "60s",
            "max_ejection_percent": 100,
        }
        proxy = start_proxy(document, "--workers", str(workers))

        def ejected() -> bool:
            for _ in range(8):
                with Client(proxy.port) as client:
                    client.get("/")
            [service] = get(proxy, "/services")["services"]
            named, failing = service["endpoints"]
            assert named["health"] == "healthy"
            known = [each["address"] for each in named["addresses"]]
            assert f"127.0.0.1:{good.port}" in known
            [address] = failing["addresses"]
            assert (failing["health"] == "ejected") is (address["health"] == "ejected")
            return bool(address["ejected_by"] == {"app": workers})

        wait_until(ejected, "the ejection in each worker")
        stats = get(proxy, "/stats.json")
        assert stats["services"] == [{"service": "app", "ejections": workers, "overflows": 0}]


def test_a_worker_that_died_is_left_out_and_comes_back(
    start_proxy: StartProxy, start_nginx: StartNginx
) -> None:
    proxy = start_proxy(rules({"v1": start_nginx("v1").port}), "--workers", "2")
    died = proxy.tree()[1]
    subprocess.run(["kill", "-9", str(died)], check=True)
    wait_until(lambda: get(proxy, "/services")["workers"] == 2, "both")
    assert died not in proxy.tree()


@pytest.mark.parametrize("workers", [1, 2])
def test_stats_say_what_the_metrics_say(
    start_proxy: StartProxy, start_nginx: StartNginx, workers: int
) -> None:
    v1, v2 = start_nginx("v1"), start_nginx("v2")
    document = rules({"v1": v1.port, "v2": v2.port, "gone": free_port()}, {"percent": 40})
    document["services"][0]["subsets"]["gone"] = {"version": "gone"}
    document["routes"][0]["mirrors"].append(
        {"service": "app", "subset": "gone", "name": "gone", "breaker": {"consecutive_failures": 5}}
    )
    proxy = start_proxy(document, "--workers", str(workers))
    blast(proxy.port, gets(300))
    wait_until(
        lambda: proxy.metrics().total("fastmirror_mirror_in_flight") == 0, "the copies' ends"
    )
    stats, metrics = get(proxy, "/stats.json"), proxy.metrics()
    [route] = [each for each in stats["routes"] if each["route"] == "app"]
    assert route["requests"] == {"2xx": 300}
    assert [each["mirror"] for each in route["mirrors"]] == ["app/v2", "gone"]
    for mirror in route["mirrors"]:
        where = {"route": "app", "mirror": mirror["mirror"]}
        for name in ("matched", "not_sampled", "sent"):
            assert mirror[name] == metrics.total(f"fastmirror_mirror_{name}_total", **where)
        assert mirror["in_flight"] == 0
        assert mirror["buffered_bytes"] == 0
        for name, label in (("dropped", "reason"), ("completed", "code_class"), ("failed", "kind")):
            assert mirror[name] == {
                has[label]: value
                for sample, has, value in metrics.samples
                if sample == f"fastmirror_mirror_{name}_total"
                and value
                and where.items() <= has.items()
            }
        made = mirror["not_sampled"] + sum(mirror["dropped"].values()) + mirror["sent"]
        assert mirror["matched"] == made == 300
        assert mirror["duration"]["count"] == sum(mirror["completed"].values())
        assert mirror["duration"]["count"] == sum(mirror["duration"]["counts"])
    gone = route["mirrors"][1]
    assert set(gone["failed"]) == {"connect"}
    assert set(gone["dropped"]) == {"breaker"}
    assert len(stats["request_duration"]["counts"]) == len(stats["request_duration"]["bounds"]) + 1
    assert stats["request_duration"]["count"] == 300
    assert (stats["state"], stats["mirroring"], stats["workers"]) == ("ready", "on", workers)
    assert stats["rules"] | {"since": 0} == {
        "since": 0,
        "routes": 1,
        "services": 1,
        "problem": None,
        "reloads": {"success": 0, "unchanged": 0, "failure": 0},
    }
    assert stats["started"] <= stats["rules"]["since"] <= stats["time"]
    assert stats["process"]["resident_bytes"] > 0
    assert proxy.ask("/mirror/off", "POST")[0] == 200
    assert proxy.ask("/drain?graceful", "POST")[0] == 200
    stats = get(proxy, "/stats.json")
    assert (stats["state"], stats["mirroring"]) == ("draining", "off")


def test_a_page_of_another_origin_changes_nothing(
    start_proxy: StartProxy, start_nginx: StartNginx
) -> None:
    proxy = start_proxy(rules({"v1": start_nginx("v1").port}))
    for origin in ("http://evil.test", f"https://{LOOPBACK}:{proxy.admin}", "null"):
        for path in ("/drain", "/mirror/off", "/rules/reload"):
            assert post(proxy, path, f"Origin: {origin}") == 403, (origin, path)
    assert get(proxy, "/stats.json")["mirroring"] == "on"
    assert post(proxy, "/mirror/off", f"origin: http://{LOOPBACK}:{proxy.admin}") == 200
    assert post(proxy, "/mirror/on") == 200


class TestLivePage:
    def test_nothing_but_its_own_script_runs(
        self, start_proxy: StartProxy, start_nginx: StartNginx
    ) -> None:
        proxy = start_proxy(rules({"v1": start_nginx("v1").port}))
        with Client(proxy.admin) as client:
            page = client.get("/")
        text = page.body.decode()
        assert page.value("content-type") == "text/html; charset=utf-8"
        policy = page.value("content-security-policy")
        assert policy is not None
        assert policy.startswith("default-src 'none'; connect-src 'self'; ")
        for element in ("script", "style"):
            [inner] = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
            assert f"{element}-src 'sha256-{digest}'" in policy
        assert not re.search(r"https?://|//[a-z]+\.|innerHTML|\son\w+=|\sstyle=", text)

    def test_in_a_browser(
        self, start_proxy: StartProxy, backends: Backends, tmp_path: Path
    ) -> None:
        chromium = shutil.which("chromium")
        if chromium is None:
            pytest.skip("chromium is not installed")

        async def slowly(conn: Connection) -> None:
            while await conn.request():
                await asyncio.sleep(0.002)
                await conn.answer(b"ok")

        document = rules({"v1": backends.start(slowly).port, "v2": backends.start(slowly).port}, {})
        document["routes"][0]["name"] = "<i>odd</i>"
        proxy = start_proxy(document)
        blast(proxy.port, gets(50))
        proxy.settled(50, route="<i>odd</i>")
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
             f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000",
             f"http://{LOOPBACK}:{proxy.admin}/"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        dom = done.stdout
        assert "<td>&lt;i&gt;odd&lt;/i&gt;</td>" in dom, done.stderr
        assert 'class="inner">↳ app/v2</td>' in dom
        assert '<td class="number">50 of 50</td>' in dom
        assert '<span class="good">2xx 50</span>' in dom
        assert ">ready</span>" in dom
        assert "Switch mirroring off" in dom
