"""The engine against the model: latch, rate, windows, modes, ``for`` and run modes, with kills in between.

``RULE_RUNS`` says how many runs each property gets (default: few, for the suite).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_processor.domain.rules import Count, Delay, DeviceCommand, Latch, ModeSpec, Rule, Trigger, Window
from event_processor.domain.windows import DAYS, compile_windows, local
from tests.unit.domain_rules.kit import House
from tests.unit.domain_rules.model import SUMMER, WINTER, Guards, Model, open_at

RUNS = int(os.environ.get("RULE_RUNS", "60"))
BERLIN = ZoneInfo("Europe/Berlin")
FEW = [HealthCheck.too_slow, HealthCheck.data_too_large]

# Each kind of duration has a fraction of its own, so that timers of different kinds are never due at the same time.
_minutes, _days = st.integers(0, 1439), st.lists(st.integers(0, 6), max_size=3, unique=True).map(tuple)
_some_windows = st.lists(st.tuples(_minutes, _minutes, _days), min_size=1, max_size=2).map(tuple)
_guards = st.builds(
    Guards,
    on=st.sampled_from(["activation", "level"]),
    modes=st.sampled_from([(), (), ("away",), ("away", "night", "home")]),
    windows=st.one_of(st.just(()), st.just(()), st.just(()), _some_windows),
    latch=st.sampled_from([0.0, 0.0, 3.0, 20.0]),
    latch_per_rule=st.booleans(),
    times=st.sampled_from([0, 0, 1, 2, 3]),
    within=st.sampled_from([0.0, 5.0, 30.0]),
    count_per_rule=st.booleans(),
    lasting=st.sampled_from([0.0, 0.0, 4.125, 15.125]),
    run=st.sampled_from(["single", "restart", "queued"]),
    queue=st.integers(1, 3),
    delay=st.sampled_from([0.0, 2.25, 11.25]),
    max_age=st.sampled_from([10.0, 120.0]),
)
_devices = st.sampled_from(["a", "b"])


class Action(NamedTuple):
    """One thing that happens; of the rest only what concerns it counts."""

    what: str
    device: str
    active: bool | None
    age: float
    seconds: float
    mode: str
    at_once: bool


_kinds = ["hear"] * 8 + ["wait"] * 6 + ["mode", "gone", "kept", "kill"]
_actions = st.lists(
    st.builds(
        Action,
        what=st.sampled_from(_kinds),
        device=_devices,
        active=st.sampled_from([True, True, True, False, None]),
        age=st.sampled_from([0.0] * 7 + [60.0]),
        seconds=st.sampled_from([1.0, 0.0, 1.0, 2.0, 4.0, 3.0, 10.0, 40.0, 20_000.0]),
        mode=st.sampled_from(["away", "home", "night", "away"]),
        at_once=st.booleans(),
    ),
    min_size=20,
    max_size=50,
)
_start = st.builds(
    lambda moment, minutes: moment.timestamp() + minutes * 60.0,
    st.sampled_from([SUMMER, WINTER, datetime(2026, 6, 6, 22, tzinfo=UTC)]),
    st.integers(-600, 600),
)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def rule_of(guards: Guards) -> Rule:
    """The rule of the model, as the engine takes it."""
    return Rule(
        id="r",
        trigger=(Trigger(device="*", on=guards.on),),  # type: ignore[arg-type]
        modes=guards.modes,
        window=tuple(
            Window(start=_clock(s), end=_clock(e), days=tuple(DAYS[d] for d in days)) for s, e, days in guards.windows
        ),
        latch=Latch(seconds=guards.latch, per="rule" if guards.latch_per_rule else "device"),
        count=Count(times=guards.times, within_s=guards.within, per="rule" if guards.count_per_rule else "device"),
        for_s=guards.lasting,
        max_age_s=guards.max_age,
        run=guards.run,  # type: ignore[arg-type]
        queue=guards.queue,
        action=(DeviceCommand(topic="x", payload="A"), Delay(seconds=guards.delay), DeviceCommand(topic="x", payload="B")),
    )


@given(guards=_guards, actions=_actions, start=_start, exit_delay=st.sampled_from([0.0, 7.0625]))
@settings(max_examples=RUNS, deadline=None, suppress_health_check=FEW)
def test_the_engine_does_what_the_model_does(guards: Guards, actions: list[Action], start: float, exit_delay: float) -> None:
    model = Model(guards, start, exit_delay=exit_delay)
    modes = [ModeSpec(name="home"), ModeSpec(name="away", exit_delay_s=exit_delay), ModeSpec(name="night")]
    house = House(rules=[rule_of(guards)], modes=modes, zone=BERLIN, now=start)
    for action in actions:
        if action.what == "hear":
            house.hear(action.device, action.active, created_at=house.now - action.age)
            model.hear(action.device, action.active, action.age)
        elif action.what == "kept":
            house.hear(action.device, True, retained=True)
            model.hear(action.device, True, retained=True)
        elif action.what == "wait":
            house.wait(action.seconds)
            model.wait(action.seconds)
        elif action.what == "mode":
            house.ask("set_mode", action.mode, action.at_once)
            model.go(action.mode, action.at_once)
        elif action.what == "gone":
            house.presence(action.device, False)
            model.gone(action.device)
        else:
            house.restart()
        assert house.mode == model.mode
    house.wait(100)
    model.wait(100)
    assert [(step.at, step.body) for step in house.steps] == model.done
    assert len({step.id for step in house.steps}) == len(house.steps)


@given(windows=_some_windows, start=_start, seconds=st.lists(st.integers(-90_000, 90_000), min_size=20, max_size=20))
@settings(max_examples=RUNS, deadline=None, suppress_health_check=FEW)
def test_windows_are_open_when_the_clock_on_the_wall_says_so(
    windows: tuple[tuple[int, int, tuple[int, ...]], ...], start: float, seconds: list[int]
) -> None:
    hours = compile_windows(
        Window(start=_clock(s), end=_clock(e), days=tuple(DAYS[d] for d in days)) for s, e, days in windows
    )
    assert hours is not None
    for offset in seconds:
        assert (local(start + offset, BERLIN) in hours) is open_at(windows, start + offset)
