"""The sun and the air outside: believable, and the same for the same seed. Pure functions of the local time."""

from __future__ import annotations

import math
from datetime import datetime

__all__ = ["daylight", "outdoors"]


def daylight(local: datetime) -> float:
    """Illuminance outside in lux: 0 at night, 20,000 at a bright noon; days are long in June and short in December."""
    season = math.sin(math.tau * (_day(local) - 80.0) / 365.25)
    length = 12.0 + 4.0 * season
    since_rise = _hour(local) - (12.5 - length / 2)
    if not 0.0 < since_rise < length:
        return 0.0
    return (14_000.0 + 6_000.0 * season) * math.sin(math.pi * since_rise / length)


def outdoors(local: datetime, seed: int) -> float:
    """Degrees Celsius outside: the season, the time of day with its low before sunrise, and slow weather."""
    day = _day(local)
    season = 9.5 - 9.5 * math.cos(math.tau * (day - 20.0) / 365.25)
    hours = 4.0 * math.sin(math.tau * (_hour(local) - 9.5) / 24.0)
    weather = 2.0 * math.sin(day / 1.7 + seed) + 1.5 * math.sin(day / 0.63 + 2.0 * seed)
    return season + hours + weather


def _hour(local: datetime) -> float:
    return local.hour + local.minute / 60.0 + local.second / 3600.0


def _day(local: datetime) -> float:
    return local.timetuple().tm_yday + _hour(local) / 24.0
