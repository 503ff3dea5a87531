"""Plain payloads and foreign topics are read as the mapping says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.domain.mapping import compile_mapping, matches, without_covered
from event_processor.domain.sensors import from_mqtt
from pylib.errors import ConfigError, DecodeError

NOW = 1_700_000_000.0
SWITCH = compile_mapping("switches", topic="zigbee/+/switch", device="{1} switch", type="switch")
NESTED = compile_mapping(
    "nested", topic="z2m/{room}/#", device="{room} motion in {2}", type="motion", value="state.list.1", on=["occupied"]
)
METER = compile_mapping("t", topic="home/{room}/temperature", device="{room} thermometer", type="temperature", kind="meter")


@pytest.mark.parametrize(
    ("payload", "value", "active"),
    [
        ("ON", "ON", True),
        ("off", "off", False),
        (True, True, True),
        ("1", 1, True),
        (0, 0, False),
        ("21.5", 21.5, None),
    ],
)
def test_three_lines_read_a_plain_payload(payload: object, value: object, active: bool | None) -> None:
    (event,) = from_mqtt("zigbee/kitchen/switch", payload, now=NOW, mappings=[SWITCH])
    assert (event.device, event.type, event.value, event.active) == ("kitchen switch", "switch", value, active)


def test_a_dotted_path_reaches_into_objects_and_lists() -> None:
    payload = {"state": {"list": ["x", "Occupied"]}}
    (event,) = from_mqtt("z2m/hall/a/b", payload, now=NOW, mappings=[NESTED])
    assert (event.device, event.value, event.active) == ("hall motion in a/b", "Occupied", True)


def test_a_mapped_meter_reports_a_number_and_no_state() -> None:
    (event,) = from_mqtt("home/hall/temperature", "1", now=NOW, mappings=[METER])
    assert (event.kind, event.value, event.active) == ("meter", 1, None)
    with pytest.raises(DecodeError, match="expected a number"):
        from_mqtt("home/hall/temperature", "ON", now=NOW, mappings=[METER])


def test_a_mapping_wins_over_the_shapes_of_the_sensors() -> None:
    mapping = compile_mapping("own", topic="sensor/+/plain", device="{1}", type="x")
    (event,) = from_mqtt("sensor/a/plain", "ON", now=NOW, mappings=[mapping])
    assert event.type == "x"


def test_a_payload_without_the_named_part_says_which_step_is_missing() -> None:
    with pytest.raises(DecodeError, match=r"value\.state: expected an object with 'list', got a number"):
        from_mqtt("z2m/hall/a", {"state": 3}, now=NOW, mappings=[NESTED])
    with pytest.raises(DecodeError, match=r"add `value = \.\.\.` to \[mapping:switches\]"):
        from_mqtt("zigbee/kitchen/switch", {"state": "ON"}, now=NOW, mappings=[SWITCH])


@pytest.mark.parametrize(
    ("pattern", "topic", "captured"),
    [
        ("a/+/c", "a/b/c", ("b",)),
        ("a/+/c", "a//c", ("",)),
        ("a/#", "a", ("",)),
        ("a/#", "a/b/c", ("b/c",)),
        ("a/+", "a", None),
        ("a", "a/b", None),
        ("+/b", "$SYS/b", None),
        ("#", "$SYS/b", None),
        ("$SYS/#", "$SYS/b", ("b",)),
    ],
)
def test_filters_match_as_mqtt_says(pattern: str, topic: str, captured: tuple[str, ...] | None) -> None:
    assert matches(tuple(pattern.split("/")), topic) == captured


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topic": ""}, "topic: expected an MQTT filter"),
        ({"topic": "a/#/b"}, "topic: # stands for everything below"),
        ({"topic": "a/b+"}, "topic: 'b\\+' is neither"),
        ({"topic": "a/{x}/{x}"}, "topic: '{x}' is neither"),
        ({"device": "{2}"}, "device: {2} is not in the topic, which has {1}"),
        ({"device": " "}, "device: expected a name"),
        ({"type": ""}, "type: expected"),
        ({"kind": "output"}, "kind: expected input or meter"),
        ({"value": "a..b"}, "value: expected names joined"),
    ],
)
def test_a_wrong_mapping_names_the_option_at_fault(changes: dict[str, str], message: str) -> None:
    options = {"topic": "a/+", "device": "{1}", "type": "x", **changes}
    with pytest.raises(ConfigError, match=message.replace("{", r"\{")):
        compile_mapping("m", **options)


def test_a_filter_that_another_covers_is_not_subscribed_to() -> None:
    assert without_covered(["sensor/+/x", "sensor/#", "a/+", "a/b", "a/+"]) == ("sensor/#", "a/+")
    assert without_covered(["#", "$SYS/#", "a/b"]) == ("#", "$SYS/#")


LEVEL = st.sampled_from(["a", "b", "", "$x"])
FILTER = st.lists(LEVEL | st.just("+"), min_size=1, max_size=4).flatmap(
    lambda levels: st.sampled_from(["/".join(levels), "/".join([*levels, "#"])])
)


@settings(max_examples=300, deadline=None)
@given(filters=st.lists(FILTER, max_size=6), topic=st.lists(LEVEL, min_size=1, max_size=5).map("/".join))
def test_dropping_covered_filters_loses_no_topic(filters: list[str], topic: str) -> None:
    def heard(by: list[str] | tuple[str, ...]) -> bool:
        return any(matches(tuple(one.split("/")), topic) is not None for one in by)

    assert heard(filters) == heard(without_covered(filters))


PAYLOAD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["state", "list", "1"]), inner, max_size=3),
)


@settings(max_examples=300, deadline=None)
@given(payload=PAYLOAD, room=st.text(max_size=8), mapping=st.sampled_from([SWITCH, NESTED, METER]))
def test_no_mapped_payload_raises_anything_but_a_decode_error(payload: object, room: str, mapping: object) -> None:
    topics = [f"zigbee/{room}/switch", f"z2m/{room}/x", f"home/{room}/temperature"]
    for topic in topics:
        try:
            events = from_mqtt(topic, payload, now=NOW, mappings=[mapping])  # type: ignore[list-item]
        except DecodeError:
            continue
        assert len(events) == 1
