"""The demo from start to end: what it needs, the steps in order, and the way out.

Invariant: whatever happens - a step that does not hold, Ctrl-C, SIGTERM - every process that was
started has ended before this returns, and the exit status says whether everything held.
"""

import argparse
import contextlib
import importlib.util
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from fastmirror.demo.errors import UnmetError
from fastmirror.demo.screen import Screen
from fastmirror.demo.steps import STEPS, Stage


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fastmirror demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--plain", action="store_true", help="for logs: a line a fact, no colour")
    return run(plain=parser.parse_args(argv).plain)


def run(*, plain: bool) -> int:
    screen = Screen(plain=plain)
    if problem := missing():
        screen.failed(problem)
        return 1
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fastmirror-demo-") as directory:
        stage = Stage(screen, Path(directory))
        try:
            for number, (title, step) in enumerate(STEPS, start=1):
                screen.heading(f"{number}. {title}")
                step(stage)
        except UnmetError as error:
            screen.failed(str(error))
            show_outputs(stage)
            return 1
        except KeyboardInterrupt:
            screen.failed("interrupted")
            return 130
        finally:
            # A second Ctrl-C must not leave servers behind; ending them is bounded.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            stage.end()
    screen.heading(f"All {len(STEPS)} steps held, in {time.monotonic() - started:.0f} seconds")
    return 0


def missing() -> str | None:
    """What this machine lacks for the demo, and how to get it."""
    if any(importlib.util.find_spec(name) is None for name in ("httpbin", "gunicorn", "yaml")):
        return "the demo needs httpbin and gunicorn: pip install 'fastmirror[demo]'"
    if shutil.which("curl") is None:
        return "the demo needs curl: install your system's package of that name"
    return None


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def show_outputs(stage: Stage) -> None:
    """What a person would look at first."""
    for process in (stage.proxy.process, stage.v1.process, stage.v2.process):
        if process is not None:
            status = process.status()
            state = "running" if status is None else f"ended with status {status}"
            stage.screen.say(f"--- the last output of {process.name} ({state}):")
            for line in process.tail():
                stage.screen.say(f"    {line}")
    if stage.proxy.process is not None and stage.proxy.process.status() is None:
        with contextlib.suppress(UnmetError):
            stage.screen.table("all copies", stage.proxy.counters().rows())


if __name__ == "__main__":
    sys.exit(main())
