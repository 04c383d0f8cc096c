"""The client: curl, one process for many requests over kept-alive connections.

Invariant: an answer is counted only when curl has it whole; what curl could not do is an
UnmetError, with curl's own words.
"""

import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass

from fastmirror.demo.errors import UnmetError

PARALLEL = 8
TIME_LIMIT = 60.0


@dataclass(frozen=True)
class Answer:
    status: int
    seconds: float


def requests(
    proxy: str, count: int, *, parallel: bool, progress: Callable[[str], None]
) -> list[Answer]:
    """``/get?n=1`` to ``n=count``. In a mesh the name httpbin leads to the sidecar; here
    ``--connect-to`` does, and the Host is the same.
    """
    argv = ["curl", "-q", "--noproxy", "*", *command(proxy, count, parallel=parallel)[1:]]
    argv += ["--max-time", "5", "-o", "/dev/null", "-w", "%{http_code} %{time_total}\n"]
    argv += ["--no-progress-meter"]  # which -sS does not silence with -Z
    answers = []
    with tempfile.TemporaryFile("w+") as complaints:
        curl = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            start_new_session=True,
        )
        limit = threading.Timer(TIME_LIMIT, curl.kill)
        limit.start()
        try:
            assert curl.stdout is not None
            for line in curl.stdout:
                status, seconds = line.split()
                answers.append(Answer(int(status), float(seconds)))
                progress(f"{len(answers)} of {count} requests answered")
            curl.wait()
        finally:
            limit.cancel()
            curl.kill()  # nothing is left to kill but where this is left early
            curl.wait()
        complaints.seek(0)
        if curl.returncode:
            last = complaints.read().strip().splitlines()[-1:]
            raise UnmetError(f"curl ended with status {curl.returncode}: {' '.join(last)}")
    return answers


def command(proxy: str, count: int, *, parallel: bool) -> list[str]:
    """What a person would type for the same requests."""
    options = ["-Z", "--parallel-max", str(PARALLEL)] if parallel else []
    where = ["--connect-to", f"::{proxy}"]
    return ["curl", "-sS", *options, *where, f"http://httpbin:8000/get?n=[1-{count}]"]
