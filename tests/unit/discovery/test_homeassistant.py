"""Home Assistant's MQTT discovery in both forms, and components as ESPHome and others publish them."""

from __future__ import annotations

from typing import Any

import pytest

from event_processor.discovery.homeassistant.abbreviations import DEVICE, ENTITY, written_out
from tests.unit.discovery.conftest import House, only, values

DEV = {"ids": "a4cf12f03246", "name": "living-room", "sw": "esphome v2024.6.0", "mdl": "nodemcuv2", "mf": "espressif"}


def esphome(**more: Any) -> dict[str, Any]:
    return {"avty_t": "living-room/status", "dev": DEV, **more}


def test_esphome_announces_a_sensor_in_short_form(house: House) -> None:
    payload = esphome(
        dev_cla="temperature",
        unit_of_meas="°C",
        stat_cla="measurement",
        name="Temperature",
        exp_aft=120,
        stat_t="living-room/sensor/temperature/state",
        uniq_id="ESPsensortemperature",
    )
    found = house.fine("homeassistant/sensor/living-room/temperature/config", payload)
    entity = house.entity("living-room Temperature")
    assert (entity.unit, entity.type, entity.expire_after_s) == ("°C", "temperature", 120)
    assert set(found.subscribe) == {"living-room/sensor/temperature/state", "living-room/status"}
    assert only(house.fine("living-room/sensor/temperature/state", "21.30")).value == 21.3
    assert [word.online for word in house.fine("living-room/status", "online").availability] == [True]
    assert [word.online for word in house.fine("living-room/status", "offline").availability] == [False]


def test_esphome_covers_locks_and_fans(house: House) -> None:
    base = "living-room/cover/gate"
    house.fine(
        "homeassistant/cover/living-room/gate/config",
        esphome(
            name="Gate",
            stat_t=f"{base}/state",
            cmd_t=f"{base}/command",
            pos_t=f"{base}/position/state",
            set_pos_t=f"{base}/position/command",
            uniq_id="g",
            dev_cla="gate",
        ),
    )
    assert values(house.fine(f"{base}/state", "closed")) == {"living-room Gate": ("closed", False)}
    assert house.tell("living-room Gate position", 40) == (f"{base}/position/command", "40")
    assert house.tell("living-room Gate", "stop") == (f"{base}/command", "STOP")
    house.fine(
        "homeassistant/lock/living-room/lock/config",
        esphome(name="Lock", stat_t="living-room/lock/state", cmd_t="living-room/lock/command", uniq_id="l"),
    )
    assert values(house.fine("living-room/lock/state", "UNLOCKED")) == {"living-room Lock": ("unlocked", True)}
    assert house.tell("living-room Lock", "lock") == ("living-room/lock/command", "LOCK")
    fan = "living-room/fan/fan"
    house.fine(
        "homeassistant/fan/living-room/fan/config",
        esphome(
            name="Fan",
            stat_t=f"{fan}/state",
            cmd_t=f"{fan}/command",
            osc_stat_t=f"{fan}/oscillation/state",
            osc_cmd_t=f"{fan}/oscillation/command",
            pct_cmd_t=f"{fan}/speed_level/command",
            pct_stat_t=f"{fan}/speed_level/state",
            spd_rng_max=3,
            uniq_id="f",
        ),
    )
    assert house.tell("living-room Fan", True) == (f"{fan}/command", "ON")
    assert house.tell("living-room Fan speed", 3) == (f"{fan}/speed_level/command", "3")
    assert values(house.fine(f"{fan}/oscillation/state", "oscillate_on")) == {"living-room Fan oscillation": ("on", True)}


def test_the_base_topic_stands_for_tildes(house: House) -> None:
    payload = {
        "~": "home/plug1",
        "name": "Plug",
        "uniq_id": "p1",
        "stat_t": "~/state",
        "cmd_t": "~/set",
        "avty": {"t": "~/alive", "pl_avail": "yes", "pl_not_avail": "no"},
        "dev": {"ids": ["p1"], "name": "Plug"},
        "cmd_tpl": '{"switch": "{{ value }}"}',
        "ret": True,
        "qos": 2,
        "opt": True,
    }
    house.fine("homeassistant/switch/p1/config", payload)
    assert values(house.fine("home/plug1/state", "ON")) == {"Plug": ("on", True)}
    assert [word.online for word in house.fine("home/plug1/alive", "no").availability] == [False]
    made = house.discovery.command("Plug", "on", 1.0)
    assert made == ("home/plug1/set", '{"switch": "ON"}', 2, True)
    assert house.entity("Plug").command.confirmed_by == {}  # type: ignore[union-attr]  # optimistic: it does not report


