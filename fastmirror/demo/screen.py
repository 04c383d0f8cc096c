"""What the person sees.

Invariants: colour and cursor movement go to a terminal only, colour not where NO_COLOR is set;
with ``plain`` every fact is a line of its own and nothing is ever overwritten.
"""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from fastmirror.demo.layout import clip, shorten, side_by_side

LOG_LINES = 8  # of each service and step
WIDEST = 120
PROGRESS_INTERVAL = 0.05

BOLD, DIM, GREEN, RED = "1", "2", "32", "31"


class Screen:
    def __init__(self, *, plain: bool, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.plain = plain
        self.moves = not plain and self.out.isatty()
        self.coloured = self.moves and not os.environ.get("NO_COLOR")
        self.width = min(shutil.get_terminal_size().columns, WIDEST)
        self._progress_shown = False
        self._next_progress = 0.0

    def heading(self, title: str) -> None:
        if self.plain:
            self.line(f"== {title}")
        else:
            self.line("")
            self.line(self._paint(title, BOLD))
            self.line(self._paint("-" * len(title), DIM))

    def say(self, text: str) -> None:
        self.line(text)

    def command(self, words: Sequence[str]) -> None:
        """As a person would type it; an option a line where one line is too short for all."""
        text = shlex.join(words)
        if not self.plain and len(text) + 2 > self.width:
            text = text.replace(" --", " \\\n      --")
        for line in f"$ {text}".splitlines():
            self.line(self._paint(line, DIM))

    def document(self, name: str, text: str) -> None:
        """A manifest, whole, so that what is compiled is what was read."""
        self.line(self._paint(f"--- {name}", BOLD))
        for line in text.splitlines():
            self.line(f"    {line}".rstrip())

    def logs(self, logs: Sequence[tuple[str, Sequence[str]]]) -> None:
        """What two services logged, next to each other as far as the width allows."""
        if self.plain:
            for name, lines in logs:
                for line in shorten(lines, LOG_LINES) or ["(nothing)"]:
                    self.line(f"{name} log: {line}")
            return
        (left_name, left), (right_name, right) = logs
        rows = side_by_side(
            [f"[{left_name}]", *(shorten(left, LOG_LINES) or ["(nothing)"])],
            [f"[{right_name}]", *(shorten(right, LOG_LINES) or ["(nothing)"])],
            self.width - 2,
        )
        for row in ["", *rows, ""]:
            self.line(f"  {row}".rstrip())

    def table(self, title: str, rows: Sequence[tuple[str, int, str]]) -> None:
        """Name, number and what the number is made of; the names' indent is part of them."""
        if self.plain:
            for name, number, note in rows:
                self.line(f"{title}: {name.strip()} {number} {note}".rstrip())
            return
        widest = max(len(name) for name, _, _ in rows)
        self.line(self._paint(f"  {title}", BOLD))
        for name, number, note in rows:
            self.line(f"    {name:<{widest}} {number:>7}  {self._paint(note, DIM)}".rstrip())

    def passed(self, text: str) -> None:
        self.line(f"{self._paint('ok', GREEN)}   {text}")

    def failed(self, text: str) -> None:
        self.line(f"{self._paint('FAIL', RED)} {text}")

    def progress(self, text: str) -> None:
        """Where the demo is while it waits: one line that the next output overwrites."""
        if self.moves and time.monotonic() >= self._next_progress:
            self._next_progress = time.monotonic() + PROGRESS_INTERVAL
            self.out.write(f"\r\x1b[K{clip('... ' + text, self.width - 1)}")
            self.out.flush()
            self._progress_shown = True

    def line(self, text: str) -> None:
        if self._progress_shown:
            self.out.write("\r\x1b[K")
            self._progress_shown = False
        self.out.write(text + "\n")
        self.out.flush()

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.coloured and text else text
