"""Fixtures: proxies, nginx and backends that live as long as the test, or the module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .backends import Backends
from .procs import Nginx, Process, Proxy

StartProxy = Callable[..., Proxy]
StartNginx = Callable[..., Nginx]


class Started:
    """What was started, in order, to be ended in the reverse order."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._processes: list[Process] = []

    def proxy(self, rules: Mapping[str, Any] | Path, *options: str, **more: Any) -> Proxy:
        place = self.directory / f"proxy{len(self._processes)}"
        proxy = Proxy(rules, place, *options, **more)
        self._processes.append(proxy)
        return proxy

    def nginx(self, name: str, **more: Any) -> Nginx:
        nginx = Nginx(name, self.directory / f"{name}-{len(self._processes)}", **more)
        self._processes.append(nginx)
        return nginx

    def add(self, process: Process) -> None:
        self._processes.append(process)

    def finish(self) -> None:
        problems = []
        for process in reversed(self._processes):
            try:
                if isinstance(process, Proxy):
                    process.finish()
                else:
                    process.stop()
            except AssertionError as problem:
                problems.append(str(problem))
        assert not problems, "\n".join(problems)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    started.finish()


@pytest.fixture
def start_proxy(started: Started) -> StartProxy:
    return started.proxy


@pytest.fixture
def start_nginx(started: Started) -> StartNginx:
    return started.nginx


@pytest.fixture(scope="module")
def module_started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """For proxies that several tests of a module share."""
    started = Started(tmp_path_factory.mktemp("module"))
    yield started
    started.finish()


@pytest.fixture
def backends() -> Iterator[Backends]:
    backends = Backends()
    yield backends
    backends.close()


@pytest.fixture(scope="module")
def module_backends() -> Iterator[Backends]:
    backends = Backends()
    yield backends
    backends.close()
