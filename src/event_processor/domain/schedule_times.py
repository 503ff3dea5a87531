"""When a schedule is due: times of the day, cron times, sunrise and sunset, in the zone of the people who live there.

Pure: every function is given the instant (seconds since the epoch) that it counts from. A time that does not exist on a day,
because the clock is put forward over it, is due at the next instant that does exist; one that comes twice is due the first
time. A cron expression without a fixed hour ("every ten minutes") goes by the time that passes, as Debian's cron does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from event_processor.domain.windows import DAYS
from pylib.errors import ConfigError, DependencyError

if TYPE_CHECKING:
    from astral import Observer

__all__ = [
    "EVERY_DAY", "Cron", "Daily", "Place", "Sun", "When", "instant", "local", "next_after", "next_times", "read_clock",
    "read_cron", "read_daily", "read_days", "read_sun", "zone_of",
]  # fmt: skip

EVERY_DAY: Final = frozenset(range(7))
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)
_SUN: Final = re.compile(r"(sunrise|sunset|dawn|dusk)\s*(?:([+-])\s*(\d{1,2}:\d{2}(?::\d{2})?))?", re.ASCII | re.IGNORECASE)

# The sun may stay away for half a year, and come back a day late; nothing else repeats less often than once in a week.
_LONGEST_LOOK: Final = 400
_MOST_CRON: Final = 200


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the hub is: its zone by its name in the IANA data base, and latitude and longitude in degrees for the sun."""

    zone: str = "UTC"
    latitude: float | None = None
    longitude: float | None = None


class Daily(msgspec.Struct, frozen=True, tag="daily"):
    """At times of the day (seconds since midnight on the clock), on some days of the week (0 is Monday)."""

    times: tuple[int, ...]
    days: frozenset[int] = EVERY_DAY


class Cron(msgspec.Struct, frozen=True, tag="cron"):
    """By a cron expression of five fields, or six with seconds first."""

    expression: str


class Sun(msgspec.Struct, frozen=True, tag="sun"):
    """So many seconds before or after the sun does something. A day on which it does not has no such time."""

    event: Literal["sunrise", "sunset", "dawn", "dusk"]
    offset_s: int = 0
    days: frozenset[int] = EVERY_DAY


When: TypeAlias = Daily | Cron | Sun


# ------------------------------------------------------------------------------------------------------- what is written


