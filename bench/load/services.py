"""What stands behind the proxies: backends and shadows, good and bad, started here.

Invariant: each counts the requests that have arrived, so that a copy that is not made is seen.
"""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path
from typing import Protocol

from .generators import compiled
from .machine import LOOPBACK, Process, free_port
from .templates import address, render

ANSWER = "x" * 207
FILES = {"empty": 0, "1k": 1 << 10, "100k": 100 << 10, "10m": 10 << 20}

# How a shadow may misbehave; the modes of service.c, and one that nobody listens at.
REFUSED = "refused"
BAD = {
    REFUSED: "refused",
    "hole": "black-holed (accepts, never reads)",
    "mute": "reads, never answers",
    "slow": "a second slow",
    "drip": "drips a byte a second",
    "reset": "resets",
    "huge": "answers 10 MB",
}


class Service(Protocol):
    """A backend or a shadow; ``process`` is None where nothing runs."""

    port: int

    @property
    def process(self) -> Process | None: ...

    def requests(self) -> int: ...

    def stop(self) -> None: ...


class NginxService:
    """nginx with a short answer, and files of the sizes in FILES."""

    def __init__(self, name: str, directory: Path, cores: str, *, empty: bool = False) -> None:
        self.port, self._status = free_port(), free_port()
        self._looks = 0  # stub_status counts the requests for itself too
        place = directory / name
        place.mkdir()
        for file, size in FILES.items():
            (place / file).write_bytes(b"x" * size)
        config = render(
            "backend.conf",
            place,
            listen=address(self.port),
            status=address(self._status),
            answer="204" if empty else f'200 "{ANSWER}"',
        )
        self.process = Process(["nginx", "-p", str(place), "-c", str(config)], place, cores)
        self.process.wait_open(self.port)
        self.process.wait_open(self._status)
        self.requests()

    def requests(self) -> int:
        with urllib.request.urlopen(f"http://{address(self._status)}/", timeout=10) as page:
            numbers = page.read().decode().splitlines()[2].split()
        self._looks += 1
        return int(numbers[2]) - self._looks

    def stop(self) -> None:
        self.process.stop()


class OwnService:
    """service.c in one of its modes: it reads bodies at next to no cost."""

    def __init__(self, mode: str, directory: Path, cores: str, *, yielding: bool = False) -> None:
        self.port = free_port()
        program = directory / "service"
        if not program.exists():
            compiled("service", directory)
        place = directory / f"service-{self.port}"
        place.mkdir()
        self._counter = place / "count"
        argv = [str(program), str(self.port), mode, str(self._counter)]
        self.process = Process(argv, place, cores, yielding=yielding)
        self.process.wait_open(self.port)

    def requests(self) -> int:
        return int.from_bytes(self._counter.read_bytes()[:8], "little")

    def stop(self) -> None:
        self.process.stop()


class Refused:
    """A port that is taken, and at which nobody listens."""

    def __init__(self) -> None:
        self.process = None
        self._socket = socket.socket()
        self._socket.bind((LOOPBACK, 0))
        self.port: int = self._socket.getsockname()[1]

    def requests(self) -> int:
        return 0

    def stop(self) -> None:
        self._socket.close()


def bad_shadow(kind: str, directory: Path, cores: str) -> Service:
    """One of BAD, or "answer" for one that is well.

    It yields to the backend and the load generator on their core, as one on a machine of its own
    would: what it does to them there is not the proxy's doing.
    """
    return Refused() if kind == REFUSED else OwnService(kind, directory, cores, yielding=True)
