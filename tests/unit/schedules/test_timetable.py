"""The timetable: what is due, what was missed, and what a clock that is set does to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain.schedule_times import Place, next_after
from event_processor.domain.schedules import Due, Missed, Schedule, Task, Timetable, make_schedule, read_task
from pylib.errors import ConfigError

BERLIN = Place(zone="Europe/Berlin", latitude=52.52, longitude=13.4)
HOUR, DAY = 3600.0, 86_400.0


def at(written: str) -> float:
    return datetime.fromisoformat(written).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


NOON = at("2026-11-24 12:00")


def arm(missed: str = "skip", *, at: str = "07:30", **named: object) -> Schedule:
    return make_schedule("arm", at=at, do=["mode away"], missed=missed, **named)  # type: ignore[arg-type]


class Store:
    """What the owner of the state keeps: the changes, as the store would give them back."""

    def __init__(self) -> None:
        self.states: dict[str, bytes] = {}

    def keep(self, due: Due) -> list[str]:
        for change in (*due.changes, *(fired.change for fired in due.fired)):
            assert change.scope == "schedule"
            if change.value is None:
                self.states.pop(change.key, None)
            else:
                self.states[change.key] = change.value
        return [fired.cause for fired in due.fired]


def started(schedule: Schedule, store: Store, last_seen: float | None, now: float) -> tuple[Timetable, Due]:
    table = Timetable([schedule], store.states, place=BERLIN)
    due = table.reconcile(last_seen, now)
    store.keep(due)
    return table, due


def test_a_schedule_fires_when_it_is_due_and_then_on_the_next_day() -> None:
    store = Store()
    table, due = started(arm(), store, None, NOON)
    assert due.fired == ()
    assert table.next_due() == at("2026-11-25 07:30")
    assert table.due(at("2026-11-25 07:29:59")).fired == ()
    (fired,) = table.due(at("2026-11-25 07:30")).fired
    assert (fired.schedule, fired.due_at, fired.caught_up) == ("arm", at("2026-11-25 07:30"), False)
    assert fired.tasks == (Task(do="mode", name="away"),)
    assert fired.cause == f"schedule:arm:{int(at('2026-11-25 07:30'))}"
    assert table.next_due() == at("2026-11-26 07:30")


@pytest.mark.parametrize(
    ("missed", "made_up_for"),
    [("skip", []), ("once", ["2026-11-24 07:30"]), ("fire", ["2026-11-22 07:30", "2026-11-23 07:30", "2026-11-24 07:30"])],
)
def test_a_schedule_missed_while_the_hub_was_down_is_reconciled_by_its_policy(missed: str, made_up_for: list[str]) -> None:
    store = Store()
    started(arm(missed), store, None, at("2026-11-21 12:00"))
    table, due = started(arm(missed), store, at("2026-11-21 12:10"), NOON)
    assert [fired.due_at for fired in due.fired] == [at(each) for each in made_up_for]
    assert all(fired.caught_up for fired in due.fired)
    assert table.next_due() == at("2026-11-25 07:30")
    if missed != "fire":
        assert "not made up for" in due.notes[0]
    # And only once: the next start finds nothing any more.
    assert started(arm(missed), store, NOON, NOON + 60)[1].fired == ()


def test_killed_before_it_was_stored_it_is_due_again_under_the_same_id() -> None:
    store = Store()
    table, _ = started(arm(), store, None, NOON)
    (lost,) = table.due(at("2026-11-25 07:30")).fired  # and never kept
    _, due = started(arm(), store, at("2026-11-25 07:30"), at("2026-11-25 07:30:20"))
    assert [fired.cause for fired in due.fired] == [lost.cause]


def test_switched_on_again_it_does_not_make_up_for_what_passed_meanwhile() -> None:
    store = Store()
    table, _ = started(arm("fire"), store, None, NOON)
    store.keep(Due(changes=table.enable("arm", False, NOON + 60)))
    assert table.next_due() is None
    assert table.due(NOON + 5 * DAY).fired == ()
    # Also when the hub was restarted in between.
    table, due = started(arm("fire"), store, NOON + 5 * DAY, NOON + 6 * DAY)
    assert (due.fired, table.enabled("arm")) == ((), False)
    store.keep(Due(changes=table.enable("arm", True, NOON + 7 * DAY)))
    assert table.due(NOON + 7 * DAY).fired == ()
    assert table.next_due() == at("2026-12-02 07:30")
    assert table.enable("arm", True, NOON + 7 * DAY) == ()


def test_written_off_in_the_file_and_on_again_it_has_missed_nothing() -> None:
    store = Store()
    started(arm("fire"), store, None, NOON)
    started(arm("fire", enabled=False), store, NOON, NOON + DAY)
    _, due = started(arm("fire"), store, NOON + DAY, NOON + 3 * DAY)
    assert due.fired == ()


def test_a_new_schedule_and_one_with_other_times_have_missed_nothing_from_before() -> None:
    store = Store()
    started(arm("fire"), store, None, NOON)
    hourly = make_schedule("arm", cron="0 * * * *", do=["mode away"], missed="fire")
    _, due = started(hourly, store, at("2026-11-25 06:10"), at("2026-11-25 08:10"))
    assert [fired.due_at for fired in due.fired] == [at("2026-11-25 07:00"), at("2026-11-25 08:00")]
    table, _ = started(hourly, store, at("2026-11-25 08:10"), at("2026-11-25 08:10"))
    other = make_schedule("other", at="08:00", do=["mode home"], missed="fire")
    store.keep(Due(changes=table.put(other, at("2026-11-25 08:10"))))
    assert table.put(other, at("2026-11-25 08:20")) == ()
    assert table.due(at("2026-11-25 08:30")).fired == ()
    assert [change.value for change in table.remove("other")] == [None]
    assert table.remove("other") == ()
    assert len(table) == 1


def test_what_is_no_longer_written_is_forgotten() -> None:
    store = Store()
    started(arm(), store, None, NOON)
    table = Timetable([], store.states, place=BERLIN)
    store.keep(table.reconcile(NOON, NOON))
    assert store.states == {}


def test_a_long_absence_is_made_up_for_in_bounds_with_the_latest_times() -> None:
    store = Store()
    minutely = make_schedule("tick", cron="* * * * *", do=["run Tick"], missed="fire")
    started(minutely, store, None, NOON - 300 * DAY)
    _, due = started(minutely, store, NOON - 300 * DAY, NOON)
    # The last two are on time.
    assert [fired.due_at for fired in due.fired] == [NOON - 60.0 * n for n in range(25, -1, -1)]
    assert "more than" in due.notes[0]


def test_a_yearly_schedule_is_found_over_a_long_absence() -> None:
    store = Store()
    yearly = make_schedule("new year", cron="0 0 1 1 *", do=["run Fireworks"], missed="once")
    started(yearly, store, None, at("2025-12-20 12:00"))
    _, due = started(yearly, store, at("2025-12-20 12:00"), NOON)
    assert [fired.due_at for fired in due.fired] == [at("2026-01-01 00:00")]


def test_a_clock_that_is_set_back_fires_nothing_twice_and_leaves_nothing_out() -> None:
    store = Store()
    table, _ = started(arm(), store, None, NOON)
    assert store.keep(table.due(at("2026-11-25 07:30:01"))) == [f"schedule:arm:{int(at('2026-11-25 07:30'))}"]
    assert table.due(at("2026-11-25 05:00")).fired == ()
    assert table.due(at("2026-11-25 07:30:01")).fired == ()
    # Nor after a restart in that hour.
    table, due = started(arm(), store, at("2026-11-25 07:40"), at("2026-11-25 06:00"))
    assert due.fired == ()
    assert table.due(at("2026-11-25 07:31")).fired == ()
    assert len(table.due(at("2026-11-26 07:30")).fired) == 1


def test_a_clock_that_is_set_forward_makes_what_it_passed_over_late() -> None:
    table, _ = started(arm("once"), Store(), None, NOON)
    (fired,) = table.due(at("2026-11-25 09:00")).fired
    assert (fired.caught_up, fired.due_at) == (True, at("2026-11-25 07:30"))
    assert "5400 s late" in fired.explanation


def test_a_clock_that_was_years_ahead_does_not_silence_a_schedule_for_years() -> None:
    store = Store()
    table, _ = started(arm(), store, None, NOON)
    store.keep(table.due(at("2031-01-01 12:00")))
    store.keep(table.due(at("2026-11-25 07:00")))
    assert store.keep(table.due(at("2026-11-25 07:30"))) == [f"schedule:arm:{int(at('2026-11-25 07:30'))}"]


def test_a_machine_without_a_clock_waits_until_it_is_set() -> None:
    store = Store()
    started(arm("once"), store, None, NOON)
    table, due = started(arm("once"), store, NOON, 1000.0)
    assert due.fired == ()
    (fired,) = table.due(at("2026-11-26 12:00")).fired
    assert fired.due_at == at("2026-11-26 07:30")
    # A schedule that is new on that machine has missed nothing since 1970.
    table, _ = started(arm("fire"), Store(), None, 1000.0)
    assert table.due(NOON).fired == ()
    assert table.next_due() == at("2026-11-25 07:30")


def test_a_state_that_cannot_be_read_starts_anew(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.states["arm"] = b'{"done": "yesterday"}'
    assert started(arm("fire"), store, NOON - DAY, NOON)[1].fired == ()
    assert "starts anew" in caplog.text


def test_a_schedule_may_have_a_zone_of_its_own() -> None:
    table, _ = started(arm(zone="America/New_York"), Store(), None, NOON)
    assert table.next_due() == at("2026-11-24 13:30")


class Model:
    """The simplest timetable: looks at every occurrence there is, one after the other."""

    def __init__(self, schedule: Schedule, now: float) -> None:
        self.schedule, self.done = schedule, now

    def due(self, now: float) -> list[float]:
        passed, after = [], self.done
        while (due := next_after(self.schedule.when, after, BERLIN)) is not None and due <= now:
            passed.append(due)
            after = due
        if passed:
            self.done = now if self.schedule.missed == "skip" and now - passed[-1] > 60 else passed[-1]
        late = [due for due in passed if now - due > 60]
        on_time = passed[len(late) :]
        return {"skip": [], "once": late[-1:], "fire": late[-24:]}[self.schedule.missed] + on_time


@settings(max_examples=300, deadline=None)
@given(
    missed=st.sampled_from(("fire", "skip", "once")),
    written=st.sampled_from(("30 2 * * *", "*/20 * * * *", "15 1-4 * * sun", "0 12 * * *")),
    start=st.integers(int(at("2026-10-20 00:00")), int(at("2026-10-28 00:00"))),
    steps=st.lists(
        st.tuples(st.integers(-5, 200_000), st.booleans()) | st.tuples(st.integers(0, 900), st.booleans()), max_size=12
    ),
)
def test_looks_steps_and_restarts_give_what_the_simplest_timetable_gives(
    missed: Missed, written: str, start: int, steps: list[tuple[int, bool]]
) -> None:
    schedule = make_schedule("it", cron=written, do=["mode away"], missed=missed)
    store, now = Store(), float(start)
    table, _ = started(schedule, store, None, now)
    model, seen = Model(schedule, now), set[str]()
    for step, restart in steps:
        before, now = now, now + step
        if restart:
            table, due = started(schedule, store, before, now)
        else:
            due = table.due(now)
        causes = store.keep(due)
        assert [fired.due_at for fired in due.fired] == model.due(now)
        assert not seen & set(causes)
        seen |= set(causes)


def test_tasks_are_read_as_they_are_written() -> None:
    assert read_task("mode night") == Task(do="mode", name="night")
    assert read_task("disable rule Siren*") == Task(do="disable", subject="rule", name="Siren*")
    assert read_task("Enable group  Back garden") == Task(do="enable", subject="group", name="Back garden")
    assert read_task("run Alarm test") == Task(do="run", name="Alarm test")
    assert read_task("command lamp = on") == Task(do="command", name="lamp", value="on")
    assert msgspec.json.decode(msgspec.json.encode(read_task("mode night")), type=Task).name == "night"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: make_schedule("a", do=["mode x"]), "one of at, cron and sun"),
        (lambda: make_schedule("a", at="07:30", cron="* * * * *", do=["mode x"]), "not at and cron"),
        (lambda: make_schedule("a", cron="* * * * *", days="mon", do=["mode x"]), "leave days out"),
        (lambda: make_schedule("a", at="07:30", missed="later", do=["mode x"]), "none of fire, skip and once"),
        (lambda: make_schedule("a", at="07:30"), "does nothing"),
        (lambda: make_schedule("a", at="07:30", zone="Nowhere", do=["mode x"]), "no time zone"),
        (lambda: read_task("explode"), "not understood"),
        (lambda: read_task("disable Siren"), "not understood"),
        (lambda: read_task("command lamp"), "not understood"),
        (lambda: read_task("mode"), "not understood"),
    ],
)
def test_what_is_written_wrong_is_said(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()
