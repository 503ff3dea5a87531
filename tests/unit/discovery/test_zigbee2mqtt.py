"""What zigbee2mqtt publishes with its Home Assistant extension switched on (shapes of its lib/extension/homeassistant.ts)."""

from __future__ import annotations

from typing import Any

import pytest

from event_processor.domain.entities import Availability
from tests.unit.discovery.conftest import House, only, values

BRIDGE = "zigbee2mqtt/bridge/state"
ORIGIN = {"name": "Zigbee2MQTT", "sw": "2.1.3", "url": "https://www.zigbee2mqtt.io"}


def device(name: str, address: str, model: str = "Door sensor") -> dict[str, Any]:
    return {
        "identifiers": [f"zigbee2mqtt_{address}"],
        "hw_version": 1,
        "manufacturer": "Aqara",
        "model": model,
        "model_id": "MCCGQ11LM",
        "name": name,
        "sw_version": "3000-0001",
        "via_device": "zigbee2mqtt_bridge_0x00124b0024c1a2b3",
    }


def config(name_: str, address: str, /, **more: Any) -> dict[str, Any]:
    return {
        "availability": [
            {"topic": BRIDGE, "value_template": "{{ value_json.state }}"},
            {"topic": f"zigbee2mqtt/{name_}/availability", "value_template": "{{ value_json.state }}"},
        ],
        "availability_mode": "all",
        "device": device(name_, address),
        "origin": ORIGIN,
        "state_topic": f"zigbee2mqtt/{name_}",
        **more,
    }


def door(house: House, name: str = "Front door", address: str = "0x00158d0004a1b2c3") -> None:
    for component, object_id, more in (
        ("binary_sensor", "contact", {"device_class": "door", "payload_on": False, "payload_off": True}),
        (
            "sensor",
            "battery",
            {
                "device_class": "battery",
                "unit_of_measurement": "%",
                "state_class": "measurement",
                "entity_category": "diagnostic",
            },
        ),
        ("sensor", "linkquality", {"name": "Linkquality", "unit_of_measurement": "lqi", "enabled_by_default": False}),
    ):
        payload = config(
            name,
            address,
            unique_id=f"{address}_{object_id}_zigbee2mqtt",
            object_id=f"front_door_{object_id}",
            value_template=f"{{{{ value_json.{object_id} }}}}",
            **more,
        )
        house.fine(f"homeassistant/{component}/{address}/{object_id}/config", payload, retained=True)


def test_a_door_sensor_appears_with_names_units_and_maker(house: House) -> None:
    door(house)
    assert house.keys == {"Front door Door", "Front door Battery", "Front door Linkquality"}
    contact, battery = house.entity("Front door Door"), house.entity("Front door Battery")
    assert (contact.type, contact.role, contact.command) == ("door", "input", None)
    assert (battery.unit, battery.type, battery.category) == ("%", "battery", "diagnostic")
    assert not house.entity("Front door Linkquality").enabled
    info = house.device_of("Front door Door")
    assert (info.name, info.manufacturer, info.model) == ("Front door", "Aqara", "Door sensor")
    assert info.via == "zigbee2mqtt_bridge_0x00124b0024c1a2b3"


def test_an_open_contact_is_active(house: House) -> None:
    """zigbee2mqtt writes true and false where Home Assistant expects text, and contact false means open."""
    door(house)
    found = house.fine("zigbee2mqtt/Front door", {"battery": 97, "contact": False, "linkquality": 120, "voltage": 3005})
    assert values(found) == {"Front door Door": ("on", True), "Front door Battery": (97, None)}
    assert values(house.fine("zigbee2mqtt/Front door", {"contact": True})) == {"Front door Door": ("off", False)}


def test_it_is_there_when_both_bridge_and_device_say_so(house: House) -> None:
    door(house)
    assert house.fine(BRIDGE, {"state": "online"}, retained=True).availability == ()
    found = house.fine("zigbee2mqtt/Front door/availability", {"state": "online"}, retained=True)
    assert found.availability == (Availability(device="zigbee2mqtt_0x00158d0004a1b2c3", online=True, at=house.now),)
    gone = house.fine(BRIDGE, {"state": "offline"})
    assert [word.online for word in gone.availability] == [False]
    assert house.fine("zigbee2mqtt/Front door/availability", {"state": "online"}).availability == ()


@pytest.mark.parametrize("body", ["offline", {"state": "offline"}])
def test_both_forms_of_availability_are_understood(house: House, body: object) -> None:
    door(house)
    assert [word.online for word in house.fine("zigbee2mqtt/Front door/availability", body).availability] == [False]


def test_a_bridge_that_goes_takes_all_its_devices_along(house: House) -> None:
    for index in range(20):
        door(house, f"Door {index}", f"0x{index:016x}")
    house.fine(BRIDGE, "online")
    for index in range(20):
        house.fine(f"zigbee2mqtt/Door {index}/availability", "online")
    assert {word.device for word in house.fine(BRIDGE, "offline").availability} == {
        f"zigbee2mqtt_0x{index:016x}" for index in range(20)
    }


