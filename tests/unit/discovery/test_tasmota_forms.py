"""Tasmota's less usual devices: lights in parts, inverted shutters, switches in their many modes, nested sensors."""

from __future__ import annotations

from typing import Any

from tests.unit.discovery.conftest import House, only, values

MAC = "5CCF7F0A1B2C"


def announce(house: House, **more: Any) -> None:
    told = {"dn": "Attic", "fn": ["Rail", "Spot"], "mac": MAC, "t": "attic", "ft": "%topic%//%prefix%", "lk": 1, "lt_st": 0}
    house.fine(f"tasmota/discovery/{MAC}/config", {**told, "tp": ["c", "s", "t"], "rl": [0], "so": {}, **more}, retained=True)


def test_colour_and_white_of_a_light_that_are_apart_are_dimmed_apart(house: House) -> None:
    announce(house, rl=[2, 2], lt_st=5, lk=0)
    assert house.keys == {
        "Attic Rail", "Attic Rail brightness", "Attic Rail color", "Attic Spot", "Attic Spot brightness",
        "Attic Spot color temperature",
    }  # fmt: skip
    assert house.tell("Attic Rail brightness", 30) == ("attic/c/Dimmer1", "30")
    assert house.tell("Attic Spot brightness", 40) == ("attic/c/Dimmer2", "40")
    found = values(house.fine("attic/t/STATE", {"POWER1": "ON", "POWER2": "OFF", "Dimmer1": 7, "Dimmer2": 8}))
    assert (found["Attic Rail brightness"], found["Attic Spot brightness"]) == ((7, None), (8, None))


def test_channels_that_are_a_light_each_are_dimmed_by_their_number(house: House) -> None:
    announce(house, rl=[2, 2], lt_st=2, so={"68": 1})
    assert house.tell("Attic Spot brightness", 9) == ("attic/c/Channel2", "9")
    assert values(house.fine("attic/s/RESULT", {"Channel2": 11})) == {"Attic Spot brightness": (11, None)}
    assert "Attic Spot color temperature" not in house.keys


def test_a_dimmer_behind_a_second_processor_and_a_narrow_range_of_whites(house: House) -> None:
    announce(house, rl=[2], lt_st=2, ty=1, so={"82": 1}, fn=["Attic"])
    assert house.tell("Attic brightness", 20) == ("attic/c/Dimmer3", "20")
    command = house.entity("Attic color temperature").command
    assert command is not None
    assert command.limits == (200, 380, 1)


def test_an_inverted_shutter_is_closed_at_a_hundred(house: House) -> None:
    announce(house, rl=[3, 3, 3, 3], sho=[1, 0])
    told = {"Shutter1": {"Position": 100, "Direction": 0}, "Shutter2": {"Position": 100, "Direction": 0}}
    assert values(house.fine("attic/s/RESULT", told)) == {
        "Attic Shutter 1": ("closed", False),
        "Attic Shutter 1 position": (0, None),
        "Attic Shutter 2": ("open", True),
        "Attic Shutter 2 position": (100, None),
    }
    assert house.tell("Attic Shutter 1 position", 30) == ("attic/c/ShutterPosition1", "70")
    assert house.tell("Attic Shutter 1", "open") == ("attic/c/ShutterPosition1", "CLOSE")
    assert house.tell("Attic Shutter 2", "open") == ("attic/c/ShutterPosition2", "OPEN")


def test_what_a_switch_tells_depends_on_its_mode(house: House) -> None:
    announce(house, swc=[1, 0, 5, 13, -1])
    assert house.keys == {
        "Attic Switch 1", "Attic Switch 2 push", "Attic Switch 3", "Attic Switch 3 push", "Attic Switch 4",
    }  # fmt: skip
    assert values(house.fine("attic/s/RESULT", {"Switch2": {"Action": "TOGGLE"}})) == {"Attic Switch 2 push": ("TOGGLE", True)}
    assert values(house.fine("attic/s/RESULT", {"Switch3": {"Action": "HOLD"}})) == {"Attic Switch 3 push": ("HOLD", True)}
    assert values(house.fine("attic/s/RESULT", {"Switch3": {"Action": "ON"}})) == {"Attic Switch 3": ("on", True)}
    assert values(house.fine("attic/s/RESULT", {"Switch4": {"Action": "ON"}})) == {"Attic Switch 4": ("on", True)}
    assert house.discovery.next_due() == house.now + 1  # a motion sensor that tells only that


def test_a_switch_with_a_name_reports_under_it(house: House) -> None:
    announce(house, swc=[2], swn=["Hatch"])
    assert values(house.fine("attic/s/RESULT", {"Hatch": {"Action": "ON"}})) == {"Attic Hatch": ("on", True)}
    assert values(house.fine("attic/t/SENSOR", {"Time": "x", "Hatch": "OFF"})) == {"Attic Hatch": ("off", False)}


def test_a_device_that_answers_on_a_topic_for_each_command(house: House) -> None:
    announce(house, rl=[2], lt_st=1, so={"4": 1}, fn=["Attic"])
    assert values(house.fine("attic/s/POWER", {"POWER": "ON"})) == {"Attic": ("on", True)}
    assert house.fine("attic/s/POWER", "ON").events == ()
    assert values(house.fine("attic/s/DIMMER", {"Dimmer": 5})) == {"Attic brightness": (5, None)}


def test_units_of_nested_and_rare_values(house: House) -> None:
    announce(house)
    measured = {"Wind": {"Speed": {"Avg": 3.2}}, "SpeedUnit": "m/s", "": 1}
    measured["ENERGY"] = {"CurrentNeutral": 0.1, "ExportReactive": 2.0, "PhaseAngle": 12}
    house.fine(f"tasmota/discovery/{MAC}/sensors", {"sn": measured})
    units = {key.removeprefix("Attic "): house.entity(key).unit for key in house.keys}
    assert units == {
        "Wind Speed Avg": "m/s", "ENERGY CurrentNeutral": "A", "ENERGY ExportReactive": "kVArh", "ENERGY PhaseAngle": "°",
    }  # fmt: skip
    assert only(house.fine("attic/t/SENSOR", {"Wind": {"Speed": {"Avg": 4}}})).value == 4
