"""Reads meters, notifications and pictures for the pages: curves with as many points as can be seen, and totals."""

from __future__ import annotations

import msgspec
from sqlalchemy import Integer, cast, func, select

from event_processor.domain.meter_periods import Span
from event_processor.domain.records import ImageRecord, NotificationRecord
from event_processor.store import tables as t
from event_processor.store.reader import MOST_ROWS, Reader

__all__ = ["Point", "Series", "StoredTotal"]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What the readings of one stretch of time come to; ``at`` is where it begins, ``used`` what was used in it."""

    at: float
    samples: int
    lowest: float | None
    highest: float | None
    used: float | None


class StoredTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What was metered in the hour, day or month that begins at ``start``."""

    start: float
    amount: float
    samples: int


class Series:
    """Any thread, as ``Reader``, on whose connections it reads; raises ``StoreUnavailable`` as that does."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def meters(self) -> tuple[str, ...]:
        """The meters that have totals, by name."""
        with self._reader.connect() as connection:
            return tuple(connection.execute(select(t.totals.c.meter).distinct().order_by(t.totals.c.meter)).scalars())

    def readings(self, meter: str, since: float, until: float, points: int = 500) -> tuple[Point, ...]:
        """The readings between two moments, put together so that there are at most ``points`` of them."""
        points = max(1, min(points, MOST_ROWS))
        width = max((until - since) / points, 1e-6)
        table = t.readings.c
        with self._reader.connect() as connection:
            place = (table.at - since) / width
            stretch = cast(place, Integer) if connection.dialect.name == "sqlite" else func.floor(place)
            query = (
                select(stretch, func.count(), func.min(table.register), func.max(table.register), func.sum(table.delta))
                .where(table.meter == meter, table.at >= since, table.at < until)
                .group_by(stretch)
                .order_by(stretch)
            )
            return tuple(
                Point(at=since + int(number) * width, samples=count, lowest=low, highest=high, used=used)
                for number, count, low, high, used in connection.execute(query)
            )

    def totals(self, meter: str, span: Span, since: float, until: float) -> tuple[StoredTotal, ...]:
        """The hours, days or months that begin between two moments, the first one first."""
        table = t.totals.c
        query = (
            select(table.start, table.amount, table.samples)
            .where(table.meter == meter, table.span == span, table.start >= since, table.start < until)
            .order_by(table.start)
            .limit(10 * MOST_ROWS)
        )
        with self._reader.connect() as connection:
            return tuple(
                StoredTotal(start=start, amount=amount, samples=samples)
                for start, amount, samples in connection.execute(query)
            )

    def notifications(self, *, step: str | None = None, limit: int = 100) -> tuple[NotificationRecord, ...]:
        """What people were told, the latest first; of one step, if one is given."""
        table = t.notifications.c
        query = select(t.notifications).order_by(table.id.desc()).limit(min(limit, MOST_ROWS))
        if step is not None:
            query = query.where(table.step_id == step)
        with self._reader.connect() as connection:
            return tuple(
                NotificationRecord(
                    step=row.step_id,
                    target=row.target,
                    title=row.title,
                    body=row.body,
                    at=row.at,
                    status=row.status,
                    attempts=row.attempts,
                    reason=row.reason,
                )
                for row in connection.execute(query)
            )

    def images(
        self,
        *,
        device: str | None = None,
        before: float | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
    ) -> tuple[ImageRecord, ...]:
        """Pictures, the latest first: taken before a moment, or from ``since`` up to ``until``, both included."""
        table = t.images.c
        query = select(t.images).order_by(table.at.desc(), table.id.desc()).limit(min(limit, MOST_ROWS))
        if device is not None:
            query = query.where(table.device == device)
        if before is not None:
            query = query.where(table.at < before)
        if since is not None:
            query = query.where(table.at >= since)
        if until is not None:
            query = query.where(table.at <= until)
        with self._reader.connect() as connection:
            return tuple(
                ImageRecord(
                    name=row.name,
                    device=row.device,
                    at=row.at,
                    size=row.size,
                    sha256=row.sha256,
                    content_type=row.content_type,
                    cause=row.cause,
                )
                for row in connection.execute(query)
            )
