"""A replay of what was stored comes to the decisions that were made when it was live, with their reasons and ids."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from event_processor.causes import Causes
from event_processor.commands.list_devices import state_of
from event_processor.domain.engine import Engine
from event_processor.domain.entities import Availability
from event_processor.domain.events import Event
from event_processor.domain.heard import Heard, Request
from event_processor.domain.meters import Meter
from event_processor.domain.outcome import Evaluation, Outcome
from event_processor.domain.registry import Registry
from event_processor.domain.replay import decide
from event_processor.domain.rule_file import load
from event_processor.domain.rulebook import MODES, Rulebook, compile_rules
from event_processor.domain.schedules import Timetable, make_schedule
from event_processor.metering import Meters
from event_processor.processor import EventProcessor
from event_processor.store import history
from event_processor.store.batch import BatchWriter
from event_processor.store.database import Database
from event_processor.store.reader import Reader
from event_processor.store.replaying import engine_at, replay_from
from event_processor.store.rows import rows_of
from pylib.runtime.runtime import Runtime
from pylib.testing.clock import VirtualClock

START = 1_790_000_000.0
DEVICES = ("Front Door", "Back Door", "Hall Motion", "Gate")
RULES = """
[[rule]]
id = "alarm"
trigger = [{device = "* Door"}, {signal = "panic"}]
modes = ["away", "night"]
entry = true
latch = {seconds = 40}
action = [{do = "output", output = "siren"}, {do = "unless_acknowledged", within_s = 20}, {do = "notify", to = ["phone"]}]

[[rule]]
id = "open"
trigger = {device = "* Door"}
for_s = 15
action = [{do = "output", output = "bell"}, {do = "delay", seconds = 7.5}, {do = "output", output = "lamp"}]
run = "restart"

[[rule]]
id = "restless"
trigger = {device = "Hall Motion", on = "level"}
count = {times = 3, within_s = 30, per = "rule"}
condition = 'not device("Front Door").active and mode != "home"'
action = {do = "mode", mode = "night"}

[[rule]]
id = "silent"
trigger = {offline = "*"}
for_s = 10
action = {do = "notify", text = "{device} is silent"}

[[rule]]
id = "morning"
trigger = {schedule = "tick"}
action = {do = "output", output = "lamp"}

[[rule]]
id = "thirsty"
trigger = {type = "water", on = "change"}
condition = "event.value > 50"
action = {do = "output", output = "valve"}
"""


def book(text: str = RULES) -> Rulebook:
    return Rulebook(compile_rules(load(text).rule), modes=MODES)


class Live:
    """The hub's own way to decide, a clock in the hand: messages, wishes, timers in time and late, a schedule, a meter."""

    def __init__(self, runtime: Runtime, seed: int) -> None:
        self.clock = VirtualClock(start=START)
        self.chance = random.Random(seed)
        self.timetable = Timetable(
            (make_schedule("tick", cron="* * * * *", do=["mode away", "enable rule open"]),), {}
        )  # fmt: skip
        meters = Meters((Meter(key="Water", most_per_minute=60.0),), {}, "UTC")
        self.engine = Engine(book(), Registry())
        runtime.clock = self.clock
        with runtime.active():
            self.processor = EventProcessor(self.engine, self.timetable, meters, Causes())
        self.register = 0.0

    def run(self, steps: int) -> Iterator[Outcome]:
        self.timetable.reconcile(None, self.clock.time())
        for number in range(steps):
            late = self.chance.random() < 0.2
            yield from self.passes(self.chance.choice((0.001, 0.5, 2.0, 9.0, 25.0)), late)
            for stored in self.processor.process(self.said(number)):
                together = stored if isinstance(stored, tuple) else (stored,)
                yield from (each for each in together if isinstance(each, Outcome))

    def passes(self, seconds: float, late: bool) -> Iterator[Outcome]:
        """Time passes; what is due rings a moment too late, unless nobody is there."""
        end = self.clock.time() + seconds
        while not late:
            dues = [due for due in (self.engine.next_due(), self.timetable.next_due()) if due is not None and due <= end]
            if not dues:
                break
            self.clock.advance(max(0.0, min(dues) + 0.0004 - self.clock.time()))
            now = self.clock.time()
            yield from self.engine.due(now)
            yield from self.processor._schedules.due(now)
        self.clock.advance(max(0.0, end - self.clock.time()))

    def said(self, number: int) -> Heard | Request:
        now, chance = self.clock.time(), self.chance
        what = chance.random()
        if what < 0.12:
            wish = chance.choice((
                ("set_mode", "away"), ("set_mode", "home"), ("set_mode", "night"), ("acknowledge", ""), ("signal", "panic"),
                ("disable", "rule:open"), ("enable", "rule:open"), ("maintenance", ""), ("run", "open"), ("nonsense", ""),
            ))  # fmt: skip
            value = chance.random() < 0.5 if wish[0] == "maintenance" else None
            return Request(id=f"wish-{number}", at=now, what=wish[0], who="Ann", about=wish[1], value=value)
        if what < 0.2:
            device = chance.choice(DEVICES)
            said = (Availability(device=device, online=chance.random() < 0.6, at=now),)
            return Heard(at=now, message_id=f"message-{number}", origin="o", said=said)
        if what < 0.3:
            self.register += chance.choice((0.2, 1.0, 40.0))
            events: tuple[Event, ...] = (self.event("Water", self.register, None, "meter", "water"),)
        else:
            events = tuple(
                self.event(chance.choice(DEVICES), None, chance.random() < 0.6, "input", "door")
                for _ in range(chance.choice((1, 1, 2)))
            )  # fmt: skip
        return Heard(at=now, message_id=f"message-{number}", origin="o", events=events)

    def event(
        self, device: str, value: float | None, active: bool | None, kind: Literal["input", "meter"], type: str
    ) -> Event:
        at = self.clock.time() - self.chance.choice((0.0, 0.0, 0.0, 200.0 if kind == "input" else 0.0))
        return Event(
            device=device, kind=kind, created_at=at, source="mqtt", topic=f"sensor/{device}", type=type,
            value=active if value is None else value, active=active,
        )  # fmt: skip


