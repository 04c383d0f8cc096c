"""Fixtures: a network of three hosts, with the proxy as the sidecar of one of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .network import Host, Network, need_network, redirect_outbound
from .proxy import Sidecar
from .services import Site


class World:
    """``app`` has the sidecar; ``site`` is where it calls; ``shadow`` gets copies."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.network = Network(directory)
        self.app, self.site, self.shadow = map(self.network.host, ("app", "site", "shadow"))
        self.started: list[Any] = []

    def add(self, thing: Any) -> Any:
        """Closed with the world."""
        self.started.append(thing)
        return thing

    def rules(self) -> dict[str, Any]:
        """web.test goes to its own port of the site, whatever its address was, and is mirrored."""
        web = {"address": f"{self.site.address}:8001", "labels": {"version": "v1"}}
        return {
            "version": 1,
            "services": [
                {"name": "web", "hosts": ["web.test"], "endpoints": [web]},
                {"name": "shadow", "endpoints": [{"address": f"{self.shadow.address}:8001"}]},
            ],
            "routes": [
                {
                    "name": "web",
                    "hosts": ["web.test"],
                    "match": [{"path": {"prefix": "/"}, "headers": {"x-no": {"present": False}}}],
                    "to": [{"service": "web"}],
                    "mirrors": [{"service": "shadow"}],
                }
            ],
        }

    def close(self) -> None:
        for thing in reversed(self.started):
            thing.close()
        self.network.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    need_network()
    directory = Path(tempfile.mkdtemp(prefix="fastmirror-"))
    directory.chmod(0o755)  # the proxy's user reads its rules there
    world = World(directory)
    try:
        yield world
    finally:
        world.close()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def sites(world: World) -> tuple[Site, Site, Site]:
    """Where the rule sends web.test, its shadow, and what is at port 80."""
    return (
        world.add(Site(world.site, 8001, "routed")),
        world.add(Site(world.shadow, 8001, "shadow")),
        world.add(Site(world.site, 80, "there")),
    )


@pytest.fixture(scope="module")
def captured(world: World) -> Host:
    """The host whose connections are redirected."""
    redirect_outbound(world.app, exclude_ports=[9999])
    return world.app


@pytest.fixture(scope="module")
def shared(world: World, sites: tuple[Site, Site, Site], captured: Host) -> Iterator[Sidecar]:
    sidecar = Sidecar(captured, world.rules(), world.directory / "sidecar")
    yield sidecar
    sidecar.finish()


@pytest.fixture
def sidecar(shared: Sidecar) -> Iterator[Sidecar]:
    """The shared one, which must be sound after each test."""
    yield shared
    shared.assert_sound()