def device_form(**components: Any) -> dict[str, Any]:
    return {
        "dev": {"ids": "ea334450945afc", "name": "Kitchen", "mf": "Bla electronics", "mdl": "xya", "sa": "Kitchen", "sn": "1"},
        "o": {"name": "bla2mqtt", "sw": "2.1", "url": "https://bla2mqtt.example.com/support"},
        "state_topic": "sensorKitchen/state",
        "avty_t": "sensorKitchen/alive",
        "qos": 2,
        "cmps": components,
    }


TEMPERATURE = {
    "p": "sensor",
    "device_class": "temperature",
    "unit_of_measurement": "°C",
    "value_template": "{{ value_json.temperature }}",
    "unique_id": "temp01ae_t",
}
HUMIDITY = {
    "p": "sensor",
    "dev_cla": "humidity",
    "unit_of_meas": "%",
    "val_tpl": "{{ value_json.humidity}}",
    "uniq_id": "temp01ae_h",
}


def test_a_device_announces_all_of_itself_at_once(house: House) -> None:
    house.fine("homeassistant/device/0AFFD2/config", device_form(t=TEMPERATURE, h=HUMIDITY))
    assert house.keys == {"Kitchen Temperature", "Kitchen Humidity"}
    assert house.discovery.registry.room_of("Kitchen Humidity") == "Kitchen"
    found = house.fine("sensorKitchen/state", {"temperature": 22.5, "humidity": 51})
    assert values(found) == {"Kitchen Temperature": (22.5, None), "Kitchen Humidity": (51, None)}
    assert [word.device for word in house.fine("sensorKitchen/alive", "offline").availability] == ["ea334450945afc"]


@pytest.mark.parametrize("left", [{"t": TEMPERATURE}, {"t": TEMPERATURE, "h": {"p": "sensor"}}])
def test_a_component_that_vanishes_is_removed(house: House, left: dict[str, Any]) -> None:
    house.fine("homeassistant/device/0AFFD2/config", device_form(t=TEMPERATURE, h=HUMIDITY))
    assert house.fine("homeassistant/device/0AFFD2/config", device_form(**left)).removed == ("Kitchen Humidity",)
    assert values(house.fine("sensorKitchen/state", {"temperature": 1, "humidity": 2})) == {"Kitchen Temperature": (1, None)}
    gone = house.fine("homeassistant/device/0AFFD2/config", b"")
    assert (gone.removed, gone.departed) == (("Kitchen Temperature",), ("ea334450945afc",))


def test_a_device_moves_to_the_device_form_and_keeps_its_entities(house: House) -> None:
    single = {
        "name": "Temperature",
        "state_topic": "old/state",
        "value_template": "{{ value_json.temperature }}",
        "unit_of_measurement": "°C",
        "unique_id": "temp01ae_t",
        "device": {"identifiers": ["ea334450945afc"], "name": "Kitchen"},
    }
    house.fine("homeassistant/sensor/0AFFD2/t/config", single)
    house.fine("homeassistant/sensor/0AFFD2/t/config", {"migrate_discovery": True})
    house.fine("homeassistant/device/0AFFD2/config", device_form(t=TEMPERATURE))
    assert house.fine("homeassistant/sensor/0AFFD2/t/config", b"").removed == ()
    assert house.keys == {"Kitchen Temperature"}
    assert values(house.fine("sensorKitchen/state", {"temperature": 3})) == {"Kitchen Temperature": (3, None)}
    assert house.says("old/state", {"temperature": 4}).events == ()


def test_one_bad_component_costs_only_itself(house: House) -> None:
    found = house.says("homeassistant/device/0AFFD2/config", device_form(t=TEMPERATURE, h={**HUMIDITY, "p": "toaster"}, x=3))
    assert house.keys == {"Kitchen Temperature"}
    assert len(found.problems) == 2
    assert "homeassistant/device/0AFFD2/config: component h: toaster is not a component that is known." in found.problems


