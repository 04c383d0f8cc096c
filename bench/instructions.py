"""``python -m bench.instructions``: what a request costs in instructions, by function; with
``connection-each``, what one that comes over a connection of its own does.

Callgrind counts what the proxy executes in user space: the same figures however busy the machine
is, so that a change can be judged where times say nothing. Invariant: starting and ending the
proxy is not counted, as two runs that differ by REQUESTS alone are subtracted.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .load.machine import APART, LOOPBACK, free_port
from .load.services import NginxService

REQUESTS, WARM = 2000, 200
CLIENTS = 8
PATH = "/some/page?with=query"
HEADERS = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "Referer": "http://app.test/some/page",
    "X-User": "user-1234",
}
EACH = "connection-each"
MIRRORS: dict[str, list[dict[str, object]]] = {
    "plain": [],
    "mirror-0": [{"service": "shadow", "percent": 0}],
    "mirror-100": [{"service": "shadow"}],
    EACH: [],
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("--scenarios", default=",".join(MIRRORS), help="which, by comma")
    parser.add_argument("--proxy", default="", help="more options of the proxy, in one string")
    parser.add_argument("--top", type=int, default=25, help="functions to list (default 25)")
    return parser.parse_args()


def rules(backend: int, shadow: int, scenario: str) -> str:
    ports = {"primary": backend, "shadow": shadow}
    route = {"name": "all", "to": [{"service": "primary"}], "mirrors": MIRRORS[scenario]}
    services = [
        {"name": name, "endpoints": [{"address": f"{LOOPBACK}:{port}"}]}
        for name, port in ports.items()
    ]
    return json.dumps({"version": 1, "services": services, "routes": [route]})


def is_serving(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def kept_alive(port: int, requests: int) -> int:
    """Send so many requests over a few connections; how many were answered."""
    load = ["h2load", "--h1", "-n", str(requests), "-c", str(CLIENTS)]
    for name, value in HEADERS.items():
        load += ["-H", f"{name}: {value}"]
    load.append(f"http://{LOOPBACK}:{port}{PATH}")
    report = subprocess.run(load, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) succeeded", report)
    return int(found[1]) if found else 0


def connection_each(port: int, requests: int) -> int:
    """The same with a connection for each request; the proxy is the one to close it."""
    fields = {"Host": f"{LOOPBACK}:{port}", "User-Agent": "bench", **HEADERS, "Connection": "close"}
    lines = [f"GET {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    request = "\r\n".join([*lines, "", ""]).encode()

    def ask(_: int) -> bool:
        with socket.create_connection((LOOPBACK, port), 60) as client:
            client.sendall(request)
            answer = b""
            while data := client.recv(65536):
                answer += data
            return answer.startswith(b"HTTP/1.1 200 ")

    with ThreadPoolExecutor(CLIENTS) as clients:
        return sum(clients.map(ask, range(requests)))


def counted(
    place: Path, more: list[str], load: Callable[[int, int], int], requests: int
) -> Counter[str]:
    """Instructions by ``function [library]`` of a proxy that serves so many requests."""
    port, out = free_port(), place / f"callgrind.{requests}"
    url = f"http://{LOOPBACK}:{port}{PATH}"
    argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    argv += [sys.executable, "-m", "fastmirror", "--listen", f"{LOOPBACK}:{port}"]
    argv += ["--rules", str(place / "rules.json"), "--admin", "off", *more]
    with (place / "output").open("wb") as log:
        proxy = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while not is_serving(url):
            if proxy.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the proxy did not start: {(place / 'output').read_text()}")
            time.sleep(0.2)
        answered = load(port, requests)
        if answered != requests:
            raise RuntimeError(f"{answered} of {requests} requests were answered")
        time.sleep(0.5)  # the last copies' answers
    finally:
        proxy.terminate()
        proxy.wait(60)
    argv = ["callgrind_annotate", "--threshold=100", "--auto=no", str(out)]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found: Counter[str] = Counter()
    for count, name in re.findall(r"^\s*([\d,]+) \([ \d.]+%\)\s+(\S.*)$", text, re.MULTILINE):
        if not name.startswith("PROGRAM"):
            function = re.sub(r"^\S*?:", "", re.sub(r"\[.*/", "[", name))
            found[function] += int(count.replace(",", ""))
    return found


def main() -> int:
    options = arguments()
    lacking = [name for name in ("valgrind", "h2load", "nginx") if shutil.which(name) is None]
    if lacking:
        print(f"please install {', '.join(lacking)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="bench-instructions-") as name:
        root = Path(name)
        backend = NginxService("backend", root, APART.others)
        shadow = NginxService("shadow", root, APART.others)
        try:
            for scenario in options.scenarios.split(","):
                print(f"{scenario}: counting, about 20 s", file=sys.stderr, flush=True)
                place = root / scenario
                place.mkdir()
                (place / "rules.json").write_text(rules(backend.port, shadow.port, scenario))
                more = options.proxy.split()
                load = connection_each if scenario == EACH else kept_alive
                few = counted(place, more, load, WARM)
                many = counted(place, more, load, WARM + REQUESTS)
                each = {name: (many[name] - few[name]) / REQUESTS for name in many}
                print(f"{scenario}: {sum(each.values()):,.0f} instructions a request")
                for function in sorted(each, key=lambda name: -each[name])[: options.top]:
                    print(f"{each[function]:8,.0f}  {function}")
        finally:
            backend.stop()
            shadow.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
