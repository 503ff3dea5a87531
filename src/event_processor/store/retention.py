"""Forgetting what is too old or too much, in slices of a few milliseconds between the writer's batches."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Final

import msgspec
from sqlalchemy import Connection, Table, delete, exists, select, text, tuple_

from event_processor.store import tables as t
from event_processor.store.bounds import FAILED_LOGIN, RowBound, leftovers, over_tokens
from event_processor.store.images import ImageSweep

__all__ = ["Limits", "Sweep"]

log = logging.getLogger("event_processor.store")

SLICE: Final = 100
"""Rows deleted in one statement."""

SLICE_TIME: Final = 0.004
"""Seconds after which a slice ends and the writer's batches have their turn."""

FREE_PAGES: Final = 64
"""Pages given back to the file system at a time."""

DAY: Final = 86_400.0

SPARED: Final = 7 * DAY
"""Seconds of history that a file which is too large keeps of events, while there are readings that are older."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long things are kept, in days, and how large the file may be, in bytes; 0 is without limit.

    Past ``most_bytes`` the oldest events go, down to nine tenths of it; where only the last week's are left, the oldest
    readings. SQLite only: PostgreSQL gives space back to its tables and not to the disk, so there the ages decide.
    ``most_audit``, ``most_failed_logins`` and ``most_notifications`` are rows; failed logins, which strangers can have
    written, are counted by themselves, so that they push out nothing else. ``gone_days`` is for what is known of devices and
    meters that are none any more. Totals of days and months, the state of what is there and accounts are never forgotten.
    Events with steps that wait to be sent are kept until those are settled.
    """

    events_days: float = 90.0
    readings_days: float = 400.0
    hours_days: float = 400.0
    notifications_days: float = 90.0
    audit_days: float = 400.0
    gone_days: float = 400.0
    most_audit: int = 100_000
    most_failed_logins: int = 10_000
    most_notifications: int = 50_000
    most_bytes: int = 4 * 1024**3


class Sweep:
    """One writer's retention. Belongs to its thread.

    :param images: the pictures on disk, to be forgotten as well.
    :param every_s: seconds between two looks when there is nothing to do; ``pause_s`` while there is.
    """

    def __init__(
        self, limits: Limits, *, images: ImageSweep | None = None, every_s: float = 60.0, pause_s: float = 0.02
    ) -> None:
        self.limits = limits
        self._images = images
        self.every_s = every_s
        self.pause_s = pause_s
        self.forgotten = 0
        self._shrinking = False
        self._leftovers_at = 0.0
        failed = t.audit.c.action == FAILED_LOGIN
        self._bounds = (
            RowBound(t.audit, limits.most_failed_logins, failed),
            RowBound(t.audit, limits.most_audit, ~failed),
            RowBound(t.notifications, limits.most_notifications),
        )

    def run(self, connection: Connection, now: float, monotonic: Callable[[], float]) -> bool:
        """Forget for a few milliseconds. Whether there is more to do. Raises what SQLAlchemy raises."""
        until = monotonic() + SLICE_TIME
        while True:
            with connection.begin():
                gone = self._slice(connection, now)
            self.forgotten += gone
            if not gone:
                return self._tidy(connection, now) or self._give_back(connection)
            if monotonic() >= until:
                return True

    def _tidy(self, connection: Connection, now: float) -> bool:
        """Look for pictures that no entry names. Whether there are more files to look at."""
        if self._images is None:
            return False
        with connection.begin():
            return self._images.tidy(connection, now)

    def _slice(self, connection: Connection, now: float) -> int:
        limits = self.limits
        if limits.events_days and (gone := self._events(connection, now - limits.events_days * DAY)):
            return gone
        aged: list[tuple[Table, float]] = [
            (t.readings, limits.readings_days), (t.notifications, limits.notifications_days), (t.audit, limits.audit_days),
        ]  # fmt: skip
        for table, days in aged:
            if days and (gone := self._rows(connection, table, now - days * DAY)):
                return gone
        if limits.hours_days:
            old = delete(t.totals).where(t.totals.c.span == "hour", t.totals.c.start < now - limits.hours_days * DAY)
            if gone := connection.execute(old).rowcount:
                return gone
        gone = connection.execute(delete(t.sessions).where(t.sessions.c.expires_at < now)).rowcount
        if gone or (gone := over_tokens(connection, now)):
            return gone
        if limits.gone_days and now >= self._leftovers_at:
            if gone := leftovers(connection, now - limits.gone_days * DAY):
                return gone
            self._leftovers_at = now + DAY  # all of the state was looked through
        for bound in self._bounds:
            if gone := bound.run(connection):
                return gone
        if self._images is not None and (gone := self._images.run(connection, now)):
            return gone
        return self._largest(connection, now - SPARED) if self._too_large(connection) else 0

    def _largest(self, connection: Connection, spared: float) -> int:
        """Forget a slice of what takes the room, so that neither events nor readings go altogether for the other ones."""
        return (
            self._events(connection, spared)
            or self._rows(connection, t.readings, spared)
            or self._events(connection, None)
            or self._rows(connection, t.readings, float("inf"))
        )

    @staticmethod
    def _events(connection: Connection, before: float | None) -> int:
        waiting = exists().where(t.steps.c.event_id == t.events.c.id, t.steps.c.status == t.PENDING)
        oldest = select(t.events.c.id).where(~waiting).order_by(t.events.c.at, t.events.c.id).limit(SLICE)
        if before is not None:
            oldest = oldest.where(t.events.c.at < before)
        return connection.execute(delete(t.events).where(t.events.c.id.in_(oldest.scalar_subquery()))).rowcount

    @staticmethod
    def _rows(connection: Connection, table: Table, before: float) -> int:
        keys = list(table.primary_key.columns)
        oldest = select(*keys).where(table.c.at < before).order_by(table.c.at).limit(SLICE)
        rows = [tuple(row) for row in connection.execute(oldest)]
        return connection.execute(delete(table).where(tuple_(*keys).in_(rows))).rowcount if rows else 0

    def _too_large(self, connection: Connection) -> bool:
        """Whether events have to go for their size: from the limit on, down to nine tenths of it."""
        if not self.limits.most_bytes or connection.dialect.name != "sqlite":
            return False
        size, pages, free = (
            int(connection.execute(text(f"PRAGMA {pragma}")).scalar_one())
            for pragma in ("page_size", "page_count", "freelist_count")
        )
        used = size * (pages - free)
        self._shrinking = used > self.limits.most_bytes * (0.9 if self._shrinking else 1.0)
        return self._shrinking

    @staticmethod
    def _give_back(connection: Connection) -> bool:
        """Return free pages of the file to the file system. Whether there are more."""
        if connection.dialect.name != "sqlite":
            return False
        free = int(connection.execute(text("PRAGMA freelist_count")).scalar_one())
        connection.rollback()
        if free < FREE_PAGES:
            return False
        with connection.begin():
            # A page is given back with each step of the statement, so it has to be stepped to its end.
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            raw.execute(f"PRAGMA incremental_vacuum({FREE_PAGES})").fetchall()
        return True
