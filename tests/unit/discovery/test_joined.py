"""All conventions together: nothing raises, all has an end, retained messages fire nothing, restarts keep what is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.discovery.discovery import Discovery
from event_processor.discovery.homeassistant.abbreviations import ENTITY
from event_processor.discovery.mappings import free_mapping
from event_processor.domain.bodies import from_rabbitmq
from event_processor.domain.links import Links
from event_processor.domain.mapping import compile_mapping
from event_processor.domain.outcome import Change
from event_processor.domain.policy import Policy
from event_processor.domain.registry import MOST_ENTITIES, Registry, changes_of
from pylib.errors import ConfigError, DecodeError
from tests.unit.discovery.conftest import House, only, values
from tests.unit.first_decision import Reason, decide

SENSOR = {
    "stat_t": "s",
    "val_tpl": "{{ value_json.t }}",
    "unit_of_meas": "°C",
    "uniq_id": "u",
    "dev": {"ids": ["d"], "name": "D"},
}


def test_five_thousand_retained_messages_set_state_and_fire_nothing(house: House) -> None:
    """A broker that restarts sends everything that it has retained again."""
    for index in range(100):
        config = {
            "name": None,
            "stat_t": f"door/{index}",
            "uniq_id": f"{index}",
            "dev": {"ids": [f"{index}"], "name": f"Door {index}"},
        }
        house.fine(f"homeassistant/binary_sensor/{index}/config", config, retained=True)
    seen: dict[str, object] = {}
    reasons = set()
    for index in range(5000):
        found = house.fine(f"door/{index % 100}", "ON" if index // 100 % 2 else "OFF", retained=True)
        event = only(found)
        assert event.retained
        seen[event.device] = event.value
        reasons |= {decision.reason for decision in decide(event, {}, house.now, Policy(links=Links()))}
    assert len(seen) == 100
    assert set(seen.values()) == {"on"}
    assert reasons == {Reason.RETAINED}


def test_the_first_applications_devices_are_known_from_their_first_message(house: House) -> None:
    body = {"device_id": "x", "input_location": "Hall", "input_1": {"input_label": "Door", "sample_value": 1, "active": True}}
    found = house.fine("sensor/hall/1", body)
    assert values(found) == {"Hall Door": (1, True)}
    entity = house.entity("Hall Door")
    assert (entity.device, entity.room, entity.type) == ("Hall Door", "Hall", "sensor")
    assert house.fine("sensor/hall/1", body).entities == ()
    assert only(house.fine("meter/water/1", {"register_reading": 7, "last_minute_metered": 1})).kind == "meter"
    assert house.entity("Water Meter").role == "meter"
    assert "sensor/hall/1" in house.says("sensor/hall/1", "3").problems[0]


def test_applications_on_rabbitmq_are_devices_too(house: House) -> None:
    body = {
        "data": {
            "device_info": {
                "inputs": [{"device_key": "Front Door", "type": "Sensor", "device_label": "Door"}],
                "outputs": [{"device_key": "Siren", "type": "ioboard"}],
            },
            "active_devices": [{"device_key": "Front Door"}],
        }
    }
    found = house.discovery.noticed("event.notify.alarm.board", from_rabbitmq("event.notify.alarm.board", body, now=1.0))
    assert {event.device for event in found.events} == {"Front Door", "Siren"}
    assert (house.entity("Siren").role, house.entity("Front Door").role) == ("output", "input")
    with pytest.raises(DecodeError, match="expected an object or a list"):
        from_rabbitmq("event.notify.alarm.board", 3, now=1.0)


def mapped() -> House:
    return House(
        Discovery(
            mappings=[
                compile_mapping("old", topic="zigbee/+/switch", device="{1} switch", type="switch"),
                free_mapping(
                    "boiler",
                    topic="boiler/{room}/temp",
                    device="{room} boiler",
                    type="temperature",
                    kind="meter",
                    expression="{{ value_json.t * 0.1 }}",
                    unit="°C",
                    room="{room}",
                ),
                free_mapping(
                    "lamp",
                    topic="lamp/{name}/state",
                    device="{name} lamp",
                    type="light",
                    command_topic="lamp/{name}/set",
                    command_on="1",
                    command_off="0",
                ),
                free_mapping(
                    "bell",
                    topic="bell/none",
                    device="Bell",
                    type="bell",
                    role="output",
                    command_topic="bell/ring",
                    command_template="ring {value}",
                ),
            ]
        )
    )


def test_anyone_can_describe_a_device(house: House) -> None:
    house = mapped()
    assert [entity.key for entity in house.discovery.start().entities] == ["Bell"]
    assert values(house.fine("zigbee/hall/switch", "ON")) == {"hall switch": ("ON", True)}
    event = only(house.fine("boiler/cellar/temp", {"t": 215}))
    assert (event.device, event.kind, event.value) == ("cellar boiler", "meter", 21.5)
    boiler = house.entity("cellar boiler")
    assert (boiler.unit, boiler.room, boiler.role) == ("°C", "cellar", "meter")
    assert values(house.fine("lamp/desk/state", "on")) == {"desk lamp": ("on", True)}
    assert house.tell("desk lamp", "on") == ("lamp/desk/set", "1")
    assert house.tell("Bell", "twice") == ("bell/ring", "ring twice")
    assert "boiler/+/temp" in house.discovery.filters
    assert "[mapping:boiler]" in house.says("boiler/cellar/temp", "xx").problems[0]


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"expression": "x"}, "expression:"),
        ({"expression": "{{ 1 +"}, "expression:"),
        ({"expression": "{{ value }}", "value": "a"}, "expression:"),
        ({"role": "output"}, "command_topic:"),
        ({"role": "lamp"}, "role:"),
        ({"command_topic": "a/+"}, "command_topic:"),
        ({"command_topic": "a/{nobody}"}, "command_topic:"),
        ({"room": "{nobody}"}, "room:"),
        ({"qos": 3, "command_topic": "a"}, "qos:"),
        ({"topic": "a/#/b"}, "topic:"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused_by_its_option(options: dict[str, Any], start: str) -> None:
    with pytest.raises(ConfigError) as caught:
        free_mapping("m", **{"topic": "a/{x}", "device": "{x}", "type": "t", **options})
    assert str(caught.value).startswith(start)


def test_a_restart_knows_devices_and_keys_before_anyone_speaks(house: House) -> None:
    """Two rooms with a sensor of the same name: which is which must not depend on who announces itself first."""

    def config(number: int) -> dict[str, Any]:
        return {
            "name": "Temperature",
            "stat_t": f"t/{number}",
            "uniq_id": f"t{number}",
            "dev": {"ids": [f"{number}"], "name": "Bedroom"},
        }

    stored: list[Change] = []
    for number in (1, 2):
        stored += changes_of(house.fine(f"homeassistant/sensor/{number}/config", config(number)))
    before = {house.entity(key).device: key for key in house.keys}
    assert len(before) == 2
    registry = Registry()
    registry.restore(stored)
    after = House(Discovery(registry))
    assert after.keys == house.keys
    assert after.discovery.unclaimed == frozenset(house.keys)
    for number in (2, 1):
        found = after.fine(f"homeassistant/sensor/{number}/config", config(number), retained=True)
        assert (found.entities, found.devices) == ((), ())
        assert only(after.fine(f"t/{number}", "5", retained=True)).device == before[str(number)]
    assert after.discovery.unclaimed == frozenset()


def test_an_entity_that_nothing_announces_any_more_can_be_removed(house: House) -> None:
    stored = changes_of(house.fine("homeassistant/sensor/x/config", SENSOR))
    registry = Registry()
    registry.restore(stored)
    after = Discovery(registry)
    (ghost,) = after.unclaimed
    found = after.remove(ghost)
    assert (found.removed, found.departed) == ((ghost,), ("d",))
    assert registry.entities == {}


def test_what_is_stored_is_what_was_found(house: House) -> None:
    found = house.fine("homeassistant/sensor/x/config", SENSOR)
    assert [(change.scope, change.key) for change in changes_of(found)] == [("device", "d"), ("entity", found.entities[0].key)]
    gone = house.fine("homeassistant/sensor/x/config", b"")
    assert [(change.scope, change.value) for change in changes_of(gone)] == [("entity", None), ("device", None)]


def test_a_message_that_fits_no_convention_gives_nothing(house: House) -> None:
    found = house.says("some/other/topic", b"\x00\xff")
    assert found == type(found)()


def test_an_announcement_that_is_too_large_is_left_out(house: House) -> None:
    found = house.says("homeassistant/sensor/x/config", b'{"a": "' + b"x" * 300_000 + b'"}')
    assert "bytes" in found.problems[0]


def test_a_device_has_an_end_to_its_entities(house: House) -> None:
    problems: list[str] = []
    for index in range(MOST_ENTITIES + 5):
        problems += house.says(
            f"homeassistant/sensor/{index}/config", {**SENSOR, "uniq_id": f"u{index}", "name": f"N{index}"}
        ).problems
    assert len(house.keys) == MOST_ENTITIES
    assert len(problems) == 5


def test_announcements_that_change_for_ever_take_no_more_memory(house: House) -> None:
    for index in range(5000):
        house.fine("homeassistant/sensor/x/config", {**SENSOR, "stat_t": f"s/{index}"})
    assert len(house.discovery.catalogue.topics()) < 3000
    assert len(house.keys) == 1


def test_commands_for_what_takes_none_are_refused(house: House) -> None:
    house.fine("homeassistant/sensor/x/config", SENSOR)
    for key in ("D X", "nobody"):
        with pytest.raises(DecodeError, match=r"no commands|no such device"):
            house.discovery.command(key, "on", 1.0)


TOPICS = [
    "homeassistant/sensor/x/config",
    "homeassistant/light/n/x/config",
    "homeassistant/device/x/config",
    "homeassistant/cover/x/config",
    "homeassistant/climate/x/config",
    "tasmota/discovery/A4CF12F03246/config",
    "tasmota/discovery/A4CF12F03246/sensors",
    "homie/5/d/$description",
    "homie/5/d/$state",
    "homie/5/d/$alert/a",
    "homie/5/d/n/p",
    "shelly-1/events/rpc",
    "shelly-1/status/switch:0",
    "shelly-1/online",
    "shellies/announce",
    "shellies/shelly-1/announce",
    "shellies/shelly-1/relay/0",
    "sensor/a",
    "meter/a",
    "s",
    "stat/t/RESULT",
    "tele/t/SENSOR",
    "avail",
    "zigbee/a/switch",
    "/",
    "",
]
KEYS = sorted(
    {
        *ENTITY,
        *ENTITY.values(),
        "ids",
        "cns",
        "name",
        "~",
        "nodes",
        "properties",
        "datatype",
        "homie",
        "method",
        "params",
        "switch:0",
        "output",
        "events",
        "sn",
        "t",
        "tp",
        "rl",
        "swc",
        "mac",
        "ENERGY",
        "src",
        "input_1",
        "input_location",
        "schema",
    }
)
WORDS = st.sampled_from(
    [
        "s",
        "avail",
        "{{ value_json.a }}",
        "{{ value | float }}",
        "json",
        "template",
        "homeassistant",
        "5.0",
        "NotifyStatus",
        "float",
        "A4CF12F03246",
        "trigger",
        "#",
        "",
        "\ud800",
        "a/+",
        "ON",
        "all",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=25,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(TOPICS), st.one_of(JSON, st.binary(max_size=40)), st.booleans()), max_size=12))
def test_nothing_that_anyone_publishes_raises(messages: list[tuple[str, object, bool]]) -> None:
    discovery = Discovery(mappings=[compile_mapping("m", topic="zigbee/+/switch", device="{1} switch", type="switch")])
    for topic, body, retained in messages:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        found = discovery.read(topic, raw, retained=retained, now=5.0)
        assert not any("fault of this program" in problem for problem in found.problems), found.problems
        for entity in found.entities:
            assert discovery.registry.entity(entity.key) == entity
        for event in found.events:
            event_topic = event.topic
            assert event_topic == topic
            assert event.retained is retained


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=15), st.sampled_from(TOPICS[:5]))
def test_no_configuration_raises(config: dict[str, object], topic: str) -> None:
    discovery = Discovery()
    base = {"stat_t": "s", "cmd_t": "c", "cmps": {"a": {"p": "light", **config}}, "dev": {"ids": "d", "name": "n"}}
    found = discovery.read(topic, json.dumps({**base, **config}).encode(), retained=True, now=5.0)
    assert not any("fault of this program" in problem for problem in found.problems), found.problems
    for _ in range(2):
        again = discovery.read("s", b'{"state": "ON", "a": 1}', retained=False, now=6.0)
        assert not any("fault of this program" in problem for problem in again.problems), again.problems
