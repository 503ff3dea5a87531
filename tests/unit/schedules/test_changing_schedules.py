"""Schedules that are changed while the hub runs: no time that has passed is due again, and none that is to come is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.causes import Causes
from event_processor.domain.engine import Engine
from event_processor.domain.outcome import Change
from event_processor.domain.rulebook import Rulebook
from event_processor.domain.schedule_times import Place, next_after
from event_processor.domain.schedules import Schedule, ScheduleState, Timetable, make_schedule
from event_processor.scheduling import Schedules

BERLIN = Place(zone="Europe/Berlin")


def at(written: str) -> float:
    return datetime.fromisoformat(written).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


NOON = at("2026-11-24 12:00")


def daily(written: str, ident: str = "a", **more: object) -> Schedule:
    return make_schedule(ident, at=written, do=["mode away"], missed="fire", **more)  # type: ignore[arg-type]


def kept(states: dict[str, bytes], changes: Iterable[Change]) -> None:
    for change in changes:
        if change.value is None:
            states.pop(change.key, None)
        else:
            states[change.key] = change.value


def begun(*schedules: Schedule, now: float = NOON) -> Timetable:
    table = Timetable(schedules, place=BERLIN)
    table.reconcile(None, now)
    return table


def test_new_ones_come_changed_ones_go_by_their_new_times_and_those_that_are_gone_are_forgotten() -> None:
    table = begun(daily("18:00"), daily("19:00", "b"))
    changes = table.replace([daily("11:00"), daily("20:00", "c")], NOON)
    assert [(change.key, change.value is None) for change in changes] == [("b", True), ("a", False), ("c", False)]
    fired = table.due(at("2026-11-25 12:00")).fired
    assert [(each.schedule, each.due_at) for each in fired] == [
        ("c", at("2026-11-24 20:00")),
        ("a", at("2026-11-25 11:00")),
    ]
    assert table.replace([daily("11:00"), daily("20:00", "c")], at("2026-11-25 12:00")) == ()


def test_other_things_to_do_at_the_same_times_are_told_and_lose_none_of_them() -> None:
    table = begun(daily("18:00"))
    before = table.next_due()
    other = msgspec.structs.replace(daily("18:00", name="Evening"), tasks=())
    (change,) = table.replace([other], NOON)
    assert change.value is not None
    assert msgspec.json.decode(change.value, type=ScheduleState).done == NOON
    assert table.next_due() == before
    assert table.due(at("2026-11-24 18:00")).fired[0].name == "Evening"


def test_the_same_time_on_other_clocks_is_another_time_and_not_made_up_for() -> None:
    table = begun(daily("18:00"), now=at("2026-11-24 17:00"))
    (fired,) = table.due(at("2026-11-24 18:00")).fired
    states: dict[str, bytes] = {}
    kept(states, [fired.change])
    late = at("2026-11-25 00:30")  # in New York it was 18:00 half an hour ago
    elsewhere = daily("18:00", zone="America/New_York")
    table.replace([elsewhere], late)
    assert table.next_due() == at("2026-11-26 00:00")
    again = Timetable([elsewhere], states, place=BERLIN)
    assert again.reconcile(None, late).fired == (), "it was changed while the hub was down"
    assert again.next_due() == at("2026-11-26 00:00")


def test_what_was_remembered_before_zones_were_goes_on() -> None:
    old = b'{"done":%d,"when":{"type":"daily","times":[64800],"days":[0,1,2,3,4,5,6]},"on":true}' % NOON
    table = Timetable([daily("18:00")], {"a": old}, place=BERLIN)
    assert [each.due_at for each in table.reconcile(None, at("2026-11-24 18:30")).fired] == [at("2026-11-24 18:00")]


def test_another_schedule_of_the_same_name_is_not_switched_off_because_the_first_was() -> None:
    table = begun(daily("18:00"))
    table.enable("a", False, NOON)
    table.replace([daily("19:00")], NOON)
    assert not table.enabled("a"), "whoever switched it off meant this one"
    table.replace([], NOON)
    table.replace([daily("19:00")], NOON)
    assert table.enabled("a")


def test_what_was_due_before_a_change_is_done_as_it_was_written_then() -> None:
    causes = Causes()
    at_work = Schedules(begun(daily("18:00")), Engine(Rulebook(())), causes)
    six = at("2026-11-24 18:00:01")
    done, told = at_work.replace([daily("17:59", name="Other")], six)
    assert done.cause == f"schedule:a:{int(six - 1)}"
    assert {change.scope for change in told.changes} == {"schedule"}
    assert list(at_work.due(at("2026-11-25 17:58"))) == []


# -- against the simplest possible house ---------------------------------------------------------------------------------

TIMES = ({"cron": "*/40 * * * *"}, {"cron": "30 2,14 * * *"}, {"at": "02:30, 18:00"})
schedule = st.builds(
    lambda ident, when, zone, name, missed: make_schedule(
        ident, do=["mode away"], zone=zone, name=name, missed=missed, **when
    ),
    st.sampled_from("ab"),
    st.sampled_from(TIMES),
    st.sampled_from(("", "America/New_York")),
    st.sampled_from(("", "another name")),
    st.sampled_from(("fire", "fire", "once", "skip")),
)
house: st.SearchStrategy[list[Schedule]] = st.lists(
    schedule, min_size=1, max_size=2, unique_by=lambda each: each.id
) | st.just([])


def times(schedules: Iterable[Schedule], after: float, until: float) -> Iterator[tuple[str, float]]:
    """Every time that there is, one after the other."""
    for each in schedules:
        place, due = Place(zone=each.zone or BERLIN.zone), after
        while (found := next_after(each.when, due, place)) is not None and found <= until:
            yield each.id, found
            due = found


@settings(max_examples=200, deadline=None)
@given(
    start=st.integers(int(at("2026-10-24 00:00")), int(at("2026-10-26 00:00"))),  # the clocks change in between
    steps=st.lists(st.tuples(st.integers(0, 50_000), house, st.sampled_from(("live", "stopped", "killed"))), max_size=8),
)
def test_changes_at_any_moment_lose_no_time_to_come_and_repeat_none_that_passed(
    start: int, steps: list[tuple[int, list[Schedule], str]]
) -> None:
    now, written, states = float(start), list[Schedule](), dict[str, bytes]()
    table = Timetable((), place=BERLIN)
    table.reconcile(None, now)
    for wait, new, how in steps:
        until, fired = now + wait, list[tuple[str, float]]()
        while True:  # the hub wakes up whenever something is due
            due = table.next_due()
            moment = until if due is None else min(due, until)
            found = table.due(moment)
            kept(states, [*found.changes, *(each.change for each in found.fired)])
            fired += [(each.schedule, each.due_at) for each in found.fired]
            if due is None or due > until:
                break
        assert sorted(fired) == sorted(times(written, now, until))
        now, written = until, new
        if how != "stopped":
            changes = table.replace(new, now)
            if how == "live":
                kept(states, changes)
                continue
        # The file is written; the hub, or what it was about to store, is gone.
        table = Timetable(new, states, place=BERLIN)
        missed = table.reconcile(None, now)
        assert missed.fired == ()
        kept(states, missed.changes)
    assert states.keys() == {each.id for each in written}


@pytest.mark.parametrize("down", [30.0, 7200.0])
def test_times_while_the_hub_was_down_are_dealt_with_by_policy_though_what_is_done_was_changed(down: float) -> None:
    table = Timetable([daily("18:00")], place=BERLIN)
    states: dict[str, bytes] = {}
    kept(states, table.reconcile(None, at("2026-11-24 17:59:50")).changes)
    again = Timetable([daily("18:00", name="Other")], states, place=BERLIN)
    (fired,) = again.reconcile(None, at("2026-11-24 17:59:50") + down).fired
    assert (fired.name, fired.caught_up) == ("Other", down > 60)
