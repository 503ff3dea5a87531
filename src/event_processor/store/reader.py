"""Reads the store, for the pages and the command line: read-only, on connections of its own, beside the writer.

Lists come in pages, the latest first. A page's ``next`` is where the following one begins (keyset pagination: however far one
goes back, a page costs the same, and what arrives meanwhile shifts nothing).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import URL, ColumnElement, Connection, Select, Table, and_, or_, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from event_processor.domain.events import Event
from event_processor.domain.outcome import Evaluation, Scope, Step
from event_processor.domain.prompts import Prompt
from event_processor.store import tables as t
from event_processor.store.database import file_of, make_engine, parse_url
from event_processor.store.errors import StoreUnavailable, say
from event_processor.store.rows import evaluation_of, event_of, prompt_of, step_of

__all__ = ["Cursor", "Explanation", "Page", "Reader", "StoredEvaluation", "StoredEvent", "StoredStep"]

MOST_ROWS: Final = 1000
"""Rows in one page, at most."""

READ_AT_ONCE: Final = 2000
"""Rows read at a time where all of them are gone through."""

Item = TypeVar("Item")


class Cursor(msgspec.Struct, frozen=True):
    """Where a page ends: the time and the number of its last row. ``str`` and ``parse`` are for an address line."""

    at: float
    id: int

    def __str__(self) -> str:
        return f"{self.at!r}_{self.id}"

    @staticmethod
    def parse(text: str) -> Cursor:
        """Raises ``ValueError`` for what is none: databases do not agree on what comes after a moment that is no number."""
        at, _, number = text.partition("_")
        found = Cursor(float(at), int(number))
        if not isfinite(found.at) or not 0 <= found.id < 2**63:
            raise ValueError(f"{text[:80]!r} is no place in a list")
        return found


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """Some rows, the latest first; ``next`` is None on the last page."""

    rows: tuple[Item, ...]
    next: Cursor | None = None


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome's cause, and ``at``, when it was decided. ``event`` and ``prompt`` are None for a timer's; ``kind`` is the
    event's, or "doubted" for a reading that was not believed, "presence", "request", "schedule" or "timer"."""

    id: int
    cause: str
    at: float
    kind: str
    event: Event | None
    prompt: Prompt | None = None


class StoredEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule concluded, and the number of the event that it looked at."""

    id: int
    event_id: int
    evaluation: Evaluation


class StoredStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step, and what became of it: ``pending``, ``done``, ``failed`` or ``expired``, when, and why."""

    event_id: int
    step: Step
    status: str
    settled_at: float | None
    reason: str | None


class Explanation(msgspec.Struct, frozen=True):
    """All there is about one cause: what happened, what each rule concluded, and what was done."""

    event: StoredEvent
    evaluations: tuple[StoredEvaluation, ...]
    steps: tuple[StoredStep, ...]


