"""Schedules at work: what one does at its time is one outcome, and schedules can be switched, several at a time."""

from __future__ import annotations

from event_processor.causes import Causes
from event_processor.domain.engine import Engine
from event_processor.domain.heard import Request
from event_processor.domain.rulebook import Rulebook
from event_processor.domain.schedules import Timetable, make_schedule
from event_processor.scheduling import Schedules

NOW = 1_795_500_000.0  # 2026-11-24 06:00 UTC


def schedules(*, do: str = "mode night") -> tuple[Schedules, Timetable, Causes]:
    timetable = Timetable(
        (
            make_schedule("evening-lamp", at="19:00", do=[do], name="Evening lamp"),
            make_schedule("evening-blinds", at="19:00", do=["mode away"]),
            make_schedule("morning", at="07:00", do=["disable schedule evening*"]),
        )
    )
    causes = Causes()
    at_work = Schedules(timetable, Engine(Rulebook(())), causes)
    assert {change.scope for outcome in at_work.begin(NOW) for change in outcome.changes} == {"schedule"}
    return at_work, timetable, causes


def wish(what: str, name: str) -> Request:
    return Request(id=f"{what} {name}", at=NOW, what=what, who="Ann", about=f"schedule:{name}")


def test_a_pattern_switches_every_schedule_that_it_means_and_an_unknown_name_is_said() -> None:
    at_work, timetable, _ = schedules()
    done = at_work.switch(wish("disable", "EVENING*"), "EVENING*", NOW)
    assert [change.key for change in done.changes] == ["evening-lamp", "evening-blinds"]
    assert done.evaluations[0].explanation == "Ann asked for disable schedule:EVENING*: it is switched off."
    assert [timetable.enabled(each) for each in ("evening-lamp", "evening-blinds", "morning")] == [False, False, True]
    again = at_work.switch(wish("disable", "evening-lamp"), "evening-lamp", NOW)
    assert (again.evaluations[0].fired, again.changes) == (True, ())
    unknown = at_work.switch(wish("enable", "noon"), "noon", NOW)
    assert (unknown.evaluations[0].fired, unknown.changes) == (False, ())


def test_a_schedule_that_is_due_is_one_outcome_and_is_not_done_twice() -> None:
    at_work, timetable, causes = schedules()
    due = timetable.next_due()
    assert due is not None
    (outcome,) = at_work.due(due)
    assert outcome.cause == f"schedule:morning:{int(due)}"
    assert {change.key for change in outcome.changes} == {"morning", "evening-lamp", "evening-blinds"}
    assert not timetable.enabled("evening-lamp")
    assert causes.decided(outcome.cause)
    assert list(at_work.due(due)) == []
