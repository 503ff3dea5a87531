"""Copies SQLite's write-ahead log back into the file, beside the writer, whose commits then wait for no disk.

SQLite would do it within a commit, every thousand pages: with ``synchronous=NORMAL`` the one moment at which a commit waits
until the disk has everything, which is milliseconds, or tenths of a second on a card.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from event_processor.store.database import BUSY_TIMEOUT
from pylib.app import LoopThread

__all__ = ["Checkpointer"]

PAGES: Final = 1000
"""Pages in the log, about, at which it is copied back: SQLite's own default."""

FEWEST: Final = 50
MOST: Final = 5000


class Checkpointer(LoopThread):
    """Sleeps until ``stored`` finds that the log has grown enough. What fails here is left to the writer, who meets it too."""

    def __init__(self, file: Path) -> None:
        super().__init__("Store's checkpoints")
        self._file = file
        self._since = 0
        self._every = FEWEST
        self._busy = False

    def stored(self, outcomes: int) -> None:
        """So many outcomes more are in the log. By the writer's thread, after each commit."""
        self._since += outcomes
        loop = self.member.loop
        if self._since >= self._every and not self._busy and loop is not None:
            self._busy = True
            count, self._since = self._since, 0
            loop.post(lambda: self._copy_back(count))

    def _copy_back(self, outcomes: int) -> None:
        try:
            # A connection for each: the file may have been set aside meanwhile and another one be in its place.
            with closing(sqlite3.connect(f"{self._file.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT)) as one:
                _, pages, _ = one.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            # How many pages an outcome takes depends on how many share a commit.
            self._every = max(FEWEST, min(MOST, outcomes * PAGES // max(1, pages)))
        except sqlite3.Error:
            self._every = MOST
        finally:
            self._busy = False
