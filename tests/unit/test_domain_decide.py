"""Decisions say what is done, and why, or why not."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain.actions import Command, Control, control_payload, expires_at
from event_processor.domain.events import Event
from event_processor.domain.links import check_topic, compile_links, make_output
from event_processor.domain.policy import MeterLimits, Policy
from pylib.errors import ConfigError
from tests.unit.first_decision import Device, Reason, decide, enabled, liveness, seen, silent

NOW = 1_700_000_000.0
DOOR = Event(device="Front Door", kind="input", type="contact", active=True, created_at=NOW, source="mqtt", topic="sensor/x")
METER = Event(device="Water Meter", kind="meter", value=0, minute=25, created_at=NOW, source="mqtt", topic="meter/water")
LAMP = make_output("lamp", topic="cmnd/lamp/POWER", payload="ON", qos=2, retain=True)
OFF = make_output("off", enabled=False)
LINKS = compile_links(
    {"Front Door": "siren, lamp", "* meter": "lamp", "Shed ?oor": "off", "hall": "mqtt:cmnd/x {value}"},
    {"motion": "Siren"},
    [LAMP, OFF],
)
POLICY = Policy(links=LINKS, meters={"water meter": MeterLimits(low=0, high=20)}, disabled=frozenset({"cellar door"}))


def _with(event: Event, **changes: object) -> Event:
    return msgspec.structs.replace(event, **changes)


def _reason(event: Event, state: dict[str, Device] | None = None, policy: Policy = POLICY, now: float = NOW) -> Reason:
    (decision,) = decide(event, state or {}, now, policy)
    assert decision.action is None
    assert decision.explanation.startswith(event.device)
    return decision.reason


def test_an_active_input_sets_off_each_linked_output_in_the_order_of_the_file() -> None:
    siren, lamp = decide(DOOR, {}, NOW, POLICY)
    assert siren.reason is lamp.reason is Reason.TRIGGERED
    assert siren.explanation == "Front Door is active: siren"
    assert isinstance(siren.action, Control)
    assert siren.action.routing_key == "event.control.siren"
    assert lamp.action == Command(
        topic="cmnd/lamp/POWER", payload="ON", output="lamp", created_at=NOW, expires_after_s=90, qos=2, retain=True
    )


def test_names_patterns_and_types_are_compared_without_regard_to_case() -> None:
    assert [decision.output for decision in decide(_with(DOOR, device="FRONT door"), {}, NOW, POLICY)] == [
        "siren",
        "lamp",
    ]
    assert _reason(_with(DOOR, device="shed door")) is Reason.OUTPUT_DISABLED
    (decision,) = decide(_with(DOOR, device="any", type="Motion"), {}, NOW, POLICY)
    assert decision.output == "siren"


def test_an_output_linked_twice_is_set_off_once() -> None:
    links = compile_links({"Front Door": "siren", "front*": "SIREN"}, {"contact": "siren"})
    assert len(decide(DOOR, {}, NOW, Policy(links=links))) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"active": False}, Reason.INACTIVE),
        ({"active": None}, Reason.NO_STATE),
        ({"kind": "heartbeat"}, Reason.HEARTBEAT),
        ({"kind": "output"}, Reason.HEARTBEAT),
        ({"retained": True}, Reason.RETAINED),
        ({"created_at": NOW - 120.5}, Reason.TOO_OLD),
        ({"created_at": NOW + 3600}, Reason.FROM_THE_FUTURE),
        ({"device": "Cellar Door"}, Reason.DISABLED),
        ({"device": "Nobody"}, Reason.NO_LINK),
    ],
)
def test_what_sets_nothing_off_says_why(changes: dict[str, object], reason: Reason) -> None:
    assert _reason(_with(DOOR, **changes)) is reason


def test_an_event_of_exactly_the_greatest_age_still_counts() -> None:
    assert decide(_with(DOOR, created_at=NOW - 120), {}, NOW, POLICY)[0].reason is Reason.TRIGGERED


def test_the_greatest_age_is_an_option() -> None:
    policy = Policy(links=LINKS, max_event_age_s=1)
    assert _reason(_with(DOOR, created_at=NOW - 2), policy=policy) is Reason.TOO_OLD


def test_a_device_that_was_disabled_while_running_sets_nothing_off() -> None:
    known = seen({}, DOOR.device, NOW, DOOR)
    assert decide(DOOR, {DOOR.device: known}, NOW, POLICY)[0].action is not None
    assert _reason(DOOR, {DOOR.device: enabled(known, False)}) is Reason.DISABLED


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        (0, MeterLimits(low=0, high=20), Reason.WITHIN_LIMITS),
        (-0.1, MeterLimits(low=0), Reason.TRIGGERED),
        (0, MeterLimits(low=1), Reason.TRIGGERED),
        (1, MeterLimits(high=0), Reason.TRIGGERED),
        (20, MeterLimits(low=0, high=20), Reason.WITHIN_LIMITS),
        (20.5, MeterLimits(low=0, high=20), Reason.TRIGGERED),
        (5, MeterLimits(high=20, of_minute=True), Reason.TRIGGERED),
        (5, MeterLimits(every_reading=True), Reason.TRIGGERED),
        (5, MeterLimits(), Reason.NO_LIMITS),
        (None, MeterLimits(low=1), Reason.NO_STATE),
    ],
)
def test_a_meter_sets_off_outside_its_limits_and_zero_is_a_limit(
    value: float | None, limits: MeterLimits, expected: Reason
) -> None:
    policy = Policy(links=LINKS, meters={"water meter": limits})
    assert decide(_with(METER, value=value), {}, NOW, policy)[0].reason is expected


def test_a_meter_without_limits_says_how_to_set_them() -> None:
    (decision,) = decide(METER, {}, NOW, Policy(links=LINKS))
    assert "[meter:Water Meter]" in decision.explanation


def test_a_meter_reading_reaches_an_mqtt_command_with_its_value() -> None:
    policy = Policy(links=compile_links({"water meter": "mqtt:valve/set read {value}/{minute}"}), meters=POLICY.meters)
    (decision,) = decide(_with(METER, value=21), {}, NOW, policy)
    assert isinstance(decision.action, Command)
    assert (decision.action.topic, decision.action.payload) == ("valve/set", "read 21/25")


def test_what_a_device_says_cannot_add_to_a_json_command() -> None:
    output = make_output("o", topic="t", payload='{"said": "{value}", "n": {minute}, "left": "{unknown}"}')
    action = output.action(_with(DOOR, value='x", "open": "{device}'), NOW, 90)
    assert isinstance(action, Command)
    assert msgspec.json.decode(action.payload) == {"said": 'x", "open": "{device}', "n": None, "left": "{unknown}"}


def test_an_action_expires_counted_from_its_creation() -> None:
    action = decide(_with(DOOR, created_at=NOW - 60), {}, NOW, POLICY)[0].action
    assert action is not None
    assert expires_at(action) == NOW + 90


def test_the_control_body_names_the_input_and_the_output() -> None:
    action = decide(_with(DOOR, value=1, detail="opened"), {}, NOW + 0.9, POLICY)[0].action
    assert isinstance(action, Control)
    body = control_payload(action)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(body)) == body
    assert body["timestamp"] == int(NOW)
    assert body["active_input"] == {
        "device_key": "Front Door", "type": "contact", "label": "", "active": True, "sample_value": 1,
        "event_detail": "opened", "timestamp": int(NOW),
    }  # fmt: skip
    assert body["output_triggered"] == {"device_key": "siren", "type": "siren", "label": "siren", "params": None}


def test_no_representation_shows_what_is_handed_to_an_output() -> None:
    output = make_output("camera", params="user:hunter2@camera")
    (decision,) = decide(DOOR, {}, NOW, Policy(links=compile_links({"front door": "camera"}, outputs=[output])))
    assert isinstance(decision.action, Control)
    assert decision.action.params == "user:hunter2@camera"
    assert "hunter2" not in repr((output, decision))


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ({"Door": ""}, "Door: expected at least one output"),
        ({"Door": "a b"}, "Door: 'a b' is no output"),
        ({"Door": "mqtt:a/# ON"}, "Door: 'mqtt:a/# ON' is no output"),
        ({"Door": "mqtt:"}, "Door: 'mqtt:' is no output"),
    ],
)
def test_a_wrong_link_names_the_input_and_the_output(links: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_links(links)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0b", "x" * 65536])
def test_a_topic_that_mqtt_forbids_publishing_to_is_refused(topic: str) -> None:
    with pytest.raises(ConfigError, match="topic: "):
        check_topic(topic)


def test_a_device_is_known_from_when_it_was_first_heard() -> None:
    first = seen({}, "Front Door", NOW, DOOR)
    later = seen({"Front Door": first}, "Front Door", NOW + 5)
    assert (later.first_seen, later.last_seen, later.active, later.type) == (NOW, NOW + 5, True, "contact")
    assert seen({"Front Door": later}, "Front Door", NOW - 100).last_seen == NOW + 5


def test_a_silent_device_is_noticed_without_its_help() -> None:
    state = {"a": seen({}, "a", NOW), "b": seen({}, "b", NOW + 200)}
    assert [device.key for device in silent(state, NOW + 301, 300)] == ["a"]
    assert liveness(state["a"], NOW + 300, 300) == "alive"
    assert liveness(None, NOW, 300) == "never"


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
NAMES = st.sampled_from(["Front Door", "Water Meter", "Shed Door", "Cellar Door", "hall"]) | st.text()
EVENTS = st.builds(
    Event,
    device=NAMES,
    kind=st.sampled_from(["input", "meter", "heartbeat", "output"]),
    created_at=NUMBERS.map(float) | st.just(NOW),
    source=st.sampled_from(["mqtt", "rabbitmq"]),
    topic=st.text(),
    type=st.text() | st.just("motion"),
    value=st.none() | st.booleans() | NUMBERS | st.text(),
    minute=st.none() | NUMBERS,
    active=st.none() | st.booleans(),
    retained=st.booleans(),
)
LIMITS = st.builds(MeterLimits, low=st.none() | NUMBERS, high=st.none() | NUMBERS, of_minute=st.booleans())


@settings(max_examples=500, deadline=None)
@given(event=EVENTS, limits=LIMITS, allowed=st.booleans(), age=st.floats(0, 1e6))
def test_decide_always_answers_and_acts_only_on_fresh_live_events(
    event: Event, limits: MeterLimits, allowed: bool, age: float
) -> None:
    policy = Policy(links=LINKS, meters={"water meter": limits}, max_event_age_s=age)
    state = {event.device: enabled(seen({}, event.device, NOW, event), allowed)}
    decisions = decide(event, state, NOW, policy)
    assert decisions
    for decision in decisions:
        assert decision.explanation
        assert (decision.action is not None) == (decision.reason is Reason.TRIGGERED)
        if decision.action is not None:
            assert allowed
            assert not event.retained
            assert event.kind in ("input", "meter")
            assert math.fabs(NOW - event.created_at) <= age
            assert decision.action.created_at == NOW
            if isinstance(decision.action, Control):
                control_payload(decision.action)