def store(outcomes: Iterable[Outcome], path: Path) -> Reader:
    database = Database(path)
    database.open()
    BatchWriter(database.connection).write([rows_of(outcome) for outcome in outcomes], now=START)
    database.close()
    return Reader(path)


Decisions = dict[str, tuple[tuple[Evaluation, ...], tuple[str, ...]]]


def decisions(outcomes: Iterable[Outcome]) -> Decisions:
    """Everything concluded and sent, by cause; what the engine had no part in is left out."""
    found: Decisions = {}
    for outcome in outcomes:
        if outcome.evaluations or outcome.steps:
            looked, steps = found.get(outcome.cause, ((), ()))
            found[outcome.cause] = (
                (*looked, *outcome.evaluations), (*steps, *(f"{step.id} {step.address}" for step in outcome.steps))
            )  # fmt: skip
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_replay_comes_to_the_same_decisions_as_live(seed: int, runtime: Runtime, tmp_path: Path) -> None:
    system, live = runtime.clock, Live(runtime, seed)
    stored = list(live.run(1500))
    end = live.clock.time()
    runtime.clock = system
    live.processor.close()
    reader = store(stored, tmp_path / "hub.db")

    engine = engine_at(reader, book(), Registry(), START - 1, history.rung(reader, START - 1))
    again: list[Outcome] = []
    for cause, at, said in history.said(reader, START - 1):
        again += engine.due(at)
        # What a schedule makes of its tasks is one outcome when it is live.
        again += [outcome if said is outcome.event else _named(outcome, cause) for outcome in decide(engine, said, cause, at)]
    again += engine.due(end)
    reader.close()

    before, after = decisions(stored), decisions(again)
    reasons = {evaluation.reason for looked, _ in before.values() for evaluation in looked}
    assert {"latch", "mode", "count", "waiting", "too_old"} <= reasons
    assert after == before


def _named(outcome: Outcome, cause: str) -> Outcome:
    return msgspec.structs.replace(outcome, cause=cause)


def test_rules_that_are_the_same_differ_in_nothing_and_others_where_they_differ(runtime: Runtime, tmp_path: Path) -> None:
    system, live = runtime.clock, Live(runtime, 7)
    stored = list(live.run(600))
    end = live.clock.time()
    runtime.clock = system
    live.processor.close()
    reader = store(stored, tmp_path / "hub.db")
    middle = (START + end) / 2
    same = replay_from(reader, book(), book(), state_of(reader)[1], middle, end, 3600)
    assert same.differing == ()
    assert same.events > 100
    changed = book(RULES.replace("times = 3", "times = 2"))
    other = replay_from(reader, book(), changed, state_of(reader)[1], middle, end, 3600)
    assert "restless" in {difference.rule for difference in other.differing}
    assert other.fired_after["restless"] > other.fired_before.get("restless", 0)
    reader.close()
