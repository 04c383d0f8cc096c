"""Other programs in front of the proxy: wget, hey (Go's client), Node's client.

Invariant: every request that they make is answered right, without an error that they would report.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from e2e.backends import Backend
from e2e.website import pattern_sha256

from .programs import run

APPS = Path(__file__).parent / "apps"


class TestWget:
    def wget(self, *args: str) -> bytes:
        return run("wget", "-q", "--tries=1", "--timeout=20", "-O", "-", *args).stdout

    def test_several_urls(self, url: str, primary: Backend) -> None:
        out = self.wget(*(f"{url}/big?n={n}" for n in (0, 1, 1000)))
        assert len(out) == 1001
        assert len(primary.requests) == 3

    @pytest.mark.parametrize("path", ["/big", "/chunked", "/until-close"])
    def test_answers(self, url: str, path: str) -> None:
        out = self.wget(f"{url}{path}?n=200000")
        assert hashlib.sha256(out).hexdigest() == pattern_sha256(200_000)

    def test_post_and_put(self, url: str, tmp_path: Path) -> None:
        assert json.loads(self.wget("--post-data=a=b", f"{url}/x"))["length"] == 3
        file = tmp_path / "file"
        file.write_bytes(bytes(300_000))
        described = json.loads(self.wget("--method=PUT", f"--body-file={file}", f"{url}/x"))
        assert (described["method"], described["length"]) == ("PUT", 300_000)

    def test_spider(self, url: str) -> None:
        """HEAD, and then nothing."""
        done = run("wget", "--tries=1", "--spider", "-S", f"{url}/big?n=1234")
        assert b"200 OK" in done.stderr
        assert b"Content-Length: 1234" in done.stderr or b"content-length: 1234" in done.stderr


class TestHey:
    """Go's net/http, many connections at a time."""

    def counts(self, *args: str) -> dict[str, int]:
        out = run("hey", "-c", "16", "-t", "20", *args).stdout.decode()
        assert "Error distribution" not in out, out
        return {code: int(n) for code, n in re.findall(r"\[(\d+)\]\s+(\d+) responses", out)}

    def test_get(self, url: str) -> None:
        assert self.counts("-n", "1600", f"{url}/status/200") == {"200": 1600}

    def test_post(self, url: str, primary: Backend) -> None:
        assert self.counts("-n", "800", "-m", "POST", "-d", "x" * 3000, f"{url}/x") == {"200": 800}
        assert {request.length for request in primary.requests} == {3000}

    def test_a_connection_each(self, url: str) -> None:
        counts = self.counts("-n", "400", "-disable-keepalive", f"{url}/chunked?n=5000")
        assert counts == {"200": 400}


def test_node(url: str) -> None:
    """Node's agent that keeps connections: every answer right, on no more sockets than allowed."""
    result = json.loads(run("node", str(APPS / "client.js"), url).stdout)
    assert result["gets"] == 200
    assert result["sockets"] <= 4
    assert result["upload"] == {"length": 100_000, "chunked": True}
    assert result["continued"] is True
    assert result["head"] == {"status": 200, "length": "1000", "body": 0}
    assert result["nothing"] == {"status": 204, "body": 0}
    assert result["trailers"] == {"x-sum": "checked"}
    assert result["hints"] == [103, 103]
    assert result["cut"] in ("ECONNRESET", "aborted")