def test_a_device_that_is_found_later_knows_that_the_bridge_is_there(house: House) -> None:
    door(house)
    house.fine(BRIDGE, "online")
    door(house, "Late", "0x1")
    assert [word.online for word in house.fine("zigbee2mqtt/Late/availability", "online").availability] == [True]


def test_what_to_subscribe_to_is_told_once(house: House) -> None:
    address = "0x00158d0004a1b2c3"
    payload = config("Hall", address, unique_id="a", value_template="{{ value_json.a }}", name="A")
    found = house.fine(f"homeassistant/sensor/{address}/a/config", payload)
    assert set(found.subscribe) == {"zigbee2mqtt/Hall", BRIDGE, "zigbee2mqtt/Hall/availability"}
    again = house.fine(f"homeassistant/sensor/{address}/a/config", payload)
    assert (again.subscribe, again.devices, again.entities) == ((), (), ())
    assert "zigbee2mqtt/Hall" in house.discovery.filters


def test_a_light_has_brightness_colour_and_effects(house: House) -> None:
    payload = config(
        "Lamp",
        "0x7cb03eaa00a0b0c0",
        brightness=True,
        brightness_scale=254,
        command_topic="zigbee2mqtt/Lamp/set",
        effect=True,
        effect_list=["blink", "breathe", "okay"],
        min_mireds=153,
        max_mireds=500,
        name=None,
        object_id="lamp",
        schema="json",
        supported_color_modes=["color_temp", "xy"],
        unique_id="0x7cb03eaa00a0b0c0_light_zigbee2mqtt",
    )
    house.fine("homeassistant/light/0x7cb03eaa00a0b0c0/light/config", payload)
    assert {"Lamp", "Lamp brightness", "Lamp color temperature", "Lamp color", "Lamp effect"} == house.keys
    found = house.fine(
        "zigbee2mqtt/Lamp", {"state": "ON", "brightness": 120, "color_temp": 250, "color": {"x": 0.3, "y": 0.4}}
    )
    assert values(found)["Lamp"] == ("on", True)
    assert values(found)["Lamp brightness"] == (120, None)
    assert house.tell("Lamp", "on") == ("zigbee2mqtt/Lamp/set", '{"state": "ON"}')
    assert house.tell("Lamp brightness", 50) == ("zigbee2mqtt/Lamp/set", '{"state": "ON", "brightness": 50}')
    assert house.tell("Lamp effect", "blink") == ("zigbee2mqtt/Lamp/set", '{"state": "ON", "effect": "blink"}')
    assert house.entity("Lamp").command.confirmed_by["on"] == "on"  # type: ignore[union-attr]


def test_a_switch_is_told_in_its_own_words(house: House) -> None:
    payload = config(
        "Plug",
        "0x00",
        command_topic="zigbee2mqtt/Plug/set",
        name=None,
        payload_off="OFF",
        payload_on="ON",
        unique_id="0x00_switch",
        value_template="{{ value_json.state }}",
    )
    house.fine("homeassistant/switch/0x00/switch/config", payload)
    assert values(house.fine("zigbee2mqtt/Plug", {"state": "OFF", "power": 0})) == {"Plug": ("off", False)}
    assert house.tell("Plug", "on") == ("zigbee2mqtt/Plug/set", "ON")


def test_a_cover_reports_its_state_and_is_sent_to_a_position(house: House) -> None:
    payload = config(
        "Blind",
        "0x02",
        command_topic="zigbee2mqtt/Blind/set",
        name=None,
        position_template="{{ value_json.position }}",
        position_topic="zigbee2mqtt/Blind",
        set_position_template='{ "position": {{ position }} }',
        set_position_topic="zigbee2mqtt/Blind/set",
        state_closing="closing",
        state_opening="opening",
        state_stopped="stopped",
        unique_id="0x02_cover",
        value_template="{{ value_json.motor_state }}",
    )
    house.fine("homeassistant/cover/0x02/cover/config", payload)
    found = house.fine("zigbee2mqtt/Blind", {"motor_state": "opening", "position": 40})
    assert values(found) == {"Blind": ("opening", True), "Blind position": (40, None)}
    assert house.tell("Blind position", 30) == ("zigbee2mqtt/Blind/set", '{ "position": 30 }')
    assert house.tell("Blind", "close") == ("zigbee2mqtt/Blind/set", "CLOSE")


