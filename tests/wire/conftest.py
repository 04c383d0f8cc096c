"""One proxy for all entries of a module; the test is its client, its primary and its shadow.

Invariant: an entry finds nothing of the one before it, and a proxy that wrote a traceback fails its
test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from e2e.conftest import Started
from e2e.documents import rules

from .driver import Loop
from .peers import Server
from .world import World


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    started = Started(tmp_path_factory.mktemp("wire"))
    yield started
    started.finish()


@pytest.fixture(scope="module")
def mirror() -> dict[str, Any] | None:
    """The mirror of the proxy's only route; a module that wants one overrides this."""
    return None


@pytest.fixture(scope="module")
def shared(loop: Loop, started: Started, mirror: dict[str, Any] | None) -> World:
    primary = Server(loop)
    if mirror is None:
        return World(loop, started.proxy(rules({"v1": primary.port})), primary, None)
    shadow = Server(loop)
    document = rules({"v1": primary.port, "v2": shadow.port}, mirror)
    return World(loop, started.proxy(document), primary, shadow)


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """The module's, with nothing in it from tests before."""
    shared.loop.settle()
    shared.forget()
    yield shared
    shared.proxy.assert_sound()
