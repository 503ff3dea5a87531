"""The history in the form in which it is decided on once more: what was said, when timers rang, what was so at a moment.

The state of a moment in the past is not stored as such. ``state_before`` has what has not changed since, which is exact;
``wishes_before`` has what people and programs had asked for by then. What devices had said is heard again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import func, select

from event_processor.domain.outcome import Change
from event_processor.domain.prompts import Request
from event_processor.domain.replay import Said
from event_processor.store import tables as t
from event_processor.store.reader import Reader
from event_processor.store.rows import prompt_of

__all__ = ["count", "rung", "said", "state_before", "wishes_before"]

_LASTING: Final = ("set_mode", "enable", "disable", "maintenance")
MOST_WISHES: Final = 100_000
"""Wishes that are looked through, the latest ones."""


def said(reader: Reader, since: float, until: float | None = None) -> Iterator[tuple[str, float, Said]]:
    """Everything that was decided on, in the order in which it was: cause, when, and what it was. Timers are left out, and
    readings that were not believed."""
    for one in reader.iter_events(since, until):
        what = one.event if one.event is not None else one.prompt
        if what is not None and one.kind != "doubted":
            yield one.cause, one.at, what


def count(reader: Reader, since: float, until: float | None = None) -> int:
    """How many rows ``said`` goes through."""
    query = select(func.count()).select_from(t.events).where(t.events.c.at >= since)
    if until is not None:
        query = query.where(t.events.c.at < until)
    with reader.connect() as connection:
        return int(connection.execute(query).scalar_one())


def rung(reader: Reader, since: float, until: float | None = None) -> dict[str, float]:
    """When timers rang, by the causes of their outcomes: for ``Engine.rung``."""
    query = select(t.events.c.cause, t.events.c.at).where(t.events.c.kind == "timer", t.events.c.at >= since)
    if until is not None:
        query = query.where(t.events.c.at < until)
    with reader.connect() as connection:
        return {row.cause: float(row.at) for row in connection.execute(query)}


def state_before(reader: Reader, moment: float) -> list[Change]:
    """What was so at a moment and is so still."""
    query = select(t.state.c.scope, t.state.c.key, t.state.c.value).where(t.state.c.changed_at < moment)
    with reader.connect() as connection:
        return [Change(scope, key, value.encode()) for scope, key, value in connection.execute(query)]


def wishes_before(reader: Reader, moment: float) -> list[tuple[float, Request]]:
    """The wishes that were granted or refused before a moment and may have an effect still: modes and switches, in order."""
    query = (
        select(t.events.c.at, t.events.c.kind, t.events.c.body)
        .where(t.events.c.kind.in_(("request", "schedule")), t.events.c.at < moment)
        .order_by(t.events.c.at.desc(), t.events.c.id.desc())
        .limit(MOST_WISHES)
    )
    found: list[tuple[float, Request]] = []
    with reader.connect() as connection:
        for at, kind, body in connection.execute(query):
            prompt = prompt_of(kind, body)
            asked = (prompt,) if isinstance(prompt, Request) else getattr(prompt, "asked", ())
            found += [(at, each) for each in reversed(asked) if each.what in _LASTING]
    return found[::-1]