def test_a_component_with_its_own_availability_speaks_for_itself(house: House) -> None:
    own = {**HUMIDITY, "avty_t": "probe/alive"}
    house.fine("homeassistant/device/0AFFD2/config", device_form(h=own, t=TEMPERATURE))
    assert [(word.device, word.entity) for word in house.fine("probe/alive", "offline").availability] == [
        ("ea334450945afc", "Kitchen Humidity")
    ]
    assert [word.entity for word in house.fine("sensorKitchen/alive", "offline").availability] == [""]


@pytest.mark.parametrize(
    ("mode", "words", "expected"),
    [
        ("any", [("a", "online"), ("b", "offline"), ("a", "offline")], [True, False]),
        ("all", [("a", "online"), ("b", "online"), ("a", "offline")], [True, False]),
        ("latest", [("a", "online"), ("b", "offline"), ("a", "online")], [True, False, True]),
    ],
)
def test_the_modes_of_availability(house: House, mode: str, words: list[tuple[str, str]], expected: list[bool]) -> None:
    payload = {
        "name": "S",
        "stat_t": "s",
        "uniq_id": "s",
        "dev": {"ids": ["s"], "name": "D"},
        "avty_mode": mode,
        "avty": [{"topic": "a"}, {"topic": "b"}],
    }
    house.fine("homeassistant/sensor/s/config", payload)
    assert [word.online for topic, said in words for word in house.fine(topic, said).availability] == expected


def test_a_light_of_the_first_schema_has_a_topic_for_each_thing(house: House) -> None:
    payload = {
        "name": None,
        "uniq_id": "l",
        "dev": {"ids": ["l"], "name": "Lamp"},
        "stat_t": "l/state",
        "cmd_t": "l/switch",
        "bri_stat_t": "l/bri",
        "bri_cmd_t": "l/bri/set",
        "bri_scl": 100,
        "rgb_stat_t": "l/rgb",
        "rgb_cmd_t": "l/rgb/set",
        "stat_val_tpl": "{{ value_json.state }}",
        "pl_on": "1",
        "pl_off": "0",
    }
    house.fine("homeassistant/light/l/config", payload)
    assert values(house.fine("l/state", {"state": 1})) == {"Lamp": ("on", True)}
    assert values(house.fine("l/rgb", "255,0,10")) == {"Lamp rgb color": ("255,0,10", None)}
    assert house.tell("Lamp brightness", 80) == ("l/bri/set", "80")
    assert house.tell("Lamp", "off") == ("l/switch", "0")


def test_a_light_of_the_template_schema_is_told_what_its_templates_make(house: House) -> None:
    payload = {
        "schema": "template",
        "name": None,
        "uniq_id": "l",
        "dev": {"ids": ["l"], "name": "Lamp"},
        "stat_t": "l/state",
        "cmd_t": "l/rpc",
        "stat_tpl": "{% if value_json.output is true %}on{% else %}off{% endif %}",
        "cmd_on_tpl": '{"on": true{%- if brightness is defined -%}, "b": {{ brightness }}{%- endif -%}}',
        "cmd_off_tpl": '{"on": false}',
    }
    house.fine("homeassistant/light/l/config", payload)
    assert values(house.fine("l/state", {"output": True})) == {"Lamp": ("on", True)}
    assert house.tell("Lamp", "on") == ("l/rpc", '{"on": true}')


