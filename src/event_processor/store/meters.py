"""What was metered per hour, day and month, out of the readings of each meter.

A reading says what was metered in the last minute, or where the register stands, or both. The minute counts where there is
one; else the register's increase since the reading before, where it increased: a register that went back was reset.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final, Literal, TypeAlias

import msgspec

from event_processor.domain.events import Event

__all__ = ["SPANS", "Reading", "Registers", "Span", "Total", "TotalKey", "reading_of", "start_of", "totals_of"]

Span: TypeAlias = Literal["hour", "day", "month"]
SPANS: Final[tuple[Span, ...]] = ("hour", "day", "month")
TotalKey: TypeAlias = tuple[str, Span, float]
# Names come from outside, so there has to be an end to how many are remembered.
MOST_METERS: Final = 20_000


class Reading(msgspec.Struct, frozen=True):
    """One reading: ``register`` is where it stands, ``minute`` what was metered in the last minute, in the meter's unit."""

    meter: str
    at: float
    register: float | None = None
    minute: float | None = None


class Total(msgspec.Struct):
    """What one span of one meter adds up to; ``lowest`` and ``highest`` are of the single amounts."""

    amount: float = 0.0
    samples: int = 0
    lowest: float | None = None
    highest: float | None = None

    def add(self, amount: float) -> None:
        self.amount += amount
        self.samples += 1
        self.lowest = amount if self.lowest is None else min(self.lowest, amount)
        self.highest = amount if self.highest is None else max(self.highest, amount)


class Registers:
    """Where each meter's register stood last. Belongs to one thread."""

    def __init__(self, known: Mapping[str, float] = {}) -> None:
        self._last = dict(known)
        self._moved: dict[str, float] = {}

    def amount(self, reading: Reading) -> float | None:
        """What a reading adds; None where that cannot be known. It counts for good once it is kept."""
        before = self._moved.get(reading.meter, self._last.get(reading.meter))
        if reading.register is not None and (before is not None or len(self._last) < MOST_METERS):
            self._moved[reading.meter] = reading.register
        if reading.minute is not None:
            return reading.minute
        if reading.register is None or before is None or reading.register < before:
            return None
        return reading.register - before

    def keep(self) -> None:
        """The readings asked about since the last time are stored."""
        self._last.update(self._moved)
        self._moved.clear()

    def forget(self) -> None:
        """They are not, and will be asked about again."""
        self._moved.clear()


def reading_of(event: Event) -> Reading | None:
    """The reading in an event; None for any other event, and for a value that is no finite number."""
    if event.kind != "meter" or event.retained:
        return None
    register, minute = _number(event.value), _number(event.minute)
    if register is None and minute is None:
        return None
    return Reading(event.device, event.created_at, register, minute)


def totals_of(readings: Iterable[Reading], registers: Registers, zone: tzinfo = UTC) -> dict[TotalKey, Total]:
    """What readings, in the order in which they came, add to their hours, days and months in a time zone."""
    found: dict[TotalKey, Total] = {}
    for reading in readings:
        amount = registers.amount(reading)
        if amount is None:
            continue
        for span in SPANS:
            key = (reading.meter, span, start_of(span, reading.at, zone))
            total = found.get(key)
            if total is None:
                total = found[key] = Total()
            total.add(amount)
    return found


def start_of(span: Span, at: float, zone: tzinfo = UTC) -> float:
    """When the hour, day or month began that ``at`` is in. An hour that the clocks repeat counts as two."""
    if span == "hour":
        # Offsets from UTC may be of half an hour; the seconds since the last full local hour are the same either way.
        local = datetime.fromtimestamp(at, zone)
        return float(math.floor(at) - local.minute * 60 - local.second)
    local = datetime.fromtimestamp(at, zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if span == "month":
        local = local.replace(day=1)
    return local.timestamp()


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