class Reader:
    """Any thread may call it, several at once. Everything raises ``StoreUnavailable`` where the store cannot be read.

    Opens nothing yet; a file that does not exist is not made.
    """

    def __init__(self, url: str | os.PathLike[str] | URL) -> None:
        self.url = parse_url(url)
        self._engine = make_engine(self.url, read_only=True)

    def close(self) -> None:
        """Let go of the connections. The reader can be used again."""
        self._engine.dispose()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection on which everything read is of one moment."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            name = file_of(self.url) or self.url.render_as_string()
            raise StoreUnavailable(f"The store {name} cannot be read: {say(error)}") from error

    def events(
        self,
        *,
        device: str | None = None,
        type: str | None = None,
        kind: str | None = None,
        text: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: Cursor | None = None,
        limit: int = 100,
    ) -> Page[StoredEvent]:
        """What happened, between two moments (``until`` is not in it). ``text`` is looked for in the whole event."""
        table = t.events.c
        query = select(t.events)
        for column, value in ((table.device, device), (table.type, type), (table.kind, kind)):
            if value is not None:
                query = query.where(column == value)
        if text:
            # A pattern ends at a NUL in SQLite, and would match everything; no stored text has one that could be searched for.
            text = text.replace("\0", "\ufffd")
            pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            columns = (table.device, table.topic, table.body)
            query = query.where(or_(*(column.ilike(pattern, escape="\\") for column in columns)))
        return self._page(query, t.events, since, until, after, limit, _event)

    def explain(self, cause: str | int) -> Explanation | None:
        """All there is about a cause, by its name or its number; None where it is unknown."""
        with self.connect() as connection:
            found = t.events.c.id == cause if isinstance(cause, int) else t.events.c.cause == cause
            row = connection.execute(select(t.events).where(found)).first()
            if row is None:
                return None
            looked = select(t.evaluations).where(t.evaluations.c.event_id == row.id).order_by(t.evaluations.c.id)
            done = select(t.steps).where(t.steps.c.event_id == row.id).order_by(t.steps.c.position)
            return Explanation(
                _event(row),
                tuple(_evaluation(each) for each in connection.execute(looked)),
                tuple(_step(each) for each in connection.execute(done)),
            )

    def evaluations(
        self,
        *,
        rule: str | None = None,
        device: str | None = None,
        fired: bool | None = None,
        since: float | None = None,
        until: float | None = None,
        after: Cursor | None = None,
        limit: int = 100,
    ) -> Page[StoredEvaluation]:
        """What rules concluded."""
        table = t.evaluations.c
        query = select(t.evaluations)
        if rule is not None:
            query = query.where(table.rule == rule)
        if device is not None:
            query = query.where(table.device == device)
        if fired is not None:
            query = query.where(table.fired.is_(fired))
        return self._page(query, t.evaluations, since, until, after, limit, _evaluation)

    def steps(
        self, *, output: str | None = None, status: str | None = None, since: float | None = None, limit: int = 100
    ) -> tuple[StoredStep, ...]:
        """What was to be done, the latest first."""
        table = t.steps.c
        query = select(t.steps).order_by(table.at.desc(), table.event_id.desc(), table.position.desc())
        for column, value in ((table.output, output), (table.status, status)):
            if value is not None:
                query = query.where(column == value)
        if since is not None:
            query = query.where(table.at >= since)
        with self.connect() as connection:
            return tuple(_step(row) for row in connection.execute(query.limit(min(limit, MOST_ROWS))))

    def state(self, scope: Scope) -> Mapping[str, bytes]:
        """The values of one scope by key, as JSON."""
        query = select(t.state.c.key, t.state.c.value).where(t.state.c.scope == scope).order_by(t.state.c.key)
        with self.connect() as connection:
            return {key: value.encode() for key, value in connection.execute(query)}

    def iter_events(self, since: float, until: float | None = None) -> Iterator[StoredEvent]:
        """Every event from a moment on, in the order in which they were decided; memory stays bounded.

        All of it is of the moment of the first one. Timers are in it too, with no ``event``.
        """
        table = t.events.c
        columns = (table.id, table.cause, table.at, table.kind, table.body)
        place = (since, -1)
        with self.connect() as connection:
            while True:
                query = select(*columns).where(tuple_(table.at, table.id) > place).order_by(table.at, table.id)
                if until is not None:
                    query = query.where(table.at < until)
                rows = connection.execute(query.limit(READ_AT_ONCE)).all()
                for number, cause, at, kind, body in rows:
                    yield StoredEvent(
                        id=number, cause=cause, at=at, kind=kind, event=event_of(kind, body), prompt=prompt_of(kind, body)
                    )
                if len(rows) < READ_AT_ONCE:
                    return
                place = (rows[-1].at, rows[-1].id)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _page(
        self,
        query: Select[Any],
        table: Table,
        since: float | None,
        until: float | None,
        after: Cursor | None,
        limit: int,
        make: Any,
    ) -> Page[Any]:
        limit = max(1, min(limit, MOST_ROWS))
        conditions: list[ColumnElement[bool]] = []
        if since is not None:
            conditions.append(table.c.at >= since)
        if until is not None:
            conditions.append(table.c.at < until)
        if after is not None:
            conditions.append(tuple_(table.c.at, table.c.id) < (after.at, after.id))
        if conditions:
            query = query.where(and_(*conditions))
        query = query.order_by(table.c.at.desc(), table.c.id.desc()).limit(limit + 1)
        with self.connect() as connection:
            rows = connection.execute(query).all()
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(tuple(make(row) for row in rows), Cursor(rows[-1].at, rows[-1].id) if more else None)


def _event(row: Any) -> StoredEvent:
    kind, body = row.kind, row.body
    return StoredEvent(
        id=row.id, cause=row.cause, at=row.at, kind=kind, event=event_of(kind, body), prompt=prompt_of(kind, body)
    )


def _evaluation(row: Any) -> StoredEvaluation:
    return StoredEvaluation(id=row.id, event_id=row.event_id, evaluation=evaluation_of(row))


def _step(row: Any) -> StoredStep:
    return StoredStep(
        event_id=row.event_id, step=step_of(row), status=row.status, settled_at=row.settled_at, reason=row.reason
    )