def test_numbers_selects_texts_buttons_and_sirens_take_commands(house: House) -> None:
    dev = {"ids": ["x"], "name": "X"}
    house.fine(
        "homeassistant/number/x/n/config",
        {"name": "Level", "cmd_t": "n/set", "stat_t": "n", "min": 0, "max": 10, "step": 0.5, "uniq_id": "n", "dev": dev},
    )
    house.fine(
        "homeassistant/select/x/s/config",
        {"name": "Mode", "cmd_t": "s/set", "stat_t": "s", "ops": ["a", "b"], "uniq_id": "s", "dev": dev},
    )
    house.fine("homeassistant/text/x/t/config", {"name": "Text", "cmd_t": "t/set", "uniq_id": "t", "dev": dev})
    house.fine(
        "homeassistant/button/x/b/config",
        {"name": "Restart", "cmd_t": "b/set", "pl_prs": "RESTART", "uniq_id": "b", "dev": dev},
    )
    house.fine(
        "homeassistant/siren/x/i/config", {"name": "Siren", "cmd_t": "i/set", "stat_t": "i", "uniq_id": "i", "dev": dev}
    )
    house.fine("homeassistant/scene/x/c/config", {"name": "Evening", "cmd_t": "c/set", "uniq_id": "c", "dev": dev})
    assert house.tell("X Level", 2.5) == ("n/set", "2.5")
    assert house.tell("X Mode", "b") == ("s/set", "b")
    assert house.tell("X Text", "hello") == ("t/set", "hello")
    assert house.tell("X Restart", "press") == ("b/set", "RESTART")
    assert house.tell("X Siren", "on") == ("i/set", '{"state": "ON"}')
    assert house.tell("X Evening", "press") == ("c/set", "ON")
    assert values(house.fine("i", '{"state": "ON"}')) == values(house.fine("i", "ON")) == {"X Siren": ("on", True)}
    for key, asked, words in (("X Level", 11, "from 0 to 10"), ("X Mode", "c", "one of a, b"), ("X Restart", "on", "press")):
        with pytest.raises(Exception, match=words):
            house.tell(key, asked)


def test_alarms_vacuums_humidifiers_valves_and_mowers(house: House) -> None:
    dev = {"ids": ["x"], "name": "X"}
    house.fine(
        "homeassistant/alarm_control_panel/x/a/config",
        {"name": "Alarm", "cmd_t": "a/set", "stat_t": "a", "uniq_id": "a", "dev": dev},
    )
    house.fine(
        "homeassistant/vacuum/x/v/config",
        {
            "name": "Robot",
            "cmd_t": "v/set",
            "stat_t": "v",
            "set_fan_spd_t": "v/fan",
            "fanspd_lst": ["min", "max"],
            "uniq_id": "v",
            "dev": dev,
        },
    )
    house.fine(
        "homeassistant/humidifier/x/h/config",
        {
            "name": "Air",
            "cmd_t": "h/set",
            "stat_t": "h",
            "hum_cmd_t": "h/hum",
            "hum_stat_t": "h/hum/state",
            "uniq_id": "h",
            "dev": dev,
        },
    )
    house.fine(
        "homeassistant/valve/x/w/config",
        {"name": "Water", "cmd_t": "w/set", "stat_t": "w", "pos": True, "uniq_id": "w", "dev": dev},
    )
    house.fine(
        "homeassistant/lawn_mower/x/m/config",
        {"name": "Mower", "activity_state_topic": "m", "dock_command_topic": "m/dock", "uniq_id": "m", "dev": dev},
    )
    assert values(house.fine("a", "triggered")) == {"X Alarm": ("triggered", True)}
    assert house.tell("X Alarm", "arm_away") == ("a/set", "ARM_AWAY")
    assert values(house.fine("v", {"state": "docked", "fan_speed": "min"})) == {
        "X Robot": ("docked", False),
        "X Robot fan speed": ("min", None),
    }
    assert house.tell("X Robot", "start") == ("v/set", "start")
    assert house.tell("X Air target humidity", 45) == ("h/hum", "45")
    assert values(house.fine("w", "0")) == {"X Water": ("closed", False), "X Water position": (0, None)}
    assert house.tell("X Water", "open") == ("w/set", "100")
    assert house.tell("X Mower dock", "press") == ("m/dock", "dock")


def test_a_motion_sensor_that_only_says_on_is_off_again_by_itself(house: House) -> None:
    config = {"name": "M", "stat_t": "m", "off_dly": 30, "uniq_id": "m", "dev": {"ids": ["m"], "name": "Hall"}}
    house.fine("homeassistant/binary_sensor/m/config", config)
    assert house.discovery.next_due() is None
    house.fine("m", "ON")
    house.fine("m", "ON")
    due = house.discovery.next_due()
    assert due == house.now + 30
    assert house.discovery.due(due - 1).events == ()
    assert values(house.discovery.due(due)) == {"Hall M": ("off", False)}
    assert house.discovery.due(due + 100).events == ()
    house.fine("m", "ON")
    house.fine("m", "OFF")
    assert house.discovery.next_due() is None


