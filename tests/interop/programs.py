"""Programs that the tests run: found, or the test is skipped with a word that says what is missing.

Invariant: a program that hangs fails its test within TIMEOUT; none outlives it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

import pytest

TIMEOUT = 60.0
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def need(program: str) -> str:
    """Where the program is; skips the test where it is not."""
    found = shutil.which(program, path=SEARCHED)
    if found is None:
        pytest.skip(f"{program} is not installed; tools/bootstrap.sh test installs it on Debian")
    return found


def run(
    program: str, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """The program, run to its end, which must be a good one."""
    done = try_run(program, *args, stdin=stdin, env=env)
    assert done.returncode == 0, (done.returncode, done.stderr.decode(errors="replace"))
    return done


def try_run(
    program: str, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """As ``run``, whatever its end. No proxy of the environment is used but the one under test."""
    own = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return subprocess.run(
        [need(program), *args],
        input=stdin,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        env=own | dict(env or {}),
    )
