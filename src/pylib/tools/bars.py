"""How far a long piece of work is: a bar where a person looks and `rich` is there, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

__all__ = ["Progress", "progress"]

_EVERY_S: Final = 10.0


class Progress(Protocol):
    """Told how far it is, in the unit that it began with, and what to say beside it."""

    def __call__(self, done: float, words: str = "") -> None: ...


@contextmanager
def progress(title: str, total: float | None, *, quiet: bool = False) -> Iterator[Progress]:
    """Show progress on standard error within the block; ``total`` None where the end is not known."""
    if quiet:
        yield lambda done, words="": None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars
    except ImportError:
        yield _Lines(title, total)
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(title, total)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, total=total, words="")
        yield lambda done, words="": bars.update(task, completed=done, words=words)


class _Lines:
    """For a log: a line now and then."""

    def __init__(self, title: str, total: float | None) -> None:
        self._title = title
        self._total = total
        self._told = time.monotonic()

    def __call__(self, done: float, words: str = "") -> None:
        now = time.monotonic()
        if now - self._told < _EVERY_S:
            return
        self._told = now
        part = f" {100 * done / self._total:.0f} %" if self._total else ""
        print(f"pylib: {self._title}{part} {words}", file=sys.stderr, flush=True)
