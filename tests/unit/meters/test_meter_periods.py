"""Totals of hours, days and months on the clock of the people who live there."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain.meter_periods import SPANS, end_of, spread, start_of

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago", "Africa/Cairo")


def at(written: str, zone: str = "Europe/Berlin", fold: int = 0) -> float:
    return datetime.fromisoformat(written).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def totals(since: float, until: float, amount: float, zone: str = "Europe/Berlin") -> dict[str, dict[float, float]]:
    found: dict[str, dict[float, float]] = defaultdict(dict)
    for added in spread("Water Meter", since, until, amount, zone):
        assert added.start not in found[added.span]
        found[added.span][added.start] = added.amount
    return found


def test_a_day_has_23_or_25_hours_when_the_clock_is_changed() -> None:
    spring = totals(at("2026-03-29 00:00"), at("2026-03-30 00:00"), 23)
    assert len(spring["hour"]) == 23
    assert set(spring["hour"].values()) == {1.0}
    assert spring["day"] == {at("2026-03-29 00:00"): 23}
    autumn = totals(at("2026-10-25 00:00"), at("2026-10-26 00:00"), 25)
    assert len(autumn["hour"]) == 25
    assert autumn["hour"][at("2026-10-25 02:00")] == autumn["hour"][at("2026-10-25 02:00", fold=1)] == 1.0
    assert autumn["month"] == {at("2026-10-01 00:00"): 25}


def test_what_was_used_over_midnight_is_divided_by_time() -> None:
    found = totals(at("2026-12-31 23:30"), at("2027-01-01 00:30"), 10)
    assert found["day"] == {at("2026-12-31 00:00"): 5, at("2027-01-01 00:00"): 5}
    assert found["month"] == {at("2026-12-01 00:00"): 5, at("2027-01-01 00:00"): 5}


def test_a_reading_at_the_full_hour_belongs_to_the_hour_before() -> None:
    assert list(totals(at("2026-11-24 10:59"), at("2026-11-24 11:00"), 3)["hour"]) == [at("2026-11-24 10:00")]


def test_nothing_used_adds_nothing_and_a_long_silence_is_not_divided() -> None:
    assert spread("Water Meter", 0, 60, 0, "UTC") == ()
    found = totals(at("2026-10-01 00:00"), at("2026-11-24 11:30"), 700)
    assert found["hour"] == {at("2026-11-24 11:00"): 700}
    assert found["day"] == {at("2026-11-24 00:00"): 700}


def test_a_clock_that_is_changed_by_half_an_hour_has_an_hour_of_ninety_minutes() -> None:
    # Lord Howe Island: at 2:00 the clock goes back to 1:30.
    start = at("2026-04-05 01:00", "Australia/Lord_Howe")
    zone = ZoneInfo("Australia/Lord_Howe")
    assert end_of("hour", start, zone) - start == 5400
    assert start_of("hour", at("2026-04-05 01:40", "Australia/Lord_Howe", fold=1), zone) == start


def test_a_day_that_begins_at_one_o_clock_begins_there() -> None:
    # Chile puts its clock forward at midnight.
    zone = ZoneInfo("America/Santiago")
    start = start_of("day", at("2026-09-06 12:00", "America/Santiago"), zone)
    assert datetime.fromtimestamp(start, zone).hour == 1
    assert end_of("day", start, zone) - start == timedelta(hours=23).total_seconds()


@settings(max_examples=400, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    since=st.integers(int(at("2025-01-01 00:00")), int(at("2028-01-01 00:00"))),
    length=st.integers(1, 3 * 86_400),
    amount=st.floats(0.001, 1e6),
)
def test_the_parts_add_up_and_every_period_begins_where_the_last_ended(
    zone: str, since: int, length: int, amount: float
) -> None:
    tz, until = ZoneInfo(zone), float(since + length)
    found = totals(float(since), until, amount, zone)
    for span in SPANS:
        assert math.fsum(found[span].values()) == pytest.approx(amount)
        starts = sorted(found[span])
        assert starts[0] <= since
        assert end_of(span, starts[-1], tz) >= until
        for start, following in pairwise(starts):
            assert end_of(span, start, tz) == following
        for start in starts:
            assert start_of(span, start, tz) == start
            assert start_of(span, end_of(span, start, tz) - 1, tz) == start
