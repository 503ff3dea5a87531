"""How many rows a table may have, and rows of what is gone: what ages alone do not bound. For the writer's sweep."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, func, or_, select, true, tuple_

from event_processor.store import tables as t

__all__ = ["FAILED_LOGIN", "RowBound", "leftovers", "over_tokens"]

#: The action of the audit that strangers can have written as often as they like.
FAILED_LOGIN: Final = "login.failed"

SLICE: Final = 100
"""Rows deleted in one statement."""

TOKENS_DAYS: Final = 30.0
"""Days for which a token that is revoked or over is still listed."""

DOWN_TO: Final = 0.9
"""The share of a bound down to which rows go, so that they need not be counted all the time."""

_DAY: Final = 86_400.0


class RowBound:
    """At most so many rows of a table whose numbers (``id``) grow: the oldest ones go. Belongs to the writer's thread.

    They are counted only when so many have come since that there may be too many.

    :param where: which of the table's rows it is about; None for all.
    """

    def __init__(self, table: Table, most: int, where: ColumnElement[bool] | None = None) -> None:
        self._table = table
        self._most = most
        self._where = true() if where is None else where
        self._highest = self._look_at = self._excess = 0

    def run(self, connection: Connection) -> int:
        """Forget a slice; how many rows. In the caller's transaction. Raises what SQLAlchemy raises."""
        number = self._table.c.id
        if not self._excess:
            highest = int(connection.execute(select(func.coalesce(func.max(number), 0))).scalar_one())
            if highest < self._highest:  # SQLite begins anew once a table was empty
                self._look_at = 0
            self._highest = highest
            if not self._most or highest < self._look_at:
                return 0
            count = int(connection.execute(select(func.count()).select_from(self._table).where(self._where)).scalar_one())
            if count <= self._most:
                self._look_at = highest + self._most - count + 1
                return 0
            self._excess = count - int(self._most * DOWN_TO)
        oldest = select(number).where(self._where).order_by(number).limit(min(SLICE, self._excess))
        numbers = connection.execute(oldest).scalars().all()
        self._excess = self._excess - len(numbers) if numbers else 0
        return connection.execute(delete(self._table).where(number.in_(numbers))).rowcount if numbers else 0


def over_tokens(connection: Connection, now: float) -> int:
    """Forget tokens that have been revoked, or over, for a while; how many."""
    before, table = now - TOKENS_DAYS * _DAY, t.tokens
    return connection.execute(delete(table).where(or_(table.c.revoked_at < before, table.c.expires_at < before))).rowcount


def leftovers(connection: Connection, before: float) -> int:
    """Forget a slice of what is known of devices and meters that are none any more and have not been heard since; how many."""
    known = t.state.alias()
    there = exists().where(known.c.scope.in_(("entity", "device")), known.c.key == t.state.c.key)
    old = and_(t.state.c.scope.in_(("meter", "value", "online", "liveness")), t.state.c.changed_at < before, ~there)
    keys = [tuple(row) for row in connection.execute(select(t.state.c.scope, t.state.c.key).where(old).limit(SLICE))]
    if not keys:
        return 0
    return connection.execute(delete(t.state).where(tuple_(t.state.c.scope, t.state.c.key).in_(keys))).rowcount