def zone_of(name: str) -> ZoneInfo:
    """The time zone of this name ("Africa/Johannesburg"). Raises ``ConfigError``."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"zone: {name!r} is no time zone; write one as in Europe/Berlin") from None


def read_clock(written: str, option: str = "at") -> int:
    """Seconds since midnight of ``07:30`` or ``07:30:15``. Raises ``ConfigError``."""
    found = _CLOCK.fullmatch(written.strip())
    if found:
        hours, minutes, seconds = int(found[1]), int(found[2]), int(found[3] or 0)
        if hours < 24 and minutes < 60 and seconds < 60:
            return hours * 3600 + minutes * 60 + seconds
    raise ConfigError(f"{option}: {written!r} is no time of the day; write 07:30")


def read_days(written: str) -> frozenset[int]:
    """Days of the week of ``mon-fri, sun``; all of them where nothing is written. Raises ``ConfigError``."""
    found: set[int] = set()
    for part in filter(None, (part.strip().lower() for part in written.split(","))):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if first not in DAYS or (dash and last not in DAYS):
            raise ConfigError(f"days: {part!r} is no day of the week; write mon-fri, or sat, sun")
        start = DAYS.index(first)
        length = (DAYS.index(last) - start) % 7 if dash else 0
        found.update((start + n) % 7 for n in range(length + 1))  # fri-mon goes over the week's end
    return frozenset(found) or EVERY_DAY


def read_daily(written: str, days: str = "") -> Daily:
    """``at = 07:30, 19:00`` and ``days = mon-fri``. Raises ``ConfigError``."""
    times = {read_clock(part) for part in written.split(",") if part.strip()}
    if not times:
        raise ConfigError("at: no time is given; write 07:30")
    return Daily(tuple(sorted(times)), read_days(days))


def read_cron(written: str) -> Cron:
    """``cron = 0 7 * * mon-fri``, checked; also that it ever comes. Raises ``ConfigError``, ``DependencyError``."""
    expression = " ".join(written.split())
    if len(expression) > _MOST_CRON:
        raise ConfigError(f"cron: the expression is longer than {_MOST_CRON} characters")
    if next(_cron_times(expression, datetime(2024, 1, 1, tzinfo=UTC)), None) is None:
        raise ConfigError(f"cron: {expression!r} never comes")
    return Cron(expression)


def read_sun(written: str, days: str = "") -> Sun:
    """``sun = sunset-00:30``; also sunrise, dawn and dusk (civil). Raises ``ConfigError``."""
    found = _SUN.fullmatch(written.strip())
    if not found:
        raise ConfigError(f"sun: {written!r} is not understood; write sunset, sunset-00:30 or sunrise+01:00")
    offset = read_clock(found[3], "sun") if found[3] else 0
    event = cast('Literal["sunrise", "sunset", "dawn", "dusk"]', found[1].lower())
    return Sun(event, -offset if found[2] == "-" else offset, read_days(days))


# --------------------------------------------------------------------------------------------------------- the instants


def local(at: float, zone: ZoneInfo) -> datetime:
    """What calendar and clock say at an instant, to the second."""
    return datetime.fromtimestamp(int(at // 1), zone)


def instant(day: date, seconds: int, zone: ZoneInfo) -> float:
    """When the clock says so many seconds since midnight on that day: the first time where it says so twice, and the next
    instant that exists where it never does."""
    wall = datetime.combine(day, time(seconds // 3600, seconds % 3600 // 60, seconds % 60))
    early, late = wall.replace(tzinfo=zone, fold=0), wall.replace(tzinfo=zone, fold=1)
    first, second = int(early.timestamp()), int(late.timestamp())
    if first <= second:
        return float(first)
    # In a gap (PEP 495) the two readings lie on either side of the change, in reverse order; we look for the change itself.
    before, after = second, first
    old = local(before, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if local(middle, zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return float(after)


def next_after(when: When, after: float, place: Place) -> float | None:
    """The first time strictly after ``after`` that ``when`` is due, or ``None`` if there is none within a year or so.

    :raises ConfigError: the zone is unknown, or the sun is asked for and latitude or longitude is missing.
    :raises DependencyError: a package is missing; the message says which.
    """
    zone = zone_of(place.zone)
    if isinstance(when, Cron):
        return _next_cron(when, after, zone)
    due = _daily(when, after, zone) if isinstance(when, Daily) else _sun(when, after, place, zone)
    return next((at for at in due if at > after), None)


def next_times(when: When, after: float, place: Place, count: int) -> tuple[float, ...]:
    """The first ``count`` times after ``after``; fewer where no more come within a year or so. Raises as ``next_after``."""
    found: list[float] = []
    while len(found) < count and (at := next_after(when, found[-1] if found else after, place)) is not None:
        found.append(at)
    return tuple(found)


def _daily(when: Daily, after: float, zone: ZoneInfo) -> Iterator[float]:
    # From the day before: a time that does not exist may be due on the other side of midnight.
    day = local(after, zone).date() - timedelta(days=1)
    for _ in range(10):
        if day.weekday() in when.days:
            yield from (instant(day, seconds, zone) for seconds in when.times)
        day += timedelta(days=1)


def _sun(when: Sun, after: float, place: Place, zone: ZoneInfo) -> Iterator[float]:
    # Two days of margin: an offset of hours moves the time into another day than the sun's own.
    day = local(after, zone).date() - timedelta(days=2)
    for _ in range(_LONGEST_LOOK):
        if day.weekday() in when.days:
            at = _sun_at(when.event, day, place, zone)
            if at is not None:
                yield at + when.offset_s
        day += timedelta(days=1)


def _sun_at(event: str, day: date, place: Place, zone: ZoneInfo) -> float | None:
    try:
        from astral import sun
    except ImportError:
        raise DependencyError("Sunrise and sunset need astral: pip install 'pylib-automation[hub]'") from None
    observer = _observer(place)
    asked: dict[str, Callable[..., datetime]] = {
        "sunrise": sun.sunrise,
        "sunset": sun.sunset,
        "dawn": sun.dawn,
        "dusk": sun.dusk,
    }
    try:
        # Whole seconds: the same day has the same time, and the same id, whoever asks.
        return float(round(asked[event](observer, date=day, tzinfo=zone).timestamp()))
    except ValueError:
        return None  # polar day or night: the sun does not do this on that day


def _observer(place: Place) -> Observer:
    from astral import Observer

    if place.latitude is None or place.longitude is None:
        raise ConfigError("sun: the hub does not know where it is; set latitude and longitude in [hub]")
    return Observer(latitude=place.latitude, longitude=place.longitude)


def _next_cron(when: Cron, after: float, zone: ZoneInfo) -> float | None:
    for at in _cron_times(when.expression, local(after, zone)):
        due = at.timestamp()
        if due > after:  # in the hour that comes twice the library starts from the first one again
            return due
    return None


def _cron_times(expression: str, after: datetime) -> Iterator[datetime]:
    """Raises ``ConfigError`` where the expression is none."""
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise DependencyError("Cron times need cronsim: pip install 'pylib-automation[hub]'") from None
    try:
        return iter(CronSim(expression, after))
    except (CronSimError, ValueError) as error:
        raise ConfigError(f"cron: {expression!r} is no cron expression ({error}); write 30 7 * * mon-fri") from None
