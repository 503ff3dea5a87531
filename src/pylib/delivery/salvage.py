"""What can still be read of a damaged spool.

One bad page takes the messages on it, not the hundred thousand around it. The rows that can be read are copied to
``<name>.salvaged``, which takes the damaged file's place when it is complete and on disk. A kill at any moment leaves
either the damaged file, and the salvage begins again, or the complete new one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from pylib.delivery.spool_table import APPLICATION_ID, INSERT, MIGRATIONS, ROW_OVERHEAD, StoredRow, checksum
from pylib.delivery.sqlite import SIDE_FILES, connect, is_corrupt, sync_folder

__all__ = ["finish", "salvage"]

LAST_ROW = 2**62
COLUMNS = "row, size, checksum, stored_at, expires_at, address, data"
FORWARD = f"SELECT {COLUMNS} FROM spool WHERE row > ? ORDER BY row"
BACKWARD = f"SELECT {COLUMNS} FROM spool WHERE row > ? AND row <= ? ORDER BY row DESC"


def salvage(path: Path) -> tuple[int, int]:
    """Copy what can be read of the closed, damaged ``path`` to the file that :func:`finish` puts in its place.

    Returns how many messages were saved, and how many at most were lost between them; what was lost behind the last one
    cannot be known. Raises ``OSError`` and ``sqlite3.Error`` where the copy cannot be written.
    """
    target = _beside(path)
    for end in ("", *SIDE_FILES):
        Path(f"{target}{end}").unlink(missing_ok=True)
    saved, lowest, highest = 0, 0, 0
    new = connect(target, MIGRATIONS, kind="spool", application_id=APPLICATION_ID, check=False)
    try:
        new.execute("BEGIN IMMEDIATE")
        for row in _readable(path):
            # What a damaged page yields may look like a row and be none.
            if not _plausible(row):
                continue
            saved += new.execute(INSERT.replace("INSERT", "INSERT OR IGNORE", 1), row).rowcount
            lowest = min(lowest or row[0], row[0])
            highest = max(highest, row[0])
        new.execute("COMMIT")
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        new.close()
    return saved, highest - lowest + 1 - saved if saved else 0


def finish(path: Path) -> None:
    """Put a complete salvage in its place, where a kill came in between; or forget one that was not completed."""
    salvaged = _beside(path)
    if not salvaged.exists():
        return
    if path.exists():
        for end in ("", *SIDE_FILES):
            Path(f"{salvaged}{end}").unlink(missing_ok=True)
    else:
        os.rename(salvaged, path)
        sync_folder(path.parent)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaged")


def _readable(path: Path) -> Iterator[StoredRow]:
    """Every row that can be reached: forwards to the damage, over it in growing steps, and back to its other side."""
    if path.stat().st_size == 0:
        return  # SQLite would delete the log beside it
    try:
        # Read only: the damaged file is evidence, and closing it must not write its log into it.
        old = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        # A file shorter than it claims to be is otherwise not read at all.
        old.execute("PRAGMA writable_schema=ON")
    except sqlite3.Error:
        return
    # Text that is none must not end the search: it is judged with the rest of its row.
    old.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        reached, step = 0, 0
        while reached + step < LAST_ROW:
            start, before = reached + step, reached
            try:
                for row in old.execute(FORWARD, (start,)):
                    if step:
                        yield from _backwards(old, before, row[0] - 1)
                        step = 0
                    reached = row[0]
                    yield row
                break
            except sqlite3.Error as error:
                if not is_corrupt(error):
                    raise
                step = step * 2 or 1
    except sqlite3.Error:
        return
    finally:
        old.close()


def _backwards(old: sqlite3.Connection, after: int, last: int) -> Iterator[StoredRow]:
    try:
        yield from old.execute(BACKWARD, (after, last))
    except sqlite3.Error:
        return


def _plausible(row: Sequence[object]) -> bool:
    number, size, check, stored_at, expires_at, address, data = row
    return (
        isinstance(number, int)
        and isinstance(address, str)
        and isinstance(data, bytes)
        and isinstance(stored_at, float)
        and (expires_at is None or isinstance(expires_at, float))
        and size == len(address) + len(data) + ROW_OVERHEAD
        and check == checksum(address, data)
    )
