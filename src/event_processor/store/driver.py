"""Transactions and statements on the driver's own cursor, beside SQLAlchemy on the same connection.

For the one path where it counts: an event's outcome is stored in six statements before its commands leave, and SQLAlchemy's
way to a driver costs as much again as SQLite takes for all of them, most of it in code that has left the processor's cache
since the last event (benchmarks/store_writer.py). Failures come out as SQLAlchemy's, so that whoever calls need not know which
way was taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError

__all__ = ["DriverCursor", "Values"]

Values: TypeAlias = Sequence[object]

# PostgreSQL's class of errors for what is too large for one of its limits, such as a key for an index. For psycopg that is
# operational; but a value is at fault, and trying again would fail for ever.
_TOO_LARGE: Final = "54"


class DriverCursor:
    """For one connection, and for its thread. SQLAlchemy must have no transaction open on it, nor begin one meanwhile.

    All methods raise ``sqlalchemy.exc.DBAPIError``, and what the driver raises for values that it cannot take.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor = connection.connection.cursor()
        self._failure = connection.dialect.loaded_dbapi.Error
        # A transaction that reads first and writes later would fail where another program has written in between.
        self._begin = "BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else ""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside take effect, or none does. PostgreSQL's driver begins with the first statement."""
        driver = self._connection.connection.dbapi_connection
        assert driver is not None
        try:
            if self._begin:
                with self._told_as_sqlalchemy_does():
                    self._cursor.execute(self._begin)
            yield
            with self._told_as_sqlalchemy_does():
                driver.commit()
        except BaseException:
            if not self._connection.invalidated:
                with self._told_as_sqlalchemy_does():
                    driver.rollback()
            raise

    def first(self, statement: str, values: Values) -> Values:
        """The first row that the statement gives. Raises ``LookupError`` where it gives none."""
        with self._told_as_sqlalchemy_does():
            self._cursor.execute(statement, values)
            row: Values | None = self._cursor.fetchone()
        if row is None:
            raise LookupError("the statement gave no row")
        return row

    def rows(self, statement: str, values: Values) -> Sequence[Values]:
        """All rows that the statement gives."""
        with self._told_as_sqlalchemy_does():
            self._cursor.execute(statement, values)
            found: Sequence[Values] = self._cursor.fetchall()
        return found

    def write(self, statement: str, rows: Sequence[Values]) -> int:
        """Run the statement once for each row. How many rows of the table that made or changed."""
        if not rows:
            return 0
        with self._told_as_sqlalchemy_does():
            if len(rows) == 1:
                self._cursor.execute(statement, rows[0])
            else:
                self._cursor.executemany(statement, rows)
            return int(self._cursor.rowcount)

    @contextmanager
    def _told_as_sqlalchemy_does(self) -> Iterator[None]:
        try:
            yield
        except self._failure as error:
            if str(getattr(error, "sqlstate", "")).startswith(_TOO_LARGE):
                raise DataError(None, None, error, hide_parameters=True) from error
            connection = self._connection
            dead = bool(connection.dialect.is_disconnect(error, connection.connection.dbapi_connection, self._cursor))
            if dead:
                connection.invalidate(error)
            # Without statement and values: they are people's data, and have no place in a log.
            raise DBAPIError.instance(
                None, None, error, self._failure, hide_parameters=True, connection_invalidated=dead, dialect=connection.dialect
            ) from error
