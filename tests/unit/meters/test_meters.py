"""Meters: what is counted, what is not believed, and what a meter is told."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain.events import Event
from event_processor.domain.links import compile_links
from event_processor.domain.meters import (
    Measured,
    Meter,
    MeterState,
    adjust_register,
    measure,
    read_state,
    set_register,
)
from event_processor.domain.policy import MeterLimits, Policy
from event_processor.domain.sensors import from_mqtt
from pylib.errors import ConfigError
from tests.unit.first_decision import Reason, decide

START = 1_790_000_000.0
WATER = Meter(key="Water Meter", unit="l", most_per_minute=30)


def event(register: float, at: float, minute: float | None = None, key: str = "Water Meter") -> Event:
    return Event(
        device=key, kind="meter", created_at=START + at, source="mqtt", topic="meter/water", value=register, minute=minute
    )


def run(meter: Meter, readings: Iterable[tuple[float, float]]) -> list[Measured]:
    """Readings as (register, seconds since the start), each state stored and read again as the store would."""
    state: MeterState | None = None
    found = []
    for register, at in readings:
        measured = measure(event(register, at, key=meter.key), state, meter)
        assert measured is not None
        found.append(measured)
        change = measured.change(meter.key)
        assert (change.scope, change.key) == ("meter", meter.key)
        state = read_state(change.value)
        assert state == measured.state
    return found


def deltas(found: list[Measured]) -> list[float | None]:
    return [None if each.reading is None else each.reading.delta for each in found]


def test_a_register_that_counts_up_gives_what_was_used() -> None:
    found = run(WATER, [(100, 0), (112, 60), (112, 120), (120.5, 180)])
    assert deltas(found) == [0, 12, 0, 8.5]
    assert [each.reading.register for each in found if each.reading] == [100, 112, 112, 120.5]
    assert found[-1].state.used == 20.5
    assert found[1].reading is not None
    assert found[1].reading.minute == 12


def test_each_meter_has_its_own_account_and_no_sample_is_dropped() -> None:
    # The original had one accumulator for all meters, which lost the sample at hand whenever it posted.
    meters = {key: Meter(key=key) for key in ("Water Meter", "Gas Meter")}
    states: dict[str, MeterState] = {}
    used = {"Water Meter": 0.0, "Gas Meter": 0.0}
    for n in range(50):
        for key, step in (("Water Meter", 2), ("Gas Meter", 7)):
            measured = measure(event(100 + step * n, 60 * n, key=key), states.get(key), meters[key])
            assert measured is not None
            assert measured.reading is not None
            states[key] = measured.state
            used[key] += measured.reading.delta
    assert used == {"Water Meter": 98, "Gas Meter": 343}


def test_factor_unit_and_precision_are_the_meters_own() -> None:
    meter = Meter(key="Power Meter", unit="kWh", factor=0.001, precision=2)
    found = run(meter, [(1_000_000, 0), (1_001_234, 60)])
    assert found[1].reading is not None
    assert found[1].reading.register == 1001.23
    assert found[1].reading.delta == pytest.approx(1.234)
    assert found[1].event is not None
    assert (found[1].event.value, found[1].event.minute) == (1001.23, 1.23)


def test_a_counter_that_rolls_over_goes_on() -> None:
    found = run(Meter(key="Gas Meter", rollover=1000, most_per_minute=30), [(990, 0), (5, 60), (12, 120)])
    assert deltas(found) == [0, 15, 7]
    # Without a limit too, where it went less than half around.
    assert deltas(run(Meter(key="Gas Meter", rollover=1000), [(990, 0), (5, 60)])) == [0, 15]
    # What went down by a little did not go nearly all around.
    assert deltas(run(Meter(key="Gas Meter", rollover=1000), [(990, 0), (985, 60)])) == [0, None]


def test_a_meter_that_was_reset_counts_from_nothing() -> None:
    found = run(WATER, [(5000, 0), (4, 60), (10, 120), (11, 180), (13, 240)])
    assert deltas(found) == [0, None, None, 11, 2]
    assert "was reset" in found[3].problems[0]
    assert found[4].state.used == 13


def test_one_wrong_reading_costs_nothing_up_or_down() -> None:
    for wrong, most in ((999_999.0, 30), (0.0, None), (0.0, 30), (20.0, 30), (400.0, None)):
        meter = Meter(key="Water Meter", most_per_minute=most)
        found = run(meter, [(500, 0), (wrong, 60), (510, 120), (515, 180)])
        assert deltas(found) == [0, None, 10, 5]
        assert found[1].event is None
        assert "not believed" in found[1].problems[0]
        assert found[3].state.suspect is None


def test_a_jump_that_others_agree_with_is_believed_and_not_counted() -> None:
    found = run(WATER, [(500, 0), (9000, 60), (9010, 120), (9015, 180), (9020, 240)])
    assert deltas(found) == [0, None, None, 15, 5]
    assert "what lies between is not counted" in found[3].problems[0]
    assert found[4].state.used == 20


def test_a_negative_reading_is_said_and_forgotten() -> None:
    assert measure(event(-1, 0), None, WATER) is None
    found = run(WATER, [(500, 0), (-3, 60), (510, 120)])
    assert deltas(found) == [0, None, 10]
    assert "is negative" in found[1].problems[0]


def test_a_meter_that_does_not_move_is_said_to_be_stuck_once() -> None:
    meter = Meter(key="Water Meter", stuck_after_s=3600)
    found = run(meter, [(500, 1800 * n) for n in range(5)] + [(501, 9000), (501, 9060)])
    assert [len(each.problems) for each in found] == [0, 0, 1, 0, 0, 0, 0]
    assert "has not moved for 3600 s" in found[2].problems[0]
    assert [each.state.stuck for each in found] == [False, False, True, True, True, False, False]


def test_a_repetition_and_what_comes_late_change_nothing() -> None:
    (first,) = run(WATER, [(100, 60)])
    assert measure(event(100, 60), first.state, WATER) is None
    assert measure(event(90, 0), first.state, WATER) is None


def test_what_is_no_reading_is_passed_over() -> None:
    heartbeat = msgspec.structs.replace(event(1, 0), kind="heartbeat")
    assert measure(heartbeat, None, WATER) is None
    for value in (None, "12", True, float("nan"), float("inf")):
        assert measure(msgspec.structs.replace(event(1, 0), value=value), None, WATER) is None


def test_zero_is_a_value_like_any_other() -> None:
    # In the original a zero in a limit or an interval threw, and took the device or the rest of the outputs with it.
    assert deltas(run(Meter(key="Water Meter", most_per_minute=0), [(0, 0), (0, 60), (5, 120)])) == [0, 0, None]
    assert deltas(run(Meter(key="Water Meter"), [(0, 0), (0, 60), (3, 120)])) == [0, 0, 3]
    assert run(Meter(key="Water Meter", stuck_after_s=0), [(1, 0), (1, 1e6)])[1].state.stuck is False
    policy = Policy(links=compile_links({"*": "siren"}), meters={"water meter": MeterLimits(low=0.0, high=0.0)})
    for register, reason in ((0.0, Reason.WITHIN_LIMITS), (0.5, Reason.TRIGGERED)):
        (decision,) = decide(event(register, 0), {}, START, policy)
        assert decision.reason is reason


def test_limits_are_asked_in_the_meters_unit() -> None:
    meter = Meter(key="Power Meter", factor=0.001)
    measured = measure(event(12_500, 0, key="Power Meter"), None, meter)
    assert measured is not None
    assert measured.event is not None
    policy = Policy(links=compile_links({"*": "siren"}), meters={"power meter": MeterLimits(high=12.0)})
    (decision,) = decide(measured.event, {}, START, policy)
    assert decision.explanation == "Power Meter reads 12.5, above 12: siren"


def test_the_original_meters_message_is_measured() -> None:
    payload = {"last_minute_metered": 3, "register_reading": 1234}
    (reading,) = from_mqtt("meter/water/1", payload, now=START)
    measured = measure(reading, None, WATER)
    assert measured is not None
    assert measured.reading is not None
    assert (measured.reading.register, measured.reading.minute) == (1234, 3)


def test_a_meter_is_told_to_set_its_register_and_then_expects_what_it_was_told() -> None:
    # The original's reset only warned.
    meter = Meter(key="Water Meter", unit="l", factor=0.5, most_per_minute=30, control_topic="meter/water/control")
    (first,) = run(meter, [(5000, 0)])
    form, payload, state = set_register(first.state, meter, 0.0)
    assert (form.topic, json.loads(payload)) == ("meter/water/control", {"set_register": 0})
    measured = measure(event(2, 60), state, meter)
    assert measured is not None
    assert measured.reading is not None
    assert (measured.reading.delta, measured.problems) == (0.0, ())
    assert measured.state.expected is None
    form, payload, state = adjust_register(measured.state, meter, 250)
    assert json.loads(payload) == {"adjust_register": 500}
    measured = measure(event(503, 120), state, meter)
    assert measured is not None
    assert measured.problems == ()


def test_a_meter_that_cannot_be_told_says_so() -> None:
    with pytest.raises(ConfigError, match="set control_topic"):
        set_register(None, WATER, 0)
    meter = msgspec.structs.replace(WATER, control_topic="x")
    with pytest.raises(ConfigError, match="0 or more"):
        set_register(None, meter, -1)
    with pytest.raises(ConfigError, match="0 or more"):
        set_register(None, meter, float("nan"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"factor": 0},
        {"factor": float("inf")},
        {"precision": 12},
        {"rollover": 0},
        {"most_per_minute": -1},
        {"stuck_after_s": -1},
    ],
)
def test_a_meter_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Meter(key="x", **wrong)  # type: ignore[arg-type]


def test_a_state_that_cannot_be_read_starts_anew() -> None:
    assert read_state(None) is None
    assert read_state(b'{"register": "many"}') is None


@settings(max_examples=300, deadline=None)
@given(
    flows=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    rollover=st.none() | st.just(1000),
    start=st.integers(0, 999),
    wrong=st.dictionaries(st.integers(0, 59), st.sampled_from((-5.0, 0.0, 123_456.0, 5_000_000.0)), max_size=10),
)
def test_what_flowed_is_what_was_counted_however_many_readings_were_wrong(
    flows: list[int], rollover: int | None, start: int, wrong: dict[int, float]
) -> None:
    meter = Meter(key="Water Meter", most_per_minute=30, rollover=rollover)
    register, state, used, believed = start, None, 0.0, 0
    # Two that agree would rightly be believed, and a counter at 990 that shows 0 has rolled over as far as anybody can tell.
    isolated = {n for n in wrong if n - 1 not in wrong and not (rollover and wrong[n] == 0)}
    for n, flow in enumerate(flows):
        register = (register + flow) % rollover if rollover else register + flow
        believed += flow if n else 0
        if n and n in isolated:
            measured = measure(event(wrong[n], 60 * n), state, meter)
            assert measured is not None
            assert measured.reading is None
            state = measured.state
        measured = measure(event(register, 60 * n + 30), state, meter)
        assert measured is not None
        assert measured.reading is not None
        used += measured.reading.delta
        state = measured.state
    assert used == pytest.approx(believed)
    assert state is not None
    assert state.used == pytest.approx(believed)
