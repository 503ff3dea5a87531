"""Tasmota: its own discovery, as its documentation and hatasmota show it, and Home Assistant's, as older versions have it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.discovery.conftest import House, only, values

MAC = "A4CF12F03246"


def config(**more: Any) -> dict[str, Any]:
    return {
        "ip": "192.168.1.40",
        "dn": "Kitchen plug",
        "fn": ["Kitchen plug", None, None, None],
        "hn": "plug-3246",
        "mac": MAC,
        "md": "Gosund SP1",
        "ty": 0,
        "if": 0,
        "ofln": "Offline",
        "onln": "Online",
        "state": ["OFF", "ON", "TOGGLE", "HOLD"],
        "sw": "13.4.0",
        "t": "plug",
        "ft": "%prefix%/%topic%/",
        "tp": ["cmnd", "stat", "tele"],
        "rl": [1, 0, 0, 0],
        "swc": [-1, -1, -1, -1],
        "swn": [None, None, None, None],
        "btn": [0, 0, 0, 0],
        "so": {"4": 0, "11": 0, "13": 0, "17": 0, "20": 0, "30": 0, "68": 0, "73": 0, "82": 0, "114": 0, "117": 0},
        "lk": 1,
        "lt_st": 0,
        "bat": 0,
        "dslp": 0,
        "sho": [0, 0, 0, 0],
        "ver": 1,
        **more,
    }


SENSORS = {
    "sn": {
        "Time": "2024-05-05T10:00:00",
        "ENERGY": {
            "TotalStartTime": "2021-01-01T00:00:00",
            "Total": 12.5,
            "Yesterday": 0.2,
            "Today": 0.1,
            "Power": 0,
            "ApparentPower": 0,
            "ReactivePower": 0,
            "Factor": 0.0,
            "Voltage": 230,
            "Current": 0.0,
        },
        "DS18B20": {"Id": "011427B6B5F6", "Temperature": 21.4},
        "TempUnit": "C",
    },
    "ver": 1,
}


def announce(house: House, **more: Any) -> None:
    house.fine(f"tasmota/discovery/{MAC}/config", config(**more), retained=True)


def test_a_plug_appears_with_relay_and_energy(house: House) -> None:
    announce(house)
    found = house.fine(f"tasmota/discovery/{MAC}/sensors", SENSORS, retained=True)
    assert "Kitchen plug" in house.keys
    total, power = house.entity("Kitchen plug ENERGY Total"), house.entity("Kitchen plug ENERGY Power")
    assert (total.unit, total.type, total.role) == ("kWh", "energy", "meter")
    assert (power.unit, power.type, power.role) == ("W", "power", "input")
    assert house.entity("Kitchen plug DS18B20 Temperature").unit == "°C"
    assert found.devices == ()
    info = house.device_of("Kitchen plug")
    assert (info.manufacturer, info.model, info.software) == ("Tasmota", "Gosund SP1", "13.4.0")


def test_the_order_of_the_two_messages_does_not_matter(house: House) -> None:
    house.fine(f"tasmota/discovery/{MAC}/sensors", SENSORS, retained=True)
    assert house.keys == set()
    announce(house)
    assert {"Kitchen plug", "Kitchen plug ENERGY Power"} <= house.keys


def test_its_reports_and_last_will(house: House) -> None:
    announce(house)
    house.fine(f"tasmota/discovery/{MAC}/sensors", SENSORS)
    assert values(house.fine("stat/plug/RESULT", {"POWER": "ON"})) == {"Kitchen plug": ("on", True)}
    state = {"Time": "x", "Uptime": "0T00:10:00", "POWER": "OFF", "Wifi": {"AP": 1, "RSSI": 100, "Signal": -40}}
    assert values(house.fine("tele/plug/STATE", state)) == {"Kitchen plug": ("off", False)}
    found = values(house.fine("tele/plug/SENSOR", SENSORS["sn"]))
    assert found["Kitchen plug ENERGY Total"] == (12.5, None)
    assert found["Kitchen plug DS18B20 Temperature"] == (21.4, None)
    assert [word.online for word in house.fine("tele/plug/LWT", "Online", retained=True).availability] == [True]
    assert [word.online for word in house.fine("tele/plug/LWT", "Offline").availability] == [False]


def test_it_is_told_by_its_command_topic(house: House) -> None:
    announce(house)
    assert house.tell("Kitchen plug", "on") == ("cmnd/plug/POWER", "ON")
    announce(house, ft="home/%topic%/%prefix%/", rl=[1, 1, 0, 0], fn=["Left", "Right"])
    assert house.tell("Kitchen plug", "off") == ("home/plug/cmnd/POWER1", "OFF")
    assert house.tell("Kitchen plug Right", "off") == ("home/plug/cmnd/POWER2", "OFF")
    assert values(house.fine("home/plug/stat/RESULT", {"POWER2": "ON"})) == {"Kitchen plug Right": ("on", True)}


def test_a_light_a_shutter_and_a_fan(house: House) -> None:
    announce(house, rl=[2, 0], lt_st=5)
    found = values(house.fine("stat/plug/RESULT", {"POWER": "ON", "Dimmer": 60, "CT": 300, "Color": "FF00000000"}))
    assert found["Kitchen plug brightness"] == (60, None)
    assert found["Kitchen plug color temperature"] == (300, None)
    assert house.tell("Kitchen plug brightness", 30) == ("cmnd/plug/Dimmer", "30")
    announce(house, rl=[3, 3])
    found = values(house.fine("stat/plug/RESULT", {"Shutter1": {"Position": 0, "Direction": 0, "Target": 0}}))
    assert found == {"Kitchen plug Shutter 1": ("closed", False), "Kitchen plug Shutter 1 position": (0, None)}
    assert house.tell("Kitchen plug Shutter 1", "open") == ("cmnd/plug/ShutterPosition1", "OPEN")
    assert house.tell("Kitchen plug Shutter 1 position", 40) == ("cmnd/plug/ShutterPosition1", "40")
    announce(house, rl=[2, 0], **{"if": 1})
    assert house.tell("Kitchen plug fan speed", 2) == ("cmnd/plug/FanSpeed", "2")


def test_switches_and_buttons_that_are_detached(house: House) -> None:
    announce(house, swc=[1, -1], swn=["Window", None], btn=[1, 0], so={"73": 1, "114": 1})
    assert values(house.fine("stat/plug/RESULT", {"Switch1": {"Action": "ON"}})) == {"Kitchen plug Window": ("on", True)}
    assert values(house.fine("tele/plug/SENSOR", {"Time": "x", "Switch1": "OFF"})) == {"Kitchen plug Window": ("off", False)}
    event = only(house.fine("stat/plug/RESULT", {"Button1": {"Action": "DOUBLE"}}))
    assert (event.device, event.value, event.active) == ("Kitchen plug Button 1", "DOUBLE", True)


@pytest.mark.parametrize("first", ["own", "homeassistant"])
def test_a_plug_that_announces_itself_in_both_ways_is_one(house: House, first: str) -> None:
    """Versions from 9 to 12 could publish both: the same relay must not be there twice."""

    def native() -> None:
        shared = {"avty_t": "tele/plug/LWT", "pl_avail": "Online", "pl_not_avail": "Offline"}
        house.fine(
            "homeassistant/switch/F03246_RL_1/config",
            {
                "name": "Kitchen plug",
                "stat_t": "tele/plug/STATE",
                "cmd_t": "cmnd/plug/POWER",
                "pl_off": "OFF",
                "pl_on": "ON",
                "val_tpl": "{{value_json.POWER}}",
                "uniq_id": "F03246_RL_1",
                "dev": {"ids": ["F03246"]},
                **shared,
            },
        )
        house.fine(
            "homeassistant/sensor/F03246_ENERGY_Power/config",
            {
                "name": "Kitchen plug ENERGY Power",
                "stat_t": "tele/plug/SENSOR",
                "uniq_id": "F03246_ENERGY_Power",
                "dev": {"ids": ["F03246"]},
                "unit_of_meas": "W",
                "val_tpl": "{{value_json['ENERGY']['Power']}}",
                **shared,
            },
        )

    def own() -> None:
        announce(house)
        house.fine(f"tasmota/discovery/{MAC}/sensors", {"sn": {"Time": "x", "ENERGY": {"Power": 1}}, "ver": 1})

    for step in (own, native) if first == "own" else (native, own):
        step()
    assert len(house.discovery.registry.devices) == 1
    assert len(house.keys) == 2
    assert len(house.fine("tele/plug/SENSOR", {"ENERGY": {"Power": 5}}).events) == 1


def test_a_device_that_is_taken_back(house: House) -> None:
    announce(house)
    house.fine(f"tasmota/discovery/{MAC}/sensors", SENSORS)
    house.fine(f"tasmota/discovery/{MAC}/config", b"")
    assert house.keys == set()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "not JSON"),
        (config(mac="000000000000"), "mac"),
        (config(tp=["cmnd"]), "tp"),
        (config(t=""), "t: expected"),
        (config(ft="no prefix"), "prefix"),
    ],
)
def test_a_malformed_announcement_is_reported(house: House, body: object, words: str) -> None:
    found = house.says(f"tasmota/discovery/{MAC}/config", body)
    assert found.entities == ()
    assert words in found.problems[0]
