"""Who is alive: noticed when it goes silent, reported once, and nobody dies of an outage or of a clock."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain.gaps import LEAST_GAPS, SHORTEST_S, Gaps
from event_processor.domain.liveness import GRACE_S, LOOK_EVERY_S, Liveness, Report
from event_processor.domain.outcome import Change


def run(liveness: Liveness, start: float, until: float) -> list[Report]:
    """Ask whenever it wants to be asked."""
    reports: list[Report] = []
    now = start
    while now < until:
        now = min(until, max(liveness.next_due(), now + 0.001))
        reports.extend(liveness.due(now))
    return reports


def speaking(liveness: Liveness, device: str, interval: float, times: int, start: float = 0.0) -> float:
    """Let a device speak by the clock; return when it spoke last."""
    now = start
    for _ in range(times):
        run(liveness, now, now + interval)
        now += interval
        liveness.heard(device, now)
    return now


@pytest.mark.parametrize("interval", [1.0, 10.0, 60.0, 300.0, 3600.0])
def test_a_sensor_that_goes_silent_is_reported_within_its_interval_and_once(interval: float) -> None:
    liveness = Liveness(0.0)
    last = speaking(liveness, "sensor", interval, 12)
    allowed = liveness.interval_s("sensor")
    assert allowed is not None
    assert max(SHORTEST_S, 2 * interval) <= allowed <= max(SHORTEST_S, 4 * interval)
    reports = run(liveness, last, last + 20 * allowed)
    assert [(report.device, report.online) for report in reports] == [("sensor", False)]
    assert reports[0].at == pytest.approx(last + allowed, abs=0.01)
    assert "not heard for" in reports[0].why
    assert liveness.online("sensor") is False


def test_coming_back_is_reported_once() -> None:
    liveness = Liveness(0.0)
    last = speaking(liveness, "sensor", 10, 12)
    run(liveness, last, last + 1000)
    back = liveness.heard("sensor", last + 1001)
    assert [(report.online, report.at) for report in back] == [(True, last + 1001)]
    assert liveness.heard("sensor", last + 1002) == ()


def test_a_device_that_speaks_on_events_only_is_never_called_dead() -> None:
    liveness = Liveness(0.0)
    now = 0.0
    for gap in (3, 40, 7200, 12, 90, 30_000, 5, 2, 900, 14_000, 60, 3600):
        assert run(liveness, now, now + gap) == []
        now += gap
        liveness.heard("door", now)
    assert liveness.interval_s("door") is None
    assert run(liveness, now, now + 30 * 86_400) == []


def test_bursts_do_not_shorten_the_interval() -> None:
    """Ten messages in a second when someone walks by, and one in an hour otherwise."""
    liveness = Liveness(0.0)
    now = 0.0
    for _ in range(12):
        run(liveness, now, now + 3600)
        now += 3600
        for step in range(10):
            liveness.heard("motion", now + step * 0.1)
        now += 1
    allowed = liveness.interval_s("motion")
    assert allowed is not None
    assert allowed > 2 * 3600


def test_nothing_is_judged_before_enough_was_seen() -> None:
    liveness = Liveness(0.0)
    last = speaking(liveness, "new", 10, LEAST_GAPS)
    assert liveness.interval_s("new") is None
    assert run(liveness, last, last + 100_000) == []


def test_a_slower_pace_is_learned_rather_than_reported_for_ever() -> None:
    liveness = Liveness(0.0)
    now = speaking(liveness, "sensor", 10, 20)
    told = 0
    for _ in range(40):
        told += len(run(liveness, now, now + 60))
        now += 60
        told += len(liveness.heard("sensor", now))
    assert told < 30
    assert run(liveness, now, now + 60) == []
    assert (liveness.interval_s("sensor") or 0) == 0 or (liveness.interval_s("sensor") or 0) > 60


def test_a_last_will_is_told_at_once_and_outweighs_an_echo() -> None:
    liveness = Liveness(0.0)
    assert liveness.said("plug", True, 1.0) == ()
    gone = liveness.said("plug", False, 2.0)
    assert [(report.online, report.at) for report in gone] == [(False, 2.0)]
    assert liveness.said("plug", False, 3.0) == ()
    assert liveness.heard("plug", 4.0) == ()  # a bridge may still deliver what it said before
    assert [report.online for report in liveness.said("plug", True, 5.0)] == [True]


def test_a_retained_message_says_nothing_about_who_is_alive_now() -> None:
    liveness = Liveness(0.0)
    last = speaking(liveness, "sensor", 10, 12)
    run(liveness, last, last + 1000)
    assert liveness.heard("sensor", last + 1001, retained=True) == ()
    assert liveness.online("sensor") is False
    assert liveness.last_seen("sensor") == last


def test_an_outage_of_the_broker_kills_nobody() -> None:
    liveness = Liveness(0.0)
    last = max(speaking(liveness, name, 10, 12, start=0.0) for name in ("a",))
    liveness.disconnected(last + 1)
    assert run(liveness, last + 1, last + 100_000) == []
    liveness.connected(last + 100_000)
    assert run(liveness, last + 100_000, last + 100_000 + GRACE_S) == []
    # Whoever does not come back is reported after all.
    assert [report.device for report in run(liveness, last + 100_000 + GRACE_S, last + 101_000)] == ["a"]


def test_a_restart_of_the_hub_kills_nobody_and_keeps_what_was_learned() -> None:
    before = Liveness(0.0)
    last = speaking(before, "sensor", 10, 12)
    speaking(before, "dead", 10, 12, start=last)
    run(before, last + 120, last + 1000)
    before.heard("sensor", last + 1000)
    changes = before.take_changes(everything=True)
    after = Liveness(last + 50_000)
    assert after.restore(changes) == ()
    assert after.interval_s("sensor") == before.interval_s("sensor")
    assert after.online("dead") is False
    reports = run(after, last + 50_000, last + 60_000)
    assert [report.device for report in reports] == ["sensor"]  # whole interval from the start; the dead one is not told again
    assert reports[0].at == pytest.approx(last + 50_000 + (after.interval_s("sensor") or 0), abs=0.01)


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 86_400.0 * 400, -86_400.0 * 400])
def test_a_clock_that_is_set_kills_nobody(jump: float) -> None:
    liveness = Liveness(1e9)
    last = speaking(liveness, "sensor", 300, 12, start=1e9)
    assert liveness.due(last + jump) == ()
    now = last + jump
    assert run(liveness, now, now + 290) == []
    assert liveness.heard("sensor", now + 300) == ()
    assert [report.device for report in run(liveness, now + 300, now + 3000)] == ["sensor"]


def test_a_machine_that_slept_kills_nobody() -> None:
    liveness = Liveness(0.0)
    last = speaking(liveness, "sensor", 10, 12)
    assert liveness.due(last + 8 * 3600) == ()
    assert liveness.online("sensor") is True


def test_it_wants_to_be_asked_at_the_next_deadline_and_at_least_once_a_minute() -> None:
    liveness = Liveness(0.0)
    assert liveness.next_due() == LOOK_EVERY_S
    last = speaking(liveness, "sensor", 10, 12)
    assert last < liveness.next_due() <= last + (liveness.interval_s("sensor") or 0)


def test_a_value_holds_as_long_as_its_convention_says() -> None:
    liveness = Liveness(0.0)
    assert liveness.value("Hall temperature", "hall", 60, 0.0) == ()
    for now in range(1, 50):
        assert liveness.value("Hall temperature", "hall", 60, float(now)) == ()
    reports = run(liveness, 49.0, 400.0)
    assert [(report.entity, report.online, report.at) for report in reports] == [("Hall temperature", False, 109.0)]
    assert [report.online for report in liveness.value("Hall temperature", "hall", 60, 401.0)] == [True]


def test_reminders_do_not_pile_up() -> None:
    liveness = Liveness(0.0)
    for now in range(2000):
        liveness.heard("sensor", float(now))
        liveness.value("value", "sensor", 3600, float(now))
        if now % 30 == 0:
            liveness.due(float(now))
    assert len(liveness._heap) <= 3


def test_what_was_stored_and_cannot_be_read_is_named() -> None:
    liveness = Liveness(0.0)
    bad = [Change("liveness", "a", b"{"), Change("liveness", "b", b'{"seen": 1, "gaps": "%%"}'), Change("mode", "c", b"1")]
    assert liveness.restore(bad) == ("a", "b")


def test_changes_are_stored_when_something_turns_and_not_with_each_message() -> None:
    liveness = Liveness(0.0)
    last = speaking(liveness, "sensor", 10, 12)
    liveness.take_changes()
    speaking(liveness, "sensor", 10, 50, start=last)
    assert liveness.take_changes() == ()
    run(liveness, last + 500, last + 1000)
    assert [change.key for change in liveness.take_changes()] == ["sensor"]
    liveness.forget("sensor")
    assert liveness.take_changes() == (Change("liveness", "sensor", None),)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("heard"), st.floats(0, 4000)),
            st.tuples(st.just("wait"), st.floats(0, 4000)),
            st.tuples(st.just("down"), st.floats(0, 4000)),
            st.tuples(st.just("up"), st.floats(0, 4000)),
            st.tuples(st.just("jump"), st.floats(-1e6, 1e6)),
        ),
        max_size=60,
    )
)
def test_reports_of_a_device_always_alternate(steps: list[tuple[str, float]]) -> None:
    liveness, now, told = Liveness(0.0), 0.0, [True]
    for what, seconds in steps:
        if what == "jump":
            now += seconds
            told += [report.online for report in liveness.due(now)]
            continue
        told += [report.online for report in run(liveness, now, now + min(seconds, 500))]
        now += min(seconds, 500)
        if what == "heard":
            told += [report.online for report in liveness.heard("x", now)]
        elif what == "down":
            liveness.disconnected(now)
        elif what == "up":
            liveness.connected(now)
    assert all(first != second for first, second in pairwise(told))


def test_gaps_survive_being_stored() -> None:
    gaps = Gaps()
    for _ in range(500):
        gaps.add(60)
    assert bytes(Gaps(bytes(gaps))) == bytes(gaps)
    assert gaps.seen < 500  # the past fades
    assert Gaps(b"short").seen == 0
