"""curl in front of the proxy: uploads, Expect, old versions, kept connections, a forward proxy.

Invariant: what curl takes for a whole answer is one, and what was cut is an error to it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from e2e.backends import Backend
from e2e.procs import Proxy
from e2e.website import pattern_sha256

from .programs import run, try_run

BODY = bytes(range(256)) * 8000  # 2 MB: from 1 MiB on curl asks with Expect


def curl(*args: str, stdin: bytes = b"") -> bytes:
    return run("curl", "-sS", "--max-time", "30", *args, stdin=stdin).stdout


def echoed(*args: str, stdin: bytes = b"") -> dict[str, Any]:
    described: dict[str, Any] = json.loads(curl(*args, stdin=stdin))
    return described


def is_body(described: dict[str, Any], body: bytes) -> bool:
    return (described["length"], described["sha256"]) == (
        len(body),
        hashlib.sha256(body).hexdigest(),
    )


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    file = tmp_path / "upload"
    file.write_bytes(BODY)
    return file


def test_several_urls_over_one_connection(url: str, primary: Backend) -> None:
    urls = [f"{url}/{i}" for i in range(20)]
    sinks = [word for _ in urls for word in ("-o", "/dev/null")]
    out = curl("-w", "%{http_code} %{num_connects}\n", *sinks, *urls).decode().splitlines()
    assert out == ["200 1", *["200 0"] * 19]
    assert [request.target for request in primary.requests] == [f"/{i}" for i in range(20)]


def test_upload(url: str, upload: Path) -> None:
    described = echoed("-T", str(upload), f"{url}/up")
    assert (described["method"], described["target"]) == ("PUT", "/up")
    assert is_body(described, BODY)
    assert ["content-length", str(len(BODY))] in described["headers"]


def test_chunked_upload(url: str) -> None:
    described = echoed("-T", "-", f"{url}/up", stdin=BODY)
    assert is_body(described, BODY)
    assert ["transfer-encoding", "chunked"] in described["headers"]


def test_expect(url: str, upload: Path) -> None:
    done = run("curl", "-sSv", "--max-time", "30", "-H", "Expect: 100-continue",
               "--data-binary", f"@{upload}", f"{url}/up")  # fmt: skip
    assert is_body(json.loads(done.stdout), BODY)
    assert b"< HTTP/1.1 100 " in done.stderr


def test_expect_refused(url: str) -> None:
    out = curl("-H", "Expect: 100-continue", "-d", "x" * 100, "-w", "%{http_code}",
               f"{url}/refuse-expect")  # fmt: skip
    assert out == b"no\n417"


def test_form(url: str, upload: Path) -> None:
    described = echoed("-F", f"file=@{upload}", "-F", "name=value", f"{url}/form")
    assert described["length"] > len(BODY)
    assert described["method"] == "POST"


def test_head(url: str) -> None:
    head = curl("-I", f"{url}/big?n=123456", f"{url}/chunked?n=5").lower()
    assert head.count(b"http/1.1 200") == 2
    assert b"content-length: 123456" in head


@pytest.mark.parametrize("target", ["/big?n=300000", "/chunked?n=300000", "/until-close?n=300000"])
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_versions(url: str, target: str, version: str) -> None:
    body = curl(version, f"{url}{target}")
    assert hashlib.sha256(body).hexdigest() == pattern_sha256(300_000)


def test_http10_upload(url: str, upload: Path) -> None:
    assert is_body(echoed("--http1.0", "--data-binary", f"@{upload}", f"{url}/up"), BODY)


def test_offers_http2(url: str) -> None:
    """curl asks for h2c by an upgrade, and goes on in HTTP/1.1 where it gets none."""
    described = echoed("--http2", f"{url}/x")
    names = [name for name, _ in described["headers"]]
    assert not {"upgrade", "http2-settings", "connection"} & set(names)


def test_insists_on_http2(url: str) -> None:
    done = try_run("curl", "-sS", "--max-time", "10", "--http2-prior-knowledge", f"{url}/x")
    assert done.returncode not in (0, 28)  # an error, and not the timeout's


def test_as_a_forward_proxy(proxy: Proxy) -> None:
    described = echoed("-x", f"http://127.0.0.1:{proxy.port}", "http://app.test/x?y")
    assert described["target"] == "/x?y"
    assert ["host", "app.test"] in described["headers"]
    assert "proxy-connection" not in [name for name, _ in described["headers"]]


def test_tunnel_is_refused(proxy: Proxy) -> None:
    done = try_run("curl", "-sS", "--max-time", "10", "-p", "-x",
                   f"http://127.0.0.1:{proxy.port}", "http://app.test/x")  # fmt: skip
    assert done.returncode != 0
    assert b"501" in done.stderr


def test_dots_as_they_are(url: str) -> None:
    assert echoed("--path-as-is", f"{url}/a/../b/%2e/c")["target"] == "/b/c"


def test_range_and_encoding_are_passed(url: str) -> None:
    described = echoed("-r", "0-99", "--compressed", f"{url}/x")
    assert ["range", "bytes=0-99"] in described["headers"]
    assert "accept-encoding" in [name for name, _ in described["headers"]]


def test_cut_answer_is_an_error(url: str) -> None:
    for target in ("/cut-body", "/cut-chunks", "/reset-body"):
        done = try_run("curl", "-sS", "--max-time", "10", "-o", "/dev/null", f"{url}{target}")
        assert done.returncode in (18, 56), (target, done.returncode)


def test_parallel(url: str) -> None:
    out = curl("-Z", "--parallel-max", "20", "-w", "%{http_code}\n", "-o", "/dev/null",
               f"{url}/r/[1-100]").split()  # fmt: skip
    assert out == [b"200"] * 100
