"""``python -m bench.instructions``: what a request costs in instructions, by function.

Callgrind counts what the proxy executes in user space: the same figures however busy the machine
is, so that a change can be judged where times say nothing. Invariant: starting and ending the
proxy is not counted, as two runs that differ by REQUESTS alone are subtracted.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from .load.machine import APART, LOOPBACK, free_port
from .load.services import NginxService

REQUESTS, WARM = 2000, 200
HEADERS = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "Referer": "http://app.test/some/page",
    "X-User": "user-1234",
}
MIRRORS: dict[str, list[dict[str, object]]] = {
    "plain": [],
    "mirror-0": [{"service": "shadow", "percent": 0}],
    "mirror-100": [{"service": "shadow"}],
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("--scenarios", default=",".join(MIRRORS), help="which, by comma")
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


def counted(place: Path, document: Path, requests: int) -> Counter[str]:
    """Instructions by ``function [library]`` of a proxy that serves so many requests."""
    port, out = free_port(), place / f"callgrind.{requests}"
    url = f"http://{LOOPBACK}:{port}/some/page?with=query"
    argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    argv += [sys.executable, "-m", "fastmirror", "--listen", f"{LOOPBACK}:{port}"]
    argv += ["--rules", str(document), "--admin", "off"]
    with (place / "output").open("wb") as log:
        proxy = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while not is_serving(url):
            if proxy.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the proxy did not start: {(place / 'output').read_text()}")
            time.sleep(0.2)
        load = ["h2load", "--h1", "-n", str(requests), "-c", "8"]
        for name, value in HEADERS.items():
            load += ["-H", f"{name}: {value}"]
        report = subprocess.run([*load, url], capture_output=True, text=True, check=True).stdout
        if f"{requests} succeeded" not in report:
            raise RuntimeError(f"requests failed:\n{report}")
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
                document = place / "rules.json"
                document.write_text(rules(backend.port, shadow.port, scenario))
                few = counted(place, document, WARM)
                many = counted(place, document, WARM + REQUESTS)
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
