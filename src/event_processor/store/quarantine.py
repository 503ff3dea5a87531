"""A damaged SQLite file: set aside under a name with the time, and what can be read of it carried over.

Carried over are the state first, then accounts, settings, totals and pictures, then steps that nobody has accepted yet, with
the events that caused them. History stays in the old file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Table
from sqlalchemy.exc import SQLAlchemyError

from event_processor.store import tables as t
from pylib.delivery.sqlite import SIDE_FILES, sync_folder

__all__ = ["quarantine", "salvage"]

_KEPT: Final[tuple[Table, ...]] = (t.state, t.meta, t.users, t.tokens, t.totals, t.images, t.audit)
_CAUSES: Final = "SELECT {columns} FROM events WHERE id IN (SELECT event_id FROM steps WHERE status = 'pending')"
_STEPS: Final = "SELECT {columns} FROM steps WHERE status = 'pending'"
SLICE: Final = 200


def quarantine(file: Path, now: float) -> Path:
    """Rename a closed file and its side files to ``<name>.damaged-<time>``; returns that. Raises ``OSError``."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    number, target = 1, file.with_name(f"{file.name}.damaged-{stamp}")
    while target.exists():
        number += 1
        target = file.with_name(f"{file.name}.damaged-{stamp}-{number}")
    # Side files first: were we killed in between, the damaged file would still be found damaged.
    for end in SIDE_FILES:
        side = Path(f"{file}{end}")
        if side.exists():
            side.rename(f"{target}{end}")
    os.rename(file, target)
    sync_folder(file.parent)
    return target


def salvage(damaged: Path, connection: Connection) -> dict[str, int]:
    """Copy what can be read to a new store; how many rows of each table. What cannot be read is left out. Commits."""
    saved: dict[str, int] = {}
    if not damaged.exists() or damaged.stat().st_size == 0:
        return saved
    try:
        old = sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        # A file shorter than it claims to be is otherwise not read at all.
        old.execute("PRAGMA writable_schema=ON")
    except sqlite3.Error:
        return saved
    old.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        for table in _KEPT:
            saved[table.name] = _copy(old, connection, table, f"SELECT {{columns}} FROM {table.name}")
        if _copy(old, connection, t.events, _CAUSES):
            saved["steps"] = _copy(old, connection, t.steps, _STEPS)
    finally:
        old.close()
    return saved


def _copy(old: sqlite3.Connection, connection: Connection, table: Table, query: str) -> int:
    columns = [column.name for column in table.columns]
    insert = f"INSERT OR IGNORE INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    count = 0
    for rows in _readable(old, query.format(columns=", ".join(columns))):
        try:
            with connection.begin():
                count += connection.exec_driver_sql(insert, rows).rowcount
        except SQLAlchemyError:
            connection.rollback()
            for row in rows:  # what a damaged page yields may look like a row and be none
                try:
                    with connection.begin():
                        count += connection.exec_driver_sql(insert, row).rowcount
                except SQLAlchemyError:
                    connection.rollback()
    return count


def _readable(old: sqlite3.Connection, query: str) -> Iterator[list[tuple[object, ...]]]:
    """The rows up to the damage, in slices; then those behind it, read from the other end."""
    try:
        for order in ("ASC", "DESC"):
            rows: list[tuple[object, ...]] = []
            try:
                for row in old.execute(f"{query} ORDER BY rowid {order}"):
                    rows.append(tuple(row))
                    if len(rows) == SLICE:
                        yield rows
                        rows = []
            except sqlite3.DatabaseError:
                if rows:
                    yield rows
                continue
            if rows:
                yield rows
            return
    except sqlite3.Error:
        return
