"""How commands print: tables, times, JSON, and how far long work has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import Final

import msgspec

__all__ = ["Tell", "clock", "print_json", "print_table", "progress", "visible"]

Tell = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is (0: nobody knows)."""

WIDEST: Final = 60
"""Characters of a cell, at most."""

QUIET_S: Final = 1.0
"""Seconds for which nothing is said of work that may be done soon."""

_STEPS: Final = 10


def visible(text: str) -> str:
    """A text from outside with what would steer the terminal written out."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def print_json(value: object) -> None:
    """Print a value for programs."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns; the last column is as wide as it wants to be."""
    shown = [[visible(cell) for cell in row] for row in rows]
    shown = [[*(_cut(cell) for cell in row[:-1]), row[-1]] for row in shown]
    widths = [max(len(row[column]) for row in [list(headings), *shown]) for column in range(len(headings))]
    for row in [list(headings), *shown]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def clock(at: float, zone: tzinfo) -> str:
    """A moment by the clock on the wall."""
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")


@contextmanager
def progress() -> Iterator[Tell]:
    """Give a function that says how far the work is: a bar where somebody watches and rich is installed, else plain lines."""
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        except ImportError:
            yield _plain()
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bars:
            tasks: dict[str, object] = {}

            def tell(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total or None)
                bars.update(tasks[what], completed=done, total=total or None)  # type: ignore[arg-type]  # as it gave it

            yield tell
    else:
        yield _plain()


def _plain() -> Tell:
    """A line at each tenth of work that is not done at once."""
    said: dict[str, int] = {}
    begun = time.monotonic()

    def tell(what: str, done: int, total: int) -> None:
        step = done * _STEPS // total if total else done // 10_000
        if time.monotonic() - begun >= QUIET_S and step != said.get(what, -1 if total else 0):
            said[what] = step
            print(f"{what}: {done:,} of {total:,}" if total else f"{what}: {done:,}", file=sys.stderr)

    return tell


def _cut(cell: str) -> str:
    return cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 1]}…"
