"""Writes a batch of outcomes in one transaction, with a handful of statements however large the batch is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Final, TypeVar

import msgspec
from sqlalchemy import Connection, Table

from event_processor.domain.outcome import Scope, Step
from event_processor.domain.records import ImageRecord, MeterRecord, NotificationRecord, Record
from event_processor.store import tables as t
from event_processor.store.driver import DriverCursor
from event_processor.store.rows import STEP_COLUMNS, OutcomeRows, Row, step_of

__all__ = ["BatchWriter", "Settled", "Written"]

Value = TypeVar("Value")

MOST_VARIABLES: Final = 500
"""Values in one ``IN``: SQLite's limit is far above, and PostgreSQL plans a short list better."""


class Settled(msgspec.Struct, frozen=True):
    """What became of a step: its id, ``done``, ``failed`` or ``expired``, when, and why."""

    step: str
    status: str
    at: float
    reason: str | None = None


class Written(msgspec.Struct, frozen=True):
    """What a batch came to: the numbers of the events by cause, and the pending steps of causes that were there already."""

    ids: Mapping[str, int]
    repeated: Mapping[str, tuple[Step, ...]]


class BatchWriter:
    """The statements of the writer for one connection. Belongs to the connection's thread."""

    def __init__(self, connection: Connection) -> None:
        self._cursor = DriverCursor(connection)
        self._mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
        self._events = self._insert(
            t.events, ("id", "cause", "at", "device", "kind", "type", "topic", "active", "body"),
            "ON CONFLICT (cause) DO NOTHING",
        )  # fmt: skip
        self._evaluations = self._insert(
            t.evaluations, ("event_id", "rule", "device", "at", "fired", "reason", "explanation", "checks")
        )
        self._steps = self._insert(t.steps, STEP_COLUMNS, "ON CONFLICT (id) DO NOTHING")
        self._state = self._insert(
            t.state, ("scope", "key", "value", "changed_at"),
            "ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at",
        )  # fmt: skip
        self._forget = self._sql("DELETE FROM state WHERE scope = ? AND key = ?")
        self._settle = self._sql("UPDATE steps SET status = ?, settled_at = ?, reason = ? WHERE id = ?")
        self._number = self._sql(
            "INSERT INTO meta (key, value) VALUES ('last_event', ?) ON CONFLICT (key) DO UPDATE "
            "SET value = CAST(CAST(meta.value AS BIGINT) + CAST(excluded.value AS BIGINT) AS TEXT) RETURNING value"
        )
        self._readings = self._insert(t.readings, ("meter", "at", "register", "delta", "minute"), "ON CONFLICT DO NOTHING")
        self._totals = self._insert(
            t.totals,
            ("meter", "span", "start", "amount", "samples"),
            "ON CONFLICT (meter, span, start) DO UPDATE "
            "SET amount = totals.amount + excluded.amount, samples = totals.samples + excluded.samples",
        )
        self._notifications = self._insert(
            t.notifications, ("step_id", "target", "title", "body", "at", "status", "attempts", "reason")
        )
        self._images = self._insert(
            t.images, ("name", "device", "at", "size", "sha256", "content_type", "cause"),
            # The same picture once more: the entry tells of the last time.
            "ON CONFLICT (name) DO UPDATE SET at = excluded.at, cause = excluded.cause WHERE excluded.at > images.at",
        )  # fmt: skip

    def write(
        self,
        outcomes: Sequence[OutcomeRows],
        *,
        settled: Iterable[Settled] = (),
        changes: Mapping[tuple[Scope, str], str | None] = {},
        records: Sequence[Record] = (),
        now: float,
    ) -> Written:
        """Store all of it or nothing, in one transaction, and commit.

        :param changes: of the state, from earlier outcomes that could not be stored; those of ``outcomes`` come after them.
        :raises sqlalchemy.exc.SQLAlchemyError: nothing was stored, and no transaction is open.
        """
        with self._cursor.transaction():
            ids, repeated = self._write_events(outcomes)
            fresh = outcomes
            if len(ids) != len(outcomes) or repeated:
                # The first of each cause that was not there.
                fresh = list({rows.outcome.cause: rows for rows in reversed(outcomes)}.values())[::-1]
                fresh = [rows for rows in fresh if rows.outcome.cause not in repeated]
            self._cursor.write(self._evaluations, [
                (ids[rows.outcome.cause], *row) for rows in fresh for row in rows.evaluations
            ])  # fmt: skip
            self._cursor.write(self._steps, [
                (row[0], ids[rows.outcome.cause], *row[1:]) for rows in fresh for row in rows.steps
            ])  # fmt: skip
            merged = dict(changes)
            for rows in fresh:
                merged.update(rows.changes)
            self._write_state(merged, now)
            # One of each cause, the first: what comes again adds nothing.
            metered = {r.cause: r for r in reversed(records) if isinstance(r, MeterRecord) and r.cause not in repeated}
            self._write_meters(list(metered.values())[::-1])
            self._cursor.write(self._settle, [(s.status, s.at, s.reason, s.step) for s in settled])
            self._write_records(records)
        return Written(ids, repeated)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _write_events(self, outcomes: Sequence[OutcomeRows]) -> tuple[dict[str, int], dict[str, tuple[Step, ...]]]:
        if not outcomes:
            return {}, {}
        count = len(outcomes)
        # Serialises hubs that share the database: numbers become visible in their order, so that a reader who goes on
        # after the last number that it saw misses nothing.
        last = int(str(self._cursor.first(self._number, (str(count),))[0]))
        numbers = range(last - count + 1, last + 1)
        rows: list[Row] = [(number, *rows.event) for number, rows in zip(numbers, outcomes, strict=True)]
        stored = self._cursor.write(self._events, rows)
        mine = {rows.outcome.cause: number for number, rows in zip(reversed(numbers), reversed(outcomes), strict=True)}
        if stored == count:
            return mine, {}
        ids: dict[str, int] = {}
        for some in _slices(list(mine)):
            found_ids = self._cursor.rows(self._sql(f"SELECT cause, id FROM events WHERE cause IN {_marks(some)}"), some)
            ids.update((str(cause), int(str(number))) for cause, number in found_ids)
        before = {cause: number for cause, number in ids.items() if number not in numbers}
        found: dict[str, list[Step]] = {cause: [] for cause in before}
        causes = {number: cause for cause, number in before.items()}
        columns = ", ".join(STEP_COLUMNS)
        for some_ids in _slices(list(causes)):
            pending = self._sql(
                f"SELECT {columns} FROM steps WHERE status = ? AND event_id IN {_marks(some_ids)} ORDER BY event_id, position"
            )
            for values in self._cursor.rows(pending, (t.PENDING, *some_ids)):
                row = SimpleNamespace(**dict(zip(STEP_COLUMNS, values, strict=True)))
                found[causes[row.event_id]].append(step_of(row))
        return ids, {cause: tuple(steps) for cause, steps in found.items()}

    def _write_state(self, changes: Mapping[tuple[Scope, str], str | None], now: float) -> None:
        self._cursor.write(self._forget, [key for key, value in changes.items() if value is None])
        self._cursor.write(self._state, [(*key, value, now) for key, value in changes.items() if value is not None])

    def _write_meters(self, records: Sequence[MeterRecord]) -> None:
        readings = [record.reading for record in records if record.reading is not None]
        self._cursor.write(self._readings, [(r.entity, r.at, r.register, r.delta, r.minute) for r in readings])
        sums: dict[tuple[str, str, float], list[float]] = {}
        for record in records:
            for added in record.added:
                amounts = sums.setdefault((added.entity, added.span, added.start), [0.0, 0])
                amounts[0] += added.amount
                amounts[1] += 1
        self._cursor.write(self._totals, [(*key, amount, int(count)) for key, (amount, count) in sums.items()])

    def _write_records(self, records: Sequence[Record]) -> None:
        self._cursor.write(self._notifications, [
            (r.step, r.target, r.title, r.body, r.at, r.status, r.attempts, r.reason)
            for r in records if isinstance(r, NotificationRecord)
        ])  # fmt: skip
        self._cursor.write(self._images, [
            (r.name, r.device, r.at, r.size, r.sha256, r.content_type, r.cause) for r in records if isinstance(r, ImageRecord)
        ])  # fmt: skip

    def _insert(self, table: Table, columns: Sequence[str], suffix: str = "") -> str:
        marks = ", ".join("?" * len(columns))
        return self._sql(f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks}) {suffix}")

    def _sql(self, statement: str) -> str:
        return statement.replace("?", self._mark)


def _marks(values: Sequence[object]) -> str:
    return f"({', '.join('?' * len(values))})"


def _slices(values: list[Value]) -> Iterable[list[Value]]:
    return (values[start : start + MOST_VARIABLES] for start in range(0, len(values), MOST_VARIABLES))
