"""The spool's table: its format and the statements on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final
from zlib import crc32

__all__ = [
    "APPLICATION_ID",
    "INSERT",
    "MIGRATIONS",
    "READ",
    "ROW_OVERHEAD",
    "Run",
    "StoredRow",
    "checksum",
    "delete_address",
    "delete_run",
    "drop_head",
    "merged",
    "runs",
    "what_fits",
]

Run = tuple[int, int]
"""Rows from the first to the last, both included."""

StoredRow = tuple[int, int, int, float, float | None, str, bytes]
"""row, size, checksum, stored_at, expires_at, address, data."""

APPLICATION_ID: Final = 0x70795350  # "pySP"

ROW_OVERHEAD: Final = 36
"""Bytes that a message takes on disk beside its address and data; counted against the limit."""

MIGRATIONS: Final = (
    # Version 1. Small columns first: what scans them need not follow a large message's overflow pages. Rows are
    # numbered by us, upwards and never twice within a process, so that "after this row" keeps its meaning.
    """
    CREATE TABLE spool (row INTEGER PRIMARY KEY, size INTEGER NOT NULL, checksum INTEGER NOT NULL,
        stored_at REAL NOT NULL, expires_at REAL, address TEXT NOT NULL, data BLOB NOT NULL);
    CREATE INDEX spool_expires ON spool (expires_at) WHERE expires_at IS NOT NULL;
    """,
)

INSERT: Final = "INSERT INTO spool (row, size, checksum, stored_at, expires_at, address, data) VALUES (?, ?, ?, ?, ?, ?, ?)"
READ: Final = (
    "SELECT row, address, data, expires_at, stored_at, checksum FROM spool WHERE row > ? AND row < ? ORDER BY row LIMIT ?"
)


def checksum(address: str, data: bytes) -> int:
    """SQLite notices a damaged page, but not a damaged message on a sound one."""
    return crc32(data, crc32(address.encode()))


def runs(rows: Sequence[int]) -> list[Run]:
    """Rows as closed ranges, so that a contiguous window costs one statement and next to no memory."""
    ordered = sorted(rows)
    if ordered[-1] - ordered[0] == len(ordered) - 1 and len(set(ordered)) == len(ordered):
        return [(ordered[0], ordered[-1])]
    return merged([(row, row) for row in ordered])


def merged(ranges: list[Run]) -> list[Run]:
    """The same rows in as few ranges as possible, in order."""
    result: list[Run] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return result


def delete_run(connection: sqlite3.Connection, run: Run) -> tuple[int, int]:
    """Returns how many messages and bytes are gone."""
    gone, size = connection.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM spool WHERE row BETWEEN ? AND ?", run
    ).fetchone()
    if gone:
        connection.execute("DELETE FROM spool WHERE row BETWEEN ? AND ?", run)
    return gone, size


def delete_address(connection: sqlite3.Connection, address: str) -> tuple[int, int]:
    """Returns how many messages and bytes are gone. Fast with the index that ``latest_per_key`` makes."""
    gone, size = connection.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM spool WHERE address = ?", (address,)
    ).fetchone()
    if gone:
        connection.execute("DELETE FROM spool WHERE address = ?", (address,))
    return gone, size


def drop_head(connection: sqlite3.Connection, messages: int, size: int, before: int) -> tuple[int, int]:
    """Delete the oldest until ``messages`` and ``size`` bytes are gone."""
    gone = freed = last = 0
    cursor = connection.execute("SELECT row, size FROM spool WHERE row < ? ORDER BY row", (before,))
    while (gone < messages or freed < size) and (found := cursor.fetchone()):
        last, gone, freed = found[0], gone + 1, freed + found[1]
    cursor.close()
    if gone:
        connection.execute("DELETE FROM spool WHERE row <= ?", (last,))
    return gone, freed


def what_fits(rows: list[StoredRow], messages: int, size: int) -> list[StoredRow]:
    """Those of ``rows`` for which there is room, the first ones first."""
    kept: list[StoredRow] = []
    for row in rows:
        if messages >= 1 and row[1] <= size:
            kept.append(row)
            messages, size = messages - 1, size - row[1]
    return kept
