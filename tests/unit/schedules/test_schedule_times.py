"""When things are due: clocks that are put forward and back, cron, and the sun."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain.schedule_times import (
    Place,
    Sun,
    When,
    instant,
    local,
    next_after,
    read_clock,
    read_cron,
    read_daily,
    read_days,
    read_sun,
    zone_of,
)
from pylib.errors import ConfigError

BERLIN = Place(zone="Europe/Berlin", latitude=52.52, longitude=13.4)


def at(written: str, zone: str = "Europe/Berlin", fold: int = 0) -> float:
    return datetime.fromisoformat(written).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def times(when: When, after: float, count: int, place: Place = BERLIN) -> list[str]:
    found = []
    for _ in range(count):
        due = next_after(when, after, place)
        assert due is not None
        assert due > after
        found.append(local(due, zone_of(place.zone)).strftime("%m-%d %H:%M%z"))
        after = due
    return found


@pytest.mark.parametrize("when", [read_daily("02:30"), read_cron("30 2 * * *")])
def test_a_time_that_does_not_exist_is_due_at_the_next_instant_that_does(when: When) -> None:
    assert times(when, at("2026-03-28 12:00"), 2) == ["03-29 03:00+0200", "03-30 02:30+0200"]


@pytest.mark.parametrize("when", [read_daily("02:30"), read_cron("30 2 * * *")])
def test_a_time_that_comes_twice_is_due_once(when: When) -> None:
    assert times(when, at("2026-10-24 12:00"), 2) == ["10-25 02:30+0200", "10-26 02:30+0100"]
    # Also when the look begins between the two.
    assert times(when, at("2026-10-25 02:10", fold=1), 1) == ["10-26 02:30+0100"]


def test_every_hour_means_every_hour_that_passes() -> None:
    assert times(read_cron("0 * * * *"), at("2026-10-25 01:30"), 3) == [
        "10-25 02:00+0200",
        "10-25 02:00+0100",
        "10-25 03:00+0100",
    ]


def test_days_of_the_week_go_over_its_end_and_several_times_a_day_come_in_order() -> None:
    assert read_days("fri-mon") == {4, 5, 6, 0}
    assert read_days("") == set(range(7))
    assert times(read_daily("19:00, 07:30", "sat, sun"), at("2026-11-20 12:00"), 4) == [
        "11-21 07:30+0100",
        "11-21 19:00+0100",
        "11-22 07:30+0100",
        "11-22 19:00+0100",
    ]


@pytest.mark.parametrize(
    ("when", "after", "almanac"),
    [
        (read_sun("sunset-00:30"), "2026-06-21 12:00", "2026-06-21 21:03"),
        (read_sun("sunset-00:30"), "2026-12-21 12:00", "2026-12-21 15:24"),
        (read_sun("sunrise+01:00", "mon"), "2026-06-21 12:00", "2026-06-22 05:43"),
    ],
)
def test_sunset_moves_with_the_season_and_takes_an_offset(when: Sun, after: str, almanac: str) -> None:
    due = next_after(when, at(after), BERLIN)
    assert due is not None
    assert abs(due - at(almanac)) < 150  # almanacs round to the minute, and differ by one


def test_the_polar_night_has_no_sunrise_and_the_polar_day_no_sunset() -> None:
    svalbard = Place(zone="Arctic/Longyearbyen", latitude=78.22, longitude=15.63)
    assert times(read_sun("sunrise"), at("2026-11-25 12:00"), 1, svalbard)[0].startswith("02-1")
    assert times(read_sun("sunset"), at("2026-05-01 12:00"), 1, svalbard)[0].startswith("08-2")


def test_where_the_sun_is_asked_for_the_hub_has_to_know_where_it_is() -> None:
    with pytest.raises(ConfigError, match="set latitude and longitude"):
        next_after(Sun("sunset"), 0.0, Place(zone="Europe/Berlin"))


def test_a_day_that_a_zone_left_out_is_over_at_its_end() -> None:
    # Samoa went over the date line: there was no 30 December 2011.
    apia = zone_of("Pacific/Apia")
    assert local(instant(date(2011, 12, 30), 12 * 3600, apia), apia) == datetime(2011, 12, 31, tzinfo=apia)


@pytest.mark.parametrize(
    ("read", "written", "told"),
    [
        (read_daily, "25:00", "'25:00' is no time of the day"),
        (read_daily, "7.30", "write 07:30"),
        (read_daily, " , ", "no time is given"),
        (read_days, "mon-someday", "no day of the week"),
        (read_cron, "61 * * * *", "no cron expression"),
        (read_cron, "0 0 31 2 *", "no cron expression"),
        (read_cron, "* * *", "Wrong number of fields"),
        (read_cron, "0 0 " + "1," * 200 + "1 * *", "longer than 200"),
        (read_sun, "moonrise", "write sunset"),
        (zone_of, "Mars/Olympus", "no time zone"),
        (zone_of, "../etc/passwd", "no time zone"),
    ],
)
def test_what_is_not_understood_is_said_with_what_to_write(read: object, written: str, told: str) -> None:
    assert callable(read)
    with pytest.raises(ConfigError, match=told):
        read(written)


ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Johannesburg",
    "Pacific/Apia",
    "Africa/Casablanca",
)


@settings(max_examples=300, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    seconds=st.integers(0, 86_399),
    start=st.integers(int(at("2025-01-01 00:00")), int(at("2028-01-01 00:00"))),
)
def test_a_daily_time_comes_on_every_day_once(zone: str, seconds: int, start: int) -> None:
    tz = zone_of(zone)
    clock = f"{seconds // 3600:02}:{seconds % 3600 // 60:02}:{seconds % 60:02}"
    when, after, days = read_daily(clock), float(start), []
    for _ in range(40):
        due = next_after(when, after, Place(zone=zone))
        assert due is not None
        assert after < due <= after + 26 * 3600
        said = local(due, tz)
        shown = said.hour * 3600 + said.minute * 60 + said.second
        # Either the clock shows the time, or it was put forward over it in this very instant.
        assert shown == seconds or local(due - 1, tz).utcoffset() != said.utcoffset()
        days.append(said.date())
        after = due
    assert days == [days[0] + timedelta(days=n) for n in range(40)]


def test_a_clock_time_has_seconds_where_they_matter() -> None:
    assert read_clock("07:30:15") == 27_015
