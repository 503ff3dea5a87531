"""Only one hub writes to a PostgreSQL store: the one that came last.

A hub that is stopped in its tracks (a machine that freezes, a network that parts) may wake up after another has taken over. So
the writer's session holds an advisory lock, and all its writes are made in that session: whoever takes over waits for the
lock and then ends the session that has it, which undoes what was not committed. Each takeover counts an epoch on, by which a
hub that connects again sees that its time is over.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from event_processor.store.errors import StoreTaken, StoreUnavailable

__all__ = ["Fence"]

WRITER_LOCK: Final = 0x4875625772
GRACE_S: Final = 2.0
"""Seconds that the hub before may take to write its last words: a stop takes less than one."""

_HOLDERS: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND classid = :high AND objid = :low AND pid <> pg_backend_pid() "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Fence:
    """One hub's claim to be the writer. Belongs to the thread that opens the store."""

    def __init__(self) -> None:
        self._epoch: int | None = None

    def claim(self, connection: Connection, name: str) -> None:
        """Become the writer, in this session and until it ends; the schema has to be there. Leaves no transaction open.

        Raises ``StoreTaken`` where another hub has become it since this one was, and ``StoreUnavailable``.
        """
        self._check(connection, name)
        if not _lock(connection):
            connection.execute(_HOLDERS, {"high": WRITER_LOCK >> 32, "low": WRITER_LOCK & 0xFFFFFFFF})
            connection.commit()
            if not _lock(connection):
                raise StoreUnavailable(f"The store {name} is held by another hub that cannot be ended. Stop that one.")
        self._check(connection, name)
        if self._epoch is None:
            counted = connection.execute(
                text(
                    "INSERT INTO meta (key, value) VALUES ('epoch', '1') ON CONFLICT (key) DO UPDATE "
                    "SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT) RETURNING value"
                )
            )
            self._epoch = int(counted.scalar_one())
        connection.commit()

    def _check(self, connection: Connection, name: str) -> None:
        found = connection.execute(text("SELECT value FROM meta WHERE key = 'epoch'")).scalar()
        connection.commit()
        if self._epoch is not None and found != str(self._epoch):
            raise StoreTaken(f"Another hub has taken over the store {name}, so this one ends. That is how it should be.")


def _lock(connection: Connection) -> bool:
    """Wait for the lock for a while. It is the session's: gone with the connection, and not before."""
    try:
        connection.execute(text(f"SET LOCAL lock_timeout = '{GRACE_S * 1000:.0f}ms'"))
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": WRITER_LOCK})
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", "") != "55P03":  # lock_not_available
            raise
        connection.rollback()
        return False
    connection.commit()
    return True
