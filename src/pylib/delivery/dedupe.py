"""Duplicates, as a consumer drops them: a bounded memory of the message ids that were handled.

Both brokers deliver at least once, so a message may come again after a reconnect or a kill. What a consumer can have:

========================================  ============================================================================
``Seen()``                                A duplicate is dropped while the process lives and its id is remembered.
``Seen(path=...)`` with ``commit()``      ...and after a restart, if the id was committed. A kill between the effect and
                                          the commit has the message handled twice; it is never lost.
``Seen(path=...)`` with effects written   Each message has its effect exactly once, whatever is killed: effect and id
through ``transaction()``'s connection    are one commit.
========================================  ============================================================================

Acknowledge after the commit. What is older than ``limit`` ids is forgotten, and would be handled again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

from pylib.delivery.shared import SharedDatabase

__all__ = ["Seen"]

_APPLICATION_ID: Final = 0x504C534E
"""``PLSN``: marks a file of ids, so that no other file is ever taken for one."""

_MIGRATIONS: Final = (
    # Version 1. `number` has no gaps at its upper end, so that the oldest are those below last - limit.
    """
    CREATE TABLE seen (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE);
    CREATE TABLE last (number INTEGER NOT NULL);
    INSERT INTO last VALUES (0);
    """,
)

_LONGEST: Final = 40
"""Bytes of an id that are kept as they are; UUIDs fit. Of a longer one its digest: nobody's id takes more."""


class Seen:
    """The ids that were handled. One thread owns an object.

    :param limit: how many ids are remembered; the oldest are forgotten. About 150 bytes of memory each, or 100 on the
        disk: enough for the longest time after which a message may come again.
    :param path: a file of this consumer's own, made when the first id is committed. Without it nothing outlives the
        process.
    """

    def __init__(self, limit: int = 100_000, path: Path | None = None) -> None:
        if limit < 1:
            raise ValueError(f"Seen(limit={limit}): at least one id has to be remembered.")
        self._limit = limit
        self._recent: dict[bytes, None] = {}
        self._open_transaction: sqlite3.Connection | None = None
        self._database: SharedDatabase | None = None
        if path is not None:
            self._database = SharedDatabase(
                path, kind="memory of message ids", application_id=_APPLICATION_ID, migrations=_MIGRATIONS
            )
        self.duplicates = 0
        """How many messages were there before."""
        self.without_id = 0
        """How many messages had no id. They count as new: nobody can say whether they are."""

    def first(self, message_id: str | None) -> bool:
        """Whether this message is new; it is no more, from then on. With a path: from the next ``commit`` on, for good.

        :raises StoreBroken: the file cannot be read.
        """
        if not message_id:
            self.without_id += 1
            return True
        ident = _compact(message_id)
        if ident in self._recent or self._stored(ident):
            self.duplicates += 1
            return False
        self._recent[ident] = None
        if len(self._recent) > self._limit:
            del self._recent[next(iter(self._recent))]
        return True

    def forget(self, message_id: str | None) -> None:
        """The message was not handled after all: it failed, and is new when it comes again.

        Only for what was not committed yet; a memory without a path commits nothing, so there always.
        """
        if message_id:
            self._recent.pop(_compact(message_id), None)

    def commit(self) -> None:
        """Remember for good what ``first`` has seen since the last commit. On the disk when it returns.

        :raises StoreBroken: nothing of it was stored; call it again, or let the messages come again.
        """
        if self._open_transaction is None and self._database is not None and self._recent:
            with self.transaction():
                pass

    def roll_back(self) -> None:
        """Forget what ``first`` has seen since the last commit: none of it was handled."""
        if self._database is not None:
            self._recent.clear()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Ids and effects in one commit. Ids seen in the block, and before it, are committed with what is written to
        the connection (tables of your own, in the same file); if the block raises, neither has happened.

            with seen.transaction() as database:
                if seen.first(message.message_id):
                    database.execute("UPDATE meter SET kwh = kwh + ?", (message.kwh,))

        :raises StoreBroken: nothing was stored.
        :raises ValueError: there is no path.
        """
        if self._database is None:
            raise ValueError("Seen.transaction() needs a file: Seen(path=...).")
        before = dict(self._recent)
        try:
            with self._database.transaction() as connection:
                self._open_transaction = connection
                yield connection
                self._store(connection)
        except BaseException:
            # What was seen before the block is still waiting for a commit; what was seen in it was not handled.
            self._recent = before
            raise
        finally:
            self._open_transaction = None
        self._recent.clear()

    def __len__(self) -> int:
        """How many ids are remembered. Raises StoreBroken."""
        if self._database is None or not self._there(self._database):
            return len(self._recent)
        [(count,)] = self._database.query(lambda c: c.execute("SELECT count(*) FROM seen").fetchall())
        return int(count) + len(self._recent)

    def close(self) -> None:
        """Close the file. What was not committed is forgotten."""
        self._recent.clear()
        if self._database is not None:
            self._database.close()

    def _stored(self, ident: bytes) -> bool:
        if self._database is None or not self._there(self._database):
            return False
        return bool(self._database.query(lambda c: c.execute("SELECT 1 FROM seen WHERE id = ?", (ident,)).fetchall()))

    def _store(self, connection: sqlite3.Connection) -> None:
        (last,) = connection.execute("SELECT number FROM last").fetchone()
        # Another thread or process with the same file may have been faster with one of them.
        for ident in self._recent:
            last += connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (last + 1, ident)).rowcount
        connection.execute("UPDATE last SET number = ?", (last,))
        connection.execute("DELETE FROM seen WHERE number <= ?", (last - self._limit,))

    @staticmethod
    def _there(database: SharedDatabase) -> bool:
        return database.is_open or database.path.exists()


def _compact(message_id: str) -> bytes:
    encoded = message_id.encode("utf-8", "surrogatepass")
    return encoded if len(encoded) <= _LONGEST else b"#" + blake2b(encoded, digest_size=20).digest()
