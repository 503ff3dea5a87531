"""Messages become events, or say in a few words what was wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain.bodies import from_forwarded, from_rabbitmq, origin_of
from event_processor.domain.events import Event
from event_processor.domain.fields import MAX_NAME, number, timestamp, truth
from event_processor.domain.sensors import from_mqtt
from pylib.errors import DecodeError

NOW = 1_700_000_000.0
DOOR = {
    "device_id": "esp-1",
    "input_location": "Front Porch",
    "input_2": {"input_label": "Bell", "sample_value": 0, "active": False},
    "input_1": {"input_label": "Door", "sample_value": 1, "active": True},
}
SENSIBLE = st.sampled_from(
    [
        "data",
        "device_info",
        "inputs",
        "outputs",
        "active_devices",
        "outputs_triggered",
        "samples",
        "timestamp",
        "device_key",
        "device_label",
        "type",
        "meter",
        "location",
        "sample_value",
        "sample_values",
        "active",
        "state",
        "kind",
        "input_1",
        "input_location",
        "input_label",
        "register_reading",
        "last_minute_metered",
        "source",
        "mqtt",
        "topic",
        "retained",
        "message_type",
        "heartbeat",
        "event_detail",
        "image",
    ]
)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | SENSIBLE | st.binary(max_size=4)
KEY = SENSIBLE | st.text(max_size=4)
ANYTHING = st.recursive(
    LEAF | st.datetimes(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY | st.integers() | st.none(), inner, max_size=6),
    max_leaves=30,
)


def _fields(**changes: object) -> dict[str, object]:
    return {**DOOR, **changes}


def topic_base(topic: str) -> str:
    """Return the first two levels of a topic, the name under which its message goes down the pipeline."""
    return "/".join(topic.split("/")[:2])


def forwarded(topic_base: str, events: Iterable[Event]) -> dict[str, object]:
    """Build the form in which an MQTT message goes down the pipeline: ``{topic_base: {"data": {"device_info": ...}}}``.

    The shape is the first listing's; beside ``data`` stand ``source``, and ``timestamp``, ``topic`` and ``retained`` of
    the message, so that ``bodies.from_forwarded`` gives the same events again. All events are of one message.
    """
    inputs: list[dict[str, object]] = []
    outputs: list[dict[str, object]] = []
    active: list[dict[str, object]] = []
    body: dict[str, object] = {}
    for event in events:
        body = {
            "timestamp": event.created_at,
            "source": event.source,
            "topic": event.topic,
            "retained": event.retained,
            "message_type": "notify",
        }
        device: dict[str, object] = {
            "device_key": event.device,
            "type": event.type,
            "device_label": event.label,
            "kind": event.kind,
            "sample_value": event.value,
            "minute_value": event.minute,
            "active": event.active,
            "event_detail": event.detail,
        }
        (outputs if event.kind == "output" else inputs).append(device)
        if event.active and event.kind != "output":
            active.append(device)
    if not any(device["kind"] in ("input", "meter") for device in inputs):
        body["message_type"] = "heartbeat"
    body["data"] = {"device_info": {"inputs": inputs, "outputs": outputs}, "active_devices": active}
    return {topic_base: body}


def test_a_sensor_reports_each_of_its_inputs_under_location_and_label_in_their_order() -> None:
    door, bell = from_mqtt("sensor/porch/state", DOOR, now=NOW)
    assert (door.device, door.value, door.active, door.type) == ("Front Porch Door", 1, True, "sensor")
    assert (bell.device, bell.active) == ("Front Porch Bell", False)
    assert {door.source, bell.source} == {"mqtt"}
    assert door.created_at == NOW


def test_a_retained_message_gives_retained_events() -> None:
    assert all(event.retained for event in from_mqtt("sensor/porch", DOOR, now=NOW, retained=True))


def test_a_meter_reports_register_and_minute_and_zero_is_a_reading() -> None:
    (event,) = from_mqtt("meter/hot_water/x", {"last_minute_metered": 0, "register_reading": "17.5"}, now=NOW)
    assert (event.device, event.kind, event.value, event.minute) == ("Hot Water Meter", "meter", 17.5, 0)


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        ("sensor/porch", 7, "sends an object, got a number"),
        ("sensor/porch", None, "sends an object, got null"),
        ("sensor/porch", {"input_1": {}}, "input_location: expected text, got null"),
        ("sensor/porch", {"input_location": "Porch"}, "at least one input_N"),
        ("sensor/porch", _fields(input_1=[1]), "input_1: expected an object, got a list"),
        ("sensor/porch", _fields(input_1={"input_label": "Door", "active": "maybe"}), "input_1.active"),
        ("sensor/porch", _fields(input_1={"input_label": "a\nb"}), "printable"),
        ("sensor/porch", _fields(input_1={"input_label": "x" * (MAX_NAME + 1)}), "at most"),
        ("sensor/porch", _fields(timestamp="yesterday"), "timestamp: expected"),
        ("meter/water", {"last_minute_metered": 1}, "register_reading: expected a number, got null"),
        ("meter/water", {"register_reading": float("nan")}, "register_reading: the number is out of range"),
        ("meter/water", {"register_reading": 10**400}, "register_reading: the number is out of range"),
        ("meter/water", {"register_reading": True}, "register_reading: expected a number, got true or false"),
        ("zigbee/x", "ON", "[mapping:...]"),
        ("sensor", DOOR, "[mapping:...]"),
    ],
)
def test_a_wrong_shape_says_which_field_was_expected_to_be_what(topic: str, payload: object, expected: str) -> None:
    with pytest.raises(DecodeError) as caught:
        from_mqtt(topic, payload, now=NOW)
    assert expected in str(caught.value)


def test_an_error_never_repeats_what_the_message_held() -> None:
    with pytest.raises(DecodeError) as caught:
        from_mqtt("sensor/porch", _fields(input_1={"input_label": "Door", "active": "hunter2"}), now=NOW)
    assert "hunter2" not in str(caught.value)


NOTIFY: dict[str, object] = {
    "device_info": {
        "inputs": [
            {"device_key": "Garage Door", "type": "contact", "device_label": "Door"},
            {"device_key": "Garage PIR", "type": "motion"},
        ],
        "outputs": [{"device_key": "Siren", "type": "siren"}],
    },
    "active_devices": [{"device_key": "Garage PIR", "sample_value": 92, "event_detail": "moved"}],
}


@pytest.mark.parametrize(
    "body",
    [
        {"timestamp": "2023-11-14T22:13:20", "data": NOTIFY},
        {"timestamp": "2023-11-14T22:13:20+00:00", **NOTIFY},
        {"timestamp": NOW, **NOTIFY},
        {"timestamp": datetime.fromtimestamp(NOW, UTC), "data": NOTIFY},
    ],
    ids=["data", "merged to the root", "unix seconds", "a MessagePack timestamp"],
)
def test_a_notification_tells_of_active_inputs_resting_ones_and_outputs(body: object) -> None:
    door, motion, siren = from_rabbitmq("event.notify.garage.pi", body, now=NOW + 5)
    assert (door.device, door.active, door.label, door.kind) == ("Garage Door", False, "Door", "input")
    assert (motion.active, motion.type, motion.value, motion.detail) == (True, "motion", 92, "moved")
    assert (siren.device, siren.kind, siren.type) == ("Siren", "output", "siren")
    assert {door.created_at, motion.created_at} == {NOW}


def test_a_list_is_a_list_of_active_devices() -> None:
    for body in ([{"device_key": "PIR", "type": "motion"}], {"data": [{"device_key": "PIR", "type": "motion"}]}):
        (event,) = from_rabbitmq("event.notify.garage.pi", body, now=NOW)
        assert (event.device, event.active, event.type) == ("PIR", True, "motion")


def test_the_old_list_of_key_and_label_is_one_active_device() -> None:
    (event,) = from_rabbitmq("event.notify.garage.pi", ["Garage Door", "Door", None], now=NOW)
    assert (event.device, event.label, event.active) == ("Garage Door", "Door", True)


def test_inputs_that_carry_their_own_state_need_no_active_devices() -> None:
    body = {"inputs": [{"device_key": "A", "state": "triggered"}, {"device_key": "B", "active": False}]}
    assert [event.active for event in from_rabbitmq("event.notify.t.d", body, now=NOW)] == [True, False]


def test_a_heartbeat_key_makes_heartbeats_whatever_the_body_says() -> None:
    assert {event.kind for event in from_rabbitmq("event.heartbeat.garage", NOTIFY, now=NOW)} == {"heartbeat", "output"}


def test_a_forwarded_body_without_any_state_is_a_heartbeat_of_its_origin() -> None:
    (event,) = from_forwarded({"siren": {"device_info": {}}}, now=NOW)
    assert (event.device, event.kind) == ("siren", "heartbeat")


def test_a_meter_in_a_body_is_a_meter_by_its_own_type_or_by_the_advertised_one() -> None:
    body = {
        "inputs": [{"device_key": "W", "type": "meter", "sample_value": 3}],
        "active_devices": [{"device_key": "W", "type": "meter", "sample_values": {"register": 3, "meter": 0}}],
    }
    (event,) = from_rabbitmq("event.notify.t.d", body, now=NOW)
    assert (event.kind, event.value, event.minute) == ("meter", 3, 0)


def test_a_meter_that_is_only_advertised_does_not_cost_the_report_of_another_device() -> None:
    body = {"inputs": [{"device_key": "W", "type": "meter"}], "active_devices": [{"device_key": "Door"}]}
    meter, door = from_rabbitmq("event.notify.t.d", body, now=NOW)
    assert (meter.kind, door.kind, door.active) == ("heartbeat", "input", True)


@pytest.mark.parametrize("key", ["", "event", "event.notify", "event.notify."])
def test_a_short_routing_key_is_malformed(key: str) -> None:
    with pytest.raises(DecodeError, match=r"event\.notify\.<topic>\.<device>"):
        from_rabbitmq(key, NOTIFY, now=NOW)


def test_the_origin_is_the_third_segment() -> None:
    assert origin_of("event.notify.garage.pi.image") == "garage"


def test_what_is_forwarded_has_the_shape_of_the_first_listing() -> None:
    message = forwarded("sensor/porch", from_mqtt("sensor/porch/x", DOOR, now=NOW))
    body = message["sensor/porch"]
    assert isinstance(body, dict)
    data = body["data"]
    assert [device["device_key"] for device in data["device_info"]["inputs"]] == [
        "Front Porch Door",
        "Front Porch Bell",
    ]
    assert [device["device_key"] for device in data["active_devices"]] == ["Front Porch Door"]


@pytest.mark.parametrize("retained", [False, True])
@pytest.mark.parametrize(
    ("topic", "payload"), [("sensor/porch/x", DOOR), ("meter/gas/x", {"register_reading": 0, "last_minute_metered": 2})]
)
def test_forwarding_loses_nothing(topic: str, payload: object, retained: bool) -> None:
    events = from_mqtt(topic, payload, now=NOW, retained=retained)
    assert from_forwarded(forwarded(topic_base(topic), events), now=NOW + 60) == events


def _never_else(read: Callable[[], tuple[Event, ...]]) -> None:
    try:
        events = read()
    except DecodeError:
        return
    assert events
    for event in events:
        json.dumps(msgspec.to_builtins(event), allow_nan=False).encode()
        msgspec.msgpack.encode(event)
        assert event.device
        assert event.device.isprintable()


@settings(max_examples=300, deadline=None)
@given(payload=ANYTHING, topic=st.text() | st.sampled_from(["sensor/a/b", "meter/a/b", "sensor/", "meter//"]))
def test_no_payload_raises_anything_but_a_decode_error(payload: object, topic: str) -> None:
    _never_else(lambda: from_mqtt(topic, payload, now=NOW))


@settings(max_examples=300, deadline=None)
@given(
    location=ANYTHING,
    inputs=st.dictionaries(st.sampled_from(["input_label", "sample_value", "active"]), ANYTHING),
)
def test_no_sensor_raises_anything_but_a_decode_error(location: object, inputs: object) -> None:
    _never_else(lambda: from_mqtt("sensor/a", {"input_location": location, "input_1": inputs}, now=NOW))


@settings(max_examples=300, deadline=None)
@given(body=ANYTHING, key=st.text() | st.sampled_from(["event.notify.a.b", "event.heartbeat.a"]))
def test_no_body_raises_anything_but_a_decode_error(body: object, key: str) -> None:
    _never_else(lambda: from_rabbitmq(key, body, now=NOW))


DEVICE = st.dictionaries(SENSIBLE, LEAF, max_size=8).map(lambda device: {"device_key": "A", **device})


@settings(max_examples=300, deadline=None)
@given(
    body=st.fixed_dictionaries(
        {},
        optional={
            "device_info": st.fixed_dictionaries({"inputs": st.lists(DEVICE), "outputs": ANYTHING}),
            "active_devices": st.lists(DEVICE),
            "samples": ANYTHING,
            "source": st.just("mqtt") | ANYTHING,
            "topic": ANYTHING,
            "timestamp": ANYTHING,
        },
    )
)
def test_no_forwarded_message_raises_anything_but_a_decode_error(body: object) -> None:
    _never_else(lambda: from_forwarded({"origin": body}, now=NOW))


@pytest.mark.parametrize("word", ["ON", "true", "Open", "1", "detected", " on ", True, 1, 1.0])
def test_the_usual_words_for_active(word: str | bool | int | float) -> None:
    assert truth(word) is True


@pytest.mark.parametrize("word", ["OFF", "false", "Closed", "0", "clear", False, 0, 0.0])
def test_the_usual_words_for_inactive(word: str | bool | int | float) -> None:
    assert truth(word) is False


@pytest.mark.parametrize("word", [None, "", "unavailable", 21.5, -1, "21.5"])
def test_what_is_neither_is_unknown_and_never_active(word: str | float | None) -> None:
    assert truth(word) is None


def test_a_users_own_words_win_over_the_usual_ones() -> None:
    assert truth("open", off=frozenset({"open"})) is False
    assert truth("occupied", on=frozenset({"occupied"})) is True


@pytest.mark.parametrize("value", ["nan", "inf", "1_000", "", "0x10", "1" * 50])
def test_text_that_only_python_takes_for_a_number_is_none(value: str) -> None:
    with pytest.raises(DecodeError):
        number(value, "x")


def test_a_time_with_an_offset_is_understood_and_one_without_is_utc() -> None:
    assert timestamp("1970-01-01T02:00:10+02:00", "t", NOW) == 10
    assert timestamp("1970-01-01T00:00:10", "t", NOW) == 10
    assert timestamp("1700000000", "t", 0) == NOW
    assert timestamp(None, "t", NOW) == NOW
