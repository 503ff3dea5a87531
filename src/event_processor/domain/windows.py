"""Time windows by the clock on the wall, in the user's time zone.

What counts is what the clock shows: at the change to summer time the hour that it skips is in no window, and at the change
back the hour that it shows twice is in its window twice. A window past midnight belongs to the day on which it starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, tzinfo
from typing import Final

from event_processor.domain.rules import Window
from pylib.errors import ConfigError

__all__ = ["DAYS", "OpenHours", "compile_windows", "local"]

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_DAY: Final = 86_400


def local(now: float, zone: tzinfo) -> datetime:
    """Return ``now`` (seconds since the epoch) as the clock on the wall shows it."""
    return datetime.fromtimestamp(now, zone)


class OpenHours:
    """Several windows, compiled. Immutable; any thread may ask."""

    __slots__ = ("_spans", "text")

    def __init__(self, spans: tuple[tuple[int, int, frozenset[int]], ...], text: str) -> None:
        self._spans = spans
        self.text = text

    def __contains__(self, moment: datetime) -> bool:
        second = moment.hour * 3600 + moment.minute * 60 + moment.second
        day = moment.weekday()
        for start, end, days in self._spans:
            if start < end:
                if start <= second < end and day in days:
                    return True
            elif (second >= start and day in days) or (second < end and (day - 1) % 7 in days):
                return True
        return False


def compile_windows(windows: Iterable[Window]) -> OpenHours | None:
    """Check and compile. ``None`` where there are none: always open. Raises ``ConfigError`` ("start: ...")."""
    spans: list[tuple[int, int, frozenset[int]]] = []
    texts: list[str] = []
    for window in windows:
        start, end = _seconds("start", window.start), _seconds("end", window.end)
        days = frozenset(_day(day) for day in window.days) or frozenset(range(7))
        spans.append((start, end, days))
        on = f" on {', '.join(window.days)}" if window.days else ""
        texts.append(f"{window.start} to {window.end}{on}")
    return OpenHours(tuple(spans), " or ".join(texts)) if spans else None


def _seconds(field: str, written: str) -> int:
    if written == "24:00":
        return 0
    found = _TIME.fullmatch(written)
    if found is None:
        raise ConfigError(f'{field}: expected a time such as "22:00", got {written!r}')
    return (int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3] or 0)) % _DAY


def _day(written: str) -> int:
    try:
        return DAYS.index(written.strip().lower()[:3])
    except ValueError:
        raise ConfigError(f"days: expected {', '.join(DAYS)}, got {written!r}") from None
