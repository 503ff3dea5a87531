"""A message file with one owner: transactions that are on the disk or never happened.

What :class:`Database` guarantees to the store built on it:

- a commit of :meth:`Database.transaction` has reached the disk when the block is left;
- after an I/O error the connection is thrown away: what the kernel says after a failed fsync is not to be believed
  (its pages are marked clean although they never reached the disk);
- one process, and in it one object, uses the file.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pylib.delivery.sqlite import Corrupt, StoreBroken, advice, connect, is_corrupt, is_harmless, make_folder, set_aside

__all__ = ["Database"]

Result = TypeVar("Result")


class Database:
    """One SQLite file of messages, owned by the thread that opens it and, by an advisory lock, by one process.

    Parameters as for :func:`pylib.delivery.sqlite.connect`. Opens nothing.
    """

    def __init__(self, path: str | os.PathLike[str], *, kind: str, application_id: int, migrations: Sequence[str]) -> None:
        self.path = Path(path)
        self._kind = kind
        self._application_id = application_id
        self._migrations = migrations
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._settled = False

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def open(self, *, check: bool = True) -> None:
        """Open the file, or make it; bring it to the current version; with ``check`` look through it for damage.

        Raises :class:`StoreBroken` where that is impossible now, :class:`Corrupt` where the file is damaged (it
        stays in its place, and the lock ours), ``ConfigError`` where the file belongs to somebody else.
        """
        if self._connection is not None:
            return
        try:
            self._take_lock()
            self._connection = connect(
                self.path, self._migrations, kind=self._kind, application_id=self._application_id, check=check
            )
        except Corrupt:
            raise
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreBroken(f"The {self._kind} {self.path} cannot be opened: {advice(error)}") from error
        except BaseException:
            self.close()
            raise
        self._settled = False

    def close(self) -> None:
        """Close the file and give up the lock. Never raises; may be called twice."""
        self._drop_connection()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on the disk when the block is left.

        With ``durable=False`` the commit may be undone by a power cut, but never out of order with a durable one: for
        what may be repeated, such as a removal. Raises :class:`StoreBroken`.
        """
        connection = self._opened()
        try:
            if durable:
                self._settle(connection)
            else:
                connection.execute("PRAGMA synchronous=NORMAL")
            # IMMEDIATE: a deferred transaction that begins to write fails at once when locked, without waiting.
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error, "written") from error
        finally:
            if self._connection is not None:
                self._restore(self._connection, durable)

    def query(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        """``read(connection)``, which fetches all that it selects: a cursor left open keeps the log from being emptied.

        Raises :class:`StoreBroken`.
        """
        try:
            return read(self._opened())
        except sqlite3.Error as error:
            raise self._failed(error, "read") from error

    def set_aside(self) -> Path:
        """Close and rename the damaged file, keeping the lock; returns its new path. Raises ``OSError``."""
        self._drop_connection()
        return set_aside(self.path)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreBroken(f"The {self._kind} {self.path} is not open.")
        return self._connection

    def _failed(self, error: sqlite3.Error, done: str) -> StoreBroken:
        if not is_harmless(error):
            self._drop_connection()
        kind = Corrupt if is_corrupt(error) else StoreBroken
        return kind(f"The {self._kind} {self.path} could not be {done}: {advice(error)}")

    def _take_lock(self) -> None:
        """The counts in memory are true for one owner only, and two would deliver everything twice."""
        if self._lock is not None:
            return
        make_folder(self.path)
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StoreBroken(
                f"The {self._kind} {self.path} is in use by another relay or another running copy of this program. "
                "Give each its own file, or stop the other one."
            ) from None
        except OSError:
            os.close(lock)
            raise
        self._lock = lock

    def _settle(self, connection: sqlite3.Connection) -> None:
        """Before the first durable commit of a connection: empty the log into the file, with an fsync that succeeded.

        Whoever used the file before us may have met a failed fsync: pages of the log that we read from memory would
        then be missing on the disk, and what we commit behind such a hole would not survive a power cut.
        """
        if self._settled:
            return
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreBroken(
                f"The {self._kind} {self.path} is being read by another program that does not finish. Close what has "
                "the file open, for example a database browser; it goes on by itself then."
            )
        self._settled = True

    def _restore(self, connection: sqlite3.Connection, durable: bool) -> None:
        """End of a transaction, however it ended: none is open, and the next commit is durable again."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if not durable:
                connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error:
            self._drop_connection()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                pass  # it is gone either way, and what mattered was reported by the operation that failed