def test_names_of_entities(house: House) -> None:
    dev = {"ids": ["x"], "name": "Kitchen plug"}
    for object_id, more in (
        ("a", {"name": None}),
        ("b", {"name": "Kitchen plug power", "dev_cla": "power"}),
        ("c", {"dev_cla": "voltage"}),
        ("wifi_signal", {}),
        ("e", {"name": None, "dev_cla": "current"}),
        ("f", {"name": None, "dev_cla": "current"}),
    ):
        house.fine(
            f"homeassistant/sensor/x/{object_id}/config",
            {"stat_t": f"x/{object_id}", "uniq_id": object_id, "dev": dev, **more},
        )
    named = sorted(house.keys)
    assert named[:3] == ["Kitchen plug", "Kitchen plug Voltage", "Kitchen plug Wifi signal"]
    assert named[3] == "Kitchen plug current"
    assert named[4].startswith("Kitchen plug current ")
    assert named[5] == "Kitchen plug power"


def test_an_entity_without_a_device_is_one_of_its_own(house: House) -> None:
    house.fine("homeassistant/binary_sensor/garden/config", {"name": "Garden", "stat_t": "garden/state"})
    assert values(house.fine("garden/state", "ON")) == {"Garden": ("on", True)}


def test_what_is_unknown_is_told_as_unknown(house: House) -> None:
    house.fine("homeassistant/sensor/s/config", {"name": "S", "stat_t": "s", "unit_of_meas": "W", "uniq_id": "s"})
    assert only(house.fine("s", "None")).value is None
    assert house.fine("s", "").events == ()
    assert "expected a number" in house.says("s", "broken").problems[0]


@pytest.mark.parametrize(
    ("topic", "body", "words"),
    [
        ("homeassistant/sensor/x/config", b"{", "not JSON"),
        ("homeassistant/sensor/x/config", b"[]", "JSON object"),
        ("homeassistant/sensor/x/config", b"\xff\xfe", "not JSON"),
        ("homeassistant/sensor/x/config", b'{"name": "x"}', "state_topic"),
        ("homeassistant/sensor/x/config", b'{"stat_t": 5}', "state_topic"),
        ("homeassistant/sensor/x/config", b'{"stat_t": "a#b"}', "state_topic"),
        ("homeassistant/toaster/x/config", b'{"stat_t": "a"}', "toaster"),
        ("homeassistant/sensor/x/config", b'{"stat_t": "a", "val_tpl": "{{ 1 +"}', "value_template"),
        ("homeassistant/sensor/x/config", b'{"stat_t": "a", "dev": 3}', "device"),
        ("homeassistant/sensor/x/config", b'{"stat_t": "a", "dev": {"name": "n"}}', "identifiers"),
        ("homeassistant/switch/x/config", b'{"stat_t": "a"}', "command_topic"),
        ("homeassistant/device/x/config", b'{"dev": {"ids": "a"}}', "components"),
        ("homeassistant/device/x/config", b'{"cmps": {"a": {"p": "sensor", "stat_t": "a"}}}', "device"),
        ("homeassistant/sensor/x/config", b'{"stat_t": "a", "avty": "x"}', "availability"),
        ("homeassistant/number/x/config", b'{"cmd_t": "a", "min": "low"}', "min"),
    ],
)
def test_a_malformed_announcement_is_reported_and_skipped(house: House, topic: str, body: bytes, words: str) -> None:
    found = house.says(topic, body)
    assert found.entities == ()
    assert len(found.problems) == 1
    assert found.problems[0].startswith(topic)
    assert words in found.problems[0]


def test_every_short_form_is_written_out() -> None:
    made = written_out({short: short for short in ENTITY} | {"dev": dict.fromkeys(DEVICE, 1)})
    assert set(made) == set(ENTITY.values())
    assert made["device"] == dict.fromkeys(DEVICE.values(), 1)


def test_the_hub_passes_over_its_own_announcement() -> None:
    from event_processor.discovery.discovery import Discovery

    house = House(Discovery(own=["homeassistant/device/hub/config"]))
    assert house.fine("homeassistant/device/hub/config", device_form(t=TEMPERATURE)).entities == ()
