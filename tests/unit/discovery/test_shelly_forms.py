"""Less usual Shelly devices of all generations: covers, Bluetooth behind a gateway, lights, motion sensors, gas valves."""

from __future__ import annotations

import json

import pytest

from tests.unit.discovery.conftest import House, only, values

GATEWAY = "shellyblugw-c0ffee001122"


def happened(house: House, *events: tuple[str, str]) -> object:
    told = [{"component": component, "event": event, "ts": 1.5} for component, event in events]
    body = {"src": GATEWAY, "method": "NotifyEvent", "params": {"ts": 1.5, "events": told}}
    return house.fine(f"{GATEWAY}/events/rpc", body)


def status(house: House, **components: object) -> None:
    body = {"src": GATEWAY, "method": "NotifyStatus", "params": {"ts": 1.5, **components}}
    house.fine(f"{GATEWAY}/events/rpc", body)


def asked(house: House, key: str, value: object) -> object:
    topic, payload = house.tell(key, value)  # type: ignore[arg-type]  # whatever a test asks for
    assert topic == f"{GATEWAY}/rpc"
    told = json.loads(payload)
    return told["method"], told["params"]


def test_a_button_behind_a_gateway_and_one_that_is_not_there(house: House) -> None:
    happened(house, ("bthomedevice:203", "double_push"), ("button:201", "single_push"), ("sys", "ota_begin"))
    assert house.keys == {f"{GATEWAY} Bthomedevice 203 button", f"{GATEWAY} Button 201"}


def test_what_a_push_meant_counts_rather_than_the_finger(house: House) -> None:
    happened(house, ("input:0", "btn_down"))
    found = happened(house, ("input:0", "long_push"), ("input:0", "btn_up"))
    assert only(found).value == "long_push"  # type: ignore[arg-type]
    assert only(happened(house, ("input:0", "btn_down"))).value == "btn_down"  # type: ignore[arg-type]


def test_a_radiator_valve_behind_a_gateway(house: House) -> None:
    status(house, **{"blutrv:200": {"id": 200, "current_C": 19.5, "target_C": 21, "pos": 40, "battery": 77}})
    assert house.entity(f"{GATEWAY} Blutrv 200 current temperature").unit == "°C"
    expected = {"id": 200, "method": "TRV.SetTarget", "params": {"id": 0, "target_C": 18.5}}
    assert asked(house, f"{GATEWAY} Blutrv 200 target temperature", 18.5) == ("BluTrv.Call", expected)


def test_words_texts_colours_and_slats_are_told(house: House) -> None:
    status(
        house,
        **{
            "enum:200": {"value": "eco"},
            "text:201": {"value": ""},
            "rgb:0": {"id": 0, "output": True, "rgb": [1, 2, 3]},
            "cover:0": {"id": 0, "state": "open", "current_pos": 90, "slat_pos": 10},
            "thermostat:0": {"id": 0, "enable": True},
        },
    )
    assert asked(house, f"{GATEWAY} Enum 200", "eco") == ("Enum.Set", {"id": 200, "value": "eco"})
    assert asked(house, f"{GATEWAY} Text 201", 'say "hi"') == ("Text.Set", {"id": 201, "value": 'say "hi"'})
    assert asked(house, f"{GATEWAY} Rgb 0 color", "[9, 8, 7]") == ("RGB.Set", {"id": 0, "on": True, "rgb": [9, 8, 7]})
    assert asked(house, f"{GATEWAY} Cover 0 slat position", 30) == ("Cover.GoToPosition", {"id": 0, "slat_pos": 30})
    assert asked(house, f"{GATEWAY} Thermostat 0 enabled", "off")[1] == {"id": 0, "config": {"enable": False}}  # type: ignore[index]


def first(house: House, device: str, **reports: object) -> None:
    for topic, body in reports.items():
        house.fine(f"shellies/{device}/{topic.replace('__', '/')}", body)


def test_a_first_roller_is_told_its_place_on_the_topic_of_commands(house: House) -> None:
    first(house, "shellyswitch25-0A0B0C", roller__0="stop", roller__0__pos="35")
    expected = ("shellies/shellyswitch25-0A0B0C/roller/0/command/pos", "60")
    assert house.tell("shellyswitch25-0A0B0C Roller 0 pos", 60) == expected


def test_a_first_motion_sensor_tells_all_in_one_object(house: House) -> None:
    device = "shellymotionsensor-A1B2C3D4E5F6"
    first(house, device, status={"motion": False, "vibration": False, "lux": 12, "bat": 66})
    found = values(house.fine(f"shellies/{device}/status", {"motion": True, "lux": 30, "bat": 65}))
    assert found == {f"{device} Motion": ("on", True), f"{device} Lux": (30, None), f"{device} Battery": (65, None)}


def test_a_first_radiator_valve_takes_its_target(house: House) -> None:
    device = "shellytrv-0A0B0C0D0E0F"
    first(house, device, status={"target_t": {"value": 20, "units": "C"}, "tmp": {"value": 18.4}, "bat": 90})
    assert house.entity(f"{device} Temperature").unit == "°C"
    assert house.tell(f"{device} Target temperature", 22.5) == (f"shellies/{device}/thermostat/0/command/target_t", "22.5")


def test_first_lights_are_lights_and_take_their_brightness(house: House) -> None:
    first(house, "shellydimmer-0A0B0C", light__0="on", light__0__status={"ison": True, "brightness": 40})
    first(house, "shellyrgbw2-0A0B0C", color__0="on", color__0__status={"ison": True, "gain": 40, "red": 1})
    assert house.entity("shellydimmer-0A0B0C Light 0").type == "light"
    expected = ("shellies/shellydimmer-0A0B0C/light/0/set", '{"brightness": 70}')
    assert house.tell("shellydimmer-0A0B0C Light 0 brightness", 70) == expected
    assert house.tell("shellyrgbw2-0A0B0C Color 0 gain", 5)[1] == '{"gain": 5}'


@pytest.mark.parametrize(("word", "active"), [("none", False), ("mild", True), ("heavy", True)])
def test_a_first_gas_alarm_says_how_bad_it_is(house: House, word: str, active: bool) -> None:
    first(house, "shellygas-0A0B0C", sensor__gas="none", valve__0="opened")
    assert values(house.fine("shellies/shellygas-0A0B0C/sensor/gas", word)) == {"shellygas-0A0B0C Gas": (word, active)}
    assert house.tell("shellygas-0A0B0C Valve 0", "close") == ("shellies/shellygas-0A0B0C/valve/0/command", "close")


def test_what_a_first_device_announced_before_its_first_report_is_remembered(house: House) -> None:
    told = {"id": "shelly1-0A0B0C", "model": "SHSW-1", "mac": "F0F1F20A0B0C", "fw_ver": "2023-x"}
    house.fine("shellies/announce", told)
    assert house.discovery.registry.devices == {}
    first(house, "shelly1-0A0B0C", relay__0="off")
    info = house.device_of("shelly1-0A0B0C Relay 0")
    assert (info.model, info.software, info.aliases) == ("SHSW-1", "2023-x", ("mac:f0f1f20a0b0c",))
    assert "JSON" in house.says("shellies/announce", "{").problems[0]
