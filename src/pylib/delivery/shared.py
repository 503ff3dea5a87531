"""A message file that several threads and processes have open at once, each with a connection of its own."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from pylib.delivery.sqlite import (
    Corrupt,
    StoreBroken,
    advice,
    connect,
    is_corrupt,
    is_harmless,
    make_folder,
    set_aside,
)

__all__ = ["SharedDatabase"]

log: Final = logging.getLogger("pylib.store")

Result = TypeVar("Result")


class SharedDatabase:
    """One SQLite file of messages, opened at its first use. One object per thread.

    Whoever has the file open holds a shared lock on it. The one who finds nobody else there holds it exclusively while
    the file is looked through, migrated, or set aside because it is damaged: nobody can be writing into a file that is
    being renamed, so what was acknowledged because it was stored stays where it was stored.

    :param migrations: see :func:`pylib.delivery.sqlite.connect`.
    """

    def __init__(self, path: Path, *, kind: str, application_id: int, migrations: Sequence[str]) -> None:
        self.path = path
        self._kind = kind
        self._application_id = application_id
        self._migrations = migrations
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self.set_aside_count = 0
        """How many damaged files this object has replaced by empty ones."""

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on the disk when the block is left. Raises StoreBroken, ConfigError; see ``open``."""
        connection = self.open()
        try:
            # IMMEDIATE: a deferred transaction that begins to write fails at once when locked, without waiting.
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error, "written") from error
        finally:
            if connection is self._connection:
                self._roll_back(connection)

    def query(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        """``read(connection)``, which fetches all that it selects. Raises StoreBroken, ConfigError; see ``open``."""
        connection = self.open()
        try:
            return read(connection)
        except sqlite3.Error as error:
            raise self._failed(error, "read") from error

    def open(self) -> sqlite3.Connection:
        """Open the file, or make it; the connection, where it is open. A damaged file is set aside under another name,
        an error is logged and an empty one takes its place, unless somebody else has it open.

        Raises StoreBroken where it cannot be opened now, ConfigError where it belongs to another program.
        """
        if self._connection is not None:
            return self._connection
        self.close()
        try:
            make_folder(self.path)
            lock = self._lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _alone(lock):
                self._prepare()
            # Not atomic: somebody may be alone with it in between. So the connection that stays is made after it.
            fcntl.flock(lock, fcntl.LOCK_SH)
            self._connection = self._connect(check=False)
        except Corrupt as error:
            self.close()
            raise StoreBroken(f"{error} Others have it open: stop all that use it and start again.") from error
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreBroken(f"The {self._kind} {self.path} cannot be opened: {advice(error)}") from error
        except BaseException:
            self.close()
            raise
        return self._connection

    def close(self) -> None:
        """Close the file and give up the lock; the next use opens it again. Never raises; may be called twice."""
        self._drop_connection()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _connect(self, *, check: bool) -> sqlite3.Connection:
        return connect(self.path, self._migrations, kind=self._kind, application_id=self._application_id, check=check)

    def _prepare(self) -> None:
        """What needs the file for ourselves: look it through, set it aside, migrate it, and empty the log.

        The last because whoever used the file before may have met a failed fsync: pages of the log that are read from
        memory would then be missing on the disk, and a power cut would take what is committed behind such a hole.
        """
        try:
            connection = self._connect(check=True)
        except Corrupt as damage:
            kept = set_aside(self.path)
            self.set_aside_count += 1
            log.error(
                "%s It is kept as %s and a new one is started; what was in it is neither tried again nor listed until "
                "it is mended.",
                damage,
                kept,
            )
            connection = self._connect(check=False)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()

    def _failed(self, error: sqlite3.Error, done: str) -> StoreBroken:
        # After a failed write or fsync nobody knows what the pages in memory are worth, so the file is opened anew.
        if not is_harmless(error):
            self.close()
        kind = Corrupt if is_corrupt(error) else StoreBroken
        return kind(f"The {self._kind} {self.path} could not be {done}: {advice(error)}")

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop_connection()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                pass  # it is gone either way, and what mattered was reported by the operation that failed


def _alone(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