def test_a_thermostat_has_a_target_and_modes(house: House) -> None:
    topic = "zigbee2mqtt/TRV"
    payload = config(
        "TRV",
        "0x03",
        action_topic=topic,
        action_template="{{ value_json.running_state }}",
        current_temperature_topic=topic,
        current_temperature_template="{{ value_json.local_temperature }}",
        max_temp="30",
        min_temp="5",
        mode_command_topic=f"{topic}/set/system_mode",
        mode_state_template="{{ value_json.system_mode }}",
        mode_state_topic=topic,
        modes=["off", "heat", "auto"],
        name=None,
        preset_mode_command_topic=f"{topic}/set/preset",
        preset_mode_state_topic=topic,
        preset_mode_value_template="{{ value_json.preset }}",
        preset_modes=["schedule", "manual"],
        temp_step=0.5,
        temperature_command_topic=f"{topic}/set/current_heating_setpoint",
        temperature_state_template="{{ value_json.current_heating_setpoint }}",
        temperature_state_topic=topic,
        temperature_unit="C",
        unique_id="0x03_climate",
    )
    house.fine("homeassistant/climate/0x03/climate/config", payload)
    found = house.fine(
        topic, {"system_mode": "heat", "local_temperature": 19.5, "current_heating_setpoint": 21, "preset": "manual"}
    )
    assert values(found)["TRV"] == ("heat", True)
    assert values(found)["TRV target temperature"] == (21, None)
    assert values(found)["TRV current temperature"] == (19.5, None)
    assert house.entity("TRV target temperature").unit == "°C"
    assert house.tell("TRV target temperature", 22.5) == (f"{topic}/set/current_heating_setpoint", "22.5")
    assert house.tell("TRV", "off") == (f"{topic}/set/system_mode", "off")
    assert house.tell("TRV preset", "schedule") == (f"{topic}/set/preset", "schedule")


def test_a_button_sends_triggers_and_events(house: House) -> None:
    trigger = {
        "automation_type": "trigger",
        "device": device("Remote", "0x04"),
        "origin": ORIGIN,
        "payload": "single",
        "subtype": "single",
        "topic": "zigbee2mqtt/Remote/action",
        "type": "action",
    }
    house.fine("homeassistant/device_automation/0x04/action_single/config", trigger)
    house.fine(
        "homeassistant/device_automation/0x04/action_double/config", {**trigger, "payload": "double", "subtype": "double"}
    )
    event = only(house.fine("zigbee2mqtt/Remote/action", "double"))
    assert (event.device, event.active, event.type) == ("Remote double action", True, "trigger")
    payload = config(
        "Remote",
        "0x04",
        event_types=["single", "double"],
        name="Action",
        unique_id="0x04_action",
        value_template="{% set action_value = value_json.action|default('') %}{{ {'event_type': action_value} | to_json }}",
    )
    house.fine("homeassistant/event/0x04/action/config", payload)
    assert values(house.fine("zigbee2mqtt/Remote", {"action": "single"})) == {"Remote Action": ("single", True)}


def test_an_update_says_whether_there_is_one(house: House) -> None:
    payload = config(
        "Lamp",
        "0x05",
        command_topic="zigbee2mqtt/bridge/request/device/ota_update/update",
        device_class="firmware",
        entity_category="config",
        latest_version_template="{{ value_json['update']['latest_version'] }}",
        latest_version_topic="zigbee2mqtt/Lamp",
        name=None,
        payload_install='{"id": "0x05"}',
        unique_id="0x05_update",
        value_template="{{ value_json['update']['installed_version'] }}",
    )
    house.fine("homeassistant/update/0x05/update/config", payload)
    update = {"installed_version": 1, "latest_version": 2, "state": "available"}
    assert values(house.fine("zigbee2mqtt/Lamp", {"update": update})) == {"Lamp": ("on", True)}
    assert values(house.fine("zigbee2mqtt/Lamp", {"update": {**update, "installed_version": 2}})) == {"Lamp": ("off", False)}
    assert house.tell("Lamp", "install") == ("zigbee2mqtt/bridge/request/device/ota_update/update", '{"id": "0x05"}')


def test_a_removed_device_goes_with_its_last_entity(house: House) -> None:
    door(house)
    address = "0x00158d0004a1b2c3"
    assert house.fine(f"homeassistant/sensor/{address}/battery/config", b"").removed == ("Front door Battery",)
    house.fine(f"homeassistant/sensor/{address}/linkquality/config", b"")
    last = house.fine(f"homeassistant/binary_sensor/{address}/contact/config", b"")
    assert (last.removed, last.departed) == (("Front door Door",), (f"zigbee2mqtt_{address}",))
    assert house.keys == set()
    assert house.says("zigbee2mqtt/Front door", {"contact": False}).events == ()


def test_a_renamed_device_keeps_its_keys(house: House) -> None:
    """Rules name keys, so these stay when a device gets another name."""
    door(house)
    door(house, "Main entrance")
    assert house.keys == {"Front door Door", "Front door Battery", "Front door Linkquality"}
    info = house.device_of("Front door Door")
    assert info.name == "Main entrance"
    assert values(house.fine("zigbee2mqtt/Main entrance", {"contact": False})) == {"Front door Door": ("on", True)}
    assert house.says("zigbee2mqtt/Front door", {"contact": False}).events == ()
    assert [word.online for word in house.fine("zigbee2mqtt/Main entrance/availability", "offline").availability] == [False]
