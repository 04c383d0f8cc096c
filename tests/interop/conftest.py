"""Fixtures that live as long as a module's tests: a proxy in front of a site that says what it got.

Invariant: no test passes in which the proxy sent what h11 refuses, or wrote a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.backends import Backend, Backends, echo
from e2e.conftest import Started
from e2e.documents import rules
from e2e.procs import Proxy
from e2e.website import site


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    started = Started(tmp_path_factory.mktemp("interop"))
    yield started
    started.finish()


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    backends = Backends()
    yield backends
    backends.close()


@pytest.fixture(scope="module")
def primary(backends: Backends) -> Backend:
    return backends.start(site)


@pytest.fixture(scope="module")
def shared(started: Started, backends: Backends, primary: Backend) -> Proxy:
    """Mirroring is on, as in life."""
    shadow = backends.start(echo)
    return started.proxy(rules({"v1": primary.port, "v2": shadow.port}, {}))


@pytest.fixture
def proxy(shared: Proxy, primary: Backend) -> Iterator[Proxy]:
    """The shared proxy; what the test made it send must have satisfied h11."""
    primary.requests.clear()
    primary.errors.clear()
    yield shared
    assert primary.errors == []
    shared.assert_sound()


@pytest.fixture
def url(proxy: Proxy) -> str:
    return f"http://127.0.0.1:{proxy.port}"
