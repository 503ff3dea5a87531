"""Hours, days and months on the clock of the people who live there, and what is added to each.

A day has 23 or 25 hours when the clock is changed, and an hour that comes twice is two hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from event_processor.domain.schedule_times import instant, local, zone_of

__all__ = ["SPANS", "Added", "Span", "end_of", "spread", "start_of"]

Span: TypeAlias = Literal["hour", "day", "month"]

SPANS: Final[tuple[Span, ...]] = ("hour", "day", "month")

LONGEST_GAP_S: Final = 7 * 86_400.0
"""Seconds without a reading over which what was used is divided by time; after a longer silence all of it is of now."""


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """So much is to be added to a total: ``start`` is the instant at which the hour, day or month begins."""

    entity: str
    span: Span
    start: float
    amount: float


def start_of(span: Span, at: float, zone: ZoneInfo) -> float:
    """When the hour, day or month that contains the instant began."""
    now = local(at, zone)
    if span == "hour":
        # Of the two readings of an hour that comes twice the later one that has begun.
        top = now.replace(minute=0, second=0)
        begun = [edge for fold in (0, 1) if (edge := top.replace(fold=fold).timestamp()) <= at]
        start = max(begun, default=at)
        # An hour whose beginning was left out begins with the change.
        return start if local(start, zone).hour == now.hour else _change_before(at, zone)
    day = now.date().replace(day=1) if span == "month" else now.date()
    return instant(day, 0, zone)


def end_of(span: Span, start: float, zone: ZoneInfo) -> float:
    """When the period that began at ``start`` is over."""
    if span == "hour":
        # The next full hour on the clock, unless a change comes first.
        step = start + 3600 - local(start, zone).minute * 60 - local(start, zone).second
        if start_of("hour", step, zone) == step and start_of("hour", step - 1, zone) == start:
            return step
        return _first_after(start, zone)
    day = local(start, zone).date()
    if span == "month":
        return instant(date(day.year + day.month // 12, day.month % 12 + 1, 1), 0, zone)
    end = instant(day + timedelta(days=1), 0, zone)
    return end if end > start else instant(day + timedelta(days=2), 0, zone)


def spread(entity: str, since: float, until: float, amount: float, zone: str) -> tuple[Added, ...]:
    """Divide what was used in ``(since, until]`` over the periods that it touches, by time. The parts of each span add up to
    ``amount``."""
    if amount == 0:
        return ()
    place = zone_of(zone)
    if not 0 < until - since <= LONGEST_GAP_S:
        return tuple(Added(entity=entity, span=span, start=start_of(span, until, place), amount=amount) for span in SPANS)
    return tuple(
        Added(entity=entity, span=span, start=start, amount=part)
        for span in SPANS
        for start, part in _parts(span, since, until, amount, place)
    )


def _parts(span: Span, since: float, until: float, amount: float, zone: ZoneInfo) -> Iterator[tuple[float, float]]:
    left, at = amount, since
    start = start_of(span, since, zone)
    while True:
        end = end_of(span, start, zone)
        if end >= until:
            yield start, left
            return
        part = amount * (end - at) / (until - since)
        if part:
            yield start, part
        left -= part
        start = at = end


def _change_before(at: float, zone: ZoneInfo) -> float:
    """The last change of the clock before ``at``, which is less than two hours ago."""
    before, after = int(at) - 7200, int(at)
    new = local(after, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if local(middle, zone).utcoffset() == new:
            after = middle
        else:
            before = middle
    return float(after)


def _first_after(start: float, zone: ZoneInfo) -> float:
    """The first instant after ``start`` that belongs to another hour. Changes are of full minutes."""
    at = start - start % 60 + 60
    while start_of("hour", at, zone) == start:
        at += 60
    return at
